// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What is heavy or odd for a node: long loops, many logs, endless code, an invalid opcode.
contract Odd {
    uint256 public x;
    bytes32 public digest;

    /// @dev Ends by the INVALID opcode, which takes all gas.
    function boom() external {
        x = 1;
        assembly {
            invalid()
        }
    }

    /// @dev Runs until its gas is used up.
    function burn() external {
        while (true) ++x;
    }

    /// @dev `n` rounds of hashing, and one write to storage.
    function spin(uint256 n) external {
        bytes32 a = digest;
        for (uint256 i = 0; i < n; ++i) a = keccak256(abi.encode(a, i));
        digest = a;
    }

    /// @dev `n` anonymous logs with one topic.
    function logs(uint256 n) external {
        for (uint256 i = 0; i < n; ++i) {
            assembly {
                log1(0, 0, i)
            }
        }
    }
}
