//! `Server-Timing` and the headers of caches.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::headers(bytes));
