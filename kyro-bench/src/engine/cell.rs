//! One size: all stores loaded and open at once, and their reads in turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hdrhistogram::Histogram;
use kyro_engine::{Durability, Engine, Options};

use crate::engine::asked::{Asked, Expected, Records};
use crate::engine::floor::Floor;
use crate::engine::measure::Measure;
use crate::engine::results::{ALL_IN_DELTA, DELTA, FLOOR, FLOOR_HUGE, KYRO, RUNS, Results, SHARED, VIEW};
use crate::engine::run::{EngineBenchError, Plan};
use crate::engine::space;
use crate::kv::kyro::{Kyro, Way, batch};
use crate::kv::reads::{Answer, Task};
use crate::kv::{self, Contender, Failure, KeyValue};
use crate::latency::histogram;
use crate::pages::Pages;
use crate::progress::Progress;
use crate::random::Random;
use crate::report::Excluded;

/// Records whose every byte is compared before a store is timed.
const SAMPLE: u64 = 20_000;
/// Scans of a timed run: one for so many gets.
const GETS_A_SCAN: usize = 40;
/// Entries of a scan.
const SCANNED: usize = 100;
/// Keys handed over at once.
const MANY: usize = 1_000;
/// Most records of a size at which the engine is also measured with a full delta and with several runs, unless asked.
const MOST_IN_OTHER_STATES: u64 = 1_000_000;
/// Longest value of the same.
const WIDEST_IN_OTHER_STATES: usize = 64;
/// Runs of the engine with several.
const MANY_RUNS: u64 = 4;
/// Entries of a batch when such a state is made.
const BATCH: u64 = 1_000;

/// A store that is open and loaded.
struct Open {
    name: String,
    dir: PathBuf,
    contender: Contender,
    store: Box<dyn KeyValue>,
    /// True for the engine in another state than that of one compacted run: less of it is timed.
    other_state: bool,
}

/// All stores of a size.
pub(super) struct Cell<'a> {
    plan: &'a Plan,
    records: Records,
    place: PathBuf,
    stores: Vec<Open>,
    floors: Vec<(&'static str, Floor)>,
    figures: BTreeMap<(Measure, String), Vec<f64>>,
    latencies: BTreeMap<String, Histogram<u64>>,
    excluded: Vec<Excluded>,
}

impl<'a> Cell<'a> {
    /// Loads every store.
    pub(super) fn load(
        plan: &'a Plan,
        records: Records,
        place: &Path,
        progress: &mut Progress,
    ) -> Result<Self, EngineBenchError> {
        let mut cell = Self {
            plan,
            records,
            place: place.to_owned(),
            stores: Vec::new(),
            floors: Vec::new(),
            figures: BTreeMap::new(),
            latencies: BTreeMap::new(),
            excluded: Vec::new(),
        };
        for contender in std::iter::once(Contender::Kyro).chain(plan.rivals.iter().copied()) {
            progress.say(&format!("{}: loading {}", cell.records.size, contender.name()));
            if contender == Contender::Sled && cell.records.size.records > plan.most_of_sled {
                let reason = format!("{}: takes minutes to load; --full has it", cell.records.size);
                cell.excluded.push(Excluded { name: contender.name().to_owned(), reason });
                continue;
            }
            match cell.load_one(contender) {
                Ok(()) => {}
                Err(error) => cell.fail(contender, "loading", error)?,
            }
            // What is still in the page cache would be written while the next is timed.
            rustix::fs::sync();
        }
        cell.other_states(progress)?;
        Ok(cell)
    }

    fn load_one(&mut self, contender: Contender) -> Result<(), Failure> {
        let dir = self.place.join(contender.name());
        let started = Instant::now();
        let store = contender.build_sorted(&dir, self.records.entries, &self.records.keys)?;
        let seconds = started.elapsed().as_secs_f64();
        let size = self.records.size;
        self.note(Measure::LoadSorted, contender.name(), size.records as f64 / seconds / 1e3);
        self.note(Measure::DiskSorted, contender.name(), space::on_disk(&dir)? as f64 / size.records as f64);
        let mut random = Random::new(self.plan.seed, "sample");
        let sample = (0..SAMPLE.min(size.records)).map(|_| random.below(size.records));
        kv::verify(&*store, self.records.entries, sample)?;
        let name = contender.name().to_owned();
        self.stores.push(Open { name, dir, contender, store, other_state: false });
        Ok(())
    }

