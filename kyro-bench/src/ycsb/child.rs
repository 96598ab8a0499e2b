//! The side of a store: a process that loads it, runs what it is told on standard input, and answers on standard output, a
//! line of JSON each.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::engine::space;
use crate::kv::{Contender, Entries, Failure, KeyValue};
use crate::latency::histogram;
use crate::random::Random;
use crate::ycsb::values::{SHORTEST, Values};
use crate::ycsb::workload::{Mode, Step, Workload};
use crate::zipf::Zipf;

/// The hidden subcommand of kyro-bench that is this process.
pub const COMMAND: &str = "rival-child";

/// Theta of Zipf's law.
const THETA: f64 = 0.99;
/// Most entries of a scan.
const SCAN: u64 = 100;
/// Entries of a batch while loading.
const BATCH: u64 = 1_000;
/// Records that are compared before the runs and after them.
const SAMPLE: u64 = 20_000;
/// How long the process may go on working after a run until the next store has its turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is done with which store.
#[derive(Clone, Debug, clap::Args)]
pub struct ChildPlan {
    /// The store.
    #[arg(long, value_enum)]
    pub store: Contender,
    /// Its directory, which is made.
    #[arg(long)]
    pub dir: PathBuf,
    /// What its acknowledgements mean.
    #[arg(long, value_enum)]
    pub durability: Mode,
    /// Records at the start.
    #[arg(long)]
    pub records: u64,
    /// Bytes of each value.
    #[arg(long)]
    pub value_bytes: usize,
    /// Seed of keys, values and choices.
    #[arg(long)]
    pub seed: u64,
}

/// A run that is asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) workload: Workload,
    pub(super) repeat: u64,
    pub(super) threads: u64,
    pub(super) operations: u64,
    pub(super) milliseconds: u64,
}

/// The store is loaded and verified.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub(super) seconds: f64,
    pub(super) written: Option<u64>,
    pub(super) disk: u64,
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ran {
    pub(super) operations: u64,
    pub(super) seconds: f64,
    /// Nanoseconds and how often.
    pub(super) reads: Vec<(u64, u64)>,
    pub(super) writes: Vec<(u64, u64)>,
}

/// All runs are over, and the store holds what it acknowledged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Finished {
    /// Bytes of keys and values written, loading included.
    pub(super) data: u64,
    /// Bytes that the process had written to the disk.
    pub(super) written: Option<u64>,
    pub(super) records: u64,
    pub(super) disk: u64,
    pub(super) resident: Option<u64>,
    pub(super) anonymous: Option<u64>,
    pub(super) peak: Option<u64>,
}

/// A line to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Loaded(Loaded),
    Ran(Ran),
    Finished(Finished),
    Failed(String),
}

/// Loads the store and runs what comes on `input` until it ends.
///
/// # Errors
/// What the store says, or what is wrong with what it answered; the parent is told too.
pub fn serve(plan: &ChildPlan, input: impl BufRead, mut output: impl Write) -> Result<(), Failure> {
    let served = work(plan, input, &mut output);
    if let Err(error) = &served {
        say(&mut output, &Reply::Failed(error.to_string()))?;
    }
    served
}

fn work(plan: &ChildPlan, input: impl BufRead, output: &mut impl Write) -> Result<(), Failure> {
    if plan.value_bytes < SHORTEST || plan.records == 0 {
        return Err(format!("values of {SHORTEST} bytes at least, and a record at least").into());
    }
    let written_before = space::written();
    let written = || space::written().zip(written_before).map(|(after, before)| after - before);
    let mut book = Book::new(plan);
    let seconds = book.load(plan)?;
    let disk = space::on_disk(&plan.dir)?;
    let loaded = Loaded { seconds, written: written(), disk };
    let store = plan.store.open(&plan.dir, plan.durability.durability())?;
    book.verify(&*store, plan.seed)?;
    say(output, &Reply::Loaded(loaded))?;
    for line in input.lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let ran = book.run(&*store, order)?;
        rest();
        say(output, &Reply::Ran(ran))?;
    }
    let (resident, anonymous, peak) = memory();
    store.close()?;
    rustix::fs::sync();
    let (written, disk) = (written(), space::on_disk(&plan.dir)?);
    let store = plan.store.open(&plan.dir, plan.durability.durability())?;
    book.verify(&*store, plan.seed)?;
    store.close()?;
    let records = plan.records + book.inserted.len() as u64;
    let data = (plan.records + book.writes) * (8 + plan.value_bytes as u64);
    say(output, &Reply::Finished(Finished { data, written, records, disk, resident, anonymous, peak }))
}

