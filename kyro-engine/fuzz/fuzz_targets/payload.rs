//! `cargo xtask fuzz --target kyro-engine/payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_engine::fuzz::payload(data));
