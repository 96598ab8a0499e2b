//! Hot paths, each taken many times inside of one function, so that instructions can be counted there: `cargo xtask
//! instructions` does it under callgrind.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use kyro_engine::{BulkBuild, BulkOptions, Durability, Engine, Options};
use kyro_wal::storage::{RealStorage, Storage};
use kyro_wal::{Identity, Wal};

use crate::kv::reads::first_word;
use crate::kv::{Entries, Failure};

/// How often a path is taken.
pub const STEPS: u64 = 10_000;
/// Entries of the database that is read.
const RECORDS: u64 = 50_000;
/// Bytes of each value.
const VALUE_BYTES: usize = 64;

/// A path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HotPath {
    /// A get of a key in the one compacted run.
    GetHit,
    /// A get of a key that is nowhere.
    GetMiss,
    /// A get of a key in the delta, over a run.
    DeltaHit,
    /// Appending a payload to the group of the log: its frame is made, nothing is written.
    FrameEncode,
}

/// Takes `step` [`STEPS`] times. What callgrind counts is this function with all that it calls; its own part is four
/// instructions a step.
#[inline(never)]
pub fn counted(step: &mut dyn FnMut(u64)) {
    for number in 0..STEPS {
        step(number);
    }
}

/// Prepares the path below `dir`, and takes it.
///
/// # Errors
/// What the engine or the log says, or that a get did not answer as it should.
pub fn take(path: HotPath, dir: &Path) -> Result<(), Failure> {
    match path {
        HotPath::FrameEncode => frames(dir),
        _ => gets(path, dir),
    }
}

fn gets(path: HotPath, dir: &Path) -> Result<(), Failure> {
    let entries = Entries { seed: 1, value_bytes: VALUE_BYTES };
    let mut keys: Vec<u64> = (0..RECORDS).map(|number| entries.key(number)).collect();
    keys.sort_unstable();
    let mut build = BulkBuild::create(dir, BulkOptions::default())?;
    let mut value = Vec::new();
    for &key in &keys {
        entries.fill(key, &mut value);
        build.push(key, &value)?;
    }
    build.finish()?;
    let mut options = Options::default();
    options.durability = Durability::Never;
    options.auto_flush = false;
    let engine = Engine::open(dir, options)?;
    // Behind the records: in the delta, or nowhere.
    let first = if path == HotPath::GetHit { 0 } else { RECORDS };
    if path == HotPath::DeltaHit {
        for number in first..first + STEPS {
            let key = entries.key(number);
            entries.fill(key, &mut value);
            engine.put(key, &value[..])?;
        }
    }
    let (mut found, mut failed) = (0, None);
    // Once before counting: pages are mapped, and whatever is done at first touch is done.
    for counting in [false, true] {
        found = 0;
        let mut step = |number: u64| match engine.get_with(entries.key(first + number), first_word) {
            Ok(word) => found += u64::from(black_box(word).is_some()),
            Err(error) => failed = Some(error),
        };
        if counting { counted(&mut step) } else { (0..STEPS).for_each(step) }
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let expected = if path == HotPath::GetMiss { 0 } else { STEPS };
    if found == expected { Ok(()) } else { Err(format!("{found} of {expected} keys were found").into()) }
}

fn frames(dir: &Path) -> Result<(), Failure> {
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    storage.create_dir(dir)?;
    let identity = Identity { uuid: *b"instructions of ", epoch: 1 };
    let mut wal = Wal::create(storage, dir, identity, kyro_wal::Options::default())?;
    let payload = [0x5a_u8; VALUE_BYTES];
    let mut failed = None;
    // The first group makes room in memory for the second.
    for counting in [false, true] {
        let mut step = |_| {
            if let Err(error) = wal.append(1, black_box(&payload)) {
                failed = Some(error);
            }
        };
        if counting {
            counted(&mut step);
        } else {
            (0..STEPS).for_each(step);
        }
        wal.write_group()?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_taken() {
        for path in [HotPath::GetHit, HotPath::GetMiss, HotPath::DeltaHit, HotPath::FrameEncode] {
            let dir = tempfile::tempdir().unwrap();
            take(path, &dir.path().join("database")).unwrap();
        }
    }
}
