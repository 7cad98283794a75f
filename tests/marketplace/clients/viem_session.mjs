// A session of viem: `node clients/viem_session.mjs HTTP_URL WS_URL`.
// It resets the node first, and prints one JSON document: see common.mjs.

import * as viem from "viem";
import { mnemonicToAccount } from "viem/accounts";
import { hardhat } from "viem/chains";
import * as common from "./common.mjs";

const { CALL_GAS, DEPLOY_GAS, FEES, PRICE } = common;

// No retries: a request that fails is what the session is here to tell.
const RETRY = { retryCount: 0 };

async function session(httpUrl, wsUrl) {
  const chain = hardhat;
  // Calls made at once on `batched` become one batch; `http` sends a request for each.
  const http = viem.createWalletClient({ chain, transport: viem.http(httpUrl, RETRY) }).extend(viem.publicActions);
  const batched = viem.createPublicClient({ chain, transport: viem.http(httpUrl, { ...RETRY, batch: { wait: 10 } }) });
  const socket = viem.webSocket(wsUrl, { ...RETRY, reconnect: false, keepAlive: false });
  const ws = viem.createPublicClient({ chain, transport: socket });
  try {
    await http.request({ method: "hardhat_reset", params: [] });
    return await trade(http, batched, ws);
  } finally {
    (await ws.transport.getRpcClient()).close();
  }
}

async function trade(http, batched, ws) {
  const [deployer, seller, buyer] = [0, 1, 2].map((addressIndex) => mnemonicToAccount(common.MNEMONIC, { addressIndex }));
  const told = { client: "viem" };

  told.node = {
    chainId: await http.getChainId(),
    blockNumber: await http.getBlockNumber(),
    clientVersion: await http.request({ method: "web3_clientVersion" }),
    balances: await Promise.all([deployer, seller, buyer].map(({ address }) => http.getBalance({ address }))),
  };

  const heads = new common.Inbox();
  const headsSubscription = await subscribe(ws, ["newHeads"], (head) => heads.push(viem.hexToNumber(head.number)));

  const wait = async (hash) => receipt(await http.waitForTransactionReceipt({ hash, pollingInterval: 50 }));
  const deploy = async (name, nonce, args) => {
    const { abi, bytecode } = common.artifact(name);
    const creation = { account: deployer, abi, bytecode, args, nonce, gas: DEPLOY_GAS, ...FEES };
    const mined = await wait(await http.deployContract(creation));
    return [{ address: viem.getAddress(mined.contractAddress), abi }, mined];
  };
  const [nft, nftReceipt] = await deploy("MarketNFT", 0, ["Market NFT", "MNFT"]);
  const [market, marketReceipt] = await deploy("Marketplace", 1, [common.FEE_BPS]);
  told.deployed = { nft: nftReceipt, market: marketReceipt };

  const logs = new common.Inbox();
  const address = [nft.address, market.address];
  const logsSubscription = await subscribe(ws, ["logs", { address }], (log) => logs.push(viem.formatLog(log)));

  const write = (account, contract, functionName, args, nonce, extra = {}) =>
    http.writeContract({ account, ...contract, functionName, args, nonce, gas: CALL_GAS, ...FEES, ...extra });
  const send = async (...call) => wait(await write(...call));
  told.transactions = {
    mint: await send(seller, nft, "mint", [seller.address, common.URI], 0),
    approve: await send(seller, nft, "setApprovalForAll", [market.address, true], 1),
    list: await send(seller, market, "list", [nft.address, 1n, PRICE], 2),
    buy: await send(buyer, market, "buy", [nft.address, 1n], 0, { value: PRICE }),
  };

  const read = (client, contract, functionName, args) => client.readContract({ ...contract, functionName, args });
  const [owner, uri, listing, proceeds, unknown] = await Promise.allSettled([
    read(batched, nft, "ownerOf", [1n]),
    read(batched, nft, "tokenURI", [1n]),
    read(batched, market, "listingOf", [nft.address, 1n]),
    read(batched, market, "proceeds", [seller.address]),
    batched.request({ method: "eth_doesNotExist" }),
  ]);
  told.batch = {
    owner: owner.value,
    uri: uri.value,
    listing: listing.value,
    proceeds: proceeds.value,
    unknown: describe(unknown.reason),
  };

  const cancel = { account: seller, ...market, functionName: "cancel", args: [nft.address, 1n] };
  const purchase = () => write(buyer, market, "buy", [nft.address, 1n], 1, { value: 7n });
  const gap = { account: buyer, to: seller.address, gas: 21_000n, nonce: 99, ...FEES };
  const unknownMethod = { method: "eth_doesNotExist", params: [] };
  told.failures = {
    revertedCall: await common.failure("a call of cancel", http.simulateContract(cancel), describe),
    missingToken: await common.failure("ownerOf(2)", read(http, nft, "ownerOf", [2n]), describe),
    revertedTransaction: await common.failure("a purchase", purchase(), describe),
    revertedReceipt: receipt(await lastReceipt(http)),
    nonceTooHigh: await common.failure("a nonce gap", http.sendTransaction(gap), describe),
    unknownMethod: await common.failure("eth_doesNotExist", http.request(unknownMethod), describe),
    invalidParams: await common.failure(
      "a bad address",
      http.request({ method: "eth_getBalance", params: ["nobody"] }),
      describe,
    ),
    unknownMethodOverWebSocket: await common.failure("eth_doesNotExist", ws.request(unknownMethod), describe),
  };

  const reads = Array.from({ length: common.CONCURRENT_READS }, (_, index) => BigInt(index % 7));
  const trace = await http.request({ method: "debug_traceTransaction", params: [told.transactions.buy.hash] });
  told.reads = {
    concurrent: await Promise.all(reads.map(async (blockNumber) => (await http.getBlock({ blockNumber })).gasUsed)),
    overWebSocket: await Promise.all(
      reads.map((blockNumber) => ws.getBalance({ address: deployer.address, blockNumber })),
    ),
    largeRequest: await http.request({ method: "web3_sha3", params: [common.LARGE_INPUT] }),
    largeResponse: common.digest(trace),
    code: [viem.keccak256(await http.getCode(nft)), viem.keccak256(await ws.getCode(market))],
  };

  const abi = [...nft.abi, ...market.abi];
  told.events = {
    heads: await heads.until(Number(await http.getBlockNumber()), "heads"),
    logs: (await logs.until(6, "logs")).map((log) => {
      const { eventName: name, args } = viem.decodeEventLog({ abi, ...log });
      return { block: log.blockNumber, index: log.logIndex, name, args };
    }),
  };
  await headsSubscription.unsubscribe();
  await logsSubscription.unsubscribe();
  return told;
}

