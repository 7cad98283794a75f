// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Two contracts that test suites put at the same address, one after the other.
contract FixA {
    uint256 private _a;

    error OddValue(uint256 value);

    function setA(uint256 value) external {
        if (value % 2 == 1) revert OddValue(value);
        _a = value;
    }

    function getA() external view returns (uint256) {
        return _a;
    }
}

contract FixB {
    uint256 private _b;

    function setB(uint256 value) external {
        _b = value;
    }

    function getB() external view returns (uint256) {
        return _b;
    }
}
