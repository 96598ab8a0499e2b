//! Puts by all contenders in all modes: turns that are repeated.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kv::{Contender, Entries, Failure, KeyValue, NotKept, verify};
use crate::progress::Progress;
use crate::report::Excluded;
use crate::spread::Spread;
use crate::wal::raw::{self, Method, Processor};
use crate::wal::results::{Mode, PutsRow, Results};
use crate::wal::run::{Part, Plan, RawRates, WalBenchError, disk_rows, raw_rates};
use crate::wal::writers::{self, Written};

/// Length of values in mode `always`, and elsewhere.
const VALUE_BYTES: [usize; 2] = [16, 64];
const VALUE: usize = 64;
/// Entries of a load that are read back: one in this many.
const SAMPLE: usize = 13;

/// Raw rates before and after a run that differ by this factor or less are those of a steady disk.
const STEADY: f64 = 1.5;

/// A row of the results, before it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    store: Contender,
    mode: Mode,
    writers: usize,
    value_bytes: usize,
}

/// A run of a cell.
#[derive(Clone, Debug)]
struct Run {
    repeat: usize,
    written: Written,
    /// The raw rates just before and just after, where they were measured.
    raw: [RawRates; 2],
}

impl Run {
    /// The raw rate of `way` around this run: the middle of the two, and how many times the greater the smaller is.
    fn raw_rate(&self, way: (Processor, Method)) -> Option<(f64, f64)> {
        let [before, after] = &self.raw;
        let (before, after) = (before.get(&way)?, after.get(&way)?);
        Some((f64::midpoint(*before, *after), before.max(*after) / before.min(*after)))
    }
}

/// One store in one mode: its turn in each repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Turn {
    store: Contender,
    mode: Mode,
    value_bytes: usize,
}

/// Why a turn failed.
enum TurnError {
    Store(&'static str, Failure),
    NotKept(NotKept),
    Bench(WalBenchError),
}

impl From<NotKept> for TurnError {
    fn from(error: NotKept) -> Self {
        Self::NotKept(error)
    }
}

/// All cells, as far as they are measured.
pub(super) struct Cells<'a> {
    plan: &'a Plan,
    dir: &'a Path,
    turns: Vec<Turn>,
    runs: Vec<(Cell, Vec<Run>)>,
    /// How many entries each store acknowledged.
    acknowledged: HashMap<Turn, u64>,
    excluded: Vec<(Contender, String)>,
}

impl<'a> Cells<'a> {
    /// The cells of `plan`, with nothing measured, whose stores will lie in `dir`.
    pub(super) fn new(plan: &'a Plan, dir: &'a Path) -> Self {
        let contenders = || std::iter::once(Contender::Kyro).chain(plan.rivals.iter().copied());
        let mut turns = Vec::new();
        for &part in &plan.parts {
            match part {
                Part::Always => {
                    for value_bytes in VALUE_BYTES {
                        let turn = |store| Turn { store, mode: Mode::Always, value_bytes };
                        turns.extend(contenders().map(turn));
                    }
                }
                // No rival has such a mode.
                Part::Interval => {
                    turns.push(Turn { store: Contender::Kyro, mode: Mode::Interval, value_bytes: VALUE });
                }
                Part::Never => {
                    let turn = |store| Turn { store, mode: Mode::Never, value_bytes: VALUE };
                    turns.extend(contenders().map(turn));
                }
                Part::Transfers | Part::Recovery => {}
            }
        }
        let runs = Vec::new();
        let (acknowledged, excluded) = (HashMap::new(), Vec::new());
        Self { plan, dir, turns, runs, acknowledged, excluded }
    }

    /// Turns of each repeat.
    pub(super) fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Everyone's turn, beginning with another one in each repeat.
    ///
    /// # Errors
    /// Whatever kyro-engine or the disk does wrong. A rival that does is left out from then on.
    pub(super) fn repeat(&mut self, repeat: usize, progress: &mut Progress) -> Result<(), WalBenchError> {
        for index in 0..self.turns.len() {
            let turn = self.turns[(index + repeat) % self.turns.len()];
            let Turn { store, mode, value_bytes } = turn;
            if !self.is_excluded(store) {
                progress.say(&format!(
                    "repeat {}: {}, {}, {value_bytes} bytes",
                    repeat + 1,
                    store.name(),
                    mode.title()
                ));
                let taken = self.take(turn, repeat);
                self.settle(store, taken, progress)?;
            }
            progress.step();
        }
        Ok(())
    }

