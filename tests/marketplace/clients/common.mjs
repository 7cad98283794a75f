// What the sessions of ethers and viem have in common: the same dapp, accounts and fees, and one
// JSON document in which everything that is told is the same on every run.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

/** The accounts of every Hardhat node, published in its documentation. */
export const MNEMONIC = "test test test test test test test test test test test junk";

/** Nonces, gas and fees are fixed, so that the bytes of each transaction, and its hash, are too. */
export const FEES = { maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n };
export const DEPLOY_GAS = 3_000_000n;
export const CALL_GAS = 300_000n;

export const PRICE = 1_000_000_000_000_000_000n;
export const FEE_BPS = 250n;
export const URI = "ipfs://first";
export const CONCURRENT_READS = 20;
export const LARGE_INPUT = `0x${"5c".repeat(200_000)}`;

const EVENT_TIMEOUT_MS = 120_000;

export function artifact(name) {
  const file = new URL(`../artifacts/contracts/${name}.sol/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8"));
}

/** A digest of JSON too long to print. Keys are sorted: Hardhat gives a trace's storage in any order. */
export function digest(json) {
  const sorted = (_key, value) =>
    value?.constructor === Object ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value;
  const text = JSON.stringify(json, sorted);
  return { characters: text.length, sha256: createHash("sha256").update(text).digest("hex") };
}

/** Runs `session(httpUrl, wsUrl)` and prints what it returns. */
export async function main(session) {
  const [httpUrl, wsUrl, ...rest] = process.argv.slice(2);
  if (!httpUrl?.startsWith("http") || !wsUrl?.startsWith("ws") || rest.length > 0) {
    console.error(`usage: ${process.argv[1]} HTTP_URL WS_URL`);
    process.exit(2);
  }
  // A socket that cannot connect is told by an event, which nobody here awaits.
  process.on("uncaughtException", fail);
  try {
    console.log(JSON.stringify(await session(httpUrl, wsUrl), asText, 2));
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  const { stack, message } = error.error ?? error;
  console.error(`session failed: ${stack ?? message ?? error}`);
  process.exit(1);
}

/** What a call that has to fail failed with, as `describe` tells it. */
export async function failure(what, promise, describe) {
  let result;
  try {
    result = await promise;
  } catch (error) {
    return describe(error);
  }
  throw new Error(`${what} had to fail, but returned ${JSON.stringify(result, asText)}`);
}

/** Items that arrive one by one, and a promise for when there are `count` of them. */
export class Inbox {
  items = [];
  #arrived = () => {};

  push(item) {
    this.items.push(item);
    this.#arrived();
  }

  async until(count, what) {
    const signal = AbortSignal.timeout(EVENT_TIMEOUT_MS);
    while (this.items.length < count) {
      await new Promise((resolve, reject) => {
        this.#arrived = resolve;
        signal.onabort = () => reject(new Error(`${this.items.length} of ${count} ${what} arrived`));
      });
    }
    return this.items;
  }
}

function asText(_key, value) {
  return typeof value === "bigint" ? value.toString() : value;
}
