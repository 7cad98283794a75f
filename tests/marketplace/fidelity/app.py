"""A Flask app that uses what HTTP has: `flask --app app run`, or `gunicorn app:app`.

The sessions beside it ask for all of it, once at the app itself and once through the reverse proxy.
Nothing of what it answers differs from run to run, but the date.
"""

import gzip
import hashlib
import io
import threading
import zlib
from collections import defaultdict

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, stream_with_context
from flask_sock import Sock

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["two"]}
sock = Sock(app)

PIECE = 1 << 16
PATIENCE_SECONDS = 120
ECHO_BYTES = 1 << 15
# Not compressible to nothing, and the same everywhere.
FILE = hashlib.shake_256(b"file").digest(1_000_003)
TEXT = ("a line of text that repeats itself, " * 2_000).encode()
MODIFIED = 1_700_000_000
FAR = 4_000_000_000

gates: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(0))
left: defaultdict[str, threading.Event] = defaultdict(threading.Event)


@app.get("/page")
def page():
    """The page in which a browser's session runs."""
    return Response("<!doctype html><meta charset=utf-8><title>page</title>", mimetype="text/html")


@app.route("/echo", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
@app.route("/echo/<path:rest>", methods=["GET", "POST"])
def echo(rest: str = ""):
    """What came in, as the app sees it."""
    is_multipart = request.mimetype == "multipart/form-data"
    # A client makes up the boundary, of the same length each time.
    body = {} if is_multipart else digest(request.get_data())
    form = {name: values for name, values in request.form.lists()}
    form |= {name: digest(sent.read()) for name, sent in request.files.items()}
    told = jsonify(
        method=request.method,
        path=rest,
        # As it stood in the request's first line, where the server tells.
        target=request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI"),
        query=request.query_string.decode("latin-1"),
        request_headers=[[name, value.split("boundary=")[0]] for name, value in request.headers],
        remote=request.remote_addr,
        url=request.url,
        body=body,
        form=form,
    )
    # As long whatever was told: what a proxy adds to a request must not show in the answer's length.
    told.data = told.data.ljust(ECHO_BYTES)
    return told


@app.get("/headers")
def headers():
    """Header lines in number, odd ones among them."""
    response = Response("headers")
    for value in ("first", "second", "third"):
        response.headers.add("X-Many", value)
        response.set_cookie(value, f"{value}=1; 2", httponly=True, samesite="Lax", expires=FAR)
    response.headers["X-Empty"] = ""
    response.headers["X-Latin"] = "caf\xe9"
    response.headers["X-Long"] = "x" * 6_000
    response.headers["X-Quoted"] = '"a, b"; c="d\\"e"'
    response.headers.add("Server-Timing", 'db;dur=1.5;desc="7"')
    response.headers["Link"] = "</a.css>; rel=preload, </b.js>; rel=preload"
    response.headers["Vary"] = "Accept-Encoding, Origin"
    return response


@app.get("/file")
def file():
    """A file with a length, an ETag and a date: ranges and conditions."""
    response = send_file(
        io.BytesIO(FILE),
        mimetype="application/octet-stream",
        download_name="file name \u2713.bin",
        as_attachment=True,
        conditional=True,
        etag="file-1",
        last_modified=MODIFIED,
    )
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


@app.get("/compressed/<coding>")
def compressed(coding: str):
    """The same text in the coding that is asked for."""
    body = {
        "gzip": lambda: gzip.compress(TEXT, mtime=0),
        "deflate": lambda: zlib.compress(TEXT),
        # Bytes that no browser is asked to decode: a proxy has no business in them.
        "br": lambda: FILE[:1000],
    }[coding]()
    return Response(body, mimetype="text/plain", headers={"Content-Encoding": coding, "Vary": "Accept-Encoding"})


@app.route("/status/<int:status>", methods=["GET", "POST"])
def status(status: int):
    if status in (301, 302, 303, 307, 308):
        return redirect(request.args.get("to", "/echo"), code=status)
    if status in (204, 304):
        return Response(status=status, headers={"X-Empty-Answer": "1"})
    if status >= 400 and "body" not in request.args:
        abort(status)
    return Response(f"status {status}", status=request.args.get("line", status))


@app.post("/upload")
def upload():
    """Counts and sums up a body of any size as it comes."""
    size = crc = 0
    while piece := request.stream.read(1 << 20):
        size += len(piece)
        crc = zlib.crc32(piece, crc)
    return jsonify(
        size=size,
        crc=crc,
        chunked=request.headers.get("Transfer-Encoding"),
        length=request.content_length,
        coding=request.headers.get("Content-Encoding"),
    )


@app.get("/download/<int:pieces>")
def download(pieces: int):
    """A body of unknown length, in pieces of 64 KiB."""
    return Response((FILE[:PIECE] for _ in range(pieces)), mimetype="application/octet-stream")


@app.get("/events/<name>")
def events(name: str):
    """Events, each sent when the client has asked for it: who holds one back waits for ever."""
    first = int(request.headers.get("Last-Event-ID", -1)) + 1

    @stream_with_context
    def stream():
        yield f": begun\nretry: 50\n\nid: {first}\ndata: event {first}\n\n"
        for number in range(first + 1, first + 4):
            if not gates[name].acquire(timeout=PATIENCE_SECONDS):
                return
            yield f"id: {number}\nevent: counted\ndata: event {number}\ndata: second line\n\n"

    return Response(stream(), mimetype="text/event-stream", headers={"Cache-Control": "no-cache"})


@app.post("/go/<name>")
def go(name: str):
    gates[name].release()
    return "", 204


@app.get("/endless/<name>")
def endless(name: str):
    """Goes on until the client has left, which `/left` tells."""

    def stream():
        try:
            while True:
                yield FILE[:PIECE]
        finally:
            left[name].set()

    return Response(stream(), mimetype="application/octet-stream")


@app.get("/left/<name>")
def has_left(name: str):
    return jsonify(left=left[name].wait(PATIENCE_SECONDS))


@app.get("/shared", provide_automatic_options=False)
def shared():
    """For pages of other origins."""
    response = jsonify(origin=request.headers.get("Origin"), own=request.headers.get("X-Own"))
    return allow(response)


@app.route("/shared", methods=["OPTIONS"])
def preflight():
    response = allow(Response(status=204))
    response.headers["Access-Control-Allow-Methods"] = "GET, PUT"
    response.headers["Access-Control-Allow-Headers"] = "X-Own"
    return response


def allow(response):
    response.headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "*")
    response.headers["Access-Control-Expose-Headers"] = "X-Shown"
    response.headers["X-Shown"] = "shown"
    return response


@sock.route("/socket")
def socket(ws):
    """Sends back what it gets; `close` ends it."""
    try:
        while (message := ws.receive()) != "close":
            ws.send(message)
        ws.close(4001, "as asked")
    finally:
        # The library's thread answers the client's closing frame after it has told us; without it the
        # server may close the connection before.
        ws.thread.join(PATIENCE_SECONDS)


def digest(body: bytes) -> dict:
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
