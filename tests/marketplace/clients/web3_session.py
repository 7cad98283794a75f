"""A session of web3.py: `.venv/bin/python clients/web3_session.py HTTP_URL WS_URL`.

It resets the node first, and prints one JSON document in which everything that is told is the
same on every run: see common.mjs, which the sessions of ethers and viem share.
"""

import asyncio
import hashlib
import json
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eth_account import Account
from web3 import AsyncWeb3, HTTPProvider, Web3, WebSocketProvider
from web3.exceptions import ContractLogicError, Web3Exception
from web3.logs import DISCARD

ARTIFACTS = Path(__file__).resolve().parent.parent / "artifacts" / "contracts"
MNEMONIC = "test test test test test test test test test test test junk"
FEES = {"maxFeePerGas": 3_000_000_000, "maxPriorityFeePerGas": 1_000_000_000}
DEPLOY_GAS = 3_000_000
CALL_GAS = 300_000
PRICE = 10**18
FEE_BPS = 250
URI = "ipfs://first"
CONCURRENT_READS = 20
LARGE_INPUT = "0x" + "5c" * 200_000
EVENT_TIMEOUT_SECONDS = 120


class SessionFailed(Exception):
    """Something did not happen, or did that should not have."""


async def session(http_url: str, ws_url: str) -> dict:
    # No retries: a request that fails is what the session is here to tell.
    http = Web3(HTTPProvider(http_url, exception_retry_configuration=None))
    result_of(http, "hardhat_reset")
    async with AsyncWeb3(WebSocketProvider(ws_url)) as ws:
        return await trade(http, ws)


async def trade(http: Web3, ws: AsyncWeb3) -> dict:
    Account.enable_unaudited_hdwallet_features()
    deployer, seller, buyer = (
        Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}") for index in range(3)
    )
    told = {"client": "web3.py"}

    told["node"] = {
        "chainId": http.eth.chain_id,
        "blockNumber": http.eth.block_number,
        "clientVersion": http.client_version,
        "balances": [http.eth.get_balance(account.address) for account in (deployer, seller, buyer)],
    }

    heads_subscription = await ws.eth.subscribe("newHeads")

    def sign(account, call, nonce, gas=CALL_GAS, **extra):
        fields = {"from": account.address, "nonce": nonce, "gas": gas, "chainId": 31337, **FEES, **extra}
        return account.sign_transaction(call.build_transaction(fields))

    def send(*args, **extra):
        transaction = http.eth.send_raw_transaction(sign(*args, **extra).raw_transaction)
        return http.eth.wait_for_transaction_receipt(transaction, poll_latency=0.05)

    def deploy(name, nonce, *args):
        artifact = json.loads((ARTIFACTS / f"{name}.sol" / f"{name}.json").read_text())
        contract = http.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        mined = send(deployer, contract.constructor(*args), nonce, gas=DEPLOY_GAS)
        return http.eth.contract(address=mined["contractAddress"], abi=artifact["abi"]), receipt(mined)

    nft, nft_receipt = deploy("MarketNFT", 0, "Market NFT", "MNFT")
    market, market_receipt = deploy("Marketplace", 1, FEE_BPS)
    told["deployed"] = {"nft": nft_receipt, "market": market_receipt}

    logs_subscription = await ws.eth.subscribe("logs", {"address": [nft.address, market.address]})

    mint = send(seller, nft.functions.mint(seller.address, URI), 0)
    approve = send(seller, nft.functions.setApprovalForAll(market.address, True), 1)
    listing = send(seller, market.functions.list(nft.address, 1, PRICE), 2)
    buy = send(buyer, market.functions.buy(nft.address, 1), 0, value=PRICE)
    told["transactions"] = {
        "mint": receipt(mint),
        "approve": receipt(approve),
        "list": receipt(listing),
        "buy": receipt(buy),
    }
    told["sold"] = [dict(event["args"]) for event in market.events.Sold().process_receipt(buy, errors=DISCARD)]

    with http.batch_requests() as batch:
        batch.add(nft.functions.ownerOf(1))
        batch.add(nft.functions.tokenURI(1))
        batch.add(market.functions.listingOf(nft.address, 1))
        batch.add(market.functions.proceeds(seller.address))
        batch.add(http.eth.get_balance(buyer.address))
        told["batch"] = batch.execute()

    purchase = sign(buyer, market.functions.buy(nft.address, 1), 1, value=7)
    gap = buyer.sign_transaction(
        {"to": seller.address, "value": 0, "nonce": 99, "gas": 21_000, "chainId": 31337, **FEES}
    )
    missing = ws.eth.contract(address=nft.address, abi=nft.abi).functions.ownerOf(2)
    told["failures"] = {
        "revertedCall": failure(market.functions.cancel(nft.address, 1).call, {"from": seller.address}),
        "missingToken": failure(nft.functions.ownerOf(2).call),
        "revertedTransaction": failure(http.eth.send_raw_transaction, purchase.raw_transaction),
        "revertedReceipt": receipt(http.eth.get_transaction_receipt(purchase.hash)),
        "nonceTooHigh": failure(http.eth.send_raw_transaction, gap.raw_transaction),
        "unknownMethod": error_of(http.provider.make_request("eth_doesNotExist", [])),
        "invalidParams": error_of(http.provider.make_request("eth_getBalance", ["nobody"])),
        "missingTokenOverWebSocket": await failure_of(missing.call()),
    }

    blocks = [index % 7 for index in range(CONCURRENT_READS)]
    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        concurrent = list(pool.map(lambda number: http.eth.get_block(number)["gasUsed"], blocks))
    trace = result_of(http, "debug_traceTransaction", buy["transactionHash"].to_0x_hex())
    told["reads"] = {
        "concurrent": concurrent,
        "overWebSocket": await asyncio.gather(*(ws.eth.get_balance(deployer.address, number) for number in blocks)),
        "largeRequest": result_of(http, "web3_sha3", LARGE_INPUT),
        "largeResponse": digest(trace),
        "code": [
            Web3.keccak(http.eth.get_code(nft.address)),
            Web3.keccak(await ws.eth.get_code(market.address)),
        ],
    }

    heads, logs = await receive(ws, heads_subscription, http.eth.block_number, logs_subscription, 6)
    events = {event.topic: event for contract in (nft, market) for event in all_events(contract)}
    told["events"] = {
        "heads": heads,
        "logs": [
            {
                "block": log["blockNumber"],
                "index": log["logIndex"],
                "name": (event := events[log["topics"][0].to_0x_hex()].process_log(log))["event"],
                "args": dict(event["args"]),
            }
            for log in logs
        ],
    }
    told["unsubscribed"] = [
        await ws.eth.unsubscribe(heads_subscription),
        await ws.eth.unsubscribe(logs_subscription),
    ]
    return told


