//! Has this event been seen before? A set of hashes on disk that survives a crash, asked and filled by batches.
//!
//! `cargo run --release -p kyro-engine --example dedupe`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use kyro_engine::{Batch, Engine, Options};

/// What arrives: about half of it came before.
fn arrivals() -> impl Iterator<Item = String> {
    (0..20_000_u64).map(|n| format!("order {}", n * 2_654_435_761 % 11_000))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path(), Options::default())?;
    let events: Vec<String> = arrivals().collect();
    let (mut new, mut repeated) = (0, 0);
    for chunk in events.chunks(500) {
        let keys: Vec<u64> = chunk.iter().map(|event| hash(event)).collect();
        // One view answers for the whole chunk; of two in one chunk the set below knows.
        let seen = engine.mget(&keys)?;
        let (mut batch, mut in_chunk) = (Batch::new(), HashSet::new());
        for ((event, key), seen) in chunk.iter().zip(&keys).zip(seen) {
            // A hash of 64 bits may meet another by chance: the event itself is kept beside it.
            let is_known = seen.is_some_and(|known| known == event.as_bytes()) || !in_chunk.insert(*key);
            if is_known {
                repeated += 1;
            } else {
                batch.put(*key, event);
                new += 1;
            }
        }
        if !batch.is_empty() {
            // Durable before the events are passed on: after a crash none of them passes twice.
            engine.write_waiting(batch)?.wait()?;
        }
    }
    println!("{} events: {new} new, {repeated} seen before", events.len());
    assert_eq!(new, events.iter().collect::<HashSet<_>>().len());
    engine.close()?;
    Ok(())
}

fn hash(event: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.hash(&mut hasher);
    hasher.finish()
}
