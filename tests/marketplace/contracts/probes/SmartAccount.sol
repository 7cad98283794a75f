// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What externally owned accounts delegate to (EIP-7702): runs a call in the account's name.
contract SmartAccount {
    event Executed(address target);

    error Failed(address target);

    function execute(address target, uint256 value, bytes calldata data) external payable {
        (bool success,) = target.call{value: value}(data);
        if (!success) revert Failed(target);
        emit Executed(target);
    }

    function version() external pure returns (uint256) {
        return 1;
    }

    receive() external payable {}
}
