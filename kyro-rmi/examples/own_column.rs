//! An index over a column of your own: a file of little-endian keys, its index beside it, opened in place.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use kyro_rmi::{BuildOptions, Column, Rmi};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    // The column. It could as well be a memory-mapped file: all an index wants is a slice of sorted keys.
    let keys: Vec<u64> = (0..1_000_000u64).map(|i| 1_700_000_000_000 + i * 40 + i * i % 37).collect();

    // Build, and store the index with the identity of its column.
    let built = Rmi::build(&keys, &BuildOptions::default())?;
    let checksum = crc32fast::hash(&keys.iter().flat_map(|key| key.to_le_bytes()).collect::<Vec<u8>>());
    let column = Column { uuid: *b"my first column.", checksum, keys: keys.len() as u64 };
    let bytes = built.encode(&column)?;

    // Later, in another process: open the bytes where they lie, in constant time.
    let index = Rmi::open(&bytes[..], &column)?;
    let stats = index.stats();
    println!(
        "{} keys, {} bytes of index ({:.2} bits a key), half of the keys at most {} off, all within {}",
        stats.keys,
        stats.bytes,
        stats.bits_per_key(),
        stats.epsilon_p50,
        stats.max_window
    );

    // Points, absent keys, ranges, batches.
    let position = index.find(&keys, keys[123_456]);
    println!("key {} is at {position:?}", keys[123_456]);
    let (from, to) = (1_700_000_000_000, 1_700_000_001_000);
    let range = index.lower_bound(&keys, from)..index.lower_bound(&keys, to);
    println!("{} keys from {from} to before {to}: {:?} …", range.len(), &keys[range.start..range.start + 3]);
    let mut positions = [0; 3];
    index.lower_bound_batch(&keys, &[0, keys[7], u64::MAX], &mut positions);
    println!("a batch: {positions:?}");
    Ok(())
}
