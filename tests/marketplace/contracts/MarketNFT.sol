// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721URIStorage} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721URIStorage.sol";

/// @title A collection anybody may mint into.
/// @notice Token ids count up from 1, so 0 is never a token.
contract MarketNFT is ERC721URIStorage {
    /// @notice A token must say where its metadata is.
    error EmptyURI();

    /// @notice Tokens minted so far, and the id of the latest one.
    uint256 public totalMinted;

    constructor(string memory name_, string memory symbol_) ERC721(name_, symbol_) {}

    /// @notice Mints the next token to `to`.
    /// @param to The first owner; a contract must implement IERC721Receiver.
    /// @param uri Where the token's metadata is, for instance an `ipfs://` address.
    /// @return tokenId The id of the new token.
    function mint(address to, string calldata uri) external returns (uint256 tokenId) {
        if (bytes(uri).length == 0) revert EmptyURI();
        tokenId = ++totalMinted;
        // The URI first: `_safeMint` may call into `to`, which should meet a finished token.
        _setTokenURI(tokenId, uri);
        _safeMint(to, tokenId);
    }
}
