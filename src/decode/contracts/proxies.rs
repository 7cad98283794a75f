//! Code that stands in front of other code: minimal clones and delegations, and what shows that a
//! proxy was upgraded.
//!
//! A proxy that keeps the address of its implementation in its storage (ERC-1967) cannot be recognised
//! by its code: what the storage says comes from the node.

use std::sync::LazyLock;

use alloy::primitives::{Address, B256, b256, keccak256};

/// Where ERC-1967 has a proxy keep its implementation.
pub const IMPLEMENTATION_SLOT: B256 =
    b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");
/// Where ERC-1967 has a proxy keep its beacon, which knows the implementation.
pub const BEACON_SLOT: B256 =
    b256!("a3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50");
/// A beacon's `implementation()`.
pub(super) const IMPLEMENTATION: [u8; 4] = [0x5c, 0x60, 0xda, 0x1b];
/// What the code of an account that delegates to a contract begins with (EIP-7702).
const DELEGATION: [u8; 3] = [0xef, 0x01, 0x00];

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

/// The contract that an account's `code` delegates to (EIP-7702).
pub(super) fn delegated(code: &[u8]) -> Option<Address> {
    let address: [u8; 20] = code.strip_prefix(&DELEGATION)?.try_into().ok()?;
    Some(address.into())
}

/// Whether an event with this first topic says that a proxy, or the proxies of a beacon, stand in
/// front of another contract from now on.
pub(super) fn is_upgrade(topic: B256) -> bool {
    static TOPICS: LazyLock<[B256; 2]> =
        LazyLock::new(|| [keccak256("Upgraded(address)"), keccak256("BeaconUpgraded(address)")]);
    TOPICS.contains(&topic)
}
