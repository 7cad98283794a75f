// Reads: of contracts that were there before anybody watched, of the state, in multicalls, again and
// again, and many at once.

import { Contract, input } from "./expected.mjs";
import { hex, sleep } from "./node.mjs";

/** Longer than any burst is waited for. */
const PAUSE_MS = 1_500;
const REPEATED = 20;
/** A machine that stalls while the calls are being sent makes several bursts of one. */
const ATTEMPTS = 5;

/** The calls at once; books that they are a burst. */
async function burst(book, from, calls) {
  const { node } = book;
  const count = calls.length;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    // Whatever was asked before belongs to another burst, and another block.
    await node.call("evm_mine");
    await sleep(PAUSE_MS);
    const begun = Date.now();
    await Promise.all(calls.map(([contract, call]) => book.read(from, contract, call)));
    await sleep(PAUSE_MS);
    await node.call("evm_mine");
    const { findings } = await node.ownWords("dappscope_findings", { last: "1d", limit: 1_000 });
    const since = findings.filter(({ finding, at_ms }) => finding === "multicall_burst" && at_ms >= begun);
    if (since.some((told) => told.count === count)) break;
  }
  book.findings.push({ finding: "multicall_burst", count, method: "eth_call" });
}

/** The first calls that dappscope sees at all go to contracts that it has never heard of. */
export async function early(book, { nft, proxy }) {
  const [, seller] = book.node.accounts;
  const token = new Contract("MarketNFT", nft);
  const counter = new Contract("ProbeCounter", proxy);
  await burst(book, seller, [
    [token, ["name"]],
    [token, ["symbol"]],
    [token, ["totalMinted"]],
    [token, ["ownerOf", 1]],
    [token, ["tokenURI", 1]],
    [token, ["getApproved", 1]],
    [token, ["balanceOf", seller]],
    [token, ["supportsInterface", "0x80ac58cd"]],
    [token, ["isApprovedForAll", seller, proxy]],
    [counter, ["count"]],
    [counter, ["UPGRADE_INTERFACE_VERSION"]],
    [counter, ["increment"]],
  ]);
  await book.write(seller, token, ["mint", seller, "ipfs://early"]);
  await book.write(seller, counter, ["increment"]);
}

export async function multicalls(book, { nft, shop }) {
  const { node } = book;
  const [owner, seller] = node.accounts;
  const multi = await book.deploy(owner, "Multicall3");
  const faults = await book.deploy(owner, "ProbeFaults");
  const counter = await book.deploy(owner, "ProbeCounter");
  const call = (contract, name, ...values) => [contract.address, input(contract.name, name, ...values)];
  const lenient = ([target, data]) => [target, true, data];
  const inner = (contract, name, outcome = {}) => ({ contract: contract.name, function: name, ...outcome });
  const well = { success: true, reason: null };

  const three = [
    call(nft, "ownerOf", 1),
    call(shop, "listingOf", nft.address, 3),
    call(nft, "ownerOf", 77),
    call(faults, "peek", 5),
  ];
  const came = [
    inner(nft, "ownerOf", well),
    inner(shop, "listingOf", well),
    inner(nft, "ownerOf", { success: false, reason: "ERC721NonexistentToken" }),
    inner(faults, "peek", { success: false, reason: "Panic(0x32)" }),
  ];
  await book.read(seller, multi, ["aggregate3", three.map(lenient)], { inner: came });
  await book.read(seller, multi, ["tryAggregate", false, three], { inner: came });
  await book.read(seller, multi, ["aggregate", three.slice(0, 2)], { inner: came.slice(0, 2) });
  // One that may not fail fails: the whole of it does.
  const text = "Multicall3: call failed";
  await book.read(seller, multi, ["tryAggregate", true, three], { reason: "Error", message: text });

  const writes = [call(counter, "increment"), call(counter, "increment"), call(faults, "silent")];
  await book.write(seller, multi, ["aggregate3", writes.map(lenient)], {
    inner: [inner(counter, "increment"), inner(counter, "increment"), inner(faults, "silent")],
    events: [["ProbeCounter", "Counted", 2]],
  });
}

/** Reads of the state that name no function. */
export async function reads(book, { nft }) {
  const { node } = book;
  const filter = { address: nft.address, fromBlock: hex(1), toBlock: "latest" };
  await node.call("eth_getStorageAt", nft.address, "0x7", "latest");
  await node.call("eth_getBalance", nft.address, "latest");
  await node.call("eth_getCode", nft.address, "latest");
  await node.call("eth_getLogs", filter);
  for (const method of ["eth_getStorageAt", "eth_getBalance", "eth_getCode", "eth_getLogs"]) {
    book.calls.push({ method, contract: nft.name, failed: false });
  }
}

/** The same call, again and again, while no block comes. */
export async function repetitions(book, { nft }) {
  const [owner] = book.node.accounts;
  await book.node.call("evm_mine");
  await sleep(PAUSE_MS);
  for (let i = 0; i < REPEATED; i += 1) await book.read(owner, nft, ["totalMinted"]);
  await book.node.call("evm_mine");
  book.findings.push({
    finding: "repeated_calls",
    count: REPEATED,
    method: "eth_call",
    contract: "MarketNFT",
    function: "totalMinted",
  });
}

export async function bursts(book, { nft, shop }) {
  const { accounts } = book.node;
  await burst(book, accounts[0], [
    ...accounts.slice(0, 6).map((account) => [nft, ["balanceOf", account]]),
    ...accounts.slice(0, 3).map((account) => [shop, ["proceeds", account]]),
    [shop, ["feeBps"]],
    [shop, ["owner"]],
    [nft, ["ownerOf", 2]],
  ]);
}
