//! `RUSTC_BOOTSTRAP=1 cargo fuzz run build_and_look_up`, in `kyro-rmi/`.
#![no_main]

#[path = "../../tests/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::build_and_look_up(data));
