//! `cargo xtask fuzz --target kyro-http/query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_http::fuzz::query(data));