fn say(output: &mut impl Write, reply: &Reply) -> Result<(), Failure> {
    writeln!(output, "{}", serde_json::to_string(reply)?)?;
    Ok(output.flush()?)
}

/// Waits until this process has done what the last run left behind.
fn rest() {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let before = processor_time();
        std::thread::sleep(Duration::from_millis(20));
        if processor_time().saturating_sub(before) < Duration::from_millis(2) {
            break;
        }
    }
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What a store must hold.
struct Book {
    entries: Entries,
    values: Values,
    records: u64,
    zipf: Zipf,
    /// By number: the version that was written last.
    versions: Vec<AtomicU32>,
    /// Numbers of records that were inserted by runs.
    inserted: Vec<u64>,
    next: u64,
    /// Updates and inserts, loading not counted.
    writes: u64,
    /// More than one thread has written: of versions on their way at the same time, any may be the last.
    shared: bool,
}

impl Book {
    fn new(plan: &ChildPlan) -> Self {
        let entries = Entries { seed: plan.seed, value_bytes: plan.value_bytes };
        Self {
            entries,
            values: Values::new(entries),
            records: plan.records,
            zipf: Zipf::new(plan.records, THETA),
            versions: (0..plan.records).map(|_| AtomicU32::new(0)).collect(),
            inserted: Vec::new(),
            next: plan.records,
            writes: 0,
            shared: false,
        }
    }

    /// Loads the records, and gives the seconds until nothing of it was left to do.
    fn load(&self, plan: &ChildPlan) -> Result<f64, Failure> {
        let started = Instant::now();
        let store = plan.store.open(&plan.dir, Mode::Never.durability())?;
        let batches = (0..self.records).step_by(BATCH as usize);
        store.load(self.entries, &mut batches.map(|start| start..(start + BATCH).min(self.records)))?;
        store.settle()?;
        let seconds = started.elapsed().as_secs_f64();
        store.close()?;
        // What the page cache still holds is written in the end too.
        rustix::fs::sync();
        Ok(seconds)
    }

    /// Compares a sample of the records, and all that was inserted, with what was acknowledged.
    fn verify(&self, store: &dyn KeyValue, seed: u64) -> Result<(), Failure> {
        let mut random = Random::new(seed, "sample");
        // The first ones are those that Zipf's law updates most.
        let first = 0..self.records.min(SAMPLE / 2);
        let any = (0..SAMPLE / 2).map(|_| random.below(self.records));
        let inserted = self.inserted.iter().copied();
        first.chain(any).chain(inserted).try_for_each(|number| self.check(store, number, true))
    }

