// The marketplace as its author uses it, and each of its refusals.

import { written } from "./expected.mjs";
import { marketSlots, nftSlots } from "./slots.mjs";

const PRICE = 1_000n;

/** Deploys, mints, lists, buys, cancels; resolves to what the further steps need. */
export async function market(book) {
  const [owner, seller, buyer, friend] = book.node.accounts;
  const nft = await book.deploy(owner, "MarketNFT", ["Market NFT", "MNFT"], { events: [] });
  const fee = [{ contract: "Marketplace", event: "FeeChanged", count: 1 }];
  const ownership = { contract: "Marketplace", event: "OwnershipTransferred", count: 1 };
  const shop = await book.deploy(owner, "Marketplace", [250], { events: [...fee, ownership] });
  const token = nftSlots(nft);
  const listing = marketSlots(shop);

  const mint = async (to, id) => {
    const events = [["MarketNFT", "Transfer", 1], ["MarketNFT", "MetadataUpdate", 1]];
    await book.write(to, nft, ["mint", to, `ipfs://${id}`], { events });
    await book.changed([token.minted, token.owner(id), token.balance(to), token.uri(id)]);
  };
  await mint(seller, 1); // the first ever
  await mint(friend, 2); // a new owner
  await mint(seller, 3); // the same owner again

  const approval = { events: [["MarketNFT", "ApprovalForAll", 1]] };
  await book.write(seller, nft, ["setApprovalForAll", shop.address, true], approval);

  const offer = async (id) => {
    await book.write(seller, shop, ["list", nft.address, id, PRICE], { events: [["Marketplace", "Listed", 1]] });
    await book.changed([listing.seller(nft.address, id), listing.price(nft.address, id)]);
  };
  await offer(1);
  const sold = [["Marketplace", "Sold", 1], ["MarketNFT", "Transfer", 1]];
  await book.write(buyer, shop, ["buy", nft.address, 1], { value: PRICE, events: sold });
  await book.changed([
    listing.seller(nft.address, 1),
    listing.price(nft.address, 1),
    listing.proceeds(seller),
    listing.proceeds(owner),
    token.owner(1),
    token.balance(seller),
    token.balance(buyer),
  ]);
  await offer(3);
  await book.write(seller, shop, ["cancel", nft.address, 3], { events: [["Marketplace", "Cancelled", 1]] });
  await book.changed([listing.seller(nft.address, 3), listing.price(nft.address, 3)]);
  await refused(book, nft, shop);

  await book.send({ from: owner, to: friend, value: "0x1", gas: "0x5208" }, { contract: "_account", function: "receive", events: [] });
  // Not through the relay: the block tells of it.
  await book.write(friend, nft, ["mint", friend, "ipfs://beside"], { way: "direct" });
  return { nft, shop };
}

/** Each custom error of both contracts, in transactions that are mined. */
async function refused(book, nft, shop) {
  const [owner, seller, buyer, friend, , nobody] = book.node.accounts;
  const at = nft.address;
  const fail = (from, contract, call, reason, values, { of = contract.name, ...options } = {}) =>
    book.fail(from, contract, call, { reason, message: written(of, reason, ...values), ...options });
  await fail(seller, nft, ["mint", seller, ""], "EmptyURI", []);
  await fail(seller, shop, ["list", at, 3, 0], "PriceIsZero", []);
  await fail(buyer, shop, ["list", at, 3, 5], "NotOwner", [at, 3, buyer]);
  await fail(friend, shop, ["list", at, 2, 5], "NotApproved", [at, 2]);
  await book.write(seller, shop, ["list", at, 3, PRICE]);
  await fail(seller, shop, ["list", at, 3, PRICE], "AlreadyListed", [at, 3]);
  await fail(buyer, shop, ["buy", at, 77], "NotListed", [at, 77], { value: 1 });
  await fail(buyer, shop, ["cancel", at, 3], "NotSeller", [at, 3, buyer]);
  await fail(buyer, shop, ["buy", at, 3], "WrongPrice", [PRICE, 1], { value: 1 });
  await fail(owner, shop, ["setFee", 9_000], "FeeTooHigh", [9_000, 1_000]);
  await fail(nobody, shop, ["withdraw"], "NothingToWithdraw", [nobody]);
  await fail(friend, shop, ["setFee", 100], "OwnableUnauthorizedAccount", [friend]);
  // A token that does not exist: the error comes from the other contract.
  await fail(seller, shop, ["list", at, 99, 5], "ERC721NonexistentToken", [99], { of: "MarketNFT" });
  await fail(seller, nft, ["transferFrom", seller, friend, 1], "ERC721InsufficientApproval", [seller, 1]);
}
