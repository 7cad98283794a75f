// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Every way in which a call can fail.
contract ProbeFaults {
    enum Colour { Red, Green }

    error Refused(address who, uint256 wanted, string why);

    uint256 public value;
    uint256[] private _items;
    bytes private _text;
    function () internal _unset;

    function failAssert() external {
        value = 1;
        assert(value == 2);
    }

    function overflow(uint256 by) external {
        value = type(uint256).max;
        value += by;
    }

    function divide(uint256 by) external {
        value = 1 / by;
    }

    function convert(uint256 to) external {
        value = uint256(Colour(to));
    }

    /// @dev A length that says "long" while the text is short.
    function badEncoding() external {
        assembly {
            sstore(_text.slot, 1)
        }
        value = _text.length;
    }

    function popEmpty() external {
        _items.pop();
    }

    function outOfBounds(uint256 index) external {
        value = _items[index];
    }

    function allocate(uint256 words) external {
        value = new uint256[](words).length;
    }

    function callUnset() external {
        function () internal unset = _unset;
        unset();
        value = 1;
    }

    function requireText(uint256 least) external {
        require(value > least, "the value is too small");
        value = 0;
    }

    function refuse(uint256 wanted) external {
        value = wanted;
        revert Refused(msg.sender, wanted, "not \"today\"");
    }

    function silent() external {
        value = 1;
        revert();
    }

    function burn() external {
        while (true) ++value;
    }

    function peek(uint256 index) external view returns (uint256) {
        if (index > 1_000) revert Refused(msg.sender, index, "far out");
        return _items[index];
    }
}
