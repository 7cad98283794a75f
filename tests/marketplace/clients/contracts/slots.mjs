// Where the marketplace's contracts keep what: the storage slots by the variables' names.

import { ethers } from "ethers";

const coder = ethers.AbiCoder.defaultAbiCoder();
const word = (number) => ethers.toBeHex(number, 32);
const entry = (type, key, slot) => ethers.keccak256(coder.encode([type, "bytes32"], [key, slot]));
const next = (slot) => word(BigInt(slot) + 1n);

export function nftSlots({ address }) {
  const at = (name, slot) => ({ contract: "MarketNFT", address, name, slot });
  return {
    owner: (token) => at(`_owners[${token}]`, entry("uint256", token, word(2))),
    balance: (account) => at(`_balances[${account}]`, entry("address", account, word(3))),
    uri: (token) => at(`_tokenURIs[${token}]`, entry("uint256", token, word(6))),
    minted: at("totalMinted", word(7)),
  };
}

export function marketSlots({ address }) {
  const at = (name, slot) => ({ contract: "Marketplace", address, name, slot });
  const listing = (nft, token) => entry("uint256", token, entry("address", nft, word(2)));
  return {
    proceeds: (account) => at(`proceeds[${account}]`, entry("address", account, word(1))),
    seller: (nft, token) => at(`_listings[${nft}][${token}].seller`, listing(nft, token)),
    price: (nft, token) => at(`_listings[${nft}][${token}].price`, next(listing(nft, token))),
  };
}
