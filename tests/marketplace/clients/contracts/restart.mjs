// What happens while nobody watches, and after the node was restarted.

import { ethers } from "ethers";

import { input } from "./expected.mjs";

/** The accounts of every development node, published in the documentation of Hardhat and Anvil. */
const MNEMONIC = "test test test test test test test test test test test junk";

/** Deploys contracts that dappscope will not see being deployed. */
export async function before(book) {
  const [owner, seller] = book.node.accounts;
  const beside = { way: "direct" };
  const nft = await book.deploy(owner, "MarketNFT", ["Early", "E"], beside);
  await book.write(seller, nft, ["mint", seller, "ipfs://0"], beside);
  const counter = await book.deploy(owner, "ProbeCounter", [], beside);
  const values = [counter.address, input("ProbeCounter", "increment")];
  const proxy = await book.deploy(owner, "ERC1967Proxy", values, beside);
  return { carried: { nft: nft.address, proxy: proxy.address } };
}

/** The chain is new; the wallet still counts from the old one. */
export async function after(book, { ahead }) {
  const { node } = book;
  const [owner, friend] = node.accounts;
  const wallet = ethers.HDNodeWallet.fromPhrase(MNEMONIC);
  if (wallet.address.toLowerCase() !== owner.toLowerCase()) throw new Error(`${owner} is not the first account`);
  const signed = await wallet.signTransaction({
    to: friend,
    value: 1n,
    nonce: ahead,
    gasLimit: 21_000n,
    maxFeePerGas: 3_000_000_000n,
    maxPriorityFeePerGas: 1_000_000_000n,
    chainId: BigInt(await node.truth("eth_chainId")),
    type: 2,
  });
  const { hash } = ethers.Transaction.from(signed);
  const { error } = await node.ask("relay", "eth_sendRawTransaction", [signed]);
  const transfer = { type: "transfer", function: "receive", through_relay: true };
  // Anvil waits for the nonces in between, which never come.
  if (error) book.transactions.push({ hash, status: "rejected", reason: "nonce_too_high", ...transfer });
  else if (node.kind !== "anvil") throw new Error("a nonce too high was accepted");
  book.findings.push({ finding: "nonce_ahead", account: owner.toLowerCase(), transaction: hash });
  // And it goes on.
  const nft = await book.deploy(owner, "MarketNFT", ["After", "A"]);
  await book.write(owner, nft, ["mint", owner, "ipfs://after"]);
  await book.read(owner, nft, ["totalMinted"]);
  return {};
}
