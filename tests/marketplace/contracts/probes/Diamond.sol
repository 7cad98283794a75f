// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What the diamond is called by: one function more than the facet has.
interface IListing {
    function enlist(uint256 id) external returns (uint256);
    function enlist(uint256 id, uint256 price) external returns (uint256);
}

/// @title The functions that the diamond passes calls on to.
contract ListingFacet {
    uint256 public count;

    function enlist(uint256 id) external returns (uint256) {
        count += id;
        return count;
    }
}

/// @title Passes every call on to its facet, as EIP-2535 does by selector.
contract Diamond {
    uint256 private _count;
    address private immutable _facet;

    constructor() {
        _facet = address(new ListingFacet());
    }

    fallback() external payable {
        address facet = _facet;
        assembly {
            calldatacopy(0, 0, calldatasize())
            let success := delegatecall(gas(), facet, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            if iszero(success) { revert(0, returndatasize()) }
            return(0, returndatasize())
        }
    }
}
