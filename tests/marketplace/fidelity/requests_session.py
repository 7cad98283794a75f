"""A session of Python's clients: `requests_session.py BASE_URL`, prints one JSON document of all it was told.

requests for what Flask's users write, http.client where a connection matters, websockets.
"""

import gzip
import http.client
import sys
import threading
import uuid
from unittest import mock
from urllib.parse import urlsplit

import requests
import urllib3
from common import body, tell
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

TIMEOUT = 120
EVENTS = 4


def session(base: str) -> dict:
    with requests.Session() as client:
        client.trust_env = False
        told = {
            "requests": simple(client, base),
            "uploads": uploads(client, base),
            "streams": streams(client, base),
            "events": events(client, base),
        }
    return {
        **told,
        "leaving": leaving(base),
        "connections": connections(base),
        "connection": connection(base),
        "socket": socket(base),
    }


def response(answer: requests.Response) -> dict:
    raw = answer.raw
    return {
        "status": answer.status_code,
        "reason": answer.reason,
        "version": raw.version,
        "headers": [[name, value] for name, value in raw.headers.items()],
        "encoding": answer.encoding,
        "cookies": sorted(f"{cookie.name}={cookie.value}" for cookie in answer.cookies),
        "history": [response(before) for before in answer.history],
        "body": body(answer.content),
    }


def simple(client: requests.Session, base: str) -> dict:
    def ask(method: str, path: str, **options) -> dict:
        return response(client.request(method, base + path, timeout=TIMEOUT, **options))

    return {
        "get": ask("GET", "/echo", params={"a": ["1", "2"], "b": "é &"}),
        "head": ask("HEAD", "/file"),
        "json": ask("POST", "/echo", json={"a": [1, "é"]}),
        "form": ask("PUT", "/echo", data={"a": "1"}),
        "delete": ask("DELETE", "/echo"),
        "own method": ask("PURGE", "/echo"),
        "cookies come": ask("GET", "/headers"),
        "cookies go": ask("GET", "/echo"),
        "range": ask("GET", "/file", headers={"Range": "bytes=10-19"}),
        "unsatisfiable": ask("GET", "/file", headers={"Range": "bytes=9999999-"}),
        "not modified": ask("GET", "/file", headers={"If-None-Match": '"file-1"'}),
        "gzip": ask("GET", "/compressed/gzip"),
        "deflate": ask("GET", "/compressed/deflate"),
        "redirects": ask("GET", "/status/301?to=/status/302"),
        "redirected post": ask("POST", "/status/308", data="kept"),
        "not there": ask("GET", "/nowhere"),
        "not allowed": ask("POST", "/file", data="x"),
        "failed": ask("GET", "/status/500"),
    }


def uploads(client: requests.Session, base: str) -> dict:
    def up(**options) -> dict:
        return response(client.post(f"{base}/upload", timeout=TIMEOUT, **options))

    pieces = [bytes([number]) * 70_000 for number in range(50)]
    return {
        "with a length": up(data=b"".join(pieces)),
        "in chunks": up(data=iter(pieces)),
        "compressed": up(data=gzip.compress(pieces[1], mtime=0), headers={"Content-Encoding": "gzip"}),
        "files": response(
            client.post(f"{base}/echo", files={"one": pieces[1], "two": ("é.bin", pieces[2])}, data={"field": "é"})
        ),
        "nothing": up(),
    }


def streams(client: requests.Session, base: str) -> dict:
    told = {}
    for coding in ("gzip", "deflate", "br"):
        with client.get(f"{base}/compressed/{coding}", stream=True, timeout=TIMEOUT) as answer:
            undecoded = answer.raw.read(decode_content=False)
            told[coding] = {"coding": answer.headers["Content-Encoding"], "body": body(undecoded)}
    with client.get(f"{base}/download/64", stream=True, timeout=TIMEOUT) as answer:
        told["download"] = {
            "headers": [[name, value] for name, value in answer.raw.headers.items()],
            "body": body(b"".join(answer.iter_content(10_000))),
        }
    return told


def events(client: requests.Session, base: str) -> dict:
    """Each event comes before the next is asked for, or the server waits in vain."""
    name = uuid.uuid4().hex
    with client.get(f"{base}/events/{name}", stream=True, timeout=TIMEOUT) as answer:
        headers = [[name, value] for name, value in answer.raw.headers.items()]
        told = []
        lines = answer.iter_lines(chunk_size=1)
        for _ in range(EVENTS):
            for line in lines:
                told.append(line.decode())
                if line.startswith(b"data: event"):
                    break
            requests.post(f"{base}/go/{name}", timeout=TIMEOUT)
        told.extend(line.decode() for line in lines)
    return {"headers": headers, "lines": told}


