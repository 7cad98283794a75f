// A session of ethers v6: `node clients/ethers_session.mjs HTTP_URL WS_URL`.
// It resets the node first, and prints one JSON document: see common.mjs.

import { ethers } from "ethers";
import * as common from "./common.mjs";

const { CALL_GAS, DEPLOY_GAS, FEES, PRICE } = common;
const HARDHAT = 31337;

async function session(httpUrl, wsUrl) {
  // `Promise.all` on `http` becomes a batch; `single` sends a request for each call.
  // A static network, for otherwise ethers would look for one for ever where no node answers.
  const options = { cacheTimeout: -1, staticNetwork: true };
  const http = new ethers.JsonRpcProvider(httpUrl, HARDHAT, options);
  const single = new ethers.JsonRpcProvider(httpUrl, HARDHAT, { ...options, batchMaxCount: 1 });
  await http.send("hardhat_reset", []);
  const ws = new ethers.WebSocketProvider(wsUrl);
  try {
    return await trade(http, single, ws);
  } finally {
    http.destroy();
    single.destroy();
    await ws.destroy();
  }
}

async function trade(http, single, ws) {
  const [deployer, seller, buyer] = [0, 1, 2].map((index) =>
    ethers.HDNodeWallet.fromPhrase(common.MNEMONIC, undefined, `m/44'/60'/0'/0/${index}`).connect(http),
  );
  const told = { client: "ethers" };

  told.node = {
    chainId: await http.send("eth_chainId", []),
    blockNumber: await http.getBlockNumber(),
    clientVersion: await http.send("web3_clientVersion", []),
    balances: await Promise.all([deployer, seller, buyer].map((account) => http.getBalance(account))),
  };

  const heads = new common.Inbox();
  await ws.on("block", (number) => heads.push(number));
  // An answer to this says that the subscription, sent before it, is in place.
  await ws.getBlockNumber();

  const deploy = async (name, nonce, ...args) => {
    const { abi, bytecode } = common.artifact(name);
    const factory = new ethers.ContractFactory(abi, bytecode, deployer);
    const contract = await factory.deploy(...args, { ...FEES, nonce, gasLimit: DEPLOY_GAS });
    return [contract, receipt(await contract.deploymentTransaction().wait())];
  };
  const [nft, nftReceipt] = await deploy("MarketNFT", 0, "Market NFT", "MNFT");
  const [market, marketReceipt] = await deploy("Marketplace", 1, common.FEE_BPS);
  told.deployed = { nft: nftReceipt, market: marketReceipt };

  const logs = new common.Inbox();
  await ws.on({ address: [nft.target, market.target] }, (log) => logs.push(log));
  await ws.getBlockNumber();

  const send = async (signer, contract, name, args, nonce, extra = {}) => {
    const overrides = { ...FEES, gasLimit: CALL_GAS, nonce, ...extra };
    return receipt(await (await contract.connect(signer)[name](...args, overrides)).wait());
  };
  told.transactions = {
    mint: await send(seller, nft, "mint", [seller.address, common.URI], 0),
    approve: await send(seller, nft, "setApprovalForAll", [market.target, true], 1),
    list: await send(seller, market, "list", [nft.target, 1, PRICE], 2),
    buy: await send(buyer, market, "buy", [nft.target, 1], 0, { value: PRICE }),
  };

  const [owner, uri, listing, proceeds, unknown] = await Promise.allSettled([
    nft.ownerOf(1),
    nft.tokenURI(1),
    market.listingOf(nft.target, 1),
    market.proceeds(seller.address),
    http.send("eth_doesNotExist", []),
  ]);
  told.batch = {
    owner: owner.value,
    uri: uri.value,
    listing: [...listing.value],
    proceeds: proceeds.value,
    unknown: describe(unknown.reason),
  };

  const reverting = { ...FEES, gasLimit: CALL_GAS, nonce: 1, value: 7n };
  const populated = await market.connect(buyer).buy.populateTransaction(nft.target, 1, reverting);
  const signed = await buyer.signTransaction({ ...populated, type: 2, chainId: HARDHAT });
  told.failures = {
    revertedCall: await common.failure("a call of cancel", market.cancel.staticCall(nft.target, 1), describe),
    missingToken: await common.failure("ownerOf(2)", nft.ownerOf(2), describe),
    revertedTransaction: await common.failure("a purchase", http.broadcastTransaction(signed), describe),
    revertedReceipt: receipt(await http.getTransactionReceipt(ethers.Transaction.from(signed).hash)),
    nonceTooHigh: await common.failure(
      "a nonce gap",
      buyer.sendTransaction({ ...FEES, to: seller.address, gasLimit: 21_000n, nonce: 99 }),
      describe,
    ),
    unknownMethod: await common.failure("eth_doesNotExist", single.send("eth_doesNotExist", []), describe),
    invalidParams: await common.failure("a bad address", single.send("eth_getBalance", ["nobody"]), describe),
    unknownMethodOverWebSocket: await common.failure("eth_doesNotExist", ws.send("eth_doesNotExist", []), describe),
  };

  const reads = Array.from({ length: common.CONCURRENT_READS }, (_, index) => index);
  const trace = await single.send("debug_traceTransaction", [told.transactions.buy.hash]);
  told.reads = {
    concurrent: await Promise.all(reads.map((index) => single.getBlock(index % 7).then((block) => block.gasUsed))),
    overWebSocket: await Promise.all(reads.map((index) => ws.getBalance(deployer.address, index % 7))),
    largeRequest: await single.send("web3_sha3", [common.LARGE_INPUT]),
    largeResponse: common.digest(trace),
    code: [ethers.keccak256(await http.getCode(nft.target)), ethers.keccak256(await ws.getCode(market.target))],
  };

  const interfaces = [nft.interface, market.interface];
  told.events = {
    heads: await heads.until(await http.getBlockNumber(), "heads"),
    logs: (await logs.until(6, "logs")).map((log) => {
      const event = interfaces.map((known) => known.parseLog(log)).find((parsed) => parsed !== null);
      return { block: log.blockNumber, index: log.index, name: event?.name ?? log.topics[0], args: [...event?.args ?? []] };
    }),
  };
  return told;
}

function receipt({ hash, from, to, contractAddress, blockNumber, status, gasUsed, gasPrice, logs }) {
  return { hash, from, to, contractAddress, blockNumber, status, gasUsed, gasPrice, logs: logs.length };
}

/** An ethers error and, inside it, the JSON-RPC error as the node sent it. */
function describe(error) {
  const revert = error.revert && { name: error.revert.name, args: [...error.revert.args] };
  return { code: error.code, revert, rpc: error.info?.error ?? error.error };
}

await common.main(session);
