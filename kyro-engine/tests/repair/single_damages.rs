//! Damages made by hand, each with the outcome it must have.

use std::path::{Path, PathBuf};

use kyro_engine::storage::SimDisk;
use kyro_engine::{Batch, Commit};

use super::{DIR, NEW, files, open, options, repair};

/// A small directory of one run over the given operations, closed; `log` comes after the run.
fn small(run: &[(u64, Option<Vec<u8>>)], log: &[(u64, Option<Vec<u8>>)]) -> SimDisk {
    let disk = SimDisk::new();
    let engine = open(&disk, DIR);
    for (part, operations) in [run, log].into_iter().enumerate() {
        for (key, value) in operations {
            match value {
                Some(value) => engine.put(*key, value).unwrap(),
                None => engine.delete(*key).unwrap(),
            };
        }
        if part == 0 {
            engine.flush().unwrap();
        }
    }
    engine.close().unwrap();
    disk
}

fn run_file(disk: &SimDisk) -> PathBuf {
    files(disk, DIR).into_keys().find(|path| path.extension().is_some_and(|ending| ending == "run")).unwrap()
}

#[test]
fn a_deletion_wins_over_a_version_in_a_damaged_place() {
    let value = |key: u64| vec![key as u8; 600];
    let run: Vec<_> = (0..100).map(|key| (key, Some(value(key)))).collect();
    let disk = small(&run, &[(3, None), (4, Some(b"new".to_vec()))]);
    // The first block: the values of the keys 0 to 20.
    disk.flip_bit(&run_file(&disk), 8 * 5000).unwrap();
    let report = repair(&disk, &options()).unwrap();
    let lost: Vec<u64> = report.lost_keys.iter().map(|lost| lost.key).collect();
    assert!(lost.contains(&2) && lost.contains(&5), "{report}");
    assert!(
        !lost.contains(&3) && !lost.contains(&4),
        "what was deleted or written again is not lost: {report}"
    );
    assert!(report.lost_offsets.is_empty() && report.lost_entries.is_empty(), "{report}");
    let engine = open(&disk, NEW);
    assert_eq!(engine.get(3).unwrap(), None);
    assert_eq!(engine.get(4).unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(engine.get(50).unwrap().as_deref(), Some(&value(50)[..]));
    assert_eq!(report.keys + lost.len() as u64, 99);
}

#[test]
fn an_older_value_takes_the_place_of_a_lost_one_and_is_named() {
    let value = |key: u64, version: u8| vec![version ^ key as u8; 600];
    let first: Vec<_> = (0..100).map(|key| (key, Some(value(key, 0)))).collect();
    let disk = small(&first, &[]);
    let engine = open(&disk, DIR);
    for key in 0..100 {
        engine.put(key, value(key, 0x80)).unwrap();
    }
    engine.flush().unwrap();
    engine.close().unwrap();
    let newest =
        files(&disk, DIR).into_keys().filter(|path| path.extension().is_some_and(|ending| ending == "run"));
    disk.flip_bit(&newest.max().unwrap(), 8 * 5000).unwrap();
    let report = repair(&disk, &options()).unwrap();
    assert!(report.lost_keys.len() > 10 && report.keys == 100, "{report}");
    let engine = open(&disk, NEW);
    for lost in &report.lost_keys {
        assert_eq!((lost.offset, lost.instead), (Some(100 + lost.key), Some(lost.key)), "{report}");
        assert_eq!(engine.get(lost.key).unwrap().as_deref(), Some(&value(lost.key, 0)[..]));
    }
    assert_eq!(engine.get(99).unwrap().as_deref(), Some(&value(99, 0x80)[..]));
}

#[test]
fn a_value_without_its_offset_is_kept_under_a_new_one() {
    let run: Vec<_> = (0..5000_u64).map(|key| (key, Some(key.to_le_bytes().to_vec()))).collect();
    let disk = SimDisk::new();
    let engine = open(&disk, DIR);
    let mut batch = Batch::new();
    for (key, value) in &run {
        batch.put(*key, value.as_ref().unwrap());
    }
    engine.write(batch).and_then(Commit::wait).unwrap();
    engine.flush().unwrap();
    engine.close().unwrap();
    // Header, values, keys, offsets: the block in the middle of the offsets.
    disk.flip_bit(&run_file(&disk), 8 * (4096 + 40_000 + 40_000 + 20_000)).unwrap();
    // The log has what it was flushed from; without that there are only the runs.
    for path in
        files(&disk, DIR).into_keys().filter(|path| path.extension().is_some_and(|ending| ending == "wal"))
    {
        disk.vanish(&path).unwrap();
    }
    let report = repair(&disk, &options()).unwrap();
    assert_eq!((report.keys, report.lost_keys.len(), report.lost_entries.len()), (5000, 0, 0), "{report}");
    assert!(report.renumbered.len() >= 2048, "{}", report.renumbered.len());
    assert!(report.renumbered.iter().all(|one| (5000..report.next_offset).contains(&one.offset)));
    let engine = open(&disk, NEW);
    for (key, value) in &run {
        assert_eq!(engine.get(*key).unwrap().as_deref(), value.as_deref());
    }
}

#[test]
fn deleted_ranges_stay_deleted_whether_the_log_or_the_manifest_says_so() {
    let disk = SimDisk::new();
    let engine = open(&disk, DIR);
    for key in 0..40_u64 {
        engine.put(key, key.to_le_bytes()).unwrap();
    }
    engine.flush().unwrap();
    engine.delete_range(10..=19).unwrap();
    engine.put(15, "again").unwrap();
    engine.flush().unwrap();
    engine.delete_range(30..=u64::MAX).unwrap();
    engine.put(35, "again").unwrap();
    engine.close().unwrap();
    drop(engine);
    let report = repair(&disk, &options()).unwrap();
    assert!(report.is_lossless() && report.range_deletes == 2, "{report}");
    let repaired = open(&disk, NEW);
    let keys: Vec<u64> =
        repaired.scan(kyro_engine::Scan::all()).unwrap().map(|entry| entry.unwrap().key).collect();
    let expected: Vec<u64> = (0..10).chain([15]).chain(20..30).chain([35]).collect();
    assert_eq!(keys, expected);
    assert_eq!(repaired.stats().range_tombstones, 0);
}

/// Two runs, and a range delete between them that the manifest lists. The log still has it if an event keeps it.
fn with_a_range_delete(event: bool) -> (SimDisk, u64) {
    let disk = SimDisk::new();
    let engine = open(&disk, DIR);
    if event {
        let mut batch = Batch::new();
        engine.write(batch.append("an event").clone()).and_then(Commit::wait).unwrap();
    }
    for key in 0..40_u64 {
        engine.put(key, vec![key as u8; 1000]).unwrap();
    }
    engine.flush().unwrap();
    let offset = engine.delete_range(10..=19).unwrap();
    for key in 100..140_u64 {
        engine.put(key, vec![key as u8; 1000]).unwrap();
    }
    engine.flush().unwrap();
    engine.close().unwrap();
    (disk, offset)
}

#[test]
fn a_range_delete_that_only_a_lost_manifest_had_is_said_to_be_lost() {
    let (disk, offset) = with_a_range_delete(false);
    let kept = repair(&disk.restart(), &options()).unwrap();
    assert!(kept.is_lossless() && kept.keys == 70 && kept.range_deletes == 1, "{kept}");

    disk.vanish(&Path::new(DIR).join("MANIFEST")).unwrap();
    let report = repair(&disk, &options()).unwrap();
    assert!(!report.is_lossless() && report.range_deletes == 0, "{report}");
    assert!(report.lost_range_deletes.iter().any(|lost| lost.contains(&offset)), "{report}");
    assert!(report.to_string().contains("keys that they deleted may be back"), "{report}");
    assert_eq!(report.keys, 80);
    assert_eq!(open(&disk, NEW).get(12).unwrap().as_deref(), Some(&[12; 1000][..]), "it is back");
}

#[test]
fn a_range_delete_in_the_log_counts_without_the_manifest() {
    let (disk, _) = with_a_range_delete(true);
    disk.vanish(&Path::new(DIR).join("MANIFEST")).unwrap();
    let report = repair(&disk, &options()).unwrap();
    assert!(report.is_lossless() && report.range_deletes == 1 && report.keys == 70, "{report}");
    assert_eq!(open(&disk, NEW).get(12).unwrap(), None);
}

#[test]
fn a_value_without_its_offset_stays_deleted_with_its_range() {
    let disk = SimDisk::new();
    let engine = open(&disk, DIR);
    for start in (0..5000_u64).step_by(500) {
        let mut batch = Batch::new();
        for key in start..start + 500 {
            batch.put(key, key.to_le_bytes());
        }
        engine.write(batch).and_then(Commit::wait).unwrap();
    }
    engine.flush().unwrap();
    let first_run = run_file(&disk);
    engine.delete_range(2000..=2999).unwrap();
    for key in 10_000..10_400_u64 {
        engine.put(key, vec![1; 200]).unwrap();
    }
    engine.flush().unwrap();
    engine.close().unwrap();
    // Header, values, keys, offsets: the block in the middle of the offsets.
    disk.flip_bit(&first_run, 8 * (4096 + 40_000 + 40_000 + 20_000)).unwrap();
    let report = repair(&disk, &options()).unwrap();
    assert!(report.renumbered.len() >= 1000, "{}", report.renumbered.len());
    assert_eq!((report.keys, report.range_deletes), (4400, 1), "{}", report.lost_keys.len());
    let engine = open(&disk, NEW);
    assert_eq!((engine.get(2500).unwrap(), engine.count(2000..=2999).unwrap()), (None, 0));
    assert_eq!(engine.get(1999).unwrap().as_deref(), Some(&1999_u64.to_le_bytes()[..]));
}

#[test]
fn a_lost_value_that_a_range_delete_covers_is_no_loss() {
    let run: Vec<_> = (0..100).map(|key| (key, Some(vec![key as u8; 600]))).collect();
    let disk = small(&run, &[]);
    let engine = open(&disk, DIR);
    engine.delete_range(0..=50).unwrap();
    engine.close().unwrap();
    // The first block: the values of the keys 0 to 20.
    disk.flip_bit(&run_file(&disk), 8 * 5000).unwrap();
    let report = repair(&disk, &options()).unwrap();
    assert!(!report.damage.is_empty() && report.is_lossless() && report.keys == 49, "{report}");
}

#[test]
fn an_old_operation_in_the_log_brings_nothing_back_that_a_readable_run_has_merged_away() {
    const KEY: u64 = 0xabcd_ef01_2345_6789;
    let disk = SimDisk::new();
    let engine = open(&disk, DIR);
    // It keeps the log.
    let mut batch = Batch::new();
    engine.write(batch.append("an event").clone()).and_then(Commit::wait).unwrap();
    engine.put(KEY, "deleted long ago").unwrap();
    engine.flush().unwrap();
    engine.delete(KEY).unwrap();
    engine.put(6, "six").unwrap();
    engine.compact().unwrap();
    let merged = run_file(&disk);
    engine.put(7, "seven").unwrap();
    engine.flush().unwrap();
    engine.close().unwrap();
    let is_newer = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "run") && *path != merged;
    disk.vanish(&files(&disk, DIR).into_keys().find(is_newer).unwrap()).unwrap();
    // Of the key, the log has the put and not the delete.
    let delete: Vec<u8> = [1, 2].into_iter().chain(KEY.to_le_bytes()).collect();
    let found = files(&disk, DIR).into_iter().find_map(|(path, bytes)| {
        let at = bytes.windows(delete.len()).position(|window| window == delete)?;
        path.extension().is_some_and(|ending| ending == "wal").then_some((path, at))
    });
    let (segment, at) = found.unwrap();
    disk.flip_bit(&segment, 8 * (at as u64 + 4)).unwrap();

    let report = repair(&disk, &options()).unwrap();
    assert!(report.lost_offsets.iter().any(|lost| lost.in_runs && lost.first == 2), "{report}");
    let engine = open(&disk, NEW);
    assert_eq!(engine.get(KEY).unwrap(), None, "{report}");
    assert_eq!(engine.get(7).unwrap().as_deref(), Some(&b"seven"[..]), "the log has the lost run's key");
    assert_eq!(report.keys, 2);
}