    /// Opens every store once more and reads back all that it acknowledged in all repeats.
    ///
    /// # Errors
    /// As [`Cells::repeat`].
    pub(super) fn verify_again(&mut self, progress: &mut Progress) -> Result<(), WalBenchError> {
        let mut acknowledged: Vec<(Turn, u64)> = self.acknowledged.clone().into_iter().collect();
        acknowledged.retain(|(turn, _)| !self.is_excluded(turn.store));
        for (turn, end) in acknowledged {
            progress.say(&format!("{}: reading everything back", turn.store.name()));
            let kept = self.open(turn).and_then(|store| {
                verify(&*store, self.entries(turn), 0..end)?;
                store.close().map_err(|error| TurnError::Store("close", error))
            });
            self.settle(turn.store, kept, progress)?;
        }
        Ok(())
    }

    fn is_excluded(&self, store: Contender) -> bool {
        self.excluded.iter().any(|(excluded, _)| *excluded == store)
    }

    /// What is wrong with kyro-engine ends the benchmark; what is wrong with a rival ends its part in it.
    fn settle(
        &mut self,
        store: Contender,
        result: Result<(), TurnError>,
        progress: &Progress,
    ) -> Result<(), WalBenchError> {
        let reason = match result {
            Ok(()) => return Ok(()),
            Err(TurnError::Bench(error)) => return Err(error),
            Err(TurnError::Store(doing, source)) if store == Contender::Kyro => {
                return Err(WalBenchError::Engine { doing, source });
            }
            Err(TurnError::NotKept(error)) if store == Contender::Kyro => return Err(error.into()),
            Err(TurnError::Store(doing, source)) => format!("{doing}: {source}"),
            Err(TurnError::NotKept(error)) => error.to_string(),
        };
        progress.note(&format!("{} is not measured: {reason}", store.name()));
        self.runs.retain(|(cell, _)| cell.store != store);
        self.excluded.push((store, reason));
        Ok(())
    }

    fn take(&mut self, turn: Turn, repeat: usize) -> Result<(), TurnError> {
        if turn.mode == Mode::Never {
            self.load(turn, repeat)?;
        } else {
            self.put(turn, repeat)?;
        }
        // What is still in the page cache is written now, and not while another one is timed.
        raw::write_out(self.dir).map_err(|error| TurnError::Bench(error.into()))
    }

    /// Puts one by one, by one writer and by many, into a store that is kept for the next repeat.
    fn put(&mut self, turn: Turn, repeat: usize) -> Result<(), TurnError> {
        let writers: &[usize] = match (turn.store, turn.mode) {
            (Contender::Kyro, Mode::Always) => &[1, 8, 64],
            _ => &[1, 64],
        };
        let entries = self.entries(turn);
        let start = self.acknowledged.get(&turn).copied().unwrap_or(0);
        let store = self.open(turn)?;
        // The first put after opening may have more to do than the others: kyro-engine clears the mark of a clean close.
        let mut start = writers::put(&*store, entries, start, 1, Duration::ZERO)
            .map_err(|error| TurnError::Store("put", error))?
            .end;
        let raw = || match (turn.store, turn.mode) {
            (Contender::Kyro, Mode::Always) => {
                raw_rates(self.dir, self.plan.length).map_err(TurnError::Bench)
            }
            _ => Ok(BTreeMap::new()),
        };
        let mut measured = Vec::new();
        let mut before = raw()?;
        for &writers in writers {
            let written = writers::put(&*store, entries, start, writers, self.plan.length)
                .map_err(|error| TurnError::Store("put", error))?;
            let after = raw()?;
            verify(&*store, entries, start..written.end)?;
            start = written.end;
            measured.push((writers, Run { repeat, written, raw: [before, after.clone()] }));
            before = after;
        }
        for (writers, run) in measured {
            let Turn { store, mode, value_bytes } = turn;
            self.record(Cell { store, mode, writers, value_bytes }, run);
        }
        store.close().map_err(|error| TurnError::Store("close", error))?;
        self.acknowledged.insert(turn, start);
        Ok(())
    }

    /// Loads batches into a new store.
    fn load(&mut self, turn: Turn, repeat: usize) -> Result<(), TurnError> {
        let Turn { store: contender, mode, value_bytes } = turn;
        let entries = self.entries(turn);
        let store = self.open(turn)?;
        let written = writers::load(&*store, entries, 0, self.plan.length)
            .map_err(|error| TurnError::Store("load", error))?;
        verify(&*store, entries, (0..written.end).rev().step_by(SAMPLE))?;
        store.close().map_err(|error| TurnError::Store("close", error))?;
        let cell = Cell { store: contender, mode, writers: 1, value_bytes };
        self.record(cell, Run { repeat, written, raw: Default::default() });
        std::fs::remove_dir_all(self.place(turn)).map_err(|error| TurnError::Bench(error.into()))
    }

