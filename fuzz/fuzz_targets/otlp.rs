//! Exports of spans, and the queries in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::otlp(bytes));
