// Contracts behind proxies and clones, before and after an upgrade, and contracts that nobody knows.

import { Contract, input, written } from "./expected.mjs";

const ADMIN_SLOT = "0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103";
const COUNTED = (name) => ({ events: [[name, "Counted", 1]] });
const STUCK = (count) => ({ reason: "Stuck", message: written("ProbeCounter", "Stuck", count) });

/** Calls what counts behind a proxy, in every way. */
async function count(book, from, proxy, seen) {
  await book.write(from, proxy, ["increment"], COUNTED(proxy.name));
  await book.read(from, proxy, ["count"]);
  await book.read(from, proxy, ["getStuck"], STUCK(seen + 2));
  await book.fail(from, proxy, ["getStuck"], STUCK(seen + 2));
}

/** The same after an upgrade, with what the upgrade brought. */
async function countMore(book, from, proxy, seen) {
  const upgraded = new Contract("ProbeCounterV2", proxy.address);
  await book.read(from, upgraded, ["incrementBy", 5]);
  await book.write(from, upgraded, ["incrementBy", 5], COUNTED("ProbeCounterV2"));
  await count(book, from, upgraded, seen + 5);
}

export async function proxies(book) {
  const [owner, user] = book.node.accounts;
  const first = await book.deploy(owner, "ProbeCounter");
  const second = await book.deploy(owner, "ProbeCounterV2");
  const begin = input("ProbeCounter", "increment");
  const behind = { runs: "ProbeCounter" };

  // One that upgrades itself.
  const own = await book.deploy(owner, "ERC1967Proxy", [first.address, begin], behind);
  await count(book, user, own, 1);
  await book.write(owner, own, ["upgradeToAndCall", second.address, "0x"]);
  await countMore(book, user, own, 2);

  // One that its admin upgrades, a contract which it made itself.
  const values = [first.address, owner, begin];
  const transparent = await book.deploy(owner, "TransparentUpgradeableProxy", values, behind);
  const slot = await book.node.truth("eth_getStorageAt", transparent.address, ADMIN_SLOT, "latest");
  const admin = new Contract("ProxyAdmin", `0x${slot.slice(-40)}`);
  await count(book, user, transparent, 1);
  await book.write(owner, admin, ["upgradeAndCall", transparent.address, second.address, "0x"]);
  await countMore(book, user, transparent, 2);

  // One that asks a beacon.
  const beacon = await book.deploy(owner, "UpgradeableBeacon", [first.address, owner]);
  const led = await book.deploy(owner, "BeaconProxy", [beacon.address, begin], behind);
  await count(book, user, led, 1);
  await book.write(owner, beacon, ["upgradeTo", second.address], { events: [["UpgradeableBeacon", "Upgraded", 1]] });
  await countMore(book, user, led, 2);
}

export async function clones(book) {
  const [owner, user] = book.node.accounts;
  const original = await book.deploy(owner, "ProbeCounter");
  const cloner = await book.deploy(owner, "ProbeCloner");
  const cloned = { events: [["ProbeCloner", "Cloned", 1]] };
  const { logs } = await book.write(owner, cloner, ["clone", original.address], cloned);
  await count(book, user, new Contract("ProbeCounter", `0x${logs[0].data.slice(-40)}`), 0);
}

/** Contracts without an artifact: names of well-known functions only. */
export async function strangers(book) {
  const [owner, user] = book.node.accounts;
  const deploy = async (code) => {
    const length = (code.length / 2).toString(16).padStart(2, "0");
    const data = `0x60${length}600c60003960${length}6000f3${code}`;
    const bytes = code.length / 2;
    const receipt = await book.send({ from: owner, data }, { function: "constructor", code_bytes: bytes });
    return receipt.contractAddress;
  };
  // One STOP, which takes every call.
  const nobody = await deploy("00");
  const nameless = { contract: "_unknown", function: "_unknown", selector: "0x12345678", events: [] };
  await book.send({ from: owner, to: nobody, data: "0x12345678" }, nameless);
  // The same, with comparisons with the selectors of an ERC-20 in its code.
  const erc20 = ["dd62ed3e", "095ea7b3", "70a08231", "18160ddd", "a9059cbb", "23b872dd"];
  const token = await deploy(`00${erc20.map((selector) => `8063${selector}14`).join("")}`);
  const transfer = `0xa9059cbb${"00".repeat(12)}${user.slice(2)}${"00".repeat(31)}07`;
  await book.send({ from: owner, to: token, data: transfer }, { contract: "ERC20", function: "transfer", events: [] });
}
