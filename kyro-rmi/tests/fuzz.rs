//! The fuzz bodies on bounded random bytes, and on damaged indexes, in every test run.

mod bodies;
mod keys;

use kyro_rmi::{BuildOptions, Column, Rmi};

#[test]
fn build_and_look_up_on_random_bytes() {
    let mut random = keys::Random(11);
    for round in 0..400 {
        let length = random.below(if round % 10 == 0 { 6000 } else { 400 }) as usize;
        let mut data: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        if let Some(first) = data.first_mut() {
            *first = if round % 3 == 0 { 0 } else { *first };
        }
        bodies::build_and_look_up(&data);
    }
}

#[test]
fn decode_random_bytes_after_a_good_header() {
    let keys: Vec<u64> = (0..2000).map(|i| i * i).collect();
    let column = Column { uuid: [3; 16], checksum: 9, keys: 2000 };
    let good =
        Rmi::build(&keys, &BuildOptions::default()).expect("sorted").encode(&column).expect("same keys");
    bodies::decode(&good);
    let mut random = keys::Random(12);
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(200) {
            // The header stays good, so that the damaged records are used.
            let at = 256 + random.below(bytes.len() as u64 - 256) as usize;
            bytes[at] = random.next() as u8;
        }
        bodies::decode(&bytes);
        let cut = random.below(bytes.len() as u64) as usize;
        bodies::decode(&bytes[..cut]);
    }
}
