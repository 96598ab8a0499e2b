//! Measures the index over generated columns, against the floor: one dependent access to a known position.
//!
//! `cargo run --release -p kyro-rmi --example measure -- [millions of keys] [names…]`. `PAGES=small` measures
//! with 4 KiB pages instead of huge ones, `WINDOW=24` fixes the window. Answers are verified before any timing.
#![expect(clippy::expect_used, reason = "a measurement that cannot be made has no result")]
#![expect(clippy::print_stdout, reason = "a program shows its result")]

mod columns;

use kyro_rmi::{AlignedBytes, BuildOptions, Column, Rmi};
use std::hint::black_box;
use std::time::Instant;
use zerocopy::FromBytes;

/// Lookups in a round of one kind, and rounds of all the kinds, interleaved. No place is looked up twice.
const LOOKUPS: usize = 1 << 11;
const ROUNDS: usize = 300;

/// A column of keys, or the bytes of an index, in pages of the wanted size.
struct Pages(memmap2::MmapMut);

impl Pages {
    fn holding(bytes: &[u8]) -> Self {
        let huge = std::env::var("PAGES").as_deref() != Ok("small");
        let length = bytes.len().next_multiple_of(2 << 20).max(2 << 20);
        let mut map = memmap2::MmapMut::map_anon(length).expect("memory");
        map.advise(if huge { memmap2::Advice::HugePage } else { memmap2::Advice::NoHugePage })
            .expect("madvise");
        map[..bytes.len()].copy_from_slice(bytes);
        Self(map)
    }
}

struct Index(Pages, usize);
impl AsRef<[u8]> for Index {
    fn as_ref(&self) -> &[u8] {
        &self.0.0[..self.1]
    }
}

/// The keys in pages.
fn as_keys(pages: &Pages, count: usize) -> &[u64] {
    <[u64]>::ref_from_bytes(&pages.0[..count * 8]).expect("pages are aligned")
}

fn nanos(work: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_nanos() as f64 / LOOKUPS as f64
}

/// How long this thread has been on a processor, in nanoseconds: a busy machine does not count against a build.
fn on_processor() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// The lower quartile: on a busy machine the upper half of the times is other people's.
fn quartile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 4]
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let millions: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10);
    let names: Vec<String> = arguments.collect();
    println!(
        "{:<12} {:>6} {:>6} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6} {:>6} | {:>7} {:>6} {:>6} {:>6} {:>6} | {:>6} {:>6} {:>4} {:>5} {:>4} {:>4}",
        "column",
        "floor",
        "hit",
        "miss",
        "std",
        "ratio",
        "f.apt",
        "apart",
        "batch",
        "b.miss",
        "%keys",
        "trained",
        "M/s",
        "further",
        "fences",
        "cells",
        "outl",
        "W",
        "steps",
        "e50",
        "e99"
    );
    for (name, make) in columns::ALL {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        measure(name, &make((millions * 1_000_000).max(50_000)));
    }
}

