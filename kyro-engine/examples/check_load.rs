//! Reads every record of an NDJSON file back out of a data directory, byte for byte, and looks up the keys around
//! each that are not in the file: none of them may be found, and every lookup has to go through the index.
//!
//! `cargo run --release -p kyro-engine --example check_load -- FILE DIR [KEYS AROUND EACH, default 2000]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::io::BufRead;
use std::time::Instant;

use kyro_engine::{Engine, Options};
use serde::Deserialize;

#[derive(Deserialize)]
struct Record {
    key: u64,
    value: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("name an NDJSON file")?;
    let dir = arguments.next().ok_or("name a data directory")?;
    let around: u64 = arguments.next().map_or(Ok(2000), |text| text.parse())?;

    let mut stored = HashMap::new();
    for line in std::io::BufReader::new(std::fs::File::open(file)?).lines() {
        let record: Record = serde_json::from_str(&line?)?;
        stored.insert(record.key, record.value);
    }
    let engine = Engine::open(dir, Options::default())?;
    let before = engine.stats();
    let start = Instant::now();
    for (key, value) in &stored {
        let found = engine.get(*key)?.ok_or(format!("key {key} is missing"))?;
        if *found != *value.as_bytes() {
            return Err(format!("key {key} has other bytes than the file").into());
        }
    }
    println!("{} keys read back byte for byte in {:.2?}", stored.len(), start.elapsed());

    let start = Instant::now();
    let mut absent = 0_u64;
    for (done, &key) in stored.keys().enumerate() {
        let first = key.saturating_sub(around / 2);
        for near in first..=first.saturating_add(around) {
            if stored.contains_key(&near) {
                continue;
            }
            if engine.contains(near)? {
                return Err(format!("key {near} is not in the file and was found").into());
            }
            absent += 1;
        }
        if done % 20_000 == 0 {
            println!("  around {done} keys, {:.1?}", start.elapsed());
        }
    }
    let stats = engine.stats();
    println!("{absent} absent keys around them were not found, in {:.2?}", start.elapsed());
    println!(
        "through the index {}, from recent writes {}, mispredicted {}",
        stats.index_reads - before.index_reads,
        stats.delta_reads - before.delta_reads,
        stats.mispredicts
    );
    if stats.index_reads - before.index_reads != absent + stored.len() as u64 || stats.mispredicts != 0 {
        return Err("not every lookup went through the index, or one was mispredicted".into());
    }
    Ok(())
}
