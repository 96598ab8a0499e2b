//! `RUSTC_BOOTSTRAP=1 cargo fuzz run decode`, in `kyro-rmi/`.
#![no_main]

#[path = "../../tests/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::decode(data));
