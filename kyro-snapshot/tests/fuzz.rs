//! A bounded run of the fuzz body, so that every test run does some fuzzing. The fuzzer itself is in `fuzz/`.
#![expect(clippy::expect_used, reason = "the fuzz body stops at the first thing it did not expect")]

#[path = "bodies/decode.rs"]
mod decode;

#[test]
fn random_and_lying_files_never_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..12_000_u64 {
        let len = (random() % if round % 50 == 0 { 9_000 } else { 400 }) as usize;
        let mut data = vec![0; len + 1];
        for chunk in data.chunks_mut(8) {
            chunk.copy_from_slice(&random().to_le_bytes()[..chunk.len()]);
        }
        data[0] = round as u8;
        decode::decode(&data);
    }
}
