//! `cargo xtask fuzz --target kyro-http/records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_http::fuzz::records(data));