    fn run(&mut self, store: &dyn KeyValue, order: Order) -> Result<Ran, Failure> {
        let threads = order.threads.max(1);
        let base = self.next;
        self.shared |= threads > 1 && !order.workload.only_reads();
        let book = &*self;
        let started = Instant::now();
        let done: Vec<Result<Done, Failure>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || book.work(store, order, (thread, base), started)))
                .collect();
            let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined.map(|done| done.unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
        });
        let seconds = started.elapsed().as_secs_f64();
        let (mut operations, mut reads, mut writes) = (0, histogram(), histogram());
        for (thread, done) in (0..).zip(done) {
            let done = done?;
            operations += done.operations;
            reads += &done.reads;
            writes += &done.writes;
            self.writes += done.writes.len();
            self.inserted.extend((0..done.inserted).map(|index| base + index * threads + thread));
            self.next = self.next.max(base + done.inserted * threads);
        }
        Ok(Ran { operations, seconds, reads: pairs(&reads), writes: pairs(&writes) })
    }

    /// One thread's share of a run. It inserts every `threads`th number from `base` on, and reads of the inserted ones only its
    /// own: all that it reads is there.
    fn work(
        &self,
        store: &dyn KeyValue,
        order: Order,
        (thread, base): (u64, u64),
        started: Instant,
    ) -> Result<Done, Failure> {
        let threads = order.threads.max(1);
        let stream = format!("{:?} {} {thread}", order.workload, order.repeat);
        let mut random = Random::new(self.entries.seed, &stream);
        let mut done = Done { operations: 0, inserted: 0, reads: histogram(), writes: histogram() };
        let share = (order.operations / threads).max(1);
        let until = started + Duration::from_millis(order.milliseconds);
        let mut value = Vec::with_capacity(self.entries.value_bytes);
        let mut before = Instant::now();
        while done.operations < share && before < until {
            let step = order.workload.step(&mut random);
            match step {
                Step::Read => self.read(store, self.zipf.draw(&mut random))?,
                Step::ReadNewest => {
                    let rank = self.zipf.draw(&mut random);
                    match done.inserted.checked_sub(rank + 1) {
                        Some(index) => self.read(store, base + index * threads + thread)?,
                        None => self.read(store, self.records - 1 - (rank - done.inserted))?,
                    }
                }
                Step::Update => self.update(store, self.zipf.draw(&mut random), &mut value)?,
                Step::ReadThenUpdate => {
                    let number = self.zipf.draw(&mut random);
                    self.read(store, number)?;
                    self.update(store, number, &mut value)?;
                }
                Step::Insert => {
                    let key = self.entries.key(base + done.inserted * threads + thread);
                    self.values.fill(key, 0, &mut value);
                    store.put(key, &value)?;
                    done.inserted += 1;
                }
                Step::Scan => {
                    let from = self.entries.key(self.zipf.draw(&mut random));
                    self.scan(store, from, 1 + random.below(SCAN))?;
                }
            }
            let now = Instant::now();
            let took = u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX);
            match step {
                Step::Read | Step::ReadNewest | Step::Scan => done.reads.saturating_record(took),
                Step::Update | Step::Insert | Step::ReadThenUpdate => done.writes.saturating_record(took),
            }
            before = now;
            done.operations += 1;
        }
        Ok(done)
    }

    /// Reads a record beside writes and checks what comes.
    fn read(&self, store: &dyn KeyValue, number: u64) -> Result<(), Failure> {
        self.check(store, number, false)
    }

    /// Reads a record and checks what comes. `at_rest`: no write is on its way.
    fn check(&self, store: &dyn KeyValue, number: u64, at_rest: bool) -> Result<(), Failure> {
        let key = self.entries.key(number);
        let mut found = Ok(0);
        if !store.get_with(key, &mut |value| found = self.values.version(key, value))? {
            return Err(format!("record {number} (key {key}) is not there").into());
        }
        let version = found?;
        let last = self.last_version(number);
        if version > last || version < last && (!self.shared || at_rest && version == 0) {
            return Err(
                format!("record {number} (key {key}) has version {version}, and {last} is the last").into()
            );
        }
        Ok(())
    }

    fn last_version(&self, number: u64) -> u64 {
        self.versions.get(number as usize).map_or(0, |last| u64::from(last.load(Ordering::Relaxed)))
    }

    fn update(&self, store: &dyn KeyValue, number: u64, value: &mut Vec<u8>) -> Result<(), Failure> {
        let key = self.entries.key(number);
        let version = self.versions[number as usize].fetch_add(1, Ordering::Relaxed) + 1;
        self.values.fill(key, u64::from(version), value);
        store.put(key, value)
    }

    /// Scans and checks: from a key that is there, in order, each value one of its key's.
    fn scan(&self, store: &dyn KeyValue, from: u64, limit: u64) -> Result<(), Failure> {
        let (mut count, mut last, mut wrong) = (0_u64, None, None);
        store.scan_with(from, limit as usize, &mut |key, value| {
            if count == 0 && key != from || last.is_some_and(|last| key <= last) {
                wrong = Some(format!("key {key} is out of place in a scan from {from}"));
            }
            if let Err(error) = self.values.version(key, value) {
                wrong = Some(error);
            }
            count += 1;
            last = Some(key);
        })?;
        if let Some(wrong) = wrong {
            return Err(wrong.into());
        }
        // Only a scan from the last keys of all may end early, and there are as many of those as it gave.
        let is_end =
            || (0..self.records).filter(|&number| self.entries.key(number) >= from).count() as u64 <= count;
        if count > limit || count < limit && !is_end() {
            return Err(format!("a scan of {limit} from {from} gave {count} entries").into());
        }
        Ok(())
    }
}

/// Nanoseconds and how often each was seen.
fn pairs(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let recorded = histogram.iter_recorded();
    recorded.map(|step| (step.value_iterated_to(), step.count_since_last_iteration())).collect()
}

struct Done {
    operations: u64,
    inserted: u64,
    reads: Histogram<u64>,
    writes: Histogram<u64>,
}

