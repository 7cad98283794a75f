//! Frames of a WebSocket, cut in different ways.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dappscope::decode::hostile::websocket(bytes));
