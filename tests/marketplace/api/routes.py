"""HTTP: what each path takes and gives, and which status tells what went wrong."""

import sqlite3
import time

import requests
from flask import Blueprint, Flask, Response, current_app, json, jsonify, request
from web3 import Web3
from web3.exceptions import BadFunctionCallOutput, Web3Exception
from web3.logs import DISCARD
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound

from . import index
from .chain import NotDeployed, Reverted
from .timing import timed

MAX_PAGE_SIZE = 100
MAX_SLOW_MS = 10_000
REVERT_STATUS = {"ERC721NonexistentToken": 404, "NotOwner": 403, "NotSeller": 403}  # any other: 409

NOT_ON_CHAIN = "the contracts are not on this chain (was the node restarted?): run `node scripts/deploy.js`"
MAX_TOKEN_ID = 2**53 - 1  # as far as JSON's numbers go

api = Blueprint("api", __name__)


@api.url_value_preprocessor
def check_token_id(_endpoint, values) -> None:
    if values and values.get("token_id", 0) > MAX_TOKEN_ID:
        raise NotFound(f"there is no token {values['token_id']}")


# Reading


@api.get("/api/nfts")
def browse():
    """`?page=1&per_page=20`, newest first."""
    key = (_number("page", 1, 1, 10**6), _number("per_page", 20, 1, MAX_PAGE_SIZE))
    pages = current_app.pages
    body, seconds_left = pages.get(key)
    if body is not None:
        return jsonify(body), {"Cache-Status": f"marketplace; hit; ttl={int(seconds_left)}"}
    index.sync()
    generation = pages.generation
    body = _page(*key)
    pages.put(key, body, generation)
    return jsonify(body), {"Cache-Status": "marketplace; fwd=miss; stored"}


@api.get("/api/cache")
def cache_counts():
    """The page cache's own count of its hits and misses."""
    return current_app.pages.counts


@timed("page")
def _page(number: int, size: int) -> dict:
    nfts, total = index.page(number, size)
    return {"page": number, "per_page": size, "total": total, "nfts": nfts}


@api.get("/api/nfts/<int:token_id>")
def show(token_id: int):
    """One token, with its listing as the contract has it this moment."""
    chain = current_app.chain
    index.sync()
    nft = index.token(token_id)
    if nft is None:
        raise NotFound(f"there is no token {token_id}")
    seller, price = chain.read(chain.market.functions.listingOf(chain.nft.address, token_id))
    return {**nft, "listing": {"seller": seller, "price_wei": str(price)} if price else None}


@api.get("/api/owners/<address>")
def show_owner(address: str):
    """An account: its tokens, its ether, and what the market holds for it."""
    chain = current_app.chain
    address = _address(address, "address")
    index.sync()
    return {
        "address": address,
        "balance_wei": str(chain.w3.eth.get_balance(address)),
        "proceeds_wei": str(chain.read(chain.market.functions.proceeds(address))),
        "nfts": index.owned_by(address),
    }


# Trading. Each takes an optional `account` (1 to 4, who acts) and `gas` (skips the estimate, so
# that a transaction bound to revert is mined).


@api.post("/api/nfts/mint")
def mint():
    """`{"uri": "ipfs://…", "to": "0x…"}`; without `to`, the token goes to whoever mints."""
    body = _body()
    uri = body.get("uri", "")
    if not isinstance(uri, str) or not _is_unicode(uri):
        raise BadRequest("uri must be text")
    sender = _account(body) or current_app.chain.trader()
    to = _address(body["to"], "to") if "to" in body else sender
    receipt = _mint(to, uri, sender, _gas(body))
    transfers = current_app.chain.nft.events.Transfer().process_receipt(receipt, errors=DISCARD)
    if not transfers:  # a transaction to an address without code succeeds, and does nothing
        raise NotDeployed(NOT_ON_CHAIN)
    index.sync()
    return _done(receipt, transfers[0]["args"]["tokenId"]), 201


@timed("mint")
def _mint(to: str, uri: str, sender: str, gas: int | None):
    chain = current_app.chain
    return chain.send_signed(chain.nft.functions.mint(to, uri), sender, gas=gas)


