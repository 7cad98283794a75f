// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title The other of two contracts with the same name.
contract Vault {
    uint256 public held;
    uint256 public times;

    function put(uint256 amount) external {
        held += amount;
        ++times;
    }
}
