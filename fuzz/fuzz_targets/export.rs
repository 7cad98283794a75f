//! Exports of spans as they come, compressed.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::wire::hostile::export(bytes));
