"""The contracts, as seen from Python: reads, transactions, and reverts with their names."""

import json
import threading
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import requests
from eth_account import Account
from eth_utils import keccak
from eth_utils.abi import abi_to_signature
from web3 import Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from .locks import Lock

# The accounts of every Hardhat node, published in its documentation: anybody can sign for them,
# so they are worth nothing on any real network. Account 0 deployed; the API trades as 1 to 4.
DEV_MNEMONIC = "test test test test test test test test test test test junk"
TRADERS = range(1, 5)

RECEIPT_TIMEOUT_SECONDS = 30


class NotDeployed(Exception):
    """There are no contracts to talk to yet."""


class Reverted(Exception):
    """A contract refused.

    `name` and `arguments` are those of its custom error ("Revert" and the text for a plain one).
    `receipt` is set when the refused transaction was mined, and so cost gas.
    """

    def __init__(self, name: str, arguments: dict, receipt=None):
        shown = ", ".join(f"{key}={value}" for key, value in arguments.items())
        super().__init__(f"{name}({shown})")
        self.name, self.arguments, self.receipt = name, arguments, receipt


class Chain:
    def __init__(self, rpc_url: str, deployment: Path, lanes: Path):
        # One session for all threads, so that they share its pool of connections.
        session = requests.Session()
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))
        # web3.py asks for the chain's id before every call; here once, for Hardhat's never changes.
        once = {"cache_allowed_requests": True, "cacheable_requests": {"eth_chainId"}}
        self.w3 = Web3(Web3.HTTPProvider(rpc_url, session=session, request_kwargs={"timeout": 30}, **once))
        # There is no strategy here: without one it asks for a block at each transaction, and no more.
        self.w3.middleware_onion.remove("gas_price_strategy")
        Account.enable_unaudited_hdwallet_features()
        self._keys = {
            key.address: key
            for key in (Account.from_mnemonic(DEV_MNEMONIC, account_path=f"m/44'/60'/0'/0/{i}") for i in TRADERS)
        }
        self.traders = list(self._keys)
        # A lane for each account: a second transaction sent before the first is mined would
        # carry the same nonce, and Hardhat refuses one that leaves a gap.
        self._lanes = {address: Lock(lanes / address) for address in self.traders}
        self._turns = count()
        self._deployment = deployment
        self._loaded_at = None
        self._load_lock = threading.Lock()

    @property
    def nft(self):
        return self._contracts()["MarketNFT"]

    @property
    def market(self):
        return self._contracts()["Marketplace"]

    def trader(self, besides: str | None = None) -> str:
        """An account to act as: an idle one when there is one, each in its turn."""
        start = next(self._turns)
        turn = [self.traders[(start + i) % len(self.traders)] for i in range(len(self.traders))]
        candidates = [address for address in turn if address != besides]
        return next((address for address in candidates if not self._lanes[address].is_held), candidates[0])

    def read(self, call):
        """The result of a view function."""
        with self._decoding_reverts():
            return call.call()

    def send_signed(self, call, sender: str, value: int = 0, gas: int | None = None):
        """Signs here, as a wallet does, sends the raw transaction, and returns its receipt.

        `gas` skips the estimate, so that a transaction bound to fail is mined all the same.
        """

        def submit(params):
            params["nonce"] = self.w3.eth.get_transaction_count(sender, "pending")
            signed = self._keys[sender].sign_transaction(call.build_transaction(params))
            return self.w3.eth.send_raw_transaction(signed.raw_transaction)

        return self._send(submit, call, sender, value, gas)

    def send(self, call, sender: str, value: int = 0, gas: int | None = None, wait: bool = True):
        """Lets the node sign with its own copy of the key (`eth_sendTransaction`).

        Without `wait` it returns the hash, and nobody here learns what becomes of the transaction.
        """
        return self._send(call.transact, call, sender, value, gas, wait)

    def _send(self, submit, call, sender, value, gas, wait=True):
        params = {"from": sender, "value": value}
        if gas is not None:
            params["gas"] = gas
        with self._lanes[sender], self._decoding_reverts():
            try:
                transaction = submit(params)
            except Web3RPCError as error:
                transaction = _mined_although_refused(error)
                if transaction is None:
                    raise
            else:
                if not wait:
                    return transaction
            receipt = self.w3.eth.wait_for_transaction_receipt(
                transaction, timeout=RECEIPT_TIMEOUT_SECONDS, poll_latency=0.05
            )
        if receipt["status"] == 1:
            return receipt
        # A receipt does not say why: the same call on the block before does.
        try:
            with self._decoding_reverts():
                call.call({"from": sender, "value": value}, block_identifier=receipt["blockNumber"] - 1)
        except Reverted as reverted:
            reverted.receipt = receipt
            raise
        raise Reverted("Unknown", {}, receipt)

    @contextmanager
    def _decoding_reverts(self):
        try:
            yield
        except ContractLogicError as error:
            raise self._decoded(error) from error

    def _decoded(self, error: ContractLogicError) -> Reverted:
        revert = error.data
        while isinstance(revert, dict):  # Hardhat wraps it: {"message": …, "data": "0x…"}
            revert = revert.get("data")
        revert = bytes.fromhex(revert[2:]) if isinstance(revert, str) and revert.startswith("0x") else b""
        for contract in self._contracts().values():
            for entry in contract.abi:
                if entry["type"] == "error" and keccak(text=abi_to_signature(entry))[:4] == revert[:4]:
                    names = [field["name"] for field in entry["inputs"]]
                    values = self.w3.codec.decode([field["type"] for field in entry["inputs"]], revert[4:])
                    return Reverted(entry["name"], dict(zip(names, map(_as_text, values))))
        return Reverted("Revert", {"reason": str(error.message)})

    def _contracts(self) -> dict:
        """The deployed contracts, read again whenever the deployment file has changed."""
        try:
            written_at = self._deployment.stat().st_mtime_ns
        except FileNotFoundError:
            raise NotDeployed(
                f"{self._deployment} is missing: run `node scripts/deploy.js`, or set DEPLOYMENT"
            ) from None
        with self._load_lock:
            if written_at != self._loaded_at:
                deployed = json.loads(self._deployment.read_text())["contracts"]
                self._loaded_contracts = {
                    name: self.w3.eth.contract(
                        address=at["address"], abi=json.loads(Path(at["artifact"]).read_text())["abi"]
                    )
                    for name, at in deployed.items()
                }
                self._loaded_at = written_at
            return self._loaded_contracts


def _mined_although_refused(error: Web3RPCError):
    """The hash of a reverted transaction, which Hardhat mines and yet answers by an error."""
    try:
        return error.rpc_response["error"]["data"]["txHash"]
    except (KeyError, TypeError):
        return None


def _as_text(value) -> str:
    """As text whatever it is: JSON's numbers end at 2^53, far below an ether in wei."""
    if Web3.is_address(value):
        return Web3.to_checksum_address(value)
    return Web3.to_hex(value) if isinstance(value, bytes) else str(value)
