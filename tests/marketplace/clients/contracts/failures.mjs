// Every other way in which a transaction, a call or an estimate can fail.

import { ethers } from "ethers";

import { written } from "./expected.mjs";
import { hex, SEEN_WAITING_MS, sleep } from "./node.mjs";

/** Calls that panic: the code, and a word of what it means. */
const PANICS = [
  [["failAssert"], "0x01", "assert"],
  [["overflow", 1], "0x11", "overflow"],
  [["divide", 0], "0x12", "zero"],
  [["convert", 7], "0x21", "enum"],
  [["badEncoding"], "0x22", "storage"],
  [["popEmpty"], "0x31", "empty"],
  [["outOfBounds", 3], "0x32", "bounds"],
  [["allocate", 2n ** 64n], "0x41", "memory"],
  [["callUnset"], "0x51", "function"],
];

export async function failures(book, { nft, shop }) {
  const [owner, , buyer] = book.node.accounts;
  const faults = await book.deploy(owner, "ProbeFaults", []);
  for (const [call, code, says] of PANICS) {
    await book.fail(owner, faults, call, { reason: `Panic(${code})`, says });
  }
  const text = "the value is too small";
  await book.fail(owner, faults, ["requireText", 9], { reason: "Error", message: text });
  const refused = (...values) => written("ProbeFaults", "Refused", ...values);
  const why = 'not "today"';
  await book.fail(owner, faults, ["refuse", 42], { reason: "Refused", message: refused(owner, 42, why) });
  await book.fail(owner, faults, ["silent"], { reason: "no_data" });
  await book.fail(owner, faults, ["burn"], { reason: "out_of_gas", gas: 100_000 });
  // Out of gas in a function that otherwise succeeds.
  await book.fail(owner, nft, ["mint", owner, "ipfs://gas"], { reason: "out_of_gas", gas: 40_000 });
  await book.send(
    { from: owner, to: faults.address, data: "0xdeadbeef" },
    { contract: "ProbeFaults", function: "_unknown", selector: "0xdeadbeef", fails: true, events: [] },
  );

  for (const ask of [book.read.bind(book), book.estimate.bind(book)]) {
    await ask(owner, faults, ["requireText", 9], { reason: "Error", message: text });
    await ask(owner, faults, ["refuse", 42], { reason: "Refused", message: refused(owner, 42, why) });
    await ask(owner, faults, ["peek", 5], { reason: "Panic(0x32)", message: undefined, message_says: "bounds" });
    await ask(owner, faults, ["peek", 5_000], { reason: "Refused", message: refused(owner, 5_000, "far out") });
    await ask(owner, faults, ["silent"], { reason: "no_data", message: undefined });
    const unlisted = { reason: "NotListed", message: written("Marketplace", "NotListed", nft.address, 77) };
    await ask(buyer, shop, ["buy", nft.address, 77], unlisted);
    const absent = { reason: "ERC721NonexistentToken", message: written("MarketNFT", "ERC721NonexistentToken", 77) };
    await ask(buyer, nft, ["ownerOf", 77], absent);
  }
  await book.estimate(buyer, nft, ["mint", buyer, "ipfs://estimated"]);
}

/** Transactions that the node does not take. */
export async function refusals(book, { nft }) {
  const { node } = book;
  const [, seller, , , , poor] = node.accounts;
  const mint = { contract: "MarketNFT", function: "mint" };
  const call = (from, more) => ({ from, ...nft.to("mint", from, "ipfs://refused"), gas: hex(200_000), ...more });
  await book.refused(call(seller, { nonce: "0x0" }), { ...mint, reason: "nonce_too_low" });
  const dear = call(poor, { value: hex(ethers.parseEther("1000000")) });
  await book.refused(dear, { ...mint, reason: "insufficient_funds" });
  const next = await node.nonce(poor);
  const gap = call(poor, { nonce: hex(next + 2) });
  if (node.kind !== "anvil") {
    await book.refused(gap, { ...mint, reason: "nonce_too_high" });
    return;
  }
  // Anvil waits for the nonces in between, and forgets none of those that wait for others.
  const hash = await node.submit("relay", gap);
  await sleep(SEEN_WAITING_MS);
  const transfer = { contract: "_account", function: "receive" };
  for (const nonce of [next, next + 1]) {
    await book.send({ from: poor, to: seller, value: "0x1", gas: hex(21_000), nonce: hex(nonce) }, transfer);
  }
  await book.mined(hash, mint);
}
