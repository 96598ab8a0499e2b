//! `cargo xtask fuzz --target kyro-http/binary_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_http::fuzz::binary_frame(data));