#[expect(clippy::too_many_lines, reason = "one table row, column by column")]
fn measure(name: &str, generated: &[u64]) {
    let bytes: Vec<u8> = generated.iter().flat_map(|key| key.to_le_bytes()).collect();
    let pages = Pages::holding(&bytes);
    drop(bytes);
    let keys = as_keys(&pages, generated.len());
    let mut options = BuildOptions::default();
    options.window = std::env::var("WINDOW").ok().and_then(|text| text.parse().ok());
    let before = on_processor();
    let built: Rmi<AlignedBytes> = Rmi::build(keys, &options).expect("sorted");
    let build_time = on_processor() - before;
    built.verify(keys).expect("verified by the build already");
    let verify_time = on_processor() - before - build_time;
    let stats = built.stats();
    let column = Column { keys: keys.len() as u64, ..Column::default() };
    let encoded = built.encode(&column).expect("same column");
    let length = encoded.len();
    let index = Rmi::open(Index(Pages::holding(&encoded), length), &column).expect("just encoded");
    drop(built);
    let level = std::env::var("LEVEL").unwrap_or_default();
    let wanted = kyro_simd::Searcher::available().find(|searcher| searcher.level().to_string() == level);
    let index = index.with_searcher(wanted.unwrap_or_default());

    let mut random = columns::Random(7);
    let places: Vec<u32> = (0..LOOKUPS * ROUNDS).map(|_| random.below(keys.len() as u64) as u32).collect();
    let hits: Vec<u64> = places.iter().map(|&place| keys[place as usize]).collect();
    let misses: Vec<u64> = (0..LOOKUPS * ROUNDS)
        .map(|_| {
            let place = random.below(keys.len() as u64 - 1) as usize;
            keys[place] + random.below((keys[place + 1] - keys[place]).max(2))
        })
        .collect();
    for (&key, &place) in hits.iter().zip(&places) {
        assert_eq!(index.find(keys, key), Some(place as usize));
    }
    for &key in &misses {
        assert_eq!(index.lower_bound(keys, key), keys.partition_point(|&other| other < key));
    }

    let zero = black_box(0usize);
    let mut times: [Vec<f64>; 8] = Default::default();
    let mut positions = vec![0usize; 32];
    let mut finds = vec![None; 32];
    for round in 0..ROUNDS {
        // Each kind goes to other places than the kind before it, so that none finds the other's keys in cache.
        let slice = |kind: usize| {
            let round = (round + kind * 3) % ROUNDS;
            round * LOOKUPS..(round + 1) * LOOKUPS
        };
        times[0].push(nanos(|| {
            places[slice(0)].iter().fold(0, |last, &place| keys[(place as usize) + (last & zero)] as usize)
        }));
        times[1].push(nanos(|| {
            hits[slice(1)]
                .iter()
                .fold(0, |last, &key| index.find(keys, key + (last & zero) as u64).unwrap_or(0))
        }));
        times[2].push(nanos(|| {
            misses[slice(2)].iter().fold(0, |last, &key| index.lower_bound(keys, key + (last & zero) as u64))
        }));
        times[3].push(
            8.0 * nanos(|| {
                hits[slice(3)].iter().take(LOOKUPS / 8).fold(0, |last, &key| {
                    let key = key + (last & zero) as u64;
                    keys.partition_point(|&other| other < key)
                })
            }),
        );
        times[4].push(nanos(|| {
            places[slice(4)].iter().fold(0, |sum, &place| sum + keys[place as usize] as usize % 8)
        }));
        times[5].push(nanos(|| {
            hits[slice(5)].iter().fold(0, |sum, &key| sum + index.find(keys, key).unwrap_or(0))
        }));
        times[6].push(nanos(|| {
            hits[slice(6)].chunks(32).fold(0, |sum, group| {
                index.find_batch(keys, group, &mut finds);
                sum + finds[0].unwrap_or(0)
            })
        }));
        times[7].push(nanos(|| {
            misses[slice(7)].chunks(32).fold(0, |sum, group| {
                index.lower_bound_batch(keys, group, &mut positions);
                sum + positions[0]
            })
        }));
    }
    let ratio = quartile(times[1].clone()) / quartile(times[0].clone());
    let [floor, hit, miss, std, f_apart, apart, batch, batch_miss] = times.map(quartile);
    let share = 100.0 * stats.bytes as f64 / (8.0 * keys.len() as f64);
    let rate = |nanos: u64| keys.len() as f64 * 1e3 / nanos.max(1) as f64;
    let of_keys = |count: u64| 100.0 * count as f64 / keys.len() as f64;
    println!(
        "{name:<12} {floor:6.1} {hit:6.1} {miss:6.1} {std:6.0} {:5.2} {f_apart:6.1} {apart:6.1} {batch:6.1} {batch_miss:6.1} | {share:7.3} {:6.1} {:6.1} {:6.2} {:6.2} | {:6} {:6} {:4} {:5} {:4} {:4}",
        ratio,
        rate(build_time.saturating_sub(verify_time)),
        rate(build_time),
        of_keys(stats.further_keys),
        of_keys(stats.fallback_keys),
        stats.root_cells,
        stats.outliers,
        stats.max_window,
        stats.max_steps,
        stats.epsilon_p50,
        stats.epsilon_p99,
    );
}
