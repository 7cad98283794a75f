//! A relayed connection, HTTP/1.1 and what it becomes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::relay(bytes));
