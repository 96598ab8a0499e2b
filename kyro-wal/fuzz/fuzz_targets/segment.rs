//! `cargo xtask fuzz --target kyro-wal/segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kyro_wal::fuzz::segment(data));
