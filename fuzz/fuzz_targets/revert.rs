//! A node's error objects and what reverted calls return.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::revert(bytes));
