//! Code that stands in front of other code: minimal clones, and what tells that a proxy was upgraded.
//!
//! A proxy that keeps the address of its implementation in its storage (ERC-1967) cannot be told by
//! its code: what the storage says comes from the node.

use std::sync::LazyLock;

use alloy::primitives::{Address, B256, keccak256};

/// What comes before the address and what after it, in the code of a clone. Some append arguments.
const CLONES: [(&[u8], &[u8]); 4] = [
    // ERC-1167; also Vyper's `create_minimal_proxy_to`, and clones with immutable arguments.
    (
        &[0x36, 0x3d, 0x3d, 0x37, 0x3d, 0x3d, 0x3d, 0x36, 0x3d, 0x73],
        &[0x5a, 0xf4, 0x3d, 0x82, 0x80, 0x3e, 0x90, 0x3d, 0x91, 0x60, 0x2b, 0x57, 0xfd, 0x5b, 0xf3],
    ),
    // Solady's, a byte shorter.
    (
        &[0x3d, 0x3d, 0x3d, 0x3d, 0x36, 0x3d, 0x3d, 0x37, 0x36, 0x3d, 0x73],
        &[0x5a, 0xf4, 0x3d, 0x3d, 0x93, 0x80, 0x3e, 0x60, 0x2a, 0x57, 0xfd, 0x5b, 0xf3],
    ),
    // With `PUSH0`.
    (
        &[0x5f, 0x5f, 0x36, 0x5f, 0x5f, 0x37, 0x36, 0x5f, 0x73],
        &[
            0x5a, 0xf4, 0x3d, 0x5f, 0x5f, 0x3e, 0x60, 0x29, 0x57, 0x3d, 0x5f, 0xfd, 0x5b, 0x3d,
            0x5f, 0xf3,
        ],
    ),
    // Vyper's before 0.2.9.
    (
        &[0x36, 0x60, 0x00, 0x60, 0x00, 0x37, 0x61, 0x10, 0x00, 0x60, 0x00, 0x36, 0x60, 0x00, 0x73],
        &[
            0x5a, 0xf4, 0x60, 0x2c, 0x57, 0x60, 0x00, 0x80, 0xfd, 0x5b, 0x61, 0x10, 0x00, 0x60,
            0x00, 0xf3,
        ],
    ),
];

/// The contract that `code` passes everything on to, when it is a minimal clone.
pub(super) fn cloned(code: &[u8]) -> Option<Address> {
    CLONES.iter().find_map(|(before, after)| {
        let (address, rest) = code.strip_prefix(*before)?.split_first_chunk::<20>()?;
        rest.starts_with(after).then(|| Address::from(address))
    })
}

/// Whether an event with this first topic tells that a proxy, or the proxies of a beacon, stand in
/// front of another contract from now on.
pub(super) fn is_upgrade(topic: B256) -> bool {
    static TOPICS: LazyLock<[B256; 2]> =
        LazyLock::new(|| [keccak256("Upgraded(address)"), keccak256("BeaconUpgraded(address)")]);
    TOPICS.contains(&topic)
}
