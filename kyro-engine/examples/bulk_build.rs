//! Builds a database of N sorted records in a fresh directory, then opens it: the figures of both.
//!
//! `cargo run --release -p kyro-engine --example bulk_build -- DIR RECORDS VALUE_BYTES`
#![expect(clippy::print_stdout, reason = "an example")]

use std::time::Instant;

use kyro_engine::{BulkBuild, BulkOptions, Engine, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("the first argument is the directory")?;
    let records: u64 = arguments.next().unwrap_or_else(|| "1000000".into()).parse()?;
    let value_bytes: usize = arguments.next().unwrap_or_else(|| "16".into()).parse()?;

    let start = Instant::now();
    let mut build = BulkBuild::create(&dir, BulkOptions::default())?;
    let mut value = vec![0; value_bytes];
    let mut key = 0_u64;
    for number in 0..records {
        key += 1 + (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50);
        let len = value_bytes.min(8);
        value[..len].copy_from_slice(&number.to_le_bytes()[..len]);
        build.push(key, &value)?;
    }
    let pushed = start.elapsed().as_secs_f64();
    let report = build.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{records} records of {value_bytes} bytes: {seconds:.3} s ({pushed:.3} s pushing), {:.2} M records/s",
        records as f64 / seconds / 1e6
    );

    let start = Instant::now();
    let engine = Engine::open(&dir, Options::default())?;
    let first = engine.get(key)?;
    println!("reopen to first get: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    assert_eq!(first.map(|bytes| bytes.len()), Some(value_bytes));
    let stats = engine.stats();
    let index: u64 = stats.runs.iter().map(|run| run.index_bytes).sum();
    let per_record = (report.bytes + index) as f64 / records as f64;
    let bound = 1.1 * (8 + value_bytes + 8) as f64;
    println!("{per_record:.2} bytes a record on disk, index included; 1.1 x (8 + value + 8) is {bound:.2}");
    engine.close()?;
    Ok(())
}
