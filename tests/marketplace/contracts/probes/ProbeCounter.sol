// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";

/// @title What stands behind the proxies and clones. Anybody may upgrade it.
contract ProbeCounter is UUPSUpgradeable {
    error Stuck(uint256 count);

    event Counted(uint256 count);

    uint256 public count;

    function increment() external {
        emit Counted(++count);
    }

    function getStuck() external {
        revert Stuck(++count);
    }

    function _authorizeUpgrade(address) internal override {}
}
