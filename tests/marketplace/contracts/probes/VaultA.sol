// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title One of two contracts with the same name.
contract Vault {
    uint256 public held;

    function put(uint256 amount) external {
        held += amount;
    }
}
