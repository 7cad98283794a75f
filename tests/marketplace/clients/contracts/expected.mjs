// The session's own book: what it did, and what dappscope has to tell of it. Gas, prices and blocks are
// the node's words; names and reasons are those of the contracts' sources.

import { ethers } from "ethers";

import { artifact, GAS, hex, number } from "./node.mjs";

const PLACES = {
  MarketNFT: "contracts/MarketNFT.sol/MarketNFT",
  Marketplace: "contracts/Marketplace.sol/Marketplace",
  Multicall3: "contracts/probes/Multicall3.sol/Multicall3",
  ProbeFaults: "contracts/probes/ProbeFaults.sol/ProbeFaults",
  ProbeCounter: "contracts/probes/ProbeCounter.sol/ProbeCounter",
  ProbeCounterV2: "contracts/probes/ProbeCounterV2.sol/ProbeCounterV2",
  ProbeCloner: "contracts/probes/ProbeProxies.sol/ProbeCloner",
  ERC1967Proxy: "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol/ERC1967Proxy",
  TransparentUpgradeableProxy:
    "@openzeppelin/contracts/proxy/transparent/TransparentUpgradeableProxy.sol/TransparentUpgradeableProxy",
  ProxyAdmin: "@openzeppelin/contracts/proxy/transparent/ProxyAdmin.sol/ProxyAdmin",
  UpgradeableBeacon: "@openzeppelin/contracts/proxy/beacon/UpgradeableBeacon.sol/UpgradeableBeacon",
  BeaconProxy: "@openzeppelin/contracts/proxy/beacon/BeaconProxy.sol/BeaconProxy",
};

const ARTIFACTS = Object.fromEntries(Object.entries(PLACES).map(([name, place]) => [name, artifact(place)]));
const INTERFACES = Object.fromEntries(
  Object.entries(ARTIFACTS).map(([name, { abi }]) => [name, new ethers.Interface(abi)]),
);

/** The input of a call. */
export const input = (contract, name, ...values) => INTERFACES[contract].encodeFunctionData(name, values);

/** The input of a deployment. */
export const creation = (contract, ...values) =>
  ARTIFACTS[contract].bytecode + INTERFACES[contract].encodeDeploy(values).slice(2);

/** A custom error as dappscope writes it: its arguments with their names. */
export function written(contract, error, ...values) {
  const { inputs } = INTERFACES[contract].getError(error);
  const shown = (value) => (/^(0x|\d)/.test(String(value)) ? String(value) : JSON.stringify(value));
  return `${error}(${inputs.map(({ name }, at) => `${name}: ${shown(values[at])}`).join(", ")})`;
}

/** A contract at an address. `name` is that of the code that runs: of a proxy, what is behind it. */
export class Contract {
  constructor(name, address) {
    Object.assign(this, { name, address });
  }

  /** A call for `eth_call` and the like. */
  to(name, ...values) {
    return { to: this.address, data: input(this.name, name, ...values) };
  }
}

export class Book {
  transactions = [];
  calls = [];
  findings = [];
  states = [];

  constructor(node) {
    this.node = node;
  }

  /**
   * Sends a transaction and books it.
   *
   * `expected` holds what cannot be read from the node: contract, function, and of a failure reason and
   * message. `options.way` is `relay` or `direct`.
   */
  async send(transaction, expected, { way = "relay" } = {}) {
    const hash = await this.node.submit(way, transaction);
    return this.mined(hash, { through_relay: way === "relay", ...expected });
  }

  /** Books a transaction that was submitted, with what its receipt says. */
  async mined(hash, expected) {
    const receipt = await this.node.receipt(hash);
    const sent = await this.node.truth("eth_getTransactionByHash", hash);
    const status = receipt.status === "0x1" ? "success" : "reverted";
    if ((status === "reverted") !== Boolean(expected.reason || expected.fails)) {
      throw new Error(`${expected.contract}.${expected.function} of ${hash} is ${status}, which was not expected`);
    }
    const type = sent.to === null ? "deployment" : sent.input === "0x" ? "transfer" : "call";
    const gas_used = number(receipt.gasUsed);
    const gas_price = number(receipt.effectiveGasPrice);
    const { fails, ...rest } = expected;
    const booked = {
      hash,
      type,
      status,
      block: number(receipt.blockNumber),
      gas_used,
      gas_limit: number(sent.gas),
      gas_price_wei: gas_price,
      fee_eth: (gas_used * gas_price) / 1e18,
      envelope: number(receipt.type),
      through_relay: true,
      ...(fails ? {} : { reason: null, message: null }),
      ...rest,
    };
    if (type === "deployment" && status === "success") {
      booked.created = receipt.contractAddress.toLowerCase();
      const code = await this.node.truth("eth_getCode", receipt.contractAddress, receipt.blockNumber);
      booked.code_bytes = (code.length - 2) / 2;
    }
    this.transactions.push(booked);
    return receipt;
  }

