// Hardhat's in-process network, plain ethers and node:assert: no plugin to install.
const assert = require("node:assert/strict");
const { ethers } = require("ethers");
const hre = require("hardhat");

const PRICE = ethers.parseEther("1");
const FEE_BPS = 250n;
const FEE = (PRICE * FEE_BPS) / 10_000n;

/** Deploys the artifact `name`, signed by `signer`. */
async function deploy(name, signer, ...args) {
  const { abi, bytecode } = await hre.artifacts.readArtifact(name);
  const contract = await new ethers.ContractFactory(abi, bytecode, signer).deploy(...args);
  return contract.waitForDeployment();
}

/** Asserts that `call` reverts with the custom error `name(...args)` of `contract`. */
async function assertReverts(contract, call, name, ...args) {
  const failure = await call.then(
    () => assert.fail(`expected ${name}, but the call succeeded`),
    (error) => error,
  );
  const revert = contract.interface.parseError(failure.data?.data ?? failure.data);
  assert.deepEqual([revert?.name, ...(revert?.args ?? [])], [name, ...args]);
}

describe("Marketplace", () => {
  let provider, owner, seller, buyer, nft, market, snapshot;

  before(async () => {
    // Without the cache, which would answer a read with what it was a moment before.
    provider = new ethers.BrowserProvider(hre.network.provider, undefined, { cacheTimeout: -1 });
    [owner, seller, buyer] = await Promise.all([0, 1, 2].map((index) => provider.getSigner(index)));
    nft = await deploy("MarketNFT", owner, "Market NFT", "MNFT");
    market = await deploy("Marketplace", owner, FEE_BPS);
    await (await nft.connect(seller).mint(seller, "ipfs://one")).wait();
    await (await nft.connect(seller).setApprovalForAll(market, true)).wait();
  });
  beforeEach(async () => (snapshot = await provider.send("evm_snapshot", [])));
  afterEach(() => provider.send("evm_revert", [snapshot]));

  const as = (signer) => market.connect(signer);
  const listed = async () => (await as(seller).list(nft, 1, PRICE)).wait();

  it("mints to anybody, counting ids up from 1", async () => {
    await (await nft.connect(buyer).mint(buyer, "ipfs://two")).wait();
    assert.equal(await nft.ownerOf(2), buyer.address);
    assert.equal(await nft.tokenURI(2), "ipfs://two");
    await assertReverts(nft, nft.mint(owner, ""), "EmptyURI");
  });

  it("moves the token to the buyer and the money to seller and owner", async () => {
    await listed();
    const { logs } = await (await as(buyer).buy(nft, 1, { value: PRICE })).wait();
    const sold = logs.map((log) => market.interface.parseLog(log)).find((log) => log?.name === "Sold");
    assert.deepEqual([...sold.args], [nft.target, 1n, buyer.address, seller.address, PRICE, FEE]);
    assert.equal(await nft.ownerOf(1), buyer.address);
    assert.equal(await market.proceeds(seller), PRICE - FEE);

    await (await as(owner).withdraw()).wait();
    await (await as(seller).withdraw()).wait();
    assert.equal(await provider.getBalance(market), 0n);
    await assertReverts(market, as(seller).withdraw(), "NothingToWithdraw", seller.address);
  });

  it("takes no fee once nobody owns it", async () => {
    await (await as(owner).renounceOwnership()).wait();
    await listed();
    await (await as(buyer).buy(nft, 1, { value: PRICE })).wait();
    assert.equal(await market.proceeds(seller), PRICE);
    await (await as(seller).withdraw()).wait();
    assert.equal(await provider.getBalance(market), 0n);
  });

  it("refuses to list without a price, the token, or the approval", async () => {
    await assertReverts(market, as(seller).list(nft, 1, 0), "PriceIsZero");
    await assertReverts(market, as(buyer).list(nft, 1, PRICE), "NotOwner", nft.target, 1n, buyer.address);
    await (await nft.connect(seller).setApprovalForAll(market, false)).wait();
    await assertReverts(market, as(seller).list(nft, 1, PRICE), "NotApproved", nft.target, 1n);
  });

  it("refuses to list twice", async () => {
    await listed();
    await assertReverts(market, as(seller).list(nft, 1, PRICE), "AlreadyListed", nft.target, 1n);
  });

  it("sells only what is listed, at its price to the wei", async () => {
    await assertReverts(market, as(buyer).buy(nft, 1, { value: PRICE }), "NotListed", nft.target, 1n);
    await listed();
    await assertReverts(market, as(buyer).buy(nft, 1, { value: 1n }), "WrongPrice", PRICE, 1n);
  });

  it("lets only the seller cancel", async () => {
    await listed();
    await assertReverts(market, as(buyer).cancel(nft, 1), "NotSeller", nft.target, 1n, buyer.address);
    await (await as(seller).cancel(nft, 1)).wait();
    await assertReverts(market, as(seller).cancel(nft, 1), "NotListed", nft.target, 1n);
  });

  it("does not sell a token that the seller has given away", async () => {
    await listed();
    await (await nft.connect(seller).transferFrom(seller, owner, 1)).wait();
    const purchase = as(buyer).buy(nft, 1, { value: PRICE });
    await assertReverts(nft, purchase, "ERC721InsufficientApproval", market.target, 1n);
    await (await nft.setApprovalForAll(market, true)).wait();
    await (await market.list(nft, 1, PRICE)).wait();
    assert.equal((await market.listingOf(nft, 1)).seller, owner.address);
  });

  it("lets only the owner change the fee, up to its limit", async () => {
    await assertReverts(market, as(seller).setFee(1), "OwnableUnauthorizedAccount", seller.address);
    await assertReverts(market, market.setFee(1_001), "FeeTooHigh", 1_001n, 1_000n);
    await (await market.setFee(0)).wait();
    assert.equal(await market.feeBps(), 0n);
  });
});
