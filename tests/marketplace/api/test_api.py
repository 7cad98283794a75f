"""The API against a real Hardhat node: `.venv/bin/python api/test_api.py`.

Starts a node and the API on free ports, deploys, and stops both at the end. Needs what setup.sh
installs, and no test framework beyond Python's own.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PROJECT = Path(__file__).resolve().parent.parent
ETHER = 10**18


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(command: list, ready: str, env: dict) -> subprocess.Popen:
    """Starts a server and returns when it has printed `ready`."""
    process = subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, **env}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if ready in line:
            # Somebody has to go on reading, or the server stops at a full pipe.
            process.drained = ThreadPoolExecutor(1).submit(lambda: [None for _ in process.stdout])
            return process
    raise RuntimeError(f"{' '.join(command)} ended without saying {ready!r}:\n{''.join(printed)}")


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(timeout=10)
    process.drained.result()
    process.stdout.close()


class Answer:
    def __init__(self, response):
        with response:
            self.status, self.headers = response.status, response.headers
            self.json = json.loads(response.read())


class ApiCase(unittest.TestCase):
    """A node, the contracts, and the API on the server that `server` names."""

    @classmethod
    def server(cls, port: int) -> tuple[list, str]:
        """The command that serves the API there, and what it prints when it is ready."""
        flask = [sys.executable, "-m", "flask", "--app", "api", "run", "--host", "127.0.0.1", "--port", str(port)]
        return flask, "Running on"

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, scratch)
        cls.rpc_port, api_port = free_port(), free_port()
        cls.env = {
            "RPC_URL": f"http://127.0.0.1:{cls.rpc_port}",
            "DEPLOYMENT": f"{scratch}/deployment.json",
            "DATABASE": f"{scratch}/marketplace.sqlite",
            "SQL_LOG": f"{scratch}/sql.log",
            "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true",
        }
        cls.node = cls.start_node()
        cls.addClassCleanup(lambda: stop(cls.node))
        cls.deploy()
        command, ready = cls.server(api_port)
        cls.addClassCleanup(stop, start(command, ready, cls.env))
        cls.url = f"http://127.0.0.1:{api_port}"

    @classmethod
    def start_node(cls):
        hardhat = ["node_modules/.bin/hardhat", "node"]  # not npx, which would not pass SIGTERM on
        return start([*hardhat, "--hostname", "127.0.0.1", "--port", str(cls.rpc_port)], "Started HTTP", cls.env)

    @classmethod
    def deploy(cls):
        subprocess.run(
            ["node", "scripts/deploy.js"], cwd=PROJECT, env={**os.environ, **cls.env}, check=True, capture_output=True
        )

    def call(self, method: str, path: str, body=None, headers={}) -> Answer:
        request = Request(self.url + path, method=method, headers=headers)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            return Answer(urlopen(request, timeout=30))
        except HTTPError as error:
            return Answer(error)

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body=None):
        return self.call("POST", path, body)

    def rpc(self, method: str, *params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = Request(self.env["RPC_URL"], body, {"Content-Type": "application/json"})
        return Answer(urlopen(request, timeout=30)).json["result"]

    def minted(self, **body) -> dict:
        answer = self.post("/api/nfts/mint", {"uri": "ipfs://token", **body})
        self.assertEqual(answer.status, 201, answer.json)
        return answer.json

    def listed(self, **body) -> dict:
        token = self.minted(**body)
        answer = self.post(f"/api/nfts/{token['token_id']}/list", {"price_wei": str(ETHER)})
        self.assertEqual(answer.status, 200, answer.json)
        return answer.json

    def assert_refused(self, answer: Answer, status: int, error: str):
        self.assertEqual((answer.status, answer.json["error"]), (status, error), answer.json)

    def trades_at_once(self):
        """Tokens minted, listed and sold by many clients at once: none lost, none counted twice."""

        def trade(_) -> int:
            path = f"/api/nfts/{self.listed()['token_id']}"
            bought = self.post(f"{path}/buy")
            self.assertEqual(bought.status, 200, bought.json)
            return bought.json["token_id"]

        with ThreadPoolExecutor(12) as pool:
            tokens = set(pool.map(trade, range(24)))
        self.assertEqual(len(tokens), 24)
        for token in tokens:
            self.assertEqual(self.get(f"/api/nfts/{token}").json["sales"], 1)


class ApiTest(ApiCase):
    def test_concurrent_writers_all_get_through(self):
        self.trades_at_once()

    def test_a_token_is_minted_listed_and_bought(self):
        token = self.minted(account=1)
        path = f"/api/nfts/{token['token_id']}"
        self.assertEqual(token["transaction"]["status"], 1)
        self.assertGreater(token["transaction"]["gas_used"], 21_000)

        listed = self.post(f"{path}/list", {"price_wei": str(ETHER)}).json
        self.assertEqual((listed["seller"], listed["price_wei"]), (token["owner"], str(ETHER)))
        self.assertEqual(self.get(path).json["listing"], {"seller": token["owner"], "price_wei": str(ETHER)})

        bought = self.post(f"{path}/buy", {"account": 2})
        self.assertEqual(bought.status, 200, bought.json)
        shown = self.get(path).json
        self.assertEqual((shown["owner"], shown["sales"], shown["listing"]), (bought.json["owner"], 1, None))
        self.assertNotEqual(shown["owner"], token["owner"])

    def test_a_listing_is_cancelled(self):
        path = f"/api/nfts/{self.listed()['token_id']}"
        cancelled = self.post(f"{path}/cancel")
        self.assertEqual((cancelled.status, cancelled.json["price_wei"]), (200, None))
        self.assert_refused(self.post(f"{path}/cancel"), 409, "NotListed")

    def test_a_contract_error_has_its_name_and_arguments(self):
        path = f"/api/nfts/{self.listed(account=1)['token_id']}"
        wrong = self.post(f"{path}/buy", {"account": 2, "value_wei": 7})
        self.assert_refused(wrong, 409, "WrongPrice")
        self.assertEqual(wrong.json["args"], {"expected": str(ETHER), "sent": "7"})
        self.assertNotIn("transaction", wrong.json)
        self.assert_refused(self.post(f"{path}/cancel", {"account": 2}), 403, "NotSeller")
        self.assert_refused(self.post(f"{path}/list", {"account": 2, "price_wei": 1}), 403, "NotOwner")
        self.assert_refused(self.post("/api/nfts/mint", {"uri": ""}), 409, "EmptyURI")
        self.assert_refused(self.post("/api/nfts/999999/list", {"price_wei": 1}), 404, "ERC721NonexistentToken")

    def test_a_reverted_transaction_is_mined_and_shown(self):
        for path, body, error in (
            ("/api/nfts/mint", {"uri": ""}, "EmptyURI"),  # signed here
            ("/api/nfts/999999/buy", {}, "NotListed"),  # signed by the node
        ):
            answer = self.post(path, {**body, "gas": 300_000})
            self.assert_refused(answer, 409, error)
            self.assertEqual(answer.json["transaction"]["status"], 0)
            self.assertGreater(answer.json["transaction"]["gas_used"], 21_000)

    def test_a_purchase_need_not_wait_for_its_block(self):
        path = f"/api/nfts/{self.listed(account=1)['token_id']}"
        answer = self.post(f"{path}/buy?wait=0", {"account": 2})
        self.assertEqual(answer.status, 202, answer.json)
        self.assertRegex(answer.json["transaction"]["hash"], "^0x[0-9a-f]{64}$")
        self.assertEqual(self.get(path).json["sales"], 1)
        self.assert_refused(self.post(f"{path}/buy?wait=0", {"account": 3}), 409, "NotListed")

    def test_any_number_of_tokens_is_indexed_by_as_many_queries(self):
        def statements(minted: int) -> int:
            self.get(path)
            for _ in range(minted):
                self.rpc("eth_sendTransaction", {"from": owner, "to": contract, "data": mint})
            trace_id = secrets.token_hex(16)
            headers = {"traceparent": f"00-{trace_id}-{'1' * 16}-01"}
            self.assertEqual(self.call("GET", path, headers=headers).status, 200)
            return sum(line.startswith(trace_id) for line in Path(self.env["SQL_LOG"]).read_text().splitlines())

        token = self.minted(account=1)
        path, owner = f"/api/nfts/{token['token_id']}", token["owner"]
        first = self.rpc("eth_getTransactionByHash", token["transaction"]["hash"])
        contract, mint = first["to"], first["input"]
        one = statements(1)
        self.assertGreater(one, 5)
        self.assertEqual(statements(7), one)

    def test_a_page_comes_from_the_cache_until_something_changes(self):
        self.minted()
        first, second = self.get("/api/nfts?per_page=1"), self.get("/api/nfts?per_page=1")
        self.assertEqual(first.headers["Cache-Status"], "marketplace; fwd=miss; stored")
        self.assertRegex(second.headers["Cache-Status"], r"^marketplace; hit; ttl=\d+$")
        self.assertEqual(first.json, second.json)

        newest = self.minted()["token_id"]
        third = self.get("/api/nfts?per_page=1")
        self.assertEqual(third.headers["Cache-Status"], "marketplace; fwd=miss; stored")
        self.assertEqual([nft["token_id"] for nft in third.json["nfts"]], [newest])
        self.assertEqual(self.get("/api/nfts?page=2&per_page=1").json["nfts"], first.json["nfts"])

    def test_an_owner_has_tokens_ether_and_proceeds(self):
        token = self.listed(account=3)
        before = self.get(f"/api/owners/{token['owner']}").json
        self.assertIn(token["token_id"], [nft["token_id"] for nft in before["nfts"]])
        self.post(f"/api/nfts/{token['token_id']}/buy", {"account": 4})
        after = self.get(f"/api/owners/{token['owner']}").json
        earned = int(after["proceeds_wei"]) - int(before["proceeds_wei"])
        self.assertEqual(earned, ETHER * 9_750 // 10_000)
        self.assertNotIn(token["token_id"], [nft["token_id"] for nft in after["nfts"]])

    def test_server_timing_counts_the_queries(self):
        for _ in range(6):
            self.minted()
        self.get("/api/n-plus-one?limit=2")  # brings the index up to date
        timing = [self.get(f"/api/n-plus-one?limit={limit}").headers["Server-Timing"] for limit in (2, 6)]
        queries = [int(re.search(r'db;dur=[\d.]+;desc="(\d+)"', header)[1]) for header in timing]
        self.assertEqual(queries[1] - queries[0], 4, timing)
        self.assertRegex(timing[0], r"fn\.one_by_one;dur=[\d.]+")

    def test_slow_and_failing_endpoints_behave_badly(self):
        slow = self.get("/api/slow?ms=50")
        self.assertGreaterEqual(float(re.search(r"fn\.sleep;dur=([\d.]+)", slow.headers["Server-Timing"])[1]), 50)
        failed = self.get("/api/fail")
        self.assert_refused(failed, 500, "InternalServerError")
        self.assertNotIn("always fails", failed.json["message"], "what went wrong inside is for the log")

    def test_bad_requests_are_told_what_is_wrong(self):
        for method, path, body in (
            ("GET", "/api/nfts?page=0", None),
            ("GET", "/api/nfts?per_page=101", None),
            ("GET", "/api/slow?ms=-1", None),
            ("GET", "/api/owners/0x1234", None),
            ("POST", "/api/nfts/mint", ["uri"]),
            ("POST", "/api/nfts/mint", {"uri": 1}),
            ("POST", "/api/nfts/mint", {"uri": "\ud800"}),
            ("POST", "/api/nfts/mint", {"uri": "ipfs://x", "to": "me"}),
            ("POST", "/api/nfts/mint", {"uri": "ipfs://x", "account": 5}),
            ("POST", "/api/nfts/mint", {"uri": "ipfs://x", "gas": True}),
            ("POST", "/api/nfts/1/list", {}),
            ("POST", "/api/nfts/1/list", {"price_wei": "1.5"}),
        ):
            with self.subTest(path=path, body=body):
                self.assert_refused(self.call(method, path, body), 400, "BadRequest")
        self.assert_refused(self.get("/api/nfts/999999"), 404, "NotFound")
        self.assert_refused(self.get(f"/api/nfts/{2**70}"), 404, "NotFound")
        self.assert_refused(self.get("/nowhere"), 404, "NotFound")
        wrong_method = self.call("DELETE", "/api/nfts")
        self.assert_refused(wrong_method, 405, "MethodNotAllowed")
        self.assertIn("GET", wrong_method.headers["Allow"])
        self.assert_refused(self.post("/api/nfts/mint", {"uri": "x" * 70_000}), 413, "RequestEntityTooLarge")

    def test_nothing_is_kept_by_browsers(self):
        for path in ("/api/nfts", "/api/nfts/999999", "/healthz"):
            self.assertEqual(self.get(path).headers["Cache-Control"], "no-store")

    def test_it_survives_a_restart_of_the_node(self):
        self.minted()
        self.assertEqual(self.get("/healthz").json["chain_id"], 31337)

        stop(self.node)
        self.assert_refused(self.get("/healthz"), 503, "NodeUnavailable")
        type(self).node = self.start_node()
        self.assert_refused(self.get("/healthz"), 503, "NotDeployed")
        self.assert_refused(self.post("/api/nfts/mint", {"uri": "ipfs://x"}), 503, "NotDeployed")

        self.deploy()
        self.assertEqual(self.get("/healthz").status, 200)
        self.assertEqual(self.get("/api/nfts?per_page=3").json["nfts"], [])
        self.assertEqual(self.minted()["token_id"], 1)


class TwoProcessesTest(ApiCase):
    """The same by gunicorn, whose workers share nothing but files."""

    @classmethod
    def server(cls, port: int) -> tuple[list, str]:
        gunicorn = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--workers", "2", "--threads", "4"]
        return [*gunicorn, "--bind", f"127.0.0.1:{port}", "api:create_app()"], "Booting worker"

    def test_concurrent_writers_all_get_through(self):
        self.trades_at_once()

    def test_no_process_shows_a_page_from_before_a_write(self):
        for _ in range(5):
            newest = self.minted()["token_id"]
            # Each connection goes to whichever process takes it first.
            with ThreadPoolExecutor(8) as pool:
                pages = list(pool.map(lambda _: self.get("/api/nfts?per_page=1").json, range(8)))
            self.assertEqual({page["nfts"][0]["token_id"] for page in pages}, {newest})


if __name__ == "__main__":
    unittest.main()
