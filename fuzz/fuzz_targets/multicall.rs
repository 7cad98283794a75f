//! Calls of Multicall3 and what they return.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::multicall(bytes));