/** The transport's own subscription: unlike `watch…`, it tells when the node has accepted it. */
function subscribe(client, params, onResult) {
  return client.transport.subscribe({
    params,
    onData: ({ result }) => onResult(result),
    onError: (error) => {
      console.error(`session failed: the subscription to ${params[0]} broke: ${error.message}`);
      process.exit(1);
    },
  });
}

async function lastReceipt(client) {
  const { transactions } = await client.getBlock({ blockTag: "latest" });
  return client.getTransactionReceipt({ hash: transactions[0] });
}

function receipt(mined) {
  const { transactionHash: hash, from, to, contractAddress, blockNumber, status, gasUsed, effectiveGasPrice, logs } = mined;
  return { hash, from, to, contractAddress, blockNumber, status, gasUsed, effectiveGasPrice, logs: logs.length };
}

/** What viem made of the error, and the JSON-RPC error as the node sent it. Not its message, which holds the URL. */
function describe(error) {
  const causes = [];
  for (let cause = error; cause; cause = cause.cause) causes.push(cause);
  const revert = causes.find((cause) => cause.name === "ContractFunctionRevertedError")?.data;
  const { code, message, data } = causes.at(-1);
  return {
    errors: causes.map((cause) => cause.name).filter(Boolean),
    revert: revert && { name: revert.errorName, args: revert.args },
    rpc: { code, message, data },
  };
}

await common.main(session);
