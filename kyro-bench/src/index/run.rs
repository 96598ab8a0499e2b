//! The benchmark itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use kyro_rmi::{Column, Rmi};
use kyro_snapshot::Mapping;

use crate::column::KeyColumn;
use crate::dataset::{DataSet, sosd};
use crate::index::build::{Built, Contender, Floor, Rival};
use crate::index::lookups::Lookups;
use crate::index::pattern::{Pattern, Timed};
use crate::index::results::{BuildFigures, ContenderResult, KyroFigures, Results, SetResult};
use crate::pages::Pages;
use crate::progress::Progress;
use crate::report::{Excluded, Report};
use crate::rival::kyro::Kyro;
use crate::spread::Spread;
use crate::store::WrongAnswer;

/// How often building and opening are repeated.
const BUILD_REPEATS: usize = 3;
const OPEN_REPEATS: usize = 9;
/// Lookups that decide between the parameters of a rival.
const SAMPLE: usize = 100_000;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The key sets.
    pub sources: Vec<Source>,
    /// The sizes; a file with fewer keys is used whole.
    pub sizes: Vec<usize>,
    /// Who takes part beside kyro-rmi.
    pub rivals: Vec<Contender>,
    /// Lookups of each timed run.
    pub lookups: usize,
    /// Timed runs of each contender in each pattern. None: everything is built and verified, nothing timed.
    pub repeats: usize,
    /// Seed of data and lookups.
    pub seed: u64,
    /// The pages of the key column. That malloc gives the same is the caller's part: see [`crate::pages`].
    pub pages: Pages,
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A generator.
    Generated(DataSet),
    /// A SOSD file.
    File(PathBuf),
}

/// Why the benchmark stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A file of keys cannot be used.
    #[error("keys cannot be read")]
    Keys(#[from] sosd::SosdError),
    /// kyro-rmi refused the keys of a set.
    #[error("kyro-rmi cannot be built over {set}")]
    Build {
        /// The set.
        set: String,
        /// What it said.
        source: kyro_rmi::BuildError,
    },
    /// kyro-rmi answered wrongly: nothing of it is worth timing.
    #[error("a wrong answer on {set}")]
    Wrong {
        /// The set.
        set: String,
        /// Which.
        source: WrongAnswer,
    },
    /// A timed run of kyro-rmi answered wrongly, though every answer was right before.
    #[error("the {pattern} answers of {name} on {set} sum up to {sum}, right is {expected}")]
    WrongSum {
        /// The set.
        set: String,
        /// Who.
        name: String,
        /// Which run.
        pattern: &'static str,
        /// The sum of its answers.
        sum: u64,
        /// The sum of the right ones.
        expected: u64,
    },
    /// The encoded index does not open.
    #[error("the index over {set} does not open again: {reason}")]
    Open {
        /// The set.
        set: String,
        /// What was said.
        reason: String,
    },
    /// Memory or a temporary file cannot be had.
    #[error("memory or a temporary file cannot be had")]
    Io(#[from] io::Error),
}

/// Runs the plan and reports.
///
/// # Errors
/// [`BenchError`]: keys that cannot be used, and every wrong answer of kyro-rmi. A rival that fails or answers wrongly is
/// listed in the report instead.
pub fn run(plan: &Plan) -> Result<Report<Results>, BenchError> {
    let steps = plan.sources.len() * plan.sizes.len() * (1 + plan.rivals.len() + plan.repeats);
    let mut progress = Progress::new(steps as u64);
    let mut report = Report::start("Index benchmark", plan.pages);
    let mut results =
        Results { lookups: plan.lookups, repeats: plan.repeats, sets: Vec::new(), ratios: Vec::new() };
    for &size in &plan.sizes {
        for source in &plan.sources {
            let (set, is_smooth, keys) = load(source, size, plan.seed, &mut progress)?;
            let column = KeyColumn::new(&keys, plan.pages)?;
            drop(keys);
            let lookups = Lookups::new(column.keys(), (plan.lookups * plan.repeats).max(SAMPLE), plan.seed);
            let bench = SetBench { plan, set, is_smooth, keys: column.keys(), lookups };
            results.sets.push(bench.run(&mut progress, &mut report)?);
        }
    }
    progress.finish();
    results.note_ratios();
    Ok(report.with(results))
}

fn load(
    source: &Source,
    size: usize,
    seed: u64,
    progress: &mut Progress,
) -> Result<(String, bool, Vec<u64>), BenchError> {
    match source {
        Source::Generated(set) => {
            progress.say(&format!("{}: making {size} keys", set.name()));
            Ok((set.name().to_owned(), set.is_smooth(), set.generate(size, seed)))
        }
        Source::File(path) => {
            progress.say(&format!("{}: reading at most {size} keys", path.display()));
            let loaded = sosd::read(path, Some(size))?;
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            if loaded.duplicates > 0 {
                progress.note(&format!("{name}: {} repeated keys were dropped", loaded.duplicates));
            }
            Ok((name, false, loaded.keys))
        }
    }
}

/// The benchmark over one key set.
struct SetBench<'a> {
    plan: &'a Plan,
    set: String,
    is_smooth: bool,
    keys: &'a [u64],
    lookups: Lookups,
}

