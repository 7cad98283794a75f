"""The marketplace's HTTP API: `flask --app api run --host 127.0.0.1 --port 5000`, or by gunicorn
`gunicorn --workers 2 --threads 4 --bind 127.0.0.1:5000 'api:create_app()'`.

Three parts, each in its own module: `chain` talks to the contracts, `index` keeps a copy of
their state in SQLite for quick browsing, and `routes` puts both behind HTTP. `timing` tells the
client where the time went. Processes that serve the API together share the database, and beside it
the files of `locks` and `cache`.

Settings, all from the environment:
    RPC_URL        the node, or a proxy in front of it   (http://127.0.0.1:8546)
    DEPLOYMENT     the file that scripts/deploy.js wrote (deployments/localhost.json)
    DATABASE       the SQLite file, made when missing    (marketplace.sqlite)
    CACHE_SECONDS  how long a page of tokens is kept     (2)
    SQL_LOG        where SQLite logs what it runs        (nowhere)
"""

import os
from pathlib import Path

from flask import Flask

from . import index, routes, timing
from .cache import PageCache
from .chain import Chain
from .locks import Lock

MAX_BODY_BYTES = 64 * 1024

PROJECT = Path(__file__).resolve().parent.parent


def create_app() -> Flask:
    app = Flask(__name__)
    app.json.sort_keys = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    database = Path(os.environ.get("DATABASE", PROJECT / "marketplace.sqlite"))
    locks = database.with_name(database.name + ".locks")
    app.chain = Chain(
        rpc_url=os.environ.get("RPC_URL", "http://127.0.0.1:8546"),
        deployment=Path(os.environ.get("DEPLOYMENT", PROJECT / "deployments" / "localhost.json")),
        lanes=locks,
    )
    index.init_app(app, database, Lock(locks / "index"))
    app.pages = PageCache(float(os.environ.get("CACHE_SECONDS", "2")), locks / "generations")
    timing.init_app(app)
    routes.init_app(app)
    return app
