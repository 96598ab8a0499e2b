//! `cargo xtask fuzz --target kyro-wal/frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_wal::fuzz::frame(data));
