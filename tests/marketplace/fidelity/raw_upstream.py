"""A server that says what Flask's servers do not: `raw_upstream.py PORT`.

Trailers, interim answers, a refused expectation, answers that end with the connection or break off,
odd status lines. Each is written byte by byte.
"""

import socketserver
import sys

CRLF = b"\r\n"


def answer(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def sized(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    return answer(f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", body=body)


TRAILERS = answer(
    "HTTP/1.1 200 OK",
    "Content-Type: text/plain",
    "Trailer: X-Sum, X-Count",
    "Transfer-Encoding: chunked",
    body=b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\nX-Sum: abc\r\nX-Count: 2\r\n\r\n",
)
HINTS = answer("HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload") + sized(b"final")

# path: (answer, whether the connection goes on)
ANSWERS = {
    "/trailers": (TRAILERS, True),
    "/hints": (HINTS, True),
    "/plain": (sized(b"plain", "Content-Type: text/plain"), True),
    "/odd-reason": (sized(b"odd", status="299 Quite All Right"), True),
    "/no-reason": (sized(b"none", status="200 "), True),
    "/teapot": (sized(b"short and stout", status="418 I'M A TEAPOT"), True),
    "/case": (sized(b"case", "X-CaSe: kept?", "x-bytes: \xe9\xff", "X-Tab: a\tb", "ETag: W/\"1\""), True),
    "/no-content": (answer("HTTP/1.1 204 No Content", "X-A: 1"), True),
    "/not-modified": (answer("HTTP/1.1 304 Not Modified", 'ETag: "1"', "Content-Length: 5"), True),
    "/reset-content": (answer("HTTP/1.1 205 Reset Content", "Content-Length: 0"), True),
    "/old": (answer("HTTP/1.0 200 OK", "Content-Type: text/plain", body=b"until the end"), False),
    "/until-close": (answer("HTTP/1.1 200 OK", "Connection: close", body=b"until the end"), False),
    "/short": (answer("HTTP/1.1 200 OK", "Content-Length: 100", body=b"broken off"), False),
    "/cut-chunks": (answer("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n9\r\nbro"), False),
    "/silent": (b"", False),
    "/nonsense": (b"this is no HTTP\r\n\r\n", False),
}  # fmt: skip


class Raw(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        while line := self.rfile.readline().decode("latin-1").strip():
            fields = {}
            while field := self.rfile.readline().decode("latin-1").strip():
                name, _, value = field.partition(":")
                fields[name.strip().lower()] = value.strip()
            method, path, _ = line.split(" ", 2)
            if not self.answer(method, path, fields):
                return

    def answer(self, method: str, path: str, fields: dict) -> bool:
        """Whether the connection goes on."""
        expects = fields.get("expect", "").lower() == "100-continue"
        if expects and path == "/refused":
            # No body is read: it was not asked for.
            self.wfile.write(sized(b"no", status="417 Expectation Failed"))
            return False
        if expects and path == "/too-large":
            self.wfile.write(sized(b"too large", status="413 Content Too Large"))
            return False
        if expects and path != "/never-continues":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, trailers = self.body(fields)
        if path in ("/accepted", "/never-continues", "/refused"):
            self.wfile.write(sized(f"{len(body)} bytes, trailers {trailers}".encode()))
            return True
        told, goes_on = ANSWERS[path]
        if method == "HEAD":
            told = told[: told.index(b"\r\n\r\n") + 4]
        self.wfile.write(told)
        return goes_on

    def body(self, fields: dict) -> tuple[bytes, dict]:
        if fields.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(fields.get("content-length", 0))), {}
        body, trailers = b"", {}
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while field := self.rfile.readline().decode("latin-1").strip():
            name, _, value = field.partition(":")
            trailers[name.lower()] = value.strip()
        return body, trailers


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Raw) as server:
        server.serve_forever()
