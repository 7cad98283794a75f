//! Listings of routes, patterns and paths.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::routes(bytes));
