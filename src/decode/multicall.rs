//! The calls inside a call of Multicall3.

use alloy::primitives::{Address, Bytes};

/// A call inside a multicall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    pub to: Address,
    /// At most the selector.
    pub input: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerResult {
    pub success: bool,
    /// What it returned, or the revert data.
    pub data: Bytes,
}

/// What the input of a call of Multicall3 calls; none when it is none, or cannot be read.
pub fn open(input: &[u8]) -> Option<Vec<Inner>> {
    let _ = input;
    None
}

/// What came of the calls, from what the function of this selector returned; none when that does not
/// tell or cannot be read.
pub fn results(selector: [u8; 4], returned: &[u8]) -> Option<Vec<InnerResult>> {
    let _ = (selector, returned);
    None
}