    /// The engine with a full delta, with several runs, and the floors.
    fn other_states(&mut self, progress: &mut Progress) -> Result<(), EngineBenchError> {
        let size = self.records.size;
        let engine = |doing| move |source| EngineBenchError::Engine { doing, source };
        let ours = self.stores.iter().find(|open| open.contender == Contender::Kyro);
        if let Some(ours) = ours {
            let floor = |pages| {
                let engine = ours.store.engine().ok_or("no engine")?;
                Floor::of(engine, &ours.dir, pages)
            };
            for (name, pages) in [(FLOOR, Pages::Small), (FLOOR_HUGE, Pages::Huge)] {
                self.floors.push((name, floor(pages).map_err(engine("finding its floor"))?));
            }
        }
        let small = size.records <= MOST_IN_OTHER_STATES && size.value_bytes <= WIDEST_IN_OTHER_STATES;
        if !small && !self.plan.all_states {
            return Ok(());
        }
        progress.say(&format!("{size}: loading the engine with full deltas, and with {MANY_RUNS} runs"));
        for name in [DELTA, ALL_IN_DELTA, RUNS] {
            let dir = self.place.join(name.replace([' ', ','], "-"));
            let store = match name {
                DELTA => self.with_delta(&dir),
                ALL_IN_DELTA => self.all_in_delta(&dir),
                _ => self.with_runs(&dir),
            };
            let store: Box<dyn KeyValue> =
                Box::new(Kyro::from(store.map_err(engine("making another state of it"))?));
            let mut random = Random::new(self.plan.seed, "sample");
            let sample = (0..SAMPLE.min(size.records)).map(|_| random.below(size.records));
            kv::verify(&*store, self.records.entries, sample)?;
            let contender = Contender::Kyro;
            self.stores.push(Open { name: name.to_owned(), dir, contender, store, other_state: true });
        }
        Ok(())
    }

    /// All records in one run, as many other entries in the delta.
    fn with_delta(&self, dir: &Path) -> Result<Engine, Failure> {
        let (entries, records) = (self.records.entries, self.records.size.records);
        let engine = Engine::open(dir, unattended())?;
        put(&engine, entries, 0..records, 1)?;
        engine.compact()?;
        put(&engine, entries, records..2 * records, 1)?;
        let stats = engine.stats();
        if (stats.runs.len(), stats.delta_entries) != (1, records) {
            return Err(format!(
                "{} runs and {} entries in the delta",
                stats.runs.len(),
                stats.delta_entries
            )
            .into());
        }
        Ok(engine)
    }

    /// All records in the delta, in random order.
    fn all_in_delta(&self, dir: &Path) -> Result<Engine, Failure> {
        let records = self.records.size.records;
        let engine = Engine::open(dir, unattended())?;
        put(&engine, self.records.entries, 0..records, 1)?;
        let stats = engine.stats();
        if (stats.runs.len(), stats.delta_entries) == (0, records) {
            Ok(engine)
        } else {
            Err(format!("{} entries in the delta", stats.delta_entries).into())
        }
    }

    /// The records in four runs by turns.
    fn with_runs(&self, dir: &Path) -> Result<Engine, Failure> {
        let records = self.records.size.records;
        let engine = Engine::open(dir, unattended())?;
        for first in 0..MANY_RUNS {
            put(&engine, self.records.entries, first..records, MANY_RUNS as usize)?;
            engine.flush()?;
        }
        let runs = engine.stats().runs.len();
        if runs as u64 == MANY_RUNS { Ok(engine) } else { Err(format!("{runs} runs").into()) }
    }

