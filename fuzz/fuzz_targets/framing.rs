//! Requests to the reverse proxy, cut in different ways.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::wire::hostile::framing(bytes));
