//! `cargo xtask fuzz --target kyro-engine/manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_engine::fuzz::manifest(data));