    fn record(&mut self, cell: Cell, run: Run) {
        match self.runs.iter_mut().find(|(known, _)| *known == cell) {
            Some((_, runs)) => runs.push(run),
            None => self.runs.push((cell, vec![run])),
        }
    }

    fn entries(&self, turn: Turn) -> Entries {
        Entries { seed: self.plan.seed, value_bytes: turn.value_bytes }
    }

    fn place(&self, turn: Turn) -> PathBuf {
        self.dir.join(format!("{:?}-{:?}-{}", turn.store, turn.mode, turn.value_bytes))
    }

    fn open(&self, turn: Turn) -> Result<Box<dyn KeyValue>, TurnError> {
        let opened = turn.store.open(&self.place(turn), turn.mode.durability());
        opened.map_err(|error| TurnError::Store("open", error))
    }

    /// Makes rows of everything measured.
    pub(super) fn into_results(mut self, results: &mut Results) {
        let mut raw: BTreeMap<(Processor, Method), Vec<f64>> = BTreeMap::new();
        let all_runs = self.runs.iter().flat_map(|(_, runs)| runs);
        for (way, rate) in all_runs.flat_map(|run| run.raw.iter().flatten()) {
            raw.entry(*way).or_default().push(*rate);
        }
        let title = |(processor, method): (Processor, Method)| method.title().to_owned() + processor.title();
        results.durable_writes.extend(disk_rows(&raw, title));
        // The best by its median, so that a lucky moment of another one does not count.
        let best = |processor: Processor| {
            raw.iter()
                .filter(|((of, _), _)| *of == processor)
                .filter_map(|(&way, rates)| Some((way, Spread::of(rates)?.median)))
                .max_by(|one, other| one.1.total_cmp(&other.1))
                .map(|(way, _)| way)
        };
        let (alone, awake) = (best(Processor::MaySleep), best(Processor::KeptAwake));
        results.best_raw = alone.map(title);
        results.best_raw_awake = awake.map(title);
        // Turns begin with another one in each repeat: the rows stay in the order of the turns.
        self.runs.sort_by_key(|(cell, _)| {
            self.turns.iter().position(|turn| {
                (turn.store, turn.mode, turn.value_bytes) == (cell.store, cell.mode, cell.value_bytes)
            })
        });
        let rows = self.runs.iter().filter_map(|(cell, runs)| {
            // Like with like: one writer waits as the raw loop does, many keep the processor awake.
            self.row(*cell, runs, if cell.writers == 1 { alone } else { awake })
        });
        results.puts.extend(rows);
        results.excluded.extend(
            self.excluded
                .iter()
                .map(|(store, reason)| Excluded { name: store.name().to_owned(), reason: reason.clone() }),
        );
    }

    fn row(&self, cell: Cell, runs: &[Run], best: Option<(Processor, Method)>) -> Option<PutsRow> {
        // Where the disk changed its rate meanwhile, there is nothing to compare with: unless it always did.
        let drift = |run: &Run| run.raw_rate(best?).map(|(_, drift)| drift);
        let is_steady = |run: &&Run| drift(run).is_some_and(|drift| drift <= STEADY);
        let steady = runs.iter().filter(is_steady).count();
        let raw = |run: &Run| {
            let (rate, drift) = run.raw_rate(best?)?;
            (steady == 0 || drift <= STEADY).then_some(rate)
        };
        let all = |figure: &dyn Fn(&Run) -> Option<f64>| {
            Spread::of(&runs.iter().filter_map(figure).collect::<Vec<f64>>())
        };
        let ours = self.runs.iter().find(|(ours, _)| *ours == Cell { store: Contender::Kyro, ..cell });
        let of_kyro = |run: &Run| {
            let ours = ours.filter(|_| cell.store != Contender::Kyro)?;
            let ours = ours.1.iter().find(|ours| ours.repeat == run.repeat)?;
            Some(ours.written.puts_per_second / run.written.puts_per_second)
        };
        Some(PutsRow {
            store: cell.store.name().to_owned(),
            keeps_mode: cell.mode != Mode::Always || cell.store.syncs(),
            mode: cell.mode,
            writers: cell.writers,
            value_bytes: cell.value_bytes,
            puts: all(&|run| Some(run.written.puts_per_second))?,
            mean_group: all(&|run| Some(run.written.groups?.mean)),
            groups: all(&|run| Some(run.written.groups?.per_second)),
            sync_us: all(&|run| run.written.groups?.sync_us),
            puts_over_raw: all(&|run| Some(run.written.puts_per_second / raw(run)?)),
            groups_over_raw: all(&|run| Some(run.written.groups?.per_second / raw(run)?)),
            steady_runs: runs.iter().any(|run| drift(run).is_some()).then_some(steady),
            kyro_over_this: all(&of_kyro),
            terms: cell.store.terms(),
        })
    }
}
