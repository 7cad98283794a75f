// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

/// @title A fixed-price market for ERC-721 tokens.
/// @notice A seller keeps the token until it is sold: listing only needs this contract's approval.
/// Money is pulled, never pushed: a sale credits the seller and the fee, and each withdraws its own.
contract Marketplace is Ownable, ReentrancyGuard {
    struct Listing {
        address seller;
        uint256 price;
    }

    error PriceIsZero();
    error NotOwner(address nft, uint256 tokenId, address caller);
    error NotApproved(address nft, uint256 tokenId);
    error AlreadyListed(address nft, uint256 tokenId);
    error NotListed(address nft, uint256 tokenId);
    error NotSeller(address nft, uint256 tokenId, address caller);
    error WrongPrice(uint256 expected, uint256 sent);
    error FeeTooHigh(uint96 feeBps, uint96 maxFeeBps);
    error NothingToWithdraw(address account);
    error TransferFailed(address to, uint256 amount);

    event Listed(address indexed nft, uint256 indexed tokenId, address indexed seller, uint256 price);
    event Sold(
        address indexed nft, uint256 indexed tokenId, address indexed buyer, address seller, uint256 price, uint256 fee
    );
    event Cancelled(address indexed nft, uint256 indexed tokenId, address indexed seller);
    event FeeChanged(uint96 feeBps);
    event Withdrawn(address indexed account, uint256 amount);

    /// @notice The highest fee the owner may set: 10 %.
    uint96 public constant MAX_FEE_BPS = 1_000;
    uint96 private constant BPS = 10_000;

    /// @notice The market's share of each sale, in basis points (1/100 of a percent).
    uint96 public feeBps;

    /// @notice What each account may withdraw, in wei.
    mapping(address account => uint256) public proceeds;

    mapping(address nft => mapping(uint256 tokenId => Listing)) private _listings;

    constructor(uint96 initialFeeBps) Ownable(msg.sender) {
        _setFee(initialFeeBps);
    }

    /// @notice Offers a token for `price` wei. The caller must own it and have approved this contract.
    /// @dev A listing ends by a sale, by `cancel`, or when another owner lists the token. It outlives a
    /// transfer: a seller who gives the token away and gets it back offers it at the old price again.
    function list(address nft, uint256 tokenId, uint256 price) external {
        if (price == 0) revert PriceIsZero();
        IERC721 token = IERC721(nft);
        if (token.ownerOf(tokenId) != msg.sender) revert NotOwner(nft, tokenId, msg.sender);
        // A listing whose seller has since given the token away is stale: the new owner may replace it.
        if (_listings[nft][tokenId].seller == msg.sender) revert AlreadyListed(nft, tokenId);
        if (token.getApproved(tokenId) != address(this) && !token.isApprovedForAll(msg.sender, address(this))) {
            revert NotApproved(nft, tokenId);
        }
        _listings[nft][tokenId] = Listing(msg.sender, price);
        emit Listed(nft, tokenId, msg.sender, price);
    }

    /// @notice Buys a listed token. The value sent must be the price, to the wei.
    function buy(address nft, uint256 tokenId) external payable nonReentrant {
        Listing memory listing = _listings[nft][tokenId];
        if (listing.price == 0) revert NotListed(nft, tokenId);
        if (msg.value != listing.price) revert WrongPrice(listing.price, msg.value);

        address collector = owner();
        // Once the ownership is renounced there is nobody who could withdraw a fee.
        uint256 fee = collector == address(0) ? 0 : (listing.price * feeBps) / BPS;
        delete _listings[nft][tokenId];
        proceeds[listing.seller] += listing.price - fee;
        proceeds[collector] += fee;
        emit Sold(nft, tokenId, msg.sender, listing.seller, listing.price, fee);

        // Reverts when the seller no longer owns the token, or has withdrawn the approval.
        IERC721(nft).safeTransferFrom(listing.seller, msg.sender, tokenId);
    }

    /// @notice Takes a listing back.
    function cancel(address nft, uint256 tokenId) external {
        Listing memory listing = _listings[nft][tokenId];
        if (listing.price == 0) revert NotListed(nft, tokenId);
        if (listing.seller != msg.sender) revert NotSeller(nft, tokenId, msg.sender);
        delete _listings[nft][tokenId];
        emit Cancelled(nft, tokenId, msg.sender);
    }

    /// @notice Sends the caller what its sales (or, for the owner, the fees) have earned.
    function withdraw() external nonReentrant {
        uint256 amount = proceeds[msg.sender];
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        proceeds[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        (bool sent,) = msg.sender.call{value: amount}("");
        if (!sent) revert TransferFailed(msg.sender, amount);
    }

    /// @notice Changes the fee for sales to come.
    function setFee(uint96 newFeeBps) external onlyOwner {
        _setFee(newFeeBps);
    }

    /// @notice A token's listing; all zero when it is not listed.
    function listingOf(address nft, uint256 tokenId) external view returns (Listing memory) {
        return _listings[nft][tokenId];
    }

    function _setFee(uint96 newFeeBps) private {
        if (newFeeBps > MAX_FEE_BPS) revert FeeTooHigh(newFeeBps, MAX_FEE_BPS);
        feeBps = newFeeBps;
        emit FeeChanged(newFeeBps);
    }
}
