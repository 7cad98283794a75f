"""`Server-Timing`: where a request's time went, in a header that browsers and proxies read.

    Server-Timing: db;dur=1.42;desc="3", fn.sync;dur=9.80, fn.mint;dur=41.07

`db` sums the queries and counts them; each `fn.*` is the time inside one function. Durations are
milliseconds. Functions nest (`fn.mint` holds the time of what it calls), so they do not add up to
the request's total.

Where OpenTelemetry runs (`opentelemetry-instrument`), a function is a span instead, with what it
calls below it.
"""

import functools
import time
from contextlib import contextmanager, nullcontext

from flask import Flask, Response, g, has_request_context

try:
    from opentelemetry import trace
except ImportError:  # it is not among what the API needs: see requirements-otel.txt
    tracer = None
else:
    tracer = trace.get_tracer("marketplace")  # whose spans go nowhere unless somebody collects them


@contextmanager
def measure(name: str):
    """Adds the time that the block takes to the entry `name`."""
    started = time.perf_counter()
    try:
        yield
    finally:
        if has_request_context():
            entry = g.setdefault("timings", {}).setdefault(name, [0.0, 0])
            entry[0] += (time.perf_counter() - started) * 1000
            entry[1] += 1


def timed(name: str):
    """Decorates a function whose calls become the entry `fn.<name>`, or spans `<name>`."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            with tracer.start_as_current_span(name) if tracer else nullcontext() as span:
                if span and span.is_recording():
                    return function(*args, **kwargs)
                with measure(f"fn.{name}"):
                    return function(*args, **kwargs)

        return wrapper

    return decorate


def init_app(app: Flask) -> None:
    @app.after_request
    def add_server_timing(response: Response) -> Response:
        entries = [
            f'{name};dur={milliseconds:.2f}' + (f';desc="{count}"' if name == "db" else "")
            for name, (milliseconds, count) in g.get("timings", {}).items()
        ]
        if entries:
            response.headers["Server-Timing"] = ", ".join(entries)
        return response