    /// Everyone's turn at everything.
    pub(super) fn repeat(&mut self, repeat: usize, progress: &mut Progress) -> Result<(), EngineBenchError> {
        let size = self.records.size;
        let mut random = Random::new(self.plan.seed.wrapping_add(repeat as u64), "asked");
        let gets = self.plan.gets;
        let uniform = self.records.uniform(gets, &mut random);
        let zipf = self.records.zipf(gets, &mut random);
        let absent = self.records.absent(gets, &mut random);
        let halves = [self.records.uniform(gets, &mut random), self.records.uniform(gets, &mut random)];
        let scans = self.records.uniform(gets.div_ceil(GETS_A_SCAN), &mut random);
        let scanned = self.records.scanned(&scans.positions, SCANNED);
        let all = self.records.scanned(&[0], usize::MAX);

        for (name, floor) in &self.floors {
            for (measure, asked) in [(Measure::HitSerial, &uniform), (Measure::ZipfSerial, &zipf)] {
                let answer = floor.time(&asked.positions);
                check(&answer, asked.expected, name)?;
                let figure = answer.nanos_each(gets);
                self.figures.entry((measure, (*name).to_owned())).or_default().push(figure);
            }
        }
        for (name, way) in [(SHARED, Way::Shared), (VIEW, Way::OneView)] {
            let ours = self.stores.iter().find(|open| open.name == KYRO);
            let Some(engine) = ours.and_then(|ours| ours.store.engine()) else { continue };
            let turns = [
                (Measure::HitSerial, &uniform, Task::GetSerial(&uniform.keys)),
                (Measure::Hit, &uniform, Task::Get(&uniform.keys)),
                (Measure::ZipfSerial, &zipf, Task::GetSerial(&zipf.keys)),
                (Measure::Zipf, &zipf, Task::Get(&zipf.keys)),
                (Measure::Miss, &absent, Task::Get(&absent.keys)),
            ];
            let engine = engine.clone();
            for (measure, asked, mut task) in turns {
                let failed = |source| EngineBenchError::Engine { doing: "reading in another way", source };
                let answer = way.read(&engine, &mut task).map_err(failed)?;
                check(&answer, asked.expected, name)?;
                self.note(measure, name, answer.nanos_each(gets));
            }
        }
        let mut failed: Vec<(usize, Failure)> = Vec::new();
        let mut found: Vec<(Measure, String, f64)> = Vec::new();
        for (index, open) in self.stores.iter().enumerate() {
            progress.say(&format!("{size}, repeat {}: {}", repeat + 1, open.name));
            let read = |task: &mut Task<'_>, expected: Expected| -> Result<Answer, Failure> {
                let answer = open.store.read(task)?;
                check(&answer, expected, &open.name)?;
                Ok(answer)
            };
            let histogram = self.latencies.entry(open.name.clone()).or_insert_with(histogram);
            let mut reads = || -> Result<(), Failure> {
                let mut note = |measure, figure| found.push((measure, open.name.clone(), figure));
                let get = |asked: &Asked| read(&mut Task::Get(&asked.keys), asked.expected);
                let get_serial = |asked: &Asked| read(&mut Task::GetSerial(&asked.keys), asked.expected);
                note(Measure::HitSerial, get_serial(&uniform)?.nanos_each(gets));
                let one = get(&uniform)?;
                note(Measure::Hit, one.nanos_each(gets));
                note(Measure::Miss, get(&absent)?.nanos_each(gets));
                if open.name == DELTA {
                    // Scans would find what it holds beside the records.
                    return Ok(());
                }
                if !open.other_state {
                    note(Measure::ZipfSerial, get_serial(&zipf)?.nanos_each(gets));
                    note(Measure::Zipf, get(&zipf)?.nanos_each(gets));
                    read(&mut Task::GetTimed(&uniform.keys, histogram), uniform.expected)?;
                    let together = two_threads(&*open.store, &halves)?;
                    note(Measure::TwoThreads, 2.0 * gets as f64 / together / 1e6);
                    note(Measure::Speedup, 2.0 * one.elapsed.as_secs_f64() / together);
                }
                let many = read(&mut Task::GetMany { keys: &uniform.keys, at_once: MANY }, uniform.expected)?;
                note(Measure::Many, many.nanos_each(gets));
                let scan = read(&mut Task::Scan { from: &scans.keys, entries: SCANNED }, scanned)?;
                note(Measure::Scan100, scans.keys.len() as f64 / scan.elapsed.as_secs_f64() / 1e3);
                let whole = read(&mut Task::ScanAll, all)?;
                note(Measure::ScanAll, size.records as f64 / whole.elapsed.as_secs_f64() / 1e6);
                Ok(())
            };
            if let Err(error) = reads() {
                failed.push((index, error));
            }
        }
        for (measure, name, figure) in found {
            self.figures.entry((measure, name)).or_default().push(figure);
        }
        for (index, error) in failed.into_iter().rev() {
            let open = self.stores.remove(index);
            self.fail(open.contender, "reading", error)?;
        }
        Ok(())
    }

    /// Closes all, opens the compacted ones again, and hands over the figures.
    pub(super) fn finish(
        mut self,
        results: &mut Results,
        progress: &mut Progress,
    ) -> Result<(), EngineBenchError> {
        let size = self.records.size;
        results.index_bytes.extend(self.floors.first().map(|(_, floor)| (size, floor.index_bytes() as u64)));
        self.floors.clear();
        for open in std::mem::take(&mut self.stores) {
            progress.say(&format!("{size}: reopening {}", open.name));
            let Open { name, dir, contender, store, other_state } = open;
            let reopened = || -> Result<Vec<f64>, Failure> {
                store.close()?;
                let mut milliseconds = Vec::new();
                for number in 0..self.plan.repeats as u64 * u64::from(!other_state) {
                    let started = Instant::now();
                    let store = contender.open(&dir, Durability::Never)?;
                    let key = self.records.entries.key(number);
                    let found = store.get(key)?.is_some();
                    milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
                    if !found {
                        return Err(format!("entry {number} is gone after reopening").into());
                    }
                    store.close()?;
                }
                Ok(milliseconds)
            };
            match reopened() {
                Ok(figures) => {
                    self.figures.insert((Measure::Reopen, name), figures);
                }
                Err(error) => self.fail(contender, "reopening", error)?,
            }
            space::remove(&dir)?;
        }
        for (name, histogram) in &self.latencies {
            for (measure, quantile) in
                [(Measure::HitP50, 0.5), (Measure::HitP99, 0.99), (Measure::HitP999, 0.999)]
            {
                if !histogram.is_empty() {
                    results.note(size, measure, name, vec![histogram.value_at_quantile(quantile) as f64]);
                }
            }
        }
        for ((measure, name), repeats) in self.figures {
            results.note(size, measure, &name, repeats);
        }
        results.excluded.append(&mut self.excluded);
        Ok(())
    }

    fn note(&mut self, measure: Measure, name: &str, figure: f64) {
        self.figures.entry((measure, name.to_owned())).or_default().push(figure);
    }

    /// A rival that fails is out; the engine ends the benchmark.
    fn fail(
        &mut self,
        contender: Contender,
        doing: &'static str,
        source: Failure,
    ) -> Result<(), EngineBenchError> {
        if contender == Contender::Kyro {
            return Err(EngineBenchError::Engine { doing, source });
        }
        let reason = format!("{}, {doing}: {source}", self.records.size);
        self.excluded.push(Excluded { name: contender.name().to_owned(), reason });
        Ok(())
    }
}