/// Resident memory, how much of it is no file, and the most it was, in bytes.
fn memory() -> (Option<u64>, Option<u64>, Option<u64>) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    (field("VmRSS:"), field("RssAnon:"), field("VmHWM:"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Range;
    use std::sync::Mutex;

    use super::*;
    use crate::kv::reads::{Answer, Task};

    const RECORDS: u64 = 500;

    /// A store in memory that does one thing wrong.
    struct Liar {
        kept: Mutex<BTreeMap<u64, Vec<u8>>>,
        way: &'static str,
    }

    impl Liar {
        fn new(book: &Book, way: &'static str) -> Self {
            let liar = Self { kept: Mutex::default(), way: "" };
            liar.load(book.entries, &mut std::iter::once(0..RECORDS)).unwrap();
            Self { way, ..liar }
        }
    }

    impl KeyValue for Liar {
        fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
            let mut kept = self.kept.lock().unwrap();
            let forgets = match self.way {
                "updates" => kept.contains_key(&key),
                "inserts" => !kept.contains_key(&key),
                _ => false,
            };
            if !forgets {
                kept.insert(key, value.to_vec());
            }
            Ok(())
        }

        fn load(
            &self,
            entries: Entries,
            batches: &mut dyn Iterator<Item = Range<u64>>,
        ) -> Result<(), Failure> {
            let mut value = Vec::new();
            for key in batches.flatten().map(|number| entries.key(number)) {
                entries.fill(key, &mut value);
                self.put(key, &value)?;
            }
            Ok(())
        }

        fn load_sorted(&self, _: Entries, _: &[u64]) -> Result<(), Failure> {
            Err("not asked for".into())
        }

        fn settle(&self) -> Result<(), Failure> {
            Ok(())
        }

        fn read(&self, _: &mut Task<'_>) -> Result<Answer, Failure> {
            Err("not asked for".into())
        }

        fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure> {
            Ok(self.get(key)?.map(|value| each(&value)).is_some())
        }

        fn scan_with(
            &self,
            from: u64,
            limit: usize,
            each: &mut dyn FnMut(u64, &[u8]),
        ) -> Result<(), Failure> {
            let (skip, limit) = match self.way {
                "scan starts late" => (1, limit),
                "scan ends early" => (0, limit / 2),
                _ => (0, limit),
            };
            let kept = self.kept.lock().unwrap();
            kept.range(from..).skip(skip).take(limit).for_each(|(&key, value)| each(key, value));
            Ok(())
        }

        fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
            let mut value = self.kept.lock().unwrap().get(&key).cloned();
            if let Some(value) = value.as_mut().filter(|_| self.way == "bytes") {
                value[3] ^= 1;
            }
            Ok(value)
        }

        fn close(self: Box<Self>) -> Result<(), Failure> {
            Ok(())
        }
    }

    /// Runs every workload over a store that lies in this way, and compares at the end.
    fn found(way: &'static str, threads: u64) -> Result<u64, String> {
        let plan = ChildPlan {
            store: Contender::Kyro,
            dir: PathBuf::new(),
            durability: Mode::Never,
            records: RECORDS,
            value_bytes: 32,
            seed: 9,
        };
        let mut book = Book::new(&plan);
        let store = Liar::new(&book, way);
        let mut operations = 0;
        for workload in [Workload::A, Workload::B, Workload::C, Workload::D, Workload::E, Workload::F] {
            let order = Order { workload, repeat: 0, threads, operations: 2_000, milliseconds: 60_000 };
            operations += book.run(&store, order).map_err(|error| error.to_string())?.operations;
        }
        book.verify(&store, plan.seed).map_err(|error| error.to_string())?;
        Ok(operations)
    }

    #[test]
    fn an_honest_store_passes_with_one_thread_and_with_many() {
        assert_eq!(found("", 1), Ok(12_000));
        assert_eq!(found("", 4), Ok(12_000));
    }

    #[test]
    fn every_lie_is_found() {
        for (way, what) in [
            ("updates", "is the last"),
            ("inserts", "is not there"),
            ("bytes", "none of its versions"),
            ("scan starts late", "out of place"),
            ("scan ends early", "entries"),
        ] {
            for threads in [1, 4] {
                let error = found(way, threads).unwrap_err();
                assert!(error.contains(what), "{way}, {threads} threads: {error}");
            }
        }
    }
}