@api.post("/api/nfts/<int:token_id>/list")
def list_for_sale(token_id: int):
    """`{"price_wei": "1000000000000000000"}`; the token's owner acts."""
    body = _body()
    price = _wei(body, "price_wei")
    if price is None:
        raise BadRequest("price_wei is missing: the price in wei, as text or a whole number")
    chain = current_app.chain
    seller = _account(body) or _ours(chain.read(chain.nft.functions.ownerOf(token_id)))
    receipt = _list(token_id, price, seller, _gas(body))
    index.sync()
    return _done(receipt, token_id)


@timed("list")
def _list(token_id: int, price: int, seller: str, gas: int | None):
    chain = current_app.chain
    if not chain.read(chain.nft.functions.isApprovedForAll(seller, chain.market.address)):
        chain.send(chain.nft.functions.setApprovalForAll(chain.market.address, True), seller)
    return chain.send(chain.market.functions.list(chain.nft.address, token_id, price), seller, gas=gas)


@api.post("/api/nfts/<int:token_id>/buy")
def buy(token_id: int):
    """`{}`; pays the price listed, or `value_wei` when that is given. With `?wait=0` the answer does
    not wait for a block: 202, whatever becomes of the transaction."""
    wait = _number("wait", 1, 0, 1) == 1
    body = _body()
    bought = _buy(token_id, _account(body), _wei(body, "value_wei"), _gas(body), wait)
    if not wait:
        return {"token_id": token_id, "transaction": {"hash": bought.to_0x_hex()}}, 202
    index.sync()
    return _done(bought, token_id)


@timed("buy")
def _buy(token_id: int, buyer: str | None, value: int | None, gas: int | None, wait: bool):
    """The receipt, or without `wait` the hash."""
    chain = current_app.chain
    seller, price = chain.read(chain.market.functions.listingOf(chain.nft.address, token_id))
    buyer = buyer or chain.trader(besides=seller)
    value = price if value is None else value
    return chain.send(chain.market.functions.buy(chain.nft.address, token_id), buyer, value=value, gas=gas, wait=wait)


@api.post("/api/nfts/<int:token_id>/cancel")
def cancel(token_id: int):
    """`{}`; the seller acts."""
    body = _body()
    receipt = _cancel(token_id, _account(body), _gas(body))
    index.sync()
    return _done(receipt, token_id)


@timed("cancel")
def _cancel(token_id: int, seller: str | None, gas: int | None):
    chain = current_app.chain
    if seller is None:
        listed_by, price = chain.read(chain.market.functions.listingOf(chain.nft.address, token_id))
        # Not listed: any account will do to hear it from the contract.
        seller = _ours(listed_by) if price else chain.trader()
    return chain.send(chain.market.functions.cancel(chain.nft.address, token_id), seller, gas=gas)


# Behaving badly on purpose, for a monitor to notice


@api.get("/api/slow")
def slow():
    """`?ms=1000`: answers after that many milliseconds."""
    ms = _number("ms", 1000, 0, MAX_SLOW_MS)
    _sleep(ms)
    return {"slept_ms": ms}


@timed("sleep")
def _sleep(ms: int) -> None:
    time.sleep(ms / 1000)


@api.get("/api/fail")
def fail():
    raise RuntimeError("this endpoint always fails")


@api.get("/api/n-plus-one")
def n_plus_one():
    """`?limit=20`: a query and a call for each token, where one of each would do."""
    index.sync()
    rows = index.query("SELECT token_id FROM nfts ORDER BY token_id LIMIT ?", (_number("limit", 20, 1, MAX_PAGE_SIZE),))
    return {"nfts": [_one_by_one(row["token_id"]) for row in rows]}


@timed("one_by_one")
def _one_by_one(token_id: int) -> dict:
    chain = current_app.chain
    return {**(index.token(token_id) or {}), "owner_on_chain": chain.read(chain.nft.functions.ownerOf(token_id))}


