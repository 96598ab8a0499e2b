//! Events in the order of their time, the newest read first, old ones removed by one operation.
//!
//! `cargo run --release -p kyro-engine --example event_retention`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use kyro_engine::{Batch, Engine, Options, Scan};

const HOUR_MICROS: u64 = 3_600_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path(), Options::default())?;

    // A day of events, one every 10 seconds; the key is the time in microseconds.
    for hour in 0..24 {
        let mut batch = Batch::new();
        for event in 0..360 {
            let time = hour * HOUR_MICROS + event * 10_000_000;
            batch.put(time, format!("hour {hour}, event {event}"));
        }
        engine.write_waiting(batch)?.wait()?;
    }
    engine.flush()?;

    println!("{} events", engine.count(..)?);
    for entry in engine.scan(Scan::all().reverse().limit(3))? {
        let entry = entry?;
        println!("at {} s: {}", entry.key / 1_000_000, String::from_utf8_lossy(&entry.value));
    }

    // Keep the last eight hours. A view from before goes on seeing the whole day.
    let before = engine.view()?;
    let offset = engine.delete_range(0..=16 * HOUR_MICROS - 1)?;
    println!("one operation, offset {offset}: {} events left", engine.count(..)?);
    println!("the view still counts {}", before.count(..)?);
    drop(before);

    let report = engine.compact()?;
    println!("compacted from {} to {} bytes", report.before_bytes, report.after_bytes);
    assert_eq!(report.keys_retained, 8 * 360);
    engine.close()?;
    Ok(())
}
