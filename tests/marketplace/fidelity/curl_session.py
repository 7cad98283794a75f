"""A session of curl: `curl_session.py BASE_URL app|raw`, prints one JSON document of all it was told.

`app` is for app.py, `raw` for raw_upstream.py.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from common import body, tell

TOLD = "%{num_connects} %{http_code} %{num_redirects} %{size_upload} %{size_download} %{content_type}\n"
OPTIONS = ["--silent", "--globoff", "--max-time", "30", "--noproxy", "*", "--write-out", f"%{{stderr}}{TOLD}"]


def app(base: str) -> dict:
    large = "@" + made("large", b"0123456789abcdef" * 100_000)
    zipped = "@" + made("zipped", bytes.fromhex("1f8b08000000000000ffcb48cdc9c95728cf2fca49010085114a0d0b000000"))
    json = ["-H", "Content-Type: application/json"]
    echo, file = f"{base}/echo", f"{base}/file"
    cases = {
        "get": [f"{echo}?a=1&b=%20&a=2"],
        "head": ["-I", echo],
        "form": ["-d", "a=1&b=%C3%A9", echo],
        "json": [*json, "-d", '{"a": 1}', echo],
        "multipart": ["-F", "field=value", "-F", f"file={large};type=text/plain", echo],
        "put": ["-T", large[1:], echo],
        "patch": ["-X", "PATCH", *json, "-d", "{}", echo],
        "delete with a body": ["-X", "DELETE", "-d", "x", echo],
        "get with a body": ["-X", "GET", "-d", "x", echo],
        "options": ["-X", "OPTIONS", echo],
        "an own method": ["-X", "PURGE", echo],
        "a method it does not take": ["-X", "LOCK", echo],
        "expect, large": ["--data-binary", large, f"{base}/upload"],
        "expect, small": ["-H", "Expect: 100-continue", "-d", "small", f"{base}/upload"],
        "chunked": ["-H", "Transfer-Encoding: chunked", "--data-binary", large, f"{base}/upload"],
        "compressed upload": ["-H", "Content-Encoding: gzip", "--data-binary", zipped, f"{base}/upload"],
        "an empty post": ["-X", "POST", f"{base}/upload"],
        "header lines": [f"{base}/headers"],
        "cookies": ["-b", "a=1; b=2", "-b", "c=\"3\"", echo],
        "lines sent": ["-H", "X-A: 1", "-H", "X-A: 2", "-H", "X-Empty;", "-H", "X-Latin: \xe9", echo],
        "a long line": ["-H", "X-Long: " + "y" * 8_000, echo],
        "authorization": ["-u", "user:pass word", echo],
        "as an old client": ["--http1.0", echo],
        "an old client's download": ["--http1.0", f"{base}/download/3"],
        "asking for HTTP/2": ["--http2", echo],
        "asking for transfer codings": ["--tr-encoding", echo],
        "the whole file": [file],
        "head of the file": ["-I", file],
        "the first bytes": ["-r", "0-99", file],
        "from a byte on": ["-r", "900000-", file],
        "the last bytes": ["-r", "-50", file],
        "several ranges": ["-r", "5-10,20-30", file],
        "beyond the end": ["-r", "2000000-", file],
        "no range at all": ["-H", "Range: bytes=x", file],
        "if it is the same": ["-r", "0-9", "-H", 'If-Range: "file-1"', file],
        "if it was another": ["-r", "0-9", "-H", 'If-Range: "file-0"', file],
        "known": ["-H", 'If-None-Match: "file-1"', file],
        "not newer": ["-z", "Tue, 14 Nov 2023 22:13:20 GMT", file],
        "only if": ["-H", 'If-Match: "file-0"', file],
        "gzip as it is": [f"{base}/compressed/gzip"],
        "gzip decoded": ["--compressed", f"{base}/compressed/gzip"],
        "deflate decoded": ["--compressed", f"{base}/compressed/deflate"],
        "br as it is": [f"{base}/compressed/br"],
        "no gzip after all": ["--compressed", f"{base}/compressed/br"],
        "a download": [f"{base}/download/20"],
        "head of a download": ["-I", f"{base}/download/20"],
        "a slow reader": ["--limit-rate", "4M", f"{base}/download/40"],
        "redirected": ["-L", f"{base}/status/302?to=/status/301"],
        "redirected with its body": ["-L", "-d", "x", f"{base}/status/307"],
        "redirected to a get": ["-L", "-d", "x", f"{base}/status/303"],
        "closing": ["-H", "Connection: close", echo, echo],
        "three in turn": [echo, f"{base}/file", f"{base}/download/3"],
    }
    for status in (200, 201, 204, 205, 206, 304, 400, 401, 404, 405, 409, 410, 413, 418, 422, 429, 500, 501, 503):
        cases[f"status {status}"] = [f"{base}/status/{status}"]
    cases["a status with a body"] = [f"{base}/status/451?body"]
    cases["an own status"] = [f"{base}/status/200?line=299+QUITE+All+right"]
    for target in TARGETS:
        cases[f"target {target}"] = ["--path-as-is", base + target]
    told = {name: curl(arguments) for name, arguments in cases.items()}
    told["no targets"] = {target: curl([base + target])["told"][0].split()[0] for target in NO_TARGETS}
    return told


# Paths and queries as browsers and careless clients write them.
TARGETS = (
    "/echo/a%2Fb%20c", "/echo/a+b", "/echo//double//", "/echo/../echo", "/echo/./x", "/echo/%E2%9C%93",
    "/echo/;a=1;b", "/echo/a:b@c!$&'()*,=~", "/echo/a{b}", "/echo/a|b", "/echo/a^b", "/echo/[a]", "/echo/a\\b",
    '/echo/a"b', "/echo/%zz", "/echo/caf\u00e9", "/echo?", "/echo?a{b}|c^d`e", "/echo?[a]=1", "/echo?a'b",
    "/echo?caf\u00e9", "/echo?a=b?c/d", "/echo?%zz", "//echo", "/echo?a\\b", "/echo/%00", "/echo?" + "q" * 4_000,
)  # fmt: skip
# What no URL may hold.
NO_TARGETS = ("/echo/a<b", "/echo/a>b", "/echo/a`b", "/echo?a<b", "/echo?a>b", '/echo?a"b')


def raw(base: str) -> dict:
    paths = (
        "trailers", "hints", "plain", "odd-reason", "no-reason", "teapot", "case", "no-content", "not-modified",
        "reset-content", "old", "until-close", "short", "cut-chunks", "silent", "nonsense"
    )  # fmt: skip
    told = {path: curl([f"{base}/{path}"]) for path in paths}
    for path in ("plain", "trailers", "odd-reason"):
        told[f"head of {path}"] = curl(["-I", f"{base}/{path}"])
    expecting = ["-H", "Expect: 100-continue", "-d", "small"]
    for path in ("too-large", "accepted", "never-continues"):
        told[f"expecting, {path}"] = curl([*expecting, f"{base}/{path}"])
    # curl asks for leave by itself, and sends again without when it is refused.
    told["a put, refused"] = curl(["-T", made("put", b"x" * 2_000_000), f"{base}/refused"])
    told["asking for trailers"] = curl(["-H", "TE: trailers", "-H", "Connection: TE", f"{base}/trailers"])
    told["five in turn"] = curl([f"{base}/{path}" for path in ("plain", "trailers", "no-content", "case", "plain")])
    return told


def made(name: str, content: bytes) -> str:
    path = Path(files.name) / name
    path.write_bytes(content)
    return str(path)


def curl(arguments: list[str]) -> dict:
    """What a run told: its end, the connections it took, each answer, interim ones too, each body."""
    dump = Path(files.name) / "heads"
    dump.unlink(missing_ok=True)
    urls = [argument for argument in arguments if argument.startswith("http://")]
    outputs = [Path(files.name) / f"body-{number}" for number in range(len(urls))]
    into = [part for output in outputs for part in ("-o", str(output))]
    encoded = [argument.encode("latin-1" if argument.startswith("X-") else "utf-8") for argument in arguments]
    run = subprocess.run(
        [b"curl", *OPTIONS, b"--dump-header", str(dump).encode(), *encoded, *into],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    if run.returncode in (2, 3, 4, 7):
        sys.exit(f"curl could not do it: {run.returncode} {arguments}")
    # Of a HEAD, the output is its head again.
    bodies = [output.read_bytes() if output.exists() and "-I" not in arguments else b"" for output in outputs]
    for output in outputs:
        output.unlink(missing_ok=True)
    told = [line.split(" ", 1) for line in run.stderr.decode().splitlines()]
    heads = answers(dump.read_bytes().decode("latin-1")) if dump.exists() else []
    return {
        "exit": run.returncode,
        "connections": sum(int(connects) for connects, _ in told),
        "told": [rest for _, rest in told],
        "interim": [head for head in heads if is_interim(head)],
        "answers": [head for head in heads if not is_interim(head)],
        "bodies": [body(content) for content in bodies],
    }


def answers(heads: str) -> list[dict]:
    told: list[dict] = []
    fields: list = []
    for line in heads.split("\r\n"):
        if line.startswith("HTTP/"):
            told.append({"line": line, "headers": (fields := []), "trailers": []})
        elif line:
            name, _, value = line.partition(":")
            fields.append([name, value.strip()])
        elif told:
            # What comes before the next status line is trailers.
            fields = told[-1]["trailers"]
    return told


def is_interim(head: dict) -> bool:
    return head["line"].split(" ")[1][0] == "1"


def session(base: str, which: str) -> dict:
    return {"app": app, "raw": raw}[which](base)


files = tempfile.TemporaryDirectory()
if __name__ == "__main__":
    with files:
        sys.exit(tell(session))
