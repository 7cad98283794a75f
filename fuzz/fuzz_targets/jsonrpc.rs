//! JSON-RPC messages, with their parameters and results.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::jsonrpc(bytes));
