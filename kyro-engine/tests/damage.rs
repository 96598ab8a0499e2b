//! A database with something wrong in it: every byte of every file, one after the other. Nothing wrong is ever
//! returned, nothing panics, and what was acknowledged is missing only where a refusal says so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{Batch, Commit, Engine, OpenError, Options, ReadError, verify_on};

const DIR: &str = "/db";

fn open(disk: &SimDisk) -> Result<Engine, OpenError> {
    let mut options = Options::default();
    options.wal_segment_bytes = 16 << 10;
    options.auto_flush = false;
    options.confirm_after = Duration::from_secs(3600);
    Engine::open_on(Arc::new(disk.clone()), DIR, options)
}

fn value(key: u64) -> String {
    format!("the value of {key}")
}

/// Two runs and a log, closed cleanly: keys 0 to 149, of which every tenth is deleted again.
fn filled() -> SimDisk {
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    for part in 0..3_u64 {
        let mut batch = Batch::new();
        for key in part * 50..part * 50 + 50 {
            batch.put(key * 1_000_003, value(key));
        }
        for key in (part * 50..part * 50 + 50).step_by(10) {
            batch.delete(key * 1_000_003);
        }
        engine.write(batch).and_then(Commit::wait).unwrap();
        if part < 2 {
            engine.flush().unwrap();
        }
    }
    engine.close().unwrap();
    disk
}

/// Every file but the lock, in which a pid may change.
fn files(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = disk.contents();
    files.remove(&Path::new(DIR).join("LOCK"));
    files
}

/// What one damage came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    refused: u64,
    failed_reads: u64,
    rebuilt: u64,
    harmless: u64,
}

/// Opens a damaged database and reads everything. Panics on a wrong answer.
fn examine(disk: &SimDisk, what: &str, outcome: &mut Outcome) {
    let before = files(disk);
    let verified = verify_on(&(Arc::new(disk.clone()) as Arc<dyn Storage>), Path::new(DIR), None);
    let engine = match open(disk) {
        Ok(engine) => engine,
        Err(error) => {
            let noticed = verified
                .as_ref()
                .map_or(true, |report| report.damage.iter().any(|damage| !damage.rebuildable));
            assert!(noticed, "{what}: open refuses ({error:?}), verify finds nothing");
            assert!(files(disk) == before, "{what}: a refused open changed something");
            outcome.refused += 1;
            return;
        }
    };
    let mut failed = 0;
    for key in 0..150_u64 {
        let expected = (key % 10 != 0).then(|| value(key));
        match engine.get(key * 1_000_003) {
            Ok(found) => assert_eq!(
                found.as_deref(),
                expected.as_ref().map(String::as_bytes),
                "{what}: key {key} reads wrong"
            ),
            Err(ReadError::Corrupt { .. }) => failed += 1,
            Err(other) => panic!("{what}: {other:?}"),
        }
        match engine.get(key * 1_000_003 + 1) {
            Ok(None) => {}
            Err(ReadError::Corrupt { .. }) => failed += 1,
            other => panic!("{what}: an absent key reads {other:?}"),
        }
    }
    assert_eq!(engine.next_offset(), 165, "{what}");
    let stats = engine.stats();
    outcome.failed_reads += u64::from(failed > 0);
    outcome.rebuilt += u64::from(stats.recovery.indexes_rebuilt > 0);
    outcome.harmless += u64::from(failed == 0 && stats.recovery.indexes_rebuilt == 0);
    let report = verified.unwrap_or_else(|error| panic!("{what}: opens, but verify says {error}"));
    let damaged = report.damage.iter().any(|damage| !damage.rebuildable);
    assert!(damaged || failed == 0, "{what}: {failed} reads fail and verify finds nothing: {report:?}");
}

#[test]
fn a_whole_database_verifies() {
    let disk = filled();
    let report = verify_on(&(Arc::new(disk) as Arc<dyn Storage>), Path::new(DIR), None).unwrap();
    assert!(report.damage.is_empty() && report.unnamed.is_empty(), "{report:?}");
    assert_eq!(report.entries, 45 + 50, "the second run keeps its tombstones, the first needs none");
    assert!(report.operations >= 55 && report.bytes > 10_000, "{report:?}");
}

#[test]
fn every_byte_of_every_file() {
    let disk = filled();
    let mut cases = 0_u64;
    for (path, bytes) in files(&disk) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.contains("spare") || name == "BALLAST" {
            continue;
        }
        let mut outcome = Outcome::default();
        // Every byte of what is small or in use; preallocated zeros and padding at every 97th.
        for at in 0..bytes.len() {
            let dull = bytes[at.saturating_sub(64)..(at + 64).min(bytes.len())].iter().all(|byte| *byte == 0);
            if dull && !at.is_multiple_of(97) {
                continue;
            }
            let damaged = disk.restart();
            damaged.flip_bit(&path, at as u64 * 8 + (at as u64 * 7 + 3) % 8).unwrap();
            examine(&damaged, &format!("{name}, byte {at}"), &mut outcome);
            cases += 1;
        }
        println!("damage: {name}: {outcome:?}");
        let noticed = outcome.refused + outcome.failed_reads + outcome.rebuilt;
        assert!(noticed > outcome.harmless, "{name}: {outcome:?}");
    }
    println!("damage: {cases} cases");
    assert!(cases > 5000);
}

#[test]
fn every_file_cut_short_or_missing() {
    let disk = filled();
    for (path, bytes) in files(&disk) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.contains("spare") {
            continue;
        }
        let mut outcome = Outcome::default();
        for len in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let damaged = disk.restart();
            damaged.overwrite(&path, &bytes[..len]).unwrap();
            examine(&damaged, &format!("{name}, cut to {len}"), &mut outcome);
        }
        let gone = disk.restart();
        gone.vanish(&path).unwrap();
        examine(&gone, &format!("{name}, missing"), &mut outcome);
        println!("damage: {name} cut or missing: {outcome:?}");
        let noticed = outcome.refused + outcome.failed_reads + outcome.rebuilt;
        // The ballast only takes up space.
        let wrong = if name == "BALLAST" { noticed } else { outcome.harmless };
        assert_eq!(wrong, 0, "{name}: {outcome:?}");
    }
}