  /** Deploys a contract; `runs` is the name of what answers at its address, if that is another. */
  async deploy(from, name, values = [], { runs = name, way = "relay", events } = {}) {
    const expected = { contract: name, function: "constructor", ...(events ? { events } : {}) };
    const receipt = await this.send({ from, data: creation(name, ...values) }, expected, { way });
    return new Contract(runs, receipt.contractAddress);
  }

  /** Calls a contract's function in a transaction that succeeds; `events` are those it emits. */
  async write(from, contract, [name, ...values], { events, inner, value = 0, way = "relay" } = {}) {
    const expected = { contract: contract.name, function: name };
    if (events) expected.events = events.map(([emitter, event, count]) => ({ contract: emitter, event, count }));
    if (inner) expected.inner = inner;
    return this.send({ from, ...contract.to(name, ...values), value: hex(value) }, expected, { way });
  }

  /** Calls a contract's function in a transaction that is mined and reverts. */
  async fail(from, contract, [name, ...values], { reason, message, says, value = 0, gas = GAS }) {
    const expected = { contract: contract.name, function: name, reason, events: [] };
    // Without either, what is told for people is left to dappscope.
    if (says) expected.message_says = says;
    expected.message = message;
    return this.send({ from, ...contract.to(name, ...values), value: hex(value), gas: hex(gas) }, expected);
  }

  /** Reads through the relay, and books the call. */
  async read(from, contract, [name, ...values], expected = {}) {
    const params = [{ from, ...contract.to(name, ...values) }, "latest"];
    const answer = await this.node.ask("relay", "eth_call", params);
    this.#answered("eth_call", contract, name, answer, expected);
    return answer.result;
  }

  /** Estimates through the relay, and books the call. */
  async estimate(from, contract, [name, ...values], expected = {}) {
    const answer = await this.node.ask("relay", "eth_estimateGas", [{ from, ...contract.to(name, ...values) }]);
    const gas = answer.result === undefined ? {} : { estimated_gas: number(answer.result) };
    this.#answered("eth_estimateGas", contract, name, answer, { ...gas, ...expected });
  }

  #answered(method, contract, name, answer, expected) {
    if (Boolean(answer.error) !== Boolean(expected.reason)) {
      throw new Error(`${method} of ${contract.name}.${name} answered ${JSON.stringify(answer).slice(0, 300)}`);
    }
    this.calls.push({
      method,
      contract: contract.name,
      function: name,
      failed: Boolean(answer.error),
      reason: null,
      message: null,
      ...expected,
    });
  }

  /** A transaction that the node refuses: it has no receipt. */
  async refused(transaction, expected) {
    const { result, error } = await this.node.ask("relay", "eth_sendTransaction", [{ gas: hex(21_000), ...transaction }]);
    if (!error) throw new Error(`not refused, but ${result}`);
    this.transactions.push({ hash: null, status: "rejected", through_relay: true, ...expected });
  }

  /**
   * Books what the last transaction did to `slots` ({contract, address, slot, name}), read from the
   * node before and after its block.
   */
  async changed(slots) {
    const { hash, block, contract, function: name } = this.transactions.at(-1);
    const counts = { created: 0, updated: 0, cleared: 0 };
    const changes = [];
    for (const slot of slots) {
      const [before, after] = await Promise.all(
        [block - 1, block].map(async (at) => BigInt(await this.node.truth("eth_getStorageAt", slot.address, slot.slot, hex(at)))),
      );
      if (before === after) throw new Error(`${name} did not change ${slot.name}`);
      const change = before === 0n ? "created" : after === 0n ? "cleared" : "updated";
      counts[change] += 1;
      changes.push({ contract: slot.contract, slot: slot.slot, name: slot.name, change });
    }
    this.states.push({ transaction: hash, contract, function: name, ...counts, slots: changes });
  }
}
