//! `cargo xtask fuzz --target kyro-http/json_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_http::fuzz::json_body(data));
