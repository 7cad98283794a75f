// Deploys both contracts and writes down where they are.
//
//   RPC_URL     the node, or a proxy in front of it   (http://127.0.0.1:8546)
//   DEPLOYMENT  the file to write                     (deployments/localhost.json)
//   FEE_BPS     the market's fee in basis points      (250)
//
// Run `npx hardhat compile` before. The node signs: account 0 is the deployer.
const fs = require("node:fs");
const path = require("node:path");
const { ContractFactory, JsonRpcProvider } = require("ethers");

const PROJECT = path.join(__dirname, "..");
const RPC_URL = process.env.RPC_URL ?? "http://127.0.0.1:8546";
const DEPLOYMENT = path.resolve(process.env.DEPLOYMENT ?? path.join(PROJECT, "deployments", "localhost.json"));
const FEE_BPS = process.env.FEE_BPS ?? "250";

/** Deploys `contracts/<name>.sol` and returns its entry in the deployment file. */
async function deploy(signer, name, ...args) {
  const artifact = path.join(PROJECT, "artifacts", "contracts", `${name}.sol`, `${name}.json`);
  const { abi, bytecode } = JSON.parse(fs.readFileSync(artifact, "utf8"));
  const contract = await new ContractFactory(abi, bytecode, signer).deploy(...args);
  const receipt = await contract.deploymentTransaction().wait();
  const address = await contract.getAddress();
  console.log(`${name} at ${address} (gas ${receipt.gasUsed})`);
  return { address, transaction: receipt.hash, block: receipt.blockNumber, artifact };
}

/** Fails early: without this, ethers would retry a node that is not there for ever. */
async function answers(url) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_chainId", params: [] });
  const headers = { "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body }).catch((error) => {
    throw new Error(`no node answers at ${url} (${error.cause?.message ?? error.message}); start one, or set RPC_URL`);
  });
  const { result, error } = await response.json().catch(() => ({}));
  if (result === undefined) throw new Error(`${url} refused eth_chainId: ${error?.message ?? `HTTP ${response.status}`}`);
}

async function main() {
  await answers(RPC_URL);
  const provider = new JsonRpcProvider(RPC_URL);
  const deployer = await provider.getSigner(0);
  const deployment = {
    chainId: Number((await provider.getNetwork()).chainId),
    deployer: deployer.address,
    contracts: {
      MarketNFT: await deploy(deployer, "MarketNFT", "Market NFT", "MNFT"),
      Marketplace: await deploy(deployer, "Marketplace", FEE_BPS),
    },
  };
  provider.destroy();
  fs.mkdirSync(path.dirname(DEPLOYMENT), { recursive: true });
  // Written beside and renamed: the API reads the file whenever it changes, and never half of it.
  fs.writeFileSync(`${DEPLOYMENT}.new`, `${JSON.stringify(deployment, null, 2)}\n`);
  fs.renameSync(`${DEPLOYMENT}.new`, DEPLOYMENT);
  console.log(`wrote ${DEPLOYMENT}`);
}

main().catch((error) => {
  console.error(`deploy: ${error.message}`);
  process.exitCode = 1;
});
