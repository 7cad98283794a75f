// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title A contract that a factory creates, with an event and an error that carries an argument.
contract Child {
    uint256 public n;

    event Poked(uint256 n);

    error TooMany(uint256 n);

    function poke() external {
        emit Poked(++n);
    }

    function fail() external {
        revert TooMany(++n);
    }
}

/// @title Creates children at addresses that can be computed beforehand.
contract ChildFactory {
    event Made(address child);

    function make(bytes32 salt) external returns (address child) {
        child = address(new Child{salt: salt}());
        emit Made(child);
    }
}
