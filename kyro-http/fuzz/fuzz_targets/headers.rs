//! `cargo xtask fuzz --target kyro-http/headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_http::fuzz::headers(data));
