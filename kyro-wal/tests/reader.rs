//! Following a log while it is written.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kyro_wal::storage::sim::{Fault, FaultKind};
use kyro_wal::storage::{RealStorage, SimDisk, Storage};
use kyro_wal::{Error, Reader, Wal};
use rig::*;

fn reader(disk: &SimDisk, from: u64) -> Reader {
    Reader::open(shared(disk), dir(), UUID, from).unwrap()
}

fn follow(reader: &mut Reader, before: u64) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(frame) = reader.next_frame(before).unwrap() {
        records.push(Record {
            first_offset: frame.first_offset,
            count: frame.count,
            payload: frame.payload.to_vec(),
        });
    }
    records
}

#[test]
fn it_gives_every_frame_from_anywhere_and_none_at_or_behind_the_bound() {
    let disk = disk();
    let mut wal = create(&disk);
    let mut records = Vec::new();
    for _ in 0..50 {
        records.push(append(&mut wal, 2));
        wal.write_group().unwrap();
    }
    for from in 0..100 {
        let mut reader = reader(&disk, from);
        for before in (0..100).step_by(3).chain([100]) {
            let part = follow(&mut reader, before);
            assert!(part.iter().all(|record| record.first_offset < before));
        }
        let mut again = self::reader(&disk, from);
        assert_eq!(follow(&mut again, 100), records[from as usize / 2..], "from {from}");
        assert_eq!(follow(&mut again, 100), []);
    }
}

#[test]
fn it_keeps_its_place_while_the_log_rotates_confirms_and_skips() {
    let disk = disk();
    let mut wal = create(&disk);
    let mut reader = reader(&disk, 0);
    let mut seen = Vec::new();
    let mut written = Vec::new();
    for step in 0..300_u64 {
        match step % 11 {
            3 => drop(wal.confirm().unwrap()),
            5 => drop(wal.rotate().unwrap()),
            7 => {
                let mark = wal.close().unwrap();
                wal = recover(&disk, with_mark(mark)).unwrap().1;
            }
            9 => {
                wal.sync().unwrap();
                drop(wal);
                wal = recover(&disk, expected()).unwrap().1;
            }
            _ => {
                written.push(append(&mut wal, 1));
                wal.write_group().unwrap();
            }
        }
        if step % 4 < 2 {
            seen.extend(follow(&mut reader, wal.next_offset()));
            assert_eq!(seen, written, "step {step}");
        }
    }
}

#[test]
fn purged_history_is_named_gone() {
    let disk = disk();
    let mut wal = create(&disk);
    for _ in 0..100 {
        commit(&mut wal);
    }
    let mut slow = reader(&disk, 0);
    assert_eq!(follow(&mut slow, 3).len(), 3);
    wal.purge_before(80).unwrap();
    let oldest = wal.stats().oldest_offset;
    let error = Reader::open(shared(&disk), dir(), UUID, 5).unwrap_err();
    assert!(matches!(error, Error::HistoryGone { from: 5, oldest: found } if found == oldest), "{error}");
    // The reader that is in a purged segment reads it to its end, and then learns it.
    let mut last = 2;
    let error = loop {
        match slow.next_frame(100) {
            Ok(Some(frame)) => last = frame.first_offset,
            Ok(None) => panic!("the rest of history is not nothing"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::HistoryGone { from, oldest: found } if from == last + 1 && found == oldest),
        "{error}"
    );
    assert_eq!(follow(&mut reader(&disk, oldest), 100).len() as u64, 100 - oldest);
}

#[test]
fn damage_is_an_error_and_not_an_end() {
    let disk = disk();
    let mut wal = create(&disk);
    for _ in 0..30 {
        commit(&mut wal);
    }
    for bit in (4096 * 8..4700 * 8).step_by(5) {
        let disk = disk.fork();
        disk.flip_bit(&segment(1), bit).unwrap();
        let mut reader = reader(&disk, 0);
        let error = loop {
            match reader.next_frame(30) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("bit {bit}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
    }
}

#[test]
fn what_was_read_ahead_and_then_taken_back_is_not_given() {
    let mut took_back = 0;
    for lead in 0..60 {
        let disk = disk();
        let mut wal = create(&disk);
        let first = commit(&mut wal);
        let mut reader = reader(&disk, 0);
        // A group that the disk refuses, wholly or nearly written, while the reader reads what comes before it.
        for _ in 0..lead {
            assert!(disk.len(std::path::Path::new("/wal/none")).is_err());
        }
        wal.append(1, b"refused").unwrap();
        wal.append(1, &[9; 3_000]).unwrap();
        disk.inject(Fault { at: 0, kind: FaultKind::ShortWrite, sticky: true });
        assert!(matches!(wal.write_group(), Err(Error::StorageFull { certain: false, .. })));
        assert_eq!(follow(&mut reader, 1), [first]);
        let bytes = disk.read(&segment(1)).unwrap();
        took_back += u32::from(bytes.windows(7).any(|window| window == b"refused"));
        disk.clear_faults();
        wal.append(1, b"instead").unwrap();
        wal.write_group().unwrap();
        assert_eq!(follow(&mut reader, 2)[0].payload, b"instead");
    }
    assert!(took_back > 10, "{took_back}");
}

#[test]
fn a_reader_in_another_thread_sees_what_it_is_told_of() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options();
    options.segment_bytes = 64 << 10;
    let mut wal = Wal::create(Arc::new(RealStorage), home.path(), identity(), options).unwrap();
    let visible = Arc::new(AtomicU64::new(0));
    let frames = 20_000;
    let thread = {
        let (visible, dir) = (Arc::clone(&visible), home.path().to_owned());
        std::thread::spawn(move || {
            let mut reader = Reader::open(Arc::new(RealStorage), &dir, UUID, 0).unwrap();
            let mut next = 0;
            while next < frames {
                let before = visible.load(Ordering::Acquire);
                while let Some(frame) = reader.next_frame(before).unwrap() {
                    assert_eq!(frame.first_offset, next);
                    assert_eq!(frame.payload, payload(next));
                    next += 1;
                }
                assert_eq!(next, before);
                std::thread::yield_now();
            }
        })
    };
    while wal.next_offset() < frames {
        for _ in 0..7 {
            append(&mut wal, 1);
        }
        let written = wal.write_group().unwrap();
        visible.store(written.next_offset.min(frames), Ordering::Release);
    }
    thread.join().unwrap();
}
