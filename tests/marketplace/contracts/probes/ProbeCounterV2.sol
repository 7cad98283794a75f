// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ProbeCounter} from "./ProbeCounter.sol";

/// @title The counter after an upgrade.
contract ProbeCounterV2 is ProbeCounter {
    function incrementBy(uint256 by) external {
        emit Counted(count += by);
    }
}