impl SetBench<'_> {
    fn run(&self, progress: &mut Progress, report: &mut Report<()>) -> Result<SetResult, BenchError> {
        let set = &self.set;
        progress.say(&format!("{set}: kyro-rmi"));
        let (kyro, kyro_figures) = self.build_kyro()?;
        for wanted in [&self.lookups.hits, &self.lookups.misses] {
            Built::verify(&kyro, self.keys, wanted)
                .map_err(|source| BenchError::Wrong { set: set.clone(), source })?;
        }
        progress.step();

        let kyro_speed = kyro_figures.build.with_verification.median;
        let mut contenders: Vec<(Box<dyn Built + '_>, ContenderResult)> = Vec::new();
        let kyro_bytes = kyro.index().stats().bytes;
        contenders.push(result("kyro-rmi".to_owned(), Box::new(kyro), kyro_bytes, Some(kyro_speed)));
        let mut excluded = Vec::new();
        for &rival in &self.plan.rivals {
            progress.say(&format!("{set}: {rival:?}"));
            match self.build_rival(rival) {
                Ok(Rival { built, seconds }) => {
                    let bytes = built.index_bytes();
                    let speed = (bytes > 0).then(|| self.keys.len() as f64 / seconds / 1e6);
                    contenders.push(result(built.name(), built, bytes, speed));
                }
                Err(reason) => {
                    progress.note(&format!("{set}: {rival:?} is not timed: {reason}"));
                    excluded.push(Excluded { name: format!("{rival:?}"), reason });
                }
            }
            progress.step();
        }
        report.note_memory();
        let floor = self.time_all(&mut contenders, progress)?;
        Ok(SetResult {
            set: set.clone(),
            is_smooth: self.is_smooth,
            keys: self.keys.len(),
            floor,
            kyro: kyro_figures,
            contenders: contenders.into_iter().map(|(_, result)| result).collect(),
            excluded,
        })
    }

    fn build_rival(&self, rival: Contender) -> Result<Rival<'_>, String> {
        let sample = self.lookups.part(0, (self.lookups.hits.len() / SAMPLE).max(1));
        let built = rival.build(self.keys, sample)?;
        built.verify(self.keys, self.lookups.all())?;
        Ok(built)
    }

    /// Every repeat times everyone in every pattern, starting with another one each time.
    fn time_all(
        &self,
        contenders: &mut [(Box<dyn Built + '_>, ContenderResult)],
        progress: &mut Progress,
    ) -> Result<BTreeMap<Pattern, Spread>, BenchError> {
        let floor = Floor(self.keys);
        let mut floor_runs: BTreeMap<Pattern, Vec<f64>> = BTreeMap::new();
        let mut runs: Vec<BTreeMap<Pattern, Vec<f64>>> = vec![BTreeMap::new(); contenders.len()];
        for repeat in 0..self.plan.repeats {
            progress.say(&format!("{}: timing, repeat {}", self.set, repeat + 1));
            let part = self.lookups.part(repeat, self.plan.repeats);
            for pattern in Pattern::ALL {
                let timed = floor.time(pattern, part);
                floor_runs.entry(pattern).or_default().push(self.nanos("floor", pattern, timed)?);
                for turn in 0..contenders.len() {
                    let index = (turn + repeat) % contenders.len();
                    let (built, result) = &contenders[index];
                    if pattern.needs_order() && !built.knows_order() {
                        continue;
                    }
                    let nanos = self.nanos(&result.name, pattern, built.time(pattern, part))?;
                    runs[index].entry(pattern).or_default().push(nanos);
                }
            }
            progress.step();
        }
        for ((_, result), runs) in contenders.iter_mut().zip(&runs) {
            result.figures = spreads(runs);
        }
        Ok(spreads(&floor_runs))
    }

    /// Nanoseconds a lookup, if the answers sum up to the right ones.
    fn nanos(&self, name: &str, pattern: Pattern, timed: Timed) -> Result<f64, BenchError> {
        let Timed { elapsed, sum, expected } = timed;
        if sum != expected {
            let (set, name, pattern) = (self.set.clone(), name.to_owned(), pattern.title());
            return Err(BenchError::WrongSum { set, name, pattern, sum, expected });
        }
        let lookups = self.lookups.hits.len() / self.plan.repeats.max(1);
        Ok(elapsed.as_nanos() as f64 / lookups as f64)
    }

    fn build_kyro(&self) -> Result<(Kyro<'_>, KyroFigures), BenchError> {
        let build_error = |source| BenchError::Build { set: self.set.clone(), source };
        let mut before = Vec::new();
        let mut with = Vec::new();
        let mut kyro = None;
        for _ in 0..BUILD_REPEATS {
            drop(kyro.take());
            let started = Instant::now();
            let built = Kyro::build(self.keys).map_err(build_error)?;
            let whole = started.elapsed().as_secs_f64();
            let started = Instant::now();
            built.index().verify(self.keys).map_err(|error| self.open_error(&error))?;
            let verification = started.elapsed().as_secs_f64();
            let speed = |seconds: f64| self.keys.len() as f64 / seconds.max(1e-9) / 1e6;
            with.push(speed(whole));
            before.push(speed(whole - verification));
            kyro = Some(built);
        }
        let kyro = match kyro {
            Some(kyro) => kyro,
            None => Kyro::build(self.keys).map_err(build_error)?,
        };
        let none = Spread { median: 0.0, least: 0.0, most: 0.0 };
        let build = BuildFigures {
            before_verification: Spread::of(&before).unwrap_or(none),
            with_verification: Spread::of(&with).unwrap_or(none),
        };
        let open_us = self.open(kyro.index())?;
        let stats = kyro.index().stats();
        let figures = KyroFigures {
            bits_per_key: stats.bits_per_key(),
            percent_of_keys: stats.bytes as f64 / (8.0 * self.keys.len() as f64) * 100.0,
            root: format!("{:?}", stats.root),
            max_window: stats.max_window,
            max_steps: stats.max_steps,
            epsilon: [stats.epsilon_p50, stats.epsilon_p99, stats.epsilon_max],
            leaves: stats.leaves,
            fallback_percent: stats.fallback_share() * 100.0,
            build,
            open_us,
        };
        Ok((kyro, figures))
    }

    /// Encodes the index into a file, then maps and opens that: microseconds.
    fn open(&self, index: &Rmi) -> Result<Spread, BenchError> {
        let column = Column { uuid: *b"kyro-bench index", checksum: 1, keys: self.keys.len() as u64 };
        let encoded = index.encode(&column).map_err(|error| self.open_error(&error))?;
        let path = std::env::temp_dir().join(format!("kyro-bench-{}.index", std::process::id()));
        std::fs::write(&path, encoded)?;
        let mut runs = Vec::new();
        let opened = (0..OPEN_REPEATS).try_for_each(|_| {
            let started = Instant::now();
            let mapped = Mapping::map(&File::open(&path)?)?;
            let opened = Rmi::open(mapped, &column).map_err(|error| self.open_error(&error))?;
            runs.push(started.elapsed().as_nanos() as f64 / 1e3);
            let first = self.keys[0];
            if opened.find(self.keys, first) == Some(0) {
                return Ok(());
            }
            Err(BenchError::Open { set: self.set.clone(), reason: format!("it does not find {first}") })
        });
        std::fs::remove_file(&path)?;
        opened?;
        Spread::of(&runs).ok_or_else(|| self.open_error(&"never opened"))
    }

    fn open_error(&self, reason: &dyn ToString) -> BenchError {
        BenchError::Open { set: self.set.clone(), reason: reason.to_string() }
    }
}

fn result<'a>(
    name: String,
    built: Box<dyn Built + 'a>,
    index_bytes: u64,
    build_mkeys: Option<f64>,
) -> (Box<dyn Built + 'a>, ContenderResult) {
    (built, ContenderResult { name, index_bytes, build_mkeys, figures: BTreeMap::new() })
}

fn spreads(runs: &BTreeMap<Pattern, Vec<f64>>) -> BTreeMap<Pattern, Spread> {
    runs.iter().filter_map(|(&pattern, runs)| Some((pattern, Spread::of(runs)?))).collect()
}
