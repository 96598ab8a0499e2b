//! Loading in random order until nothing is left to do, store by store.

use std::path::Path;
use std::time::Instant;

use kyro_engine::Durability;

use crate::engine::measure::Measure;
use crate::engine::results::{Results, Size};
use crate::engine::run::{EngineBenchError, Plan};
use crate::engine::space;
use crate::kv::{self, Contender, Entries, Failure};
use crate::progress::Progress;
use crate::random::Random;
use crate::report::Excluded;

/// Entries of a batch.
const BATCH: u64 = 1_000;
/// Records that are read back.
const SAMPLE: u64 = 20_000;

/// Loads every store `plan.loads` times, in turn.
pub(super) fn measure(
    plan: &Plan,
    size: Size,
    place: &Path,
    results: &mut Results,
    progress: &mut Progress,
) -> Result<(), EngineBenchError> {
    let mut contenders = vec![Contender::Kyro];
    contenders.extend(plan.rivals.iter().copied().filter(|&rival| {
        let fits = rival != Contender::Sled || size.records <= plan.most_of_sled;
        if !fits {
            let reason = format!("{size}, random order: takes minutes to load; --full has it");
            results.excluded.push(Excluded { name: rival.name().to_owned(), reason });
        }
        fits
    }));
    let mut loads: Vec<(Contender, Vec<Load>)> =
        contenders.into_iter().map(|one| (one, Vec::new())).collect();
    for repeat in 0..plan.loads {
        for (contender, loads) in &mut loads {
            progress.say(&format!("{size}, random order, load {}: {}", repeat + 1, contender.name()));
            let dir = place.join(contender.name());
            // What is still in the page cache would be written while this is timed.
            rustix::fs::sync();
            match load(*contender, plan.seed, size, &dir) {
                Ok(load) => loads.push(load),
                Err(source) if *contender == Contender::Kyro => {
                    return Err(EngineBenchError::Engine { doing: "loading in random order", source });
                }
                Err(error) => {
                    let reason = format!("{size}, random order: {error}");
                    results.excluded.push(Excluded { name: contender.name().to_owned(), reason });
                }
            }
            space::remove(&dir)?;
            progress.step();
        }
    }
    for (contender, loads) in loads {
        let mut note = |measure, figure: &dyn Fn(&Load) -> Option<f64>| {
            results.note(size, measure, contender.name(), loads.iter().filter_map(figure).collect());
        };
        note(Measure::LoadRandom, &|load| Some(size.records as f64 / load.seconds / 1e3));
        let data = (size.records * (8 + size.value_bytes as u64)) as f64;
        note(Measure::Amplification, &|load| Some(load.written? as f64 / data));
        note(Measure::DiskRandom, &|load| Some(load.disk as f64 / size.records as f64));
        note(Measure::DiskRuns, &|load| Some(load.runs? as f64 / size.records as f64));
    }
    Ok(())
}

/// One store loaded once.
struct Load {
    seconds: f64,
    written: Option<u64>,
    disk: u64,
    /// Of the engine: its runs and indexes.
    runs: Option<u64>,
}

fn load(contender: Contender, seed: u64, size: Size, dir: &Path) -> Result<Load, Failure> {
    let entries = Entries { seed, value_bytes: size.value_bytes };
    let store = contender.open(dir, Durability::Never)?;
    let before = space::written();
    let started = Instant::now();
    let batches = (0..size.records).step_by(BATCH as usize);
    store.load(entries, &mut batches.map(|start| start..(start + BATCH).min(size.records)))?;
    store.settle()?;
    let seconds = started.elapsed().as_secs_f64();
    // What the page cache still holds is written in the end too.
    rustix::fs::sync();
    let written = before.zip(space::written()).map(|(before, after)| after - before);
    let runs = store.engine().map(|_| space::on_disk(&dir.join("runs"))).transpose()?;
    let mut random = Random::new(seed, "sample");
    kv::verify(&*store, entries, (0..SAMPLE.min(size.records)).map(|_| random.below(size.records)))?;
    store.close()?;
    // At rest: stores give back at a close what they had made ready for more.
    let disk = space::on_disk(dir)?;
    Ok(Load { seconds, written, disk, runs })
}
