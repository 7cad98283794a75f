//! Exports of spans.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::otlp(bytes));
