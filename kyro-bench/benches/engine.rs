//! kyro-engine: get, put, scan, mget over one compacted run. `KYRO_BENCH_RECORDS` chooses its size (1 M), `TMPDIR` the file
//! system. Rivals are in `kyro-bench engine` and `kyro-bench rivals`.
#![expect(clippy::expect_used, reason = "a benchmark that cannot work fails")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kyro_bench::kv::reads::Task;
use kyro_bench::kv::{Contender, Entries, verify};
use kyro_bench::random::Random;
use kyro_engine::Durability;

/// Reads of one iteration.
const READS: usize = 1_000;
/// Entries of a scan, and scans of one iteration.
const SCANNED: usize = 100;
const SCANS: usize = 20;

fn operations(criterion: &mut Criterion) {
    let records = std::env::var("KYRO_BENCH_RECORDS").ok().and_then(|text| text.parse().ok());
    let records: u64 = records.unwrap_or(1_000_000);
    let entries = Entries { seed: 1, value_bytes: 64 };
    let mut keys: Vec<u64> = (0..records).map(|number| entries.key(number)).collect();
    keys.sort_unstable();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("database");
    let store = Contender::Kyro.build_sorted(&path, entries, &keys).expect("a database");
    let mut random = Random::new(1, "asked");
    let numbers: Vec<u64> = (0..READS).map(|_| random.below(records)).collect();
    verify(&*store, entries, numbers.iter().copied()).expect("holds what it was given");
    let hits: Vec<u64> = numbers.iter().map(|&number| entries.key(number)).collect();
    let misses: Vec<u64> = (0..READS as u64).map(|number| entries.key(records + number)).collect();

    let mut group = criterion.benchmark_group(format!("engine, {records} × 64 B"));
    group.sample_size(20).measurement_time(Duration::from_secs(1));
    let mut read = |name: &str, elements: usize, found: u64, task: &mut dyn FnMut() -> Task<'static>| {
        group.throughput(Throughput::Elements(elements as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let answer = store.read(black_box(&mut task())).expect("reads");
                assert_eq!(answer.found, found, "{name}");
            });
        });
    };
    let forever = |keys: &[u64]| -> &'static [u64] { Vec::leak(keys.to_vec()) };
    let (hits, misses) = (forever(&hits), forever(&misses));
    // Away from the last keys, so that no scan ends early.
    let starts: Vec<u64> =
        (0..SCANS).map(|_| keys[random.below(records - SCANNED as u64) as usize]).collect();
    let starts = forever(&starts);
    read("get, hit", READS, READS as u64, &mut || Task::Get(hits));
    read("get, hit, serial", READS, READS as u64, &mut || Task::GetSerial(hits));
    read("get, miss", READS, 0, &mut || Task::Get(misses));
    read("mget of 1,000", READS, READS as u64, &mut || Task::GetMany { keys: hits, at_once: READS });
    let scanned = SCANNED * SCANS;
    read("scan of 100", scanned, scanned as u64, &mut || Task::Scan { from: starts, entries: SCANNED });
    drop(store);

    for (name, durability) in [("never", Durability::Never), ("always", Durability::Always)] {
        let store = Contender::Kyro.open(&path, durability).expect("opens");
        let (mut number, mut value) = (0, Vec::new());
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("put, durability {name}"), |bencher| {
            bencher.iter(|| {
                let key = entries.key(number);
                number += 1;
                entries.fill(key, &mut value);
                store.put(key, &value).expect("puts");
            });
        });
        store.close().expect("closes");
    }
    group.finish();
}

criterion_group!(benches, operations);
criterion_main!(benches);
