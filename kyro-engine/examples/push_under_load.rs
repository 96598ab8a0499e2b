//! How long reads take while the whole content is pushed, again and again, beside a trickle of writes.
//!
//! `cargo run --release -p kyro-engine --example push_under_load [KEYS] [PUSHES]`

#![expect(clippy::print_stdout, reason = "an example says what it measured")]

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kyro_engine::{BulkBuild, BulkOptions, Engine, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let keys = arguments.next().transpose()?.unwrap_or(1_000_000);
    let pushes = arguments.next().transpose()?.unwrap_or(10);
    let dir = tempfile::tempdir()?;
    for name in ["even", "odd"] {
        let mut build = BulkBuild::create(dir.path().join(name), BulkOptions::default())?;
        for key in 0..keys {
            build.push(key * 97, name.as_bytes())?;
        }
        build.finish()?;
    }
    let engine = Engine::open(dir.path().join("db"), Options::default())?;
    engine.push(dir.path().join("even"), "even")?;
    engine.warm_up()?;

    let quiet = timed_reads(&engine, keys, &AtomicBool::new(true), Duration::from_secs(2));
    let done = AtomicBool::new(false);
    let (busy, waits) = std::thread::scope(|scope| -> Result<_, Box<dyn Error>> {
        let reader = scope.spawn(|| timed_reads(&engine, keys, &done, Duration::ZERO));
        let writer = scope.spawn(|| -> Result<(), kyro_engine::WriteError> {
            while !done.load(Ordering::Relaxed) {
                engine.put(1, "a trickle")?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let mut waits = Vec::new();
        for number in 0..pushes {
            let name = if number % 2 == 0 { "odd" } else { "even" };
            let report = engine.push(dir.path().join(name), name)?;
            waits.push(report.writers_waited);
            for version in engine.versions().iter().filter(|version| !version.is_current) {
                engine.prune_version(version.id)?;
            }
        }
        done.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| "the writer panicked")??;
        Ok((reader.join().map_err(|_| "the reader panicked")?, waits))
    })?;
    println!("{keys} keys, {pushes} pushes");
    for (what, times) in [("without pushes", quiet), ("while pushing", busy)] {
        let at = |thousandths: usize| times[(times.len() - 1) * thousandths / 1000];
        let (p50, p99, p999, most) = (at(500), at(990), at(999), at(1000));
        println!("{what}: {} reads, p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, max {most:?}", times.len());
    }
    println!("writers waited for a push at most {:?}", waits.iter().max());
    engine.close()?;
    Ok(())
}

/// Reads keys that are in every version, each timed; sorted. Until it is `done` and `least` has passed.
fn timed_reads(engine: &Engine, keys: u64, done: &AtomicBool, least: Duration) -> Vec<Duration> {
    let started = Instant::now();
    let mut times = Vec::new();
    let mut state = 1_u64;
    while !done.load(Ordering::Relaxed) || started.elapsed() < least {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = (state >> 33) % keys * 97;
        let start = Instant::now();
        let found = engine.get_with(key, |value| value.len() >= 3);
        times.push(start.elapsed());
        assert!(matches!(found, Ok(Some(true))), "key {key} is gone");
    }
    times.sort_unstable();
    times
}