async def receive(ws: AsyncWeb3, heads_id: str, heads_due: int, logs_id: str, logs_due: int):
    """Waits for as many heads and logs as are due."""
    heads, logs = [], []

    async def collect():
        async for message in ws.socket.process_subscriptions():
            if message["subscription"] == heads_id:
                heads.append(message["result"]["number"])
            elif message["subscription"] == logs_id:
                logs.append(message["result"])
            if len(heads) >= heads_due and len(logs) >= logs_due:
                break

    try:
        await asyncio.wait_for(collect(), EVENT_TIMEOUT_SECONDS)
    except asyncio.TimeoutError:
        raise SessionFailed(f"{len(heads)} of {heads_due} heads and {len(logs)} of {logs_due} logs arrived") from None
    return heads, logs


def all_events(contract):
    return [contract.events[entry["name"]]() for entry in contract.abi if entry["type"] == "event"]


def receipt(mined) -> dict:
    told = (
        "transactionHash", "from", "to", "contractAddress", "blockNumber", "status", "gasUsed", "effectiveGasPrice"
    )  # fmt: skip
    return {**{name: mined[name] for name in told}, "logs": len(mined["logs"])}


def failure(call, *args) -> dict:
    """What a call that has to fail failed with."""
    try:
        result = call(*args)
    except Web3Exception as error:
        return describe(error)
    raise SessionFailed(f"{call} had to fail, but returned {result!r}")


async def failure_of(awaitable) -> dict:
    try:
        result = await awaitable
    except Web3Exception as error:
        return describe(error)
    raise SessionFailed(f"a call over the WebSocket had to fail, but returned {result!r}")


def describe(error: Web3Exception) -> dict:
    if isinstance(error, ContractLogicError):
        return {"error": type(error).__name__, "message": error.message, "data": error.data}
    return {"error": type(error).__name__, "rpc": error.rpc_response["error"]}


def error_of(response) -> dict:
    if "error" not in response:
        raise SessionFailed(f"an error was due, not {response}")
    return response["error"]


def result_of(http: Web3, method: str, *params):
    response = http.provider.make_request(method, params)
    if "error" in response:
        raise SessionFailed(f"{method}: {response['error']}")
    return response["result"]


def digest(value) -> dict:
    """A digest of JSON too long to print. Keys are sorted: Hardhat gives a trace's storage in any order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return {"characters": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def as_json(value):
    if isinstance(value, bytes):
        return Web3.to_hex(value)
    return dict(value)  # web3.py's AttributeDict


def main() -> int:
    if len(sys.argv) != 3 or not sys.argv[1].startswith("http") or not sys.argv[2].startswith("ws"):
        print(f"usage: {sys.argv[0]} HTTP_URL WS_URL", file=sys.stderr)
        return 2
    try:
        told = asyncio.run(session(*sys.argv[1:]))
    except Exception as error:
        print(f"session failed: {error}\n{traceback.format_exc()}", file=sys.stderr)
        return 1
    print(json.dumps(told, indent=2, default=as_json))
    return 0


if __name__ == "__main__":
    sys.exit(main())