def leaving(base: str) -> dict:
    """The server learns that a client has left in the middle of a download."""
    name = uuid.uuid4().hex
    with requests.get(f"{base}/endless/{name}", stream=True, timeout=TIMEOUT) as answer:
        got = len(answer.raw.read(200_000))
    return {"got": got, "told": requests.get(f"{base}/left/{name}", timeout=TIMEOUT).json()}


def connections(base: str) -> int:
    """How many connections ten requests took."""
    opened = []

    class Counting(urllib3.connection.HTTPConnection):
        def connect(self):
            opened.append(self)
            super().connect()

    with requests.Session() as client, mock.patch.object(
        urllib3.connectionpool.HTTPConnectionPool, "ConnectionCls", Counting
    ):
        client.trust_env = False
        for number in range(10):
            client.post(f"{base}/echo", data=b"x" * number, timeout=TIMEOUT)
    return len(opened)


def connection(base: str) -> dict:
    """What is said on one connection, where the client writes the head itself."""
    place = urlsplit(base)

    def ask(*fields: tuple[str, str], body: bytes = b"", target: str = "/upload") -> dict:
        plain = http.client.HTTPConnection(place.hostname, place.port, timeout=TIMEOUT)
        plain.putrequest("POST" if body else "GET", target, skip_accept_encoding=True)
        for field in fields:
            plain.putheader(*field)
        plain.endheaders(body)
        with plain.getresponse() as answer:
            told = {"status": answer.status, "version": answer.version, "body": answer.read().decode().strip()}
        sock = plain.sock
        # None where http.client has closed it for the server's sake.
        closing = ("Connection", "close") in fields
        told["closed when asked to"] = sock is None or sock.recv(1) == b"" if closing else None
        plain.close()
        return told

    chunked = ("Transfer-Encoding", "chunked")
    return {
        "closing": ask(("Connection", "close"), target="/go"),
        "closing an upload": ask(("Connection", "close"), ("Content-Length", "2"), body=b"hi"),
        "chunks": ask(chunked, body=b"2\r\nhi\r\n3\r\n yo\r\n0\r\n\r\n"),
        "trailers": ask(chunked, ("Trailer", "X-Sum"), body=b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"),
        "a whole target": ask(target=f"{base}/file", *[("Range", "bytes=0-3")]),
    }


def socket(base: str) -> dict:
    url = base.replace("http:", "ws:") + "/socket"
    told = {}
    with connect(url, subprotocols=["one", "two"], proxy=None, max_size=None) as ws:
        # The key is made up, and so is what answers it.
        headers = [[name, value] for name, value in ws.response.headers.raw_items()]
        told["headers"] = [pair for pair in headers if pair[0].lower() != "sec-websocket-accept"]
        told["status"] = ws.response.status_code
        told["agreed"] = [ws.subprotocol, [str(extension) for extension in ws.protocol.extensions]]
        told["messages"] = []
        for message in ("text é", b"\x00\xff", "", b"", "x" * 70_000, b"y" * 1_000_000):
            ws.send(message)
            got = ws.recv(timeout=TIMEOUT)
            told["messages"].append([type(got).__name__, len(got), got == message])
        ws.send(iter(["in ", "several ", "frames"]))
        told["fragments"] = ws.recv(timeout=TIMEOUT)
        told["pong"] = ws.ping(b"are you there").wait(TIMEOUT)
        threads = [threading.Thread(target=ws.send, args=(f"{number}",)) for number in range(20)]
        for thread in threads:
            thread.start()
        told["at once"] = sorted(ws.recv(timeout=TIMEOUT) for _ in threads)
        ws.send("close")
        try:
            ws.recv(timeout=TIMEOUT)
        except ConnectionClosed as closed:
            told["closed by the server"] = [closed.rcvd.code, closed.rcvd.reason]
    with connect(url, proxy=None) as ws:
        ws.close(4002, "by me")
        told["closed by the client"] = [ws.close_code, ws.close_reason]
    try:
        connect(base.replace("http:", "ws:") + "/file", proxy=None)
    except InvalidStatus as refused:
        told["refused"] = refused.response.status_code
    told["without an upgrade"] = response(requests.get(f"{base}/socket", timeout=TIMEOUT))
    return told


if __name__ == "__main__":
    sys.exit(tell(session))
