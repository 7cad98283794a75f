//! Artifacts, build infos and storage layouts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::artifact(bytes));
