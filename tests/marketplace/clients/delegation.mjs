// Delegates an account to a contract (EIP-7702), or ends its delegation: `delegation.mjs URL CONTRACT`,
// with the zero address to end it. Prints the account and the transaction's hash.
import { createWalletClient, http, publicActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { hardhat } from "viem/chains";

const [url, contract] = process.argv.slice(2);
// The node's unlocked accounts 1 and 2: one pays, the other is delegated.
const payer = privateKeyToAccount("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");
const account = privateKeyToAccount("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a");
const client = createWalletClient({ account: payer, chain: hardhat, transport: http(url) }).extend(
  publicActions,
);
const nonce = await client.getTransactionCount({ address: account.address });
const authorization = await account.signAuthorization({ chainId: 31337, address: contract, nonce });
const hash = await client.sendTransaction({
  to: payer.address,
  gas: 200_000n,
  authorizationList: [authorization],
});
const receipt = await client.waitForTransactionReceipt({ hash, pollingInterval: 20 });
if (receipt.status !== "success") throw new Error(`the delegation is ${receipt.status}`);
console.log(JSON.stringify({ account: account.address, hash }));
