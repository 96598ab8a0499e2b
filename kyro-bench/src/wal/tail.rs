//! A database that was stopped uncleanly, with a tail in its log: made, and opened, by processes of their own that are
//! killed. This is what those processes do.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use kyro_engine::{Durability, Engine, Options};
use serde::{Deserialize, Serialize};

use crate::kv::kyro::{self, Kyro};
use crate::kv::{Entries, Failure, KeyValue, verify};
use crate::wal::writers::BATCH;

/// Of the stored entries, a quick verification reads one in this many.
const SAMPLE: usize = 997;

/// The database: its first entries in runs, the ones behind them in the log only.
#[derive(Clone, Debug, clap::Args)]
pub struct TailedDatabase {
    /// Where it is.
    #[arg(long)]
    pub dir: PathBuf,
    /// Entries in runs.
    #[arg(long)]
    pub stored: u64,
    /// Entries in the log alone.
    #[arg(long)]
    pub tail: u64,
    /// Length of every value.
    #[arg(long)]
    pub value_bytes: usize,
    /// Seed of keys and values.
    #[arg(long)]
    pub seed: u64,
}

/// What a process did, in the line that it prints.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Opened {
    /// How long `Engine::open` took, in seconds.
    pub seconds: f64,
    /// How long the first get then took, in seconds.
    pub first_get_seconds: f64,
    /// Entries that recovery took from the log.
    pub replayed: u64,
}

impl TailedDatabase {
    /// The arguments that say the same on the command line.
    pub fn arguments(&self) -> Vec<OsString> {
        let pair = |name: &str, value: OsString| [OsString::from(name), value];
        [
            pair("--dir", self.dir.clone().into()),
            pair("--stored", self.stored.to_string().into()),
            pair("--tail", self.tail.to_string().into()),
            pair("--value-bytes", self.value_bytes.to_string().into()),
            pair("--seed", self.seed.to_string().into()),
        ]
        .concat()
    }

    /// Bytes of the batches in the tail, without the log's frame headers.
    pub fn tail_bytes(&self) -> u64 {
        let bytes = |entries: u64| match entries {
            0 => 0,
            _ => kyro::batch(self.entries(), 0..entries).bytes() as u64,
        };
        self.tail / BATCH * bytes(BATCH) + bytes(self.tail % BATCH)
    }

    fn entries(&self) -> Entries {
        Entries { seed: self.seed, value_bytes: self.value_bytes }
    }

    fn tail_numbers(&self) -> Range<u64> {
        self.stored..self.stored + self.tail
    }

    /// Keeps the tail where it is: in the log and in memory.
    fn open_unflushed(&self) -> Result<Engine, Failure> {
        let mut options = Options::default();
        options.durability = Durability::Never;
        options.auto_flush = false;
        options.delta_bytes = u64::MAX / 8;
        Ok(Engine::open(&self.dir, options)?)
    }

    /// Makes the database, and leaves it open, its log synced.
    ///
    /// # Errors
    /// What the engine says.
    pub fn fill(&self) -> Result<Engine, Failure> {
        let mut options = Options::default();
        options.durability = Durability::Never;
        let engine = Engine::open(&self.dir, options)?;
        Kyro::from(engine.clone()).load(self.entries(), &mut batches(0..self.stored))?;
        engine.compact()?;
        engine.close()?;
        drop(engine);

        let engine = self.open_unflushed()?;
        Kyro::from(engine.clone()).load(self.entries(), &mut batches(self.tail_numbers()))?;
        engine.sync()?;
        Ok(engine)
    }

    /// Opens the database, times that, and then reads back its whole tail and all of its stored entries, or some.
    ///
    /// # Errors
    /// What the engine says; that an entry is not there, or that the log was not what was replayed.
    pub fn open(&self, all: bool) -> Result<(Engine, Opened), Failure> {
        let started = Instant::now();
        let engine = self.open_unflushed()?;
        let seconds = started.elapsed().as_secs_f64();
        let first = self.entries().key(0);
        let started = Instant::now();
        engine.get(first)?;
        let first_get_seconds = started.elapsed().as_secs_f64();

        let replayed = engine.stats().recovery.operations;
        if replayed != self.tail {
            return Err(format!("{replayed} entries came from the log, there were {}", self.tail).into());
        }
        let kyro = Kyro::from(engine.clone());
        verify(&kyro, self.entries(), self.tail_numbers())?;
        verify(&kyro, self.entries(), (0..self.stored).step_by(if all { 1 } else { SAMPLE }))?;
        Ok((engine, Opened { seconds, first_get_seconds, replayed }))
    }
}

fn batches(numbers: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = numbers.end;
    numbers.step_by(BATCH as usize).map(move |start| start..(start + BATCH).min(end))
}

/// Prints `line` as JSON, and waits to be killed with `engine` open. When nobody is left to do that, ends without closing
/// it.
///
/// # Errors
/// When nothing can be printed.
pub fn await_kill(engine: Engine, line: &impl Serialize) -> io::Result<()> {
    // Closing it would be a clean stop.
    std::mem::forget(engine);
    let mut out = io::stdout();
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")?;
    out.flush()?;
    // Whoever started this holds the other end: it closes when that process is gone.
    io::stdin().read_to_end(&mut Vec::new())?;
    std::process::exit(1)
}
