"""SQLite's own account of what it ran, as text, for whoever wants to check a monitor against it.

With `SQL_LOG` set, every statement of a request becomes a line of that file: the trace id of the
request's `traceparent` (`-` without one), a tab, and the statement as SQLite expanded it. The lines
come from SQLite itself (`sqlite3_trace_v2`), whatever measures the API beside it.
"""

import os
import sqlite3

from flask import request


def follow(connection: sqlite3.Connection) -> None:
    """Logs what `connection`, which is of the present request, runs from now on."""
    path = os.environ.get("SQL_LOG")
    if not path:
        return
    parts = request.headers.get("traceparent", "").split("-")
    trace_id = parts[1] if len(parts) == 4 else "-"

    def write(statement: str) -> None:
        # Opened for each line and written in one piece, so that several processes can.
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(log, f"{trace_id}\t{' '.join(statement.split())}\n".encode())
        finally:
            os.close(log)

    connection.set_trace_callback(write)
