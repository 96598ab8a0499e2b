//! Reads of compressed values beside the same values uncompressed: with every block unpacked and kept, and with none kept.
//!
//! Values are records of text: a random word, then fields whose names repeat and whose digits are random. Everything is
//! read through one view of one compacted run; the three databases are open at once and take turns.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use kyro_engine::{BulkBuild, BulkOptions, Compression, Engine, Options, ReadOnly, Scan, View};
use serde::Serialize;

use crate::engine::asked::Expected;
use crate::engine::cell::check;
use crate::engine::results::Size;
use crate::engine::run::{EngineBenchError, Plan};
use crate::engine::space;
use crate::kv::reads::{self, Reader, Task, first_word};
use crate::kv::{Entries, Failure};
use crate::random::{Random, mix};
use crate::report::Table;
use crate::spread::Spread;

/// Memory for unpacked blocks, where all of them are to be kept.
const KEEP_ALL: u64 = 8 << 30;
/// Scans of everything of each timed run; the fastest counts.
const SCANS: usize = 3;

/// One way in which the values are kept and read.
#[derive(Clone, Debug, Serialize)]
pub struct CompressedRow {
    /// How much data.
    #[serde(flatten)]
    pub size: Size,
    /// How it is kept.
    pub name: String,
    /// Bytes of runs and indexes, a record.
    pub bytes_a_record: f64,
    /// Nanoseconds of a get that waits for the one before.
    pub get_serial: Spread,
    /// Nanoseconds of one that does not.
    pub get: Spread,
    /// Millions of entries a second in a scan of everything.
    pub scan: Spread,
    /// The same, of a scan of keys only.
    pub scan_keys: Spread,
}

/// The rows of one size, as they are shown.
pub(super) struct Shown<'a>(pub(super) &'a [CompressedRow]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        writeln!(out, "## values of text, compressed and not: {}\n", first.size)?;
        let mut table = Table::new([
            "",
            "runs and indexes, bytes a record",
            "get, uniform, serial, ns",
            "get, uniform, independent, ns",
            "scan of everything, M entries/s",
            "scan of everything, keys only, M entries/s",
        ]);
        for row in self.0 {
            table.row([
                row.name.clone(),
                format!("{:.1}", row.bytes_a_record),
                row.get_serial.to_string(),
                row.get.to_string(),
                row.scan.to_string(),
                row.scan_keys.to_string(),
            ]);
        }
        writeln!(out, "{table}")
    }
}

/// One database, open, and what was timed.
struct Subject {
    name: &'static str,
    engine: ReadOnly,
    bytes_a_record: f64,
    /// Of each kind of figure, one for each repeat.
    figures: [Vec<f64>; 4],
}

/// Builds the size's databases, compares a sample of the answers, and takes turns.
pub(super) fn measure(plan: &Plan, size: Size, place: &Path) -> Result<Vec<CompressedRow>, EngineBenchError> {
    let failed = |doing| move |source: Failure| EngineBenchError::Engine { doing, source };
    let entries = Entries { seed: plan.seed, value_bytes: size.value_bytes };
    let mut keys: Vec<u64> = (0..size.records).map(|number| entries.key(number)).collect();
    keys.sort_unstable();
    let dirs =
        [("plain", Compression::None), ("lz4", Compression::Lz4)].map(|(name, how)| (place.join(name), how));
    for (dir, compression) in &dirs {
        build(dir, *compression, &keys, size.value_bytes).map_err(failed("building a run of text"))?;
    }
    let [(bare, _), (packed, _)] = &dirs;
    // What is still in the page cache would be written while others are timed.
    rustix::fs::sync();
    let mut subjects = Vec::new();
    for (name, dir, cache) in [
        ("not compressed", bare, 0),
        ("lz4, every block kept", packed, KEEP_ALL),
        ("lz4, no block kept", packed, 0),
    ] {
        let mut options = Options::default();
        options.value_cache_bytes = cache;
        let opened = Engine::open_read_only(dir, options);
        let engine = opened.map_err(|error| failed("opening a run of text")(error.into()))?;
        let bytes_a_record = space::on_disk(&dir.join("runs"))? as f64 / size.records as f64;
        subjects.push(Subject { name, engine, bytes_a_record, figures: Default::default() });
    }
    let (all, key_sum) = (sum(&keys, &mut keys.iter().copied()), sum(&keys, &mut std::iter::empty()));
    for subject in &subjects {
        // Verifies, and unpacks what is to be kept.
        let view = subject.engine.view();
        compare(&view, &keys, size.value_bytes).map_err(failed("reading text"))?;
    }
    for repeat in 0..plan.repeats {
        let mut random = Random::new(plan.seed.wrapping_add(repeat as u64), "asked");
        let asked: Vec<u64> = (0..plan.gets).map(|_| keys[random.below(size.records) as usize]).collect();
        let expected = Expected { found: asked.len() as u64, sum: sum(&[], &mut asked.iter().copied()) };
        let everything = |sum| Expected { found: size.records, sum };
        for subject in &mut subjects {
            let view = subject.engine.view();
            let (with_values, only_keys) = (Through(&view, false), Through(&view, true));
            let read = |reader: &Through<'_>, task: &mut Task<'_>| {
                reads::run(reader, task).map_err(failed("reading text"))
            };
            let one = read(&with_values, &mut Task::GetSerial(&asked))?;
            check(&one, expected, subject.name)?;
            subject.figures[0].push(one.nanos_each(asked.len()));
            let one = read(&with_values, &mut Task::Get(&asked))?;
            check(&one, expected, subject.name)?;
            subject.figures[1].push(one.nanos_each(asked.len()));
            for (reader, expected, place) in [(&with_values, all, 2), (&only_keys, key_sum, 3)] {
                let mut best = f64::MAX;
                for _ in 0..SCANS {
                    let whole = read(reader, &mut Task::ScanAll)?;
                    check(&whole, everything(expected), subject.name)?;
                    best = best.min(whole.elapsed.as_secs_f64());
                }
                subject.figures[place].push(size.records as f64 / best / 1e6);
            }
        }
    }
    let rows = subjects.into_iter().filter_map(|subject| {
        let Subject { name, bytes_a_record, figures: [get_serial, get, scan, scan_keys], .. } = subject;
        Some(CompressedRow {
            size,
            name: name.to_owned(),
            bytes_a_record,
            get_serial: Spread::of(&get_serial)?,
            get: Spread::of(&get)?,
            scan: Spread::of(&scan)?,
            scan_keys: Spread::of(&scan_keys)?,
        })
    });
    let rows = rows.collect();
    for (dir, _) in &dirs {
        space::remove(dir)?;
    }
    Ok(rows)
}

