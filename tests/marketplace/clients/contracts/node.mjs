// A node as the session meets it: through the relay, and beside it, straight at the node. What is sent
// through the relay has to be told by dappscope; what is asked straight at the node says what is true.

import { readFileSync } from "node:fs";

export const USER_AGENT = "dappscope-session/1.0";
export const GAS = 3_000_000;
/** For how long a transaction waits before the node is told to forget it. */
export const SEEN_WAITING_MS = 1_000;

const PATIENCE_MS = 120_000;

export const hex = (number) => `0x${BigInt(number).toString(16)}`;
export const number = (text) => Number(BigInt(text));
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** A compiled contract, by where Hardhat put it. */
export function artifact(place) {
  const file = new URL(`../../artifacts/${place}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8"));
}

export class Node {
  #id = 0;

  constructor(direct, relay, api) {
    this.urls = { direct, relay, api };
  }

  /** Learns who the node is and which accounts it holds. */
  async meet() {
    this.client = await this.truth("web3_clientVersion");
    this.kind = this.client.startsWith("anvil") ? "anvil" : this.client.includes("/3.") ? "hardhat3" : "hardhat2";
    this.accounts = (await this.truth("eth_accounts")).slice(0, 10);
    return this;
  }

  /** The whole answer of one JSON-RPC call by `way`: `relay`, `direct`, or to dappscope's own `api`. */
  async ask(way, method, params) {
    const response = await fetch(this.urls[way], {
      method: "POST",
      headers: { "content-type": "application/json", "user-agent": USER_AGENT },
      body: JSON.stringify({ jsonrpc: "2.0", id: ++this.#id, method, params }),
    });
    return response.json();
  }

  /** What the node itself says. */
  async truth(method, ...params) {
    return this.#must("direct", method, params);
  }

  /** A call through the relay that has to succeed. */
  async call(method, ...params) {
    return this.#must("relay", method, params);
  }

  async #must(way, method, params) {
    const { result, error } = await this.ask(way, method, params);
    if (error) throw new Error(`${method} ${JSON.stringify(params).slice(0, 200)}: ${JSON.stringify(error).slice(0, 400)}`);
    return result;
  }

  async head() {
    return number(await this.truth("eth_blockNumber"));
  }

  async nonce(account) {
    return number(await this.truth("eth_getTransactionCount", account, "latest"));
  }

  /** A transaction's receipt, once there is one, asked for beside the relay. */
  async receipt(hash) {
    const begun = performance.now();
    for (;;) {
      const receipt = await this.truth("eth_getTransactionReceipt", hash);
      if (receipt) return receipt;
      if (performance.now() - begun > PATIENCE_MS) throw new Error(`no receipt of ${hash}`);
      await sleep(5);
    }
  }

  /** What dappscope itself says. */
  async ownWords(method, filter) {
    return this.#must("api", method, [filter]);
  }

  /** Waits until dappscope tells of a transaction: what is undone before it was seen, nobody can tell. */
  async told(hash) {
    const begun = performance.now();
    for (;;) {
      const { transactions } = await this.ownWords("dappscope_transactions", { last: "1d", hash });
      if (transactions.length > 0) return;
      if (performance.now() - begun > PATIENCE_MS) throw new Error(`dappscope does not tell of ${hash}`);
      await sleep(50);
    }
  }

  /**
   * Submits a transaction; resolves to its hash.
   *
   * A node that mines at once answers a revert with an error although the transaction is mined:
   * Hardhat 2 tells its hash then, Hardhat 3 does not, and it is looked for by sender and nonce.
   */
  async submit(way, transaction) {
    const filled = { gas: hex(GAS), ...transaction };
    filled.nonce ??= hex(await this.nonce(filled.from));
    const { result, error } = await this.ask(way, "eth_sendTransaction", [filled]);
    const told = result ?? error.data?.txHash ?? error.data?.transactionHash;
    if (told) return told;
    const { transactions } = await this.truth("eth_getBlockByNumber", "latest", true);
    const same = (mined) => mined.from === filled.from.toLowerCase() && mined.nonce === filled.nonce;
    const mined = transactions.find(same);
    if (!mined) throw new Error(`not mined: ${JSON.stringify(error).slice(0, 400)}`);
    return mined.hash;
  }

  /** Seconds of interval mining; 0 ends it and mines every transaction at once again. */
  async mineEvery(seconds) {
    const unit = this.kind === "anvil" ? 1 : 1_000;
    if (seconds > 0) {
      await this.call("evm_setAutomine", false);
      await this.call("evm_setIntervalMining", seconds * unit);
    } else {
      await this.call("evm_setIntervalMining", 0);
      await this.call("evm_setAutomine", true);
    }
  }

  async drop(hash) {
    await this.call(this.kind === "anvil" ? "anvil_dropTransaction" : "hardhat_dropTransaction", hash);
  }
}
