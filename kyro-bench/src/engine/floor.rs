//! The floor under a get of the engine: what index, key and value cost at least.
//!
//! The run and index files of the very database that is measured are mapped a second time. For each key the place of
//! its entry is known beforehand, and a chain of three accesses is timed, each of which waits for the one before: eight
//! bytes of the index file, as far into it as the entry is into the run (the record that an index of that size must
//! look at); the key; the first eight bytes of the value. The next chain waits for the value. No search, no checks, no
//! reference counts: nothing that finds a key by an index of this size and reads its value can do with less, short of
//! the index being small enough to stay in a faster cache, and then the first access is as fast here.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use kyro_engine::Engine;
use kyro_snapshot::{Mapping, Run};

use crate::kv::Failure;
use crate::kv::reads::{Answer, first_word};
use crate::pages::Pages;

/// The columns of one run, ready to be touched.
#[derive(Debug)]
pub struct Floor {
    run: Run<Mapping>,
    index: Mapping,
    values_at: usize,
    width: usize,
}

impl Floor {
    /// Over the one run of `engine`, whose directory is `dir`: mapped as files are (4 KiB pages), or copied to huge pages.
    ///
    /// # Errors
    /// When there is not exactly one run with values of one width, or its files cannot be read.
    pub fn of(engine: &Engine, dir: &Path, pages: Pages) -> Result<Self, Failure> {
        let stats = engine.stats();
        let [run] = &stats.runs[..] else {
            return Err(format!("a floor stands on one run, and there are {}", stats.runs.len()).into());
        };
        let open = |extension: &str| -> io::Result<Mapping> {
            let file = File::open(dir.join("runs").join(format!("{:016x}.{extension}", run.number)))?;
            let mapped = Mapping::map(&file)?;
            match pages {
                Pages::Small => Ok(mapped),
                Pages::Huge => Mapping::copy_to_huge_pages(mapped.as_ref()),
            }
        };
        let (run, index) = (Run::open(open("run")?)?, open("idx")?);
        // Every page comes in.
        run.verify(&mut |_, _| ())?;
        black_box(index.as_ref().iter().step_by(64).fold(0, |sum: u8, &byte| sum.wrapping_add(byte)));
        let first = run.value(0)?.ok_or("the first entry is a tombstone")?;
        let last = run.value(run.len() - 1)?.ok_or("the last entry is a tombstone")?;
        let width = first.len();
        if last.end - first.start != width * run.len() {
            return Err("the values have several widths, or are not in one column".into());
        }
        Ok(Self { values_at: first.start, width, run, index })
    }

    /// Bytes of the index file: the first of the three columns.
    pub fn index_bytes(&self) -> usize {
        self.index.as_ref().len()
    }

    /// Runs the chain for the entries at `positions`.
    ///
    /// # Panics
    /// When a position is not below the number of entries.
    #[inline(never)]
    pub fn time(&self, positions: &[u32]) -> Answer {
        let keys = self.run.keys();
        let index = self.index.as_ref();
        let values = self.run.slice(self.values_at..self.values_at + self.width * keys.len());
        let words = (index.len() / 8 - 1) as u64;
        // Fixed point: the share of the run that lies before the entry, of the index.
        let step = (words << 32) / keys.len() as u64;
        let zero = black_box(0);
        let mut last = 0_u64;
        let mut sum = 0_u64;
        let started = Instant::now();
        for &position in positions {
            let record = ((u64::from(position) * step) >> 32) as usize ^ (last & zero) as usize;
            let record = first_word(&index[8 * record..]);
            let key = keys[position as usize ^ (record & zero) as usize];
            let at = (position as usize ^ (key & zero) as usize) * self.width;
            last = first_word(&values[at..at + self.width]);
            sum = sum.wrapping_add(last);
        }
        Answer { elapsed: started.elapsed(), found: positions.len() as u64, sum }
    }
}

/// What it costs to read the clock twice, which every timed get includes: the least of many.
pub fn clock() -> Duration {
    let pair = || {
        let started = Instant::now();
        started.elapsed()
    };
    (0..10_000).map(|_| pair()).min().unwrap_or_default()
}
