// How transactions come to be mined: at intervals, replaced, dropped, and undone.

import { hex, number, SEEN_WAITING_MS, sleep } from "./node.mjs";

const POLL_MS = 10;
const INTERVAL_S = 1;
/** Receipts asked for in vain that dappscope speaks of: a machine that stalls asks for fewer. */
const WORTH_A_WORD = 5;
const MINT = { contract: "MarketNFT", function: "mint" };

const mint = (nft, account, uri) => ({ from: account, ...nft.to("mint", account, uri) });

/** A snapshot, a transaction, and back: it was mined all the same. */
export async function setback(book, { nft }) {
  const { node } = book;
  const account = node.accounts[6];
  const snapshot = await node.call("evm_snapshot");
  const { transactionHash } = await book.send(mint(nft, account, "ipfs://undone"), MINT);
  await node.told(transactionHash);
  await node.call("evm_revert", snapshot);
  await book.send(mint(nft, account, "ipfs://again"), MINT);
}

/** A transaction whose sender puts a dearer one in its place. */
export async function replacements(book, { nft }) {
  const { node } = book;
  const account = node.accounts[7];
  await node.call("evm_setAutomine", false);
  const nonce = hex(await node.nonce(account));
  const fees = (gwei) => ({ maxFeePerGas: hex(gwei * 1e9), maxPriorityFeePerGas: hex(gwei * 1e9) });
  const first = await node.submit("relay", { ...mint(nft, account, "ipfs://slow"), nonce, ...fees(5) });
  const second = await node.submit("relay", { ...mint(nft, account, "ipfs://fast"), nonce, ...fees(20) });
  await node.call("evm_mine");
  await node.call("evm_setAutomine", true);
  book.transactions.push({ hash: first, type: "call", status: "replaced", through_relay: true, ...MINT });
  await book.mined(second, MINT);
}

/** A transaction that the node is told to forget. */
export async function drops(book) {
  const { node } = book;
  const [, to] = node.accounts;
  await node.call("evm_setAutomine", false);
  const hash = await node.submit("relay", { from: node.accounts[9], to, value: "0x1", gas: hex(21_000) });
  await sleep(SEEN_WAITING_MS);
  await node.drop(hash);
  await node.call("evm_mine");
  await node.call("evm_setAutomine", true);
  book.transactions.push({ hash, type: "transfer", status: "dropped", through_relay: true, contract: "_account", function: "receive" });
}

/**
 * Transactions under interval mining, their receipts asked for every 10 ms through the relay. Resolves
 * to how long each took: from its call to the receipt being there. `unsure_us` is for how long the
 * client had not known: since it had begun to ask the last time in vain. `late_us` is how late the
 * machine was to wake the client.
 */
export async function confirmations(book, { nft }) {
  const { node } = book;
  const nonces = await Promise.all(node.accounts.map((account) => node.nonce(account)));
  await node.mineEvery(INTERVAL_S);
  // How late this machine is, of all pauses the worst.
  let late = 0;
  const confirmed = await Promise.all(
    node.accounts.slice(2, 8).map(async (account, index) => {
      await sleep(index * 170);
      const nonce = hex(nonces[index + 2]);
      const begun = performance.now();
      const hash = await node.submit("relay", { ...mint(nft, account, `ipfs://interval-${index}`), nonce });
      const micros = (since) => Math.round((performance.now() - since) * 1_000);
      for (let polls = 1, before = begun; ; polls += 1) {
        const asked = performance.now();
        if (await node.call("eth_getTransactionReceipt", hash)) {
          return { hash, measured_us: micros(begun), unsure_us: micros(before), polls };
        }
        before = asked;
        const slept = performance.now();
        await sleep(POLL_MS);
        late = Math.max(late, performance.now() - slept - POLL_MS);
      }
    }),
  );
  await node.mineEvery(0);
  for (const { hash, polls } of confirmed) {
    await book.mined(hash, MINT);
    if (polls <= WORTH_A_WORD) continue;
    const polled = { finding: "receipt_polling", method: "eth_getTransactionReceipt", transaction: hash };
    book.findings.push({ ...polled, count: polls });
  }
  return confirmed.map((one) => ({ ...one, late_us: Math.round(late * 1_000) }));
}

/** Mines in each way that there is; resolves to every block since `first`, as the node tells it. */
export async function blocks(book, first) {
  const { node } = book;
  await node.call("evm_mine");
  await node.call(node.kind === "anvil" ? "anvil_mine" : "hardhat_mine", hex(3));
  const last = await node.head();
  const told = [];
  for (let at = first; at <= last; at += 1) {
    const block = await node.truth("eth_getBlockByNumber", hex(at), false);
    told.push({
      number: at,
      gas_used: number(block.gasUsed),
      gas_limit: number(block.gasLimit),
      transactions: block.transactions.length,
    });
  }
  return told;
}
