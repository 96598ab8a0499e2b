//! Letting go of history, and of a tail that is not to be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use kyro_wal::{Error, Expected, Wal};
use rig::*;

/// A log of single synced frames over several segments.
fn filled(frames: usize) -> (kyro_wal::storage::SimDisk, Wal, Vec<Record>) {
    let disk = disk();
    let mut wal = create(&disk);
    let records = (0..frames).map(|_| commit(&mut wal)).collect();
    (disk, wal, records)
}

#[test]
fn only_whole_sealed_segments_go() {
    let (disk, mut wal, records) = filled(120);
    let before = wal.stats();
    assert!(before.segments > 4);
    assert_eq!(wal.purge_before(0).unwrap().segments, 0);
    let planned = wal.first_segment_after_purge(60);
    let purged = wal.purge_before(60).unwrap();
    let after = wal.stats();
    assert_eq!((purged.first_segment, after.first_segment), (planned, planned));
    assert_eq!(before.segments - after.segments, purged.segments);
    assert_eq!(before.bytes - after.bytes, purged.bytes);
    assert!(after.oldest_offset <= 60 && after.oldest_offset > 30, "{after:?}");
    // All but the live one, however large the offset.
    wal.purge_before(u64::MAX).unwrap();
    assert_eq!(wal.stats().segments, 1);
    let first = wal.stats().first_segment;
    let oldest = wal.stats().oldest_offset;
    drop(wal);
    let expected = Expected { first_segment: first, replay_from: 119, ..expected() };
    let (read, ..) = recover(&disk, expected).unwrap();
    assert_eq!(read, records[119..]);
    // What is needed and gone is not taken for nothing.
    let error = recover(&disk, Expected { replay_from: oldest - 1, ..expected }).unwrap_err();
    assert!(matches!(error, Error::HistoryGone { .. }), "{error}");
    let error = recover(&disk, Expected { first_segment: 1, ..expected }).unwrap_err();
    assert!(matches!(error, Error::MissingSegment { .. }), "{error}");
}

#[test]
fn any_part_of_a_purge_may_be_undone_by_a_crash() {
    let (disk, mut wal, records) = filled(120);
    let first_segment = wal.first_segment_after_purge(100);
    disk.record_history();
    wal.purge_before(100).unwrap();
    let expected = Expected { first_segment, replay_from: 100, ..expected() };
    let mut states = 0;
    for moment in disk.take_history() {
        let (crashed, every) = moment.disk.crash_states(1 << 10);
        assert!(every);
        for disk in crashed {
            let (read, wal, _) = recover(&disk, expected).unwrap();
            assert_eq!(read, records[100..]);
            assert!(wal.stats().first_segment <= first_segment);
            // What is no longer part of the log has been removed.
            let segments = disk
                .contents()
                .keys()
                .filter(|path| path.extension().is_some_and(|end| end == "wal"))
                .count();
            assert_eq!(segments as u64, wal.stats().segments);
            states += 1;
        }
    }
    println!("{states} states");
    assert!(states > 100);
}

#[test]
fn a_tail_can_be_truncated_between_frames() {
    for keep in (0..60).step_by(7) {
        let (disk, mut wal, records) = filled(60);
        wal.truncate_after(keep).unwrap();
        assert_eq!(wal.next_offset(), 60, "offsets are not given out again");
        let next = commit(&mut wal);
        let mark = wal.close().unwrap();
        let mut left = records[..=keep as usize].to_vec();
        left.push(next);
        let (read, mut wal, _) = recover(&disk, with_mark(mark)).unwrap();
        assert_eq!(read, left);
        // A second cut, in what an earlier run wrote.
        wal.truncate_after(keep / 2).unwrap();
        drop(wal);
        let (read, ..) = recover(&disk, expected()).unwrap();
        assert_eq!(read, records[..=keep as usize / 2]);
    }
}

#[test]
fn a_cut_inside_a_frame_or_behind_the_end_changes_nothing() {
    let disk = disk();
    let mut wal = create(&disk);
    let record = append(&mut wal, 5);
    wal.write_group().unwrap();
    wal.sync().unwrap();
    let before = disk.contents();
    let error = wal.truncate_after(2).unwrap_err();
    assert!(matches!(error, Error::InsideFrame { offset: 2, first: 0, last: 4 }), "{error}");
    wal.truncate_after(4).unwrap();
    wal.truncate_after(1_000).unwrap();
    assert_eq!(disk.contents(), before);
    drop(wal);
    assert_eq!(recover(&disk, expected()).unwrap().0, [record]);
}

#[test]
fn a_crash_during_a_truncation_leaves_all_or_the_cut() {
    let mut states = 0;
    for keep in [0, 20, 55, 58] {
        let (disk, mut wal, records) = filled(60);
        disk.record_history();
        wal.truncate_after(keep).unwrap();
        let done = disk.operations();
        commit(&mut wal);
        let (mut cut, mut whole) = (0, 0);
        for moment in disk.take_history() {
            for seed in 0..40 {
                let disk = moment.disk.crash(seed);
                disk.record_history();
                let what = || format!("keep {keep}, operation {}, crash {seed}", moment.operation);
                let (read, wal, _) =
                    recover(&disk, expected()).unwrap_or_else(|error| panic!("{error}: {}", what()));
                let left = &records[..=keep as usize];
                let is_cut = read != records && read.starts_with(left) && read.len() <= left.len() + 1;
                assert!(is_cut || read == records, "{}", what());
                assert!(is_cut || moment.operation < done, "{}", what());
                (cut, whole) = (cut + u64::from(is_cut), whole + u64::from(!is_cut));
                drop(wal);
                for second in disk.take_history() {
                    let disk = second.disk.crash(seed);
                    let (again, ..) =
                        recover(&disk, expected()).unwrap_or_else(|error| panic!("{error}: {}", what()));
                    assert_eq!(again, read, "{}, again at {}", what(), second.operation);
                    states += 1;
                }
                states += 1;
            }
        }
        assert!(cut > 40 && whole > 40, "{cut} {whole}");
    }
    println!("{states} states");
}
