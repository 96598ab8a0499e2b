//! What a torn write leaves is cut, kept and reported, and never written behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use kyro_wal::storage::SimDisk;
use kyro_wal::{SEGMENT_OFFSETS, Tail};
use rig::*;

/// One frame synced, one written and then cut short at a byte.
fn torn(bytes: usize) -> (SimDisk, Record, u64) {
    let disk = disk();
    let mut wal = create(&disk);
    let kept = commit(&mut wal);
    wal.close().unwrap();
    let (_, mut wal, _) = {
        // As if the confirming frames had never been: the group before is the last one.
        let mut whole = disk.read(&segment(1)).unwrap();
        let end = 4096 + 48 + kept.payload.len().next_multiple_of(8);
        whole[end..].fill(0);
        disk.overwrite(&segment(1), &whole).unwrap();
        recover(&disk, expected()).unwrap()
    };
    let first = commit(&mut wal);
    assert_eq!(first.first_offset, SEGMENT_OFFSETS);
    wal.append(1, &[0xaa; 2000]).unwrap();
    wal.write_group().unwrap();
    drop(wal);
    let mut whole = disk.read(&segment(2)).unwrap();
    let start = (4096 + 8..).step_by(8).find(|&at| whole[at..].starts_with(b"KYFR")).unwrap();
    whole[start + bytes..].fill(0);
    disk.overwrite(&segment(2), &whole).unwrap();
    assert!(kept.first_offset == 0);
    (disk, first, start as u64)
}

#[test]
fn it_is_cut_at_whichever_byte_it_was_torn() {
    for bytes in (1..2047).step_by(13) {
        let (disk, kept, start) = torn(bytes);
        let (read, wal, tail) = recover(&disk, expected()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1], kept);
        let Tail::Torn { segment: 2, kept, dropped, last_offset: Some(SEGMENT_OFFSETS), quarantined, .. } =
            tail
        else {
            panic!("{tail:?}")
        };
        assert_eq!(kept, start);
        assert!(dropped > 0 && dropped <= bytes as u64, "{dropped} of {bytes}");
        let copy = disk.read(&quarantined.unwrap()).unwrap();
        assert_eq!(copy.len() as u64, dropped);
        assert!(copy.starts_with(&b"KYFR"[..bytes.min(4)]));
        // What was cut is zeros now, and the next frame is in another segment.
        let whole = disk.read(&segment(2)).unwrap();
        assert!(whole[start as usize..].iter().all(|&byte| byte == 0));
        let mut wal = wal;
        let next = commit(&mut wal);
        assert_eq!(next.first_offset, 2 * SEGMENT_OFFSETS);
        drop(wal);
        let (again, ..) = recover(&disk, expected()).unwrap();
        assert_eq!(again, [read, vec![next]].concat());
    }
}

#[test]
fn opening_twice_is_opening_once() {
    let (disk, ..) = torn(777);
    let (first, wal, tail) = recover(&disk, expected()).unwrap();
    assert!(matches!(tail, Tail::Torn { .. }));
    let next = wal.next_offset();
    drop(wal);
    let contents = disk.contents();
    for _ in 0..3 {
        let (again, wal, tail) = recover(&disk, expected()).unwrap();
        assert!(matches!(tail, Tail::Unconfirmed { segment: 2, .. }), "{tail:?}");
        assert_eq!((&again, wal.next_offset()), (&first, next));
    }
    assert_eq!(disk.contents(), contents);
}

#[test]
fn the_quarantine_is_bounded() {
    let mut options = options();
    options.quarantine_bytes = 100;
    options.quarantine_files = 2;
    let disk = disk();
    drop(create(&disk));
    let mut kept = Vec::new();
    for _ in 0..5 {
        let recovery = kyro_wal::Recovery::open(shared(&disk), dir(), expected(), options.clone()).unwrap();
        let (mut wal, tail) = recovery.finish(1).unwrap();
        if let Tail::Torn { quarantined: Some(path), .. } = tail {
            assert_eq!(disk.read(&path).unwrap().len(), 100);
            kept.push(path);
        }
        wal.append(1, &[1; 3000]).unwrap();
        wal.write_group().unwrap();
        let number = wal.stats().last_segment;
        drop(wal);
        disk.flip_bit(&segment(number), (4096 + 1000) * 8).unwrap();
    }
    assert_eq!(kept.len(), 4);
    let left: Vec<_> =
        disk.contents().into_keys().filter(|path| path.to_string_lossy().contains("torn")).collect();
    assert_eq!(left, kept[2..]);
}

#[test]
fn the_last_group_has_a_witness_after_a_pause() {
    let disk = disk();
    let mut wal = create(&disk);
    commit(&mut wal);
    assert!(wal.confirm().unwrap());
    let operations = disk.operations();
    assert!(!wal.confirm().unwrap(), "once is enough");
    assert_eq!(disk.operations(), operations);
    drop(wal);
    let damaged = disk.fork();
    damaged.flip_bit(&segment(1), (4096 + 20) * 8).unwrap();
    assert!(recover(&damaged, expected()).is_err());
    // Right after an opening the witness is the next segment.
    let (_, mut wal, _) = recover(&disk, expected()).unwrap();
    assert!(!wal.confirm().unwrap(), "it still has its witness");
    commit(&mut wal);
    drop(wal);
    let (_, mut wal, _) = recover(&disk, expected()).unwrap();
    assert!(wal.confirm().unwrap());
    drop(wal);
    disk.flip_bit(&segment(2), (4096 + 20) * 8).unwrap();
    assert!(recover(&disk, expected()).is_err());
}

#[test]
fn stale_frames_behind_the_tail_prove_nothing() {
    // Frames of another segment, and of another database with the same numbers, as a recycled block may hold them.
    let disk = disk();
    let mut wal = create(&disk);
    let mut records: Vec<_> = (0..12).map(|_| commit(&mut wal)).collect();
    wal.rotate().unwrap();
    records.push(commit(&mut wal));
    drop(wal);
    let other = self::disk();
    let identity = kyro_wal::Identity { uuid: *b"another database", epoch: 1 };
    let mut wal = kyro_wal::Wal::create(shared(&other), dir(), identity, options()).unwrap();
    (0..12).for_each(|_| drop(commit(&mut wal)));
    for stale in [disk.read(&segment(1)).unwrap(), other.read(&segment(1)).unwrap()] {
        let disk = disk.fork();
        let mut whole = disk.read(&segment(2)).unwrap();
        whole[8192..12288].copy_from_slice(&stale[4096..8192]);
        disk.overwrite(&segment(2), &whole).unwrap();
        let (read, _, tail) = recover(&disk, expected()).unwrap();
        assert_eq!(read, records);
        assert!(matches!(tail, Tail::Torn { segment: 2, .. }), "{tail:?}");
    }
}
