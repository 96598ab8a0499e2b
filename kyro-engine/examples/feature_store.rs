//! A small feature store: a nightly data set, a live trickle on top, reads of both.
//!
//! `cargo run --release -p kyro-engine --example feature_store`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use kyro_engine::{Batch, Commit, Engine, Options};

const USERS: u64 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path(), Options::default())?;

    // The nightly data set: sparse ids, 64 bytes each, a thousand to a batch, a few batches in flight.
    let start = Instant::now();
    let mut in_flight: Vec<Commit> = Vec::new();
    for first in (0..USERS).step_by(1000) {
        let mut batch = Batch::new();
        for user in first..first + 1000 {
            batch.put(user * 7919, [user as u8; 64]);
        }
        in_flight.push(engine.write_waiting(batch)?);
        if in_flight.len() == 8 {
            in_flight.remove(0).wait()?;
        }
    }
    in_flight.into_iter().try_for_each(|commit| commit.wait().map(drop))?;
    let flushed = engine.flush()?;
    println!("{USERS} users in {:.2?}, a run of {} bytes", start.elapsed(), flushed.bytes);

    // The trickle: durable when `put` returns, visible at once.
    let offset = engine.put(42 * 7919, [0xff; 64])?;
    assert_eq!(engine.offset(42 * 7919)?, Some(offset));

    let start = Instant::now();
    for user in 0..USERS {
        assert!(engine.contains(user * 7919)?);
    }
    let stats = engine.stats();
    println!(
        "{USERS} reads in {:.2?}: {} through the index, {} from recent writes, {} mispredicted",
        start.elapsed(),
        stats.index_reads,
        stats.delta_reads,
        stats.mispredicts
    );
    engine.close()?;
    Ok(())
}