/// Options by which nothing happens that was not asked for.
fn unattended() -> Options {
    let mut options = Options::default();
    options.durability = Durability::Never;
    options.auto_flush = false;
    options.delta_bytes = 64 << 30;
    options.max_runs = 64;
    options
}

/// Puts every `step`th entry of `numbers`.
fn put(
    engine: &Engine,
    entries: kv::Entries,
    numbers: std::ops::Range<u64>,
    step: usize,
) -> Result<(), Failure> {
    let mut last = None;
    let mut value = Vec::new();
    let numbers: Vec<u64> = numbers.step_by(step).collect();
    for numbers in numbers.chunks(BATCH as usize) {
        let mut writes = batch(entries, 0..0);
        for &number in numbers {
            let key = entries.key(number);
            entries.fill(key, &mut value);
            writes.put(key, &value);
        }
        last = Some(engine.write_waiting(writes)?);
    }
    if let Some(last) = last {
        last.wait()?;
    }
    Ok(())
}

/// Seconds until both threads have got their keys.
fn two_threads(store: &dyn KeyValue, halves: &[Asked; 2]) -> Result<f64, Failure> {
    let started = Instant::now();
    let answers = std::thread::scope(|scope| {
        let threads = halves.each_ref().map(|half| scope.spawn(|| store.read(&mut Task::Get(&half.keys))));
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err("a reader panicked".into())))
    });
    let seconds = started.elapsed().as_secs_f64();
    for (answer, half) in answers.into_iter().zip(halves) {
        check(&answer?, half.expected, "one of two threads")?;
    }
    Ok(seconds)
}

/// Compares what a timed run read.
pub(super) fn check(answer: &Answer, expected: Expected, who: &str) -> Result<(), WrongSum> {
    let found = Expected { found: answer.found, sum: answer.sum };
    if found == expected { Ok(()) } else { Err(WrongSum { who: who.to_owned(), found, expected }) }
}

/// A timed run read something else than is there.
#[derive(Debug, thiserror::Error)]
#[error("{who} read {} entries with the sum {:#x}, right are {} with {:#x}", found.found, found.sum, expected.found, expected.sum)]
pub struct WrongSum {
    who: String,
    found: Expected,
    expected: Expected,
}
