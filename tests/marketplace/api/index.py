"""A copy of the tokens in SQLite, so that browsing costs a query and not a call for each token.

The chain is the truth. `sync` brings the copy up to the chain's head from the contracts' events,
whoever sent the transactions; when the chain is not the one it has followed (the node was
restarted, or reverted to a snapshot), it starts again from nothing.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from flask import Flask, current_app, g
from web3.exceptions import BlockNotFound

from . import sql_log
from .locks import Lock
from .timing import measure, timed

SCHEMA = """
CREATE TABLE IF NOT EXISTS nfts (
    token_id  INTEGER PRIMARY KEY,
    owner     TEXT NOT NULL,
    uri       TEXT NOT NULL,
    seller    TEXT,                        -- set, with the price, while the token is listed
    price_wei TEXT,                        -- text: SQLite's integers end at 2^63
    sales     INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS nfts_by_owner ON nfts (owner);
CREATE TABLE IF NOT EXISTS followed (      -- at most one row: the head that the copy has reached
    id         INTEGER PRIMARY KEY CHECK (id = 0),
    nft        TEXT NOT NULL,
    market     TEXT NOT NULL,
    block      INTEGER NOT NULL,
    block_hash TEXT NOT NULL
);
"""
NO_OWNER = "0x" + "0" * 40


def init_app(app: Flask, path: Path, lock: Lock) -> None:
    """`lock` is held by whoever changes the copy: two at once would apply the same events twice."""
    app.config["DATABASE"] = str(path)
    app.index_lock = lock
    # The journal's mode changes for one connection at a time, and the others do not wait: they fail.
    with lock, closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer
        connection.executescript(SCHEMA)

    @app.teardown_appcontext
    def close(_error) -> None:
        if "connection" in g:
            g.connection.close()


def query(sql: str, params=()) -> list[sqlite3.Row]:
    """Runs one statement on this request's connection, timed as `db`."""
    # A cursor, for OpenTelemetry's sqlite3 instrumentation sees those and nothing else.
    with measure("db"):
        return _connection().cursor().execute(sql, params).fetchall()


def page(number: int, size: int) -> tuple[list[dict], int]:
    """The tokens of one page, newest first, and how many tokens there are in all."""
    rows = query("SELECT * FROM nfts ORDER BY token_id DESC LIMIT ? OFFSET ?", (size, (number - 1) * size))
    return list(map(dict, rows)), query("SELECT count(*) AS n FROM nfts")[0]["n"]


def token(token_id: int) -> dict | None:
    rows = query("SELECT * FROM nfts WHERE token_id = ?", (token_id,))
    return dict(rows[0]) if rows else None


def owned_by(owner: str) -> list[dict]:
    return list(map(dict, query("SELECT * FROM nfts WHERE owner = ? ORDER BY token_id", (owner,))))


@timed("sync")
def sync() -> None:
    """Brings the copy up to the chain's head."""
    chain = current_app.chain
    head = chain.w3.eth.get_block("latest")
    if _is_at(_copied(chain), head):
        return
    with current_app.index_lock:
        # Again, for another request may have done it while this one waited.
        copied = _copied(chain)
        if _is_at(copied, head):
            return
        followed = copied if _is_at(copied, _block(chain, copied)) else None
        if followed and followed["block"] >= head["number"]:
            return
        from_block = followed["block"] + 1 if followed else 0
        events = _events(chain, from_block, head["number"])
        uris = _uris(chain, [event["args"]["tokenId"] for event in events if _is_mint(event)])

        query("BEGIN IMMEDIATE")
        try:
            if not followed:
                query("DELETE FROM nfts")
            if events:
                _apply(events, uris)
            query(
                "INSERT OR REPLACE INTO followed VALUES (0, ?, ?, ?, ?)",
                (chain.nft.address, chain.market.address, head["number"], head["hash"].to_0x_hex()),
            )
            query("COMMIT")
        except BaseException:
            query("ROLLBACK")
            raise
        current_app.pages.clear()


def _copied(chain) -> sqlite3.Row | None:
    """The block that the copy of these contracts has reached."""
    contracts = (chain.nft.address, chain.market.address)
    return next(iter(query("SELECT * FROM followed WHERE nft = ? AND market = ?", contracts)), None)


def _block(chain, copied):
    """The chain's block of that number, if it has one."""
    try:
        return copied and chain.w3.eth.get_block(copied["block"])
    except BlockNotFound:
        return None


def _is_at(copied, block) -> bool:
    return bool(copied and block) and copied["block_hash"] == block["hash"].to_0x_hex()


def _events(chain, first: int, last: int) -> list:
    """What the contracts told in these blocks about the collection's tokens, in its order."""
    nft, market = chain.nft, chain.market
    logs = chain.w3.eth.get_logs({"address": [nft.address, market.address], "fromBlock": first, "toBlock": last})
    known = {
        event.topic: event
        for event in (nft.events.Transfer(), market.events.Listed(), market.events.Sold(), market.events.Cancelled())
    }
    decoded = [known[topic].process_log(log) for log in logs if (topic := log["topics"][0].to_0x_hex()) in known]
    # The market is open to other collections; this index follows one.
    return [event for event in decoded if event["args"].get("nft", nft.address) == nft.address]


def _is_mint(event) -> bool:
    return event["event"] == "Transfer" and event["args"]["from"] == NO_OWNER


def _uris(chain, token_ids: list[int]) -> dict[int, str]:
    """Their URIs, asked for in one batch."""
    if not token_ids:
        return {}
    with chain.w3.batch_requests() as batch:
        for token_id in token_ids:
            batch.add(chain.nft.functions.tokenURI(token_id))
        return dict(zip(token_ids, batch.execute()))


def _apply(events: list, uris: dict[int, str]) -> None:
    """Brings the tokens up to what the events tell: one query to read them and one to write them,
    however many they are."""
    token_ids = json.dumps(sorted({event["args"]["tokenId"] for event in events}))
    rows = query("SELECT * FROM nfts WHERE token_id IN (SELECT value FROM json_each(?))", (token_ids,))
    tokens = {row["token_id"]: dict(row) for row in rows}
    for event in events:
        args = event["args"]
        token = tokens.setdefault(args["tokenId"], {"token_id": args["tokenId"], "sales": 0})
        if event["event"] == "Transfer":
            token["owner"] = args["to"]
            token.setdefault("uri", uris.get(args["tokenId"]))
        elif event["event"] == "Listed":
            token.update(seller=args["seller"], price_wei=str(args["price"]))
        else:
            token.update(seller=None, price_wei=None, sales=token["sales"] + (event["event"] == "Sold"))
    query(
        """
        INSERT OR REPLACE INTO nfts (token_id, owner, uri, seller, price_wei, sales)
        SELECT json_extract(value, '$.token_id'), json_extract(value, '$.owner'), json_extract(value, '$.uri'),
               json_extract(value, '$.seller'), json_extract(value, '$.price_wei'), json_extract(value, '$.sales')
        FROM json_each(?)
        """,
        (json.dumps(list(tokens.values())),),
    )


def _connection() -> sqlite3.Connection:
    if "connection" not in g:
        # `isolation_level=None`: transactions begin where the code says BEGIN, and nowhere else.
        g.connection = sqlite3.connect(current_app.config["DATABASE"], timeout=10, isolation_level=None)
        g.connection.row_factory = sqlite3.Row
        sql_log.follow(g.connection)
    return g.connection
