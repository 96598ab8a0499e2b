//! `RUSTC_BOOTSTRAP=1 cargo fuzz run decode`, in `kyro-snapshot/`.
#![no_main]

#[path = "../../tests/bodies/decode.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::decode(data));