fn build(dir: &Path, compression: Compression, keys: &[u64], value_bytes: usize) -> Result<(), Failure> {
    let mut options = BulkOptions::default();
    options.engine.compression = compression;
    let mut build = BulkBuild::create(dir, options)?;
    let mut value = Vec::with_capacity(value_bytes);
    for &key in keys {
        fill(key, value_bytes, &mut value);
        build.push(key, &value)?;
    }
    build.finish()?;
    Ok(())
}

/// Makes `value` the value of `key`: a word, then text.
fn fill(key: u64, value_bytes: usize, value: &mut Vec<u8>) {
    value.clear();
    let mut word = mix(key.wrapping_add(1));
    value.extend_from_slice(&word.to_le_bytes());
    for name in ["\"city\":", "\"people\":", "\"street\":", "\"updated_at\":"].into_iter().cycle() {
        if value.len() >= value_bytes {
            break;
        }
        word = mix(word.wrapping_add(1));
        value.extend_from_slice(name.as_bytes());
        value.extend_from_slice(format!("{:08},", word % 100_000_000).as_bytes());
    }
    value.truncate(value_bytes);
}

/// The wrapping sum of the first words of the values of `asked`, and of `keys`.
fn sum(keys: &[u64], asked: &mut dyn Iterator<Item = u64>) -> u64 {
    let words = asked.fold(0_u64, |sum, key| sum.wrapping_add(mix(key.wrapping_add(1))));
    keys.iter().fold(words, |sum, &key| sum.wrapping_add(key))
}

/// Compares every value, byte by byte.
fn compare(view: &View, keys: &[u64], value_bytes: usize) -> Result<(), Failure> {
    let mut expected = Vec::new();
    for &key in keys {
        fill(key, value_bytes, &mut expected);
        if view.get_with(key, |value| value == expected)? != Some(true) {
            return Err(format!("the value of key {key} is not what was written").into());
        }
    }
    Ok(())
}

/// One view for all reads of a task; scans with values or without.
struct Through<'a>(&'a View, bool);

impl Reader for Through<'_> {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(self.0.get_with(key, first_word)?)
    }

    fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        let scan = Scan::range(from..).limit(limit as u64);
        let scan = if self.1 { scan.keys_only() } else { scan };
        Ok(self.0.scan(scan).visit(|entry| {
            each(entry.key, entry.value);
            ControlFlow::Continue(())
        })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_length_and_their_word_and_shrink() {
        let mut value = Vec::new();
        for bytes in [8, 64, 1024] {
            fill(7, bytes, &mut value);
            assert_eq!((value.len(), first_word(&value)), (bytes, mix(8)));
        }
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan {
            dir: dir.path().to_owned(),
            parts: Vec::new(),
            sizes: Vec::new(),
            random_sizes: Vec::new(),
            rivals: Vec::new(),
            most_of_sled: 0,
            all_states: false,
            gets: 500,
            repeats: 2,
            loads: 1,
            busy: std::time::Duration::ZERO,
            seed: 1,
        };
        let rows = measure(&plan, Size { records: 4_000, value_bytes: 256 }, dir.path()).unwrap();
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["not compressed", "lz4, every block kept", "lz4, no block kept"]);
        assert!(rows[1].bytes_a_record < 0.8 * rows[0].bytes_a_record, "{rows:?}");
        assert!(Shown(&rows).to_string().contains("keys only"));
    }
}
