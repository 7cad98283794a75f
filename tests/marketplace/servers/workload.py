"""An API that can be put to work: `.venv/bin/python -m gunicorn --chdir servers workload:app`.

It writes below the directory that `FILES` names.
"""

import hashlib
import os
import time

from flask import Flask, request

HELD_BYTES = 48 << 20
WRITTEN_BYTES = 256 << 10

app = Flask(__name__)
held = []


@app.get("/work")
def work():
    """`?cpu_seconds=3` of one core, with writes that reach the disk, and memory that stays taken."""
    until = time.process_time() + float(request.args["cpu_seconds"])
    held.append(bytearray(os.urandom(1 << 20) * (HELD_BYTES >> 20)))
    with open(os.path.join(os.environ["FILES"], str(os.getpid())), "wb") as file:
        while time.process_time() < until:
            for _ in range(20):
                hashlib.sha256(held[-1][: 1 << 20]).digest()
            file.seek(0)
            file.write(held[-1][:WRITTEN_BYTES])
            file.flush()
            os.fsync(file.fileno())
    return {"pid": os.getpid()}