@api.get("/healthz")
def healthz():
    """200 when the database and the node answer and the contracts are there; 503 otherwise."""
    chain = current_app.chain
    index.query("SELECT 1")
    if not chain.w3.eth.get_code(chain.nft.address):
        raise NotDeployed(NOT_ON_CHAIN)
    return {"status": "ok", "chain_id": chain.w3.eth.chain_id, "block": chain.w3.eth.block_number}


# Errors: {"error": name, "message": text}, and for a contract's also its arguments and transaction


def init_app(app: Flask) -> None:
    app.register_blueprint(api)

    @app.after_request
    def keep_nowhere(response: Response) -> Response:
        # Any block may change an answer. The page cache here is told when; a browser's is not.
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        response = error.get_response()  # for its headers: 405 comes with Allow
        response.data = json.dumps({"error": error.name.replace(" ", ""), "message": error.description})
        response.content_type = "application/json"
        return response

    @app.errorhandler(Reverted)
    def reverted(error: Reverted):
        body = {"error": error.name, "message": str(error), "args": error.arguments}
        if error.receipt:
            body["transaction"] = _transaction(error.receipt)
        return body, REVERT_STATUS.get(error.name, 409)

    @app.errorhandler(NotDeployed)
    def not_deployed(error: NotDeployed):
        return {"error": "NotDeployed", "message": str(error)}, 503

    @app.errorhandler(BadFunctionCallOutput)
    def no_contract(_error):
        return {"error": "NotDeployed", "message": NOT_ON_CHAIN}, 503

    @app.errorhandler(requests.RequestException)
    def node_unavailable(error: requests.RequestException):
        return {"error": "NodeUnavailable", "message": f"the node did not answer: {type(error).__name__}"}, 503

    @app.errorhandler(Web3Exception)
    def node_refused(error: Web3Exception):
        return {"error": "NodeError", "message": str(error)}, 502

    @app.errorhandler(sqlite3.OperationalError)
    def database_unavailable(error: sqlite3.OperationalError):
        return {"error": "DatabaseUnavailable", "message": str(error)}, 503

    @app.errorhandler(Exception)
    def unexpected(error: Exception):
        # What went wrong inside is for the log: a client learns paths and queries from it at best.
        app.logger.error("%s %s failed", request.method, request.path, exc_info=error)
        return {"error": "InternalServerError", "message": "the API failed; its log says why"}, 500


def _done(receipt, token_id: int) -> dict:
    return {**(index.token(token_id) or {"token_id": token_id}), "transaction": _transaction(receipt)}


def _transaction(receipt) -> dict:
    return {
        "hash": receipt["transactionHash"].to_0x_hex(),
        "from": receipt["from"],
        "block": receipt["blockNumber"],
        "gas_used": receipt["gasUsed"],
        "status": receipt["status"],
    }


# What a request may hold


def _body() -> dict:
    body = request.get_json() if request.get_data() else {}
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _number(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise BadRequest(f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _wei(body: dict, name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 78):
        raise BadRequest(f"{name} must be an amount in wei: digits, as text or as a number")
    return int(value)


def _gas(body: dict) -> int | None:
    gas = body.get("gas")
    if gas is not None and (isinstance(gas, bool) or not isinstance(gas, int) or not 21_000 <= gas <= 10_000_000):
        raise BadRequest(f"gas must be a whole number from 21000 to 10000000, not {gas!r}")
    return gas


def _account(body: dict) -> str | None:
    number = body.get("account")
    if number is None:
        return None
    traders = current_app.chain.traders
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(traders):
        raise BadRequest(f"account must be a whole number from 1 to {len(traders)}, not {number!r}")
    return traders[number - 1]


def _ours(address: str) -> str:
    """`address`, when the API can sign for it."""
    if address not in current_app.chain.traders:
        raise Forbidden(f"{address} is not one of this API's accounts")
    return address


def _is_unicode(text: str) -> bool:
    """JSON can spell half of a surrogate pair, which is in no encoding."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _address(text, name: str) -> str:
    if not isinstance(text, str) or not Web3.is_address(text):
        raise BadRequest(f"{name} must be an address (0x and 40 hexadecimal digits), not {text!r}")
    return Web3.to_checksum_address(text)
