//! Going from segment to segment, and from run to run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use kyro_wal::{Recovery, SEGMENT_OFFSETS, Tail, Wal};
use rig::*;

#[test]
fn a_log_of_many_segments_reads_back_whole() {
    let disk = disk();
    let mut wal = create(&disk);
    let mut records = Vec::new();
    for _ in 0..200 {
        records.push(append(&mut wal, 1));
        records.push(append(&mut wal, 3));
        wal.write_group().unwrap();
        wal.sync().unwrap();
    }
    assert!(wal.stats().segments > 5, "{:?}", wal.stats());
    let mark = wal.close().unwrap();
    assert_eq!(mark.next_offset, 800);
    let (read, wal, tail) = recover(&disk, with_mark(mark)).unwrap();
    assert_eq!(tail, Tail::Clean);
    assert_eq!(read, records);
    assert_eq!(wal.next_offset(), 800);
}

#[test]
fn an_opening_without_writing_changes_nothing() {
    let disk = disk();
    let mut wal = create(&disk);
    commit(&mut wal);
    let mark = wal.close().unwrap();
    let before = disk.contents();
    for _ in 0..3 {
        let (_, wal, _) = recover(&disk, with_mark(mark)).unwrap();
        assert_eq!(wal.close().unwrap(), mark);
    }
    assert_eq!(disk.contents(), before);
}

#[test]
fn after_a_clean_close_offsets_go_on_and_after_an_unclean_one_a_block_is_skipped() {
    let disk = disk();
    let mut wal = create(&disk);
    let first = commit(&mut wal);
    let mark = wal.close().unwrap();
    let (_, mut wal, _) = recover(&disk, with_mark(mark)).unwrap();
    let second = commit(&mut wal);
    assert_eq!(second.first_offset, 1);
    drop(wal);
    let (read, mut wal, tail) = recover(&disk, expected()).unwrap();
    assert_eq!(read, [first.clone(), second.clone()]);
    assert!(matches!(tail, Tail::Unconfirmed { segment: 2, rewritten: 1.., .. }), "{tail:?}");
    let third = commit(&mut wal);
    assert_eq!(third.first_offset, 1 + SEGMENT_OFFSETS);
    let mark = wal.close().unwrap();
    let (read, ..) = recover(&disk, with_mark(mark)).unwrap();
    assert_eq!(read, [first, second, third]);
}

#[test]
fn a_group_larger_than_a_segment_gets_its_own() {
    let disk = disk();
    let mut wal = create(&disk);
    let small = commit(&mut wal);
    let large = vec![7; 100_000];
    wal.append(1, &large).unwrap();
    wal.append(1, b"beside it").unwrap();
    assert!(wal.write_group().unwrap().rotated);
    wal.sync().unwrap();
    let after = commit(&mut wal);
    assert!(after.first_offset == 3 && wal.stats().segments == 2, "{:?}", wal.stats());
    drop(wal);
    let (read, ..) = recover(&disk, expected()).unwrap();
    assert_eq!(read.len(), 4);
    assert_eq!((&read[0], &read[1].payload, &read[3]), (&small, &large, &after));
}

#[test]
fn the_offset_limit_of_a_segment_is_kept() {
    let disk = disk();
    let mut wal = create(&disk);
    wal.append(SEGMENT_OFFSETS as u32 - 1, b"many").unwrap();
    wal.write_group().unwrap();
    wal.append(2, b"two more").unwrap();
    assert!(wal.write_group().unwrap().rotated);
    wal.append(SEGMENT_OFFSETS as u32, b"a").unwrap();
    wal.append(SEGMENT_OFFSETS as u32, b"group above the block").unwrap();
    assert!(wal.write_group().unwrap().rotated);
    let mark = wal.close().unwrap();
    assert_eq!(mark.next_offset, 3 * SEGMENT_OFFSETS + 1);
    let (read, ..) = recover(&disk, with_mark(mark)).unwrap();
    assert_eq!(read.len(), 4);
}

#[test]
fn segments_below_what_is_needed_are_not_read() {
    let disk = disk();
    let mut wal = create(&disk);
    let records: Vec<_> = (0..100).map(|_| commit(&mut wal)).collect();
    let mark = wal.close().unwrap();
    // Damage in the middle of the first segment, which holds none of the last offsets.
    disk.flip_bit(&segment(1), 5000 * 8).unwrap();
    let expected = kyro_wal::Expected { replay_from: 90, ..with_mark(mark) };
    let (read, ..) = recover(&disk, expected).unwrap();
    assert_eq!(read, records[90..]);
}

#[test]
fn metadata_is_carried_from_segment_to_segment() {
    let disk = disk();
    let mut wal = create(&disk);
    wal.set_metadata(b"members: a, b").unwrap();
    wal.rotate().unwrap();
    commit(&mut wal);
    drop(wal);
    let recovery = Recovery::open(shared(&disk), dir(), expected(), options()).unwrap();
    assert_eq!(recovery.metadata(), b"members: a, b");
    let (wal, _) = recovery.finish(1).unwrap();
    assert_eq!(wal.metadata(), b"members: a, b");
}

#[test]
fn a_spare_is_used_and_one_left_behind_is_taken_over() {
    let disk = disk();
    let mut wal = create(&disk);
    commit(&mut wal);
    let job = wal.spare_job().unwrap();
    assert!(wal.spare_job().is_none(), "one at a time");
    wal.accept_spare(job.run().unwrap());
    wal.rotate().unwrap();
    assert!(!wal.stats().spare);
    commit(&mut wal);
    // Finished and not accepted: it stays for the next run.
    drop(wal.spare_job().unwrap().run().unwrap());
    drop(wal);
    let (read, mut wal, _) = recover(&disk, expected()).unwrap();
    assert_eq!(read.len(), 2);
    let before = disk.operations();
    commit(&mut wal);
    assert!(disk.operations() > before);
    assert!(!disk.contents().keys().any(|path| path.ends_with("spare.ready")));
    drop(wal);
    assert_eq!(recover(&disk, expected()).unwrap().0.len(), 3);
}

#[test]
fn a_log_starts_and_goes_on_at_a_given_offset() {
    let disk = disk();
    let mut wal = Wal::create_at(shared(&disk), dir(), identity(), options(), 1000).unwrap();
    assert_eq!(wal.append(3, b"first").unwrap(), 1000);
    wal.skip_to(1003).unwrap();
    assert_eq!((wal.next_offset(), wal.stats().segments), (1003, 1), "nothing to give up");
    wal.skip_to(2000).unwrap();
    assert_eq!(wal.append(1, b"second").unwrap(), 2000);
    wal.skip_to(1500).unwrap();
    wal.skip_to(1 << 40).unwrap();
    let mark = wal.close().unwrap();
    assert_eq!(mark.next_offset, 1 << 40);
    let mut expected = with_mark(mark);
    expected.replay_from = 1000;
    let (read, wal, tail) = recover(&disk, expected).unwrap();
    let read: Vec<(u64, Vec<u8>)> =
        read.into_iter().map(|record| (record.first_offset, record.payload)).collect();
    assert_eq!(read, [(1000, b"first".to_vec()), (2000, b"second".to_vec())]);
    assert_eq!((tail, wal.next_offset()), (Tail::Clean, 1 << 40));
}

#[test]
fn a_clean_close_gives_back_what_it_does_not_need() {
    let disk = disk();
    let segment_bytes = 4 << 20;
    let mut options = options();
    options.segment_bytes = segment_bytes;
    let mut wal = Wal::create(shared(&disk), dir(), identity(), options.clone()).unwrap();
    let mut records = vec![commit(&mut wal), commit(&mut wal)];
    assert_eq!(wal.stats().bytes, 1 << 20, "the first segment of a run is small");
    assert!(wal.spare_job().is_none(), "nor is there a spare yet");
    wal.append(1, &vec![7; 300 << 10]).unwrap();
    records.push(Record { first_offset: 2, count: 1, payload: vec![7; 300 << 10] });
    wal.write_group().unwrap();
    let spare = wal.spare_job().unwrap().run().unwrap();
    wal.accept_spare(spare);
    wal.rotate().unwrap();
    assert_eq!(disk.read(&segment(2)).unwrap().len() as u64, segment_bytes);
    records.push(commit(&mut wal));
    let spare = wal.spare_job().unwrap().run().unwrap();
    wal.accept_spare(spare);
    let mark = wal.close().unwrap();
    assert_eq!((mark.segment, mark.end, mark.next_offset), (3, 4096, 4));
    let sizes = || disk.contents().into_iter().map(|(path, bytes)| (path, bytes.len())).collect::<Vec<_>>();
    let cut = [(segment(1), 312 << 10), (segment(2), 12 << 10), (segment(3), 16 << 10)];
    assert_eq!(sizes(), cut, "no more than this, and no spare");
    // It opens with the mark and without it, and takes frames in a segment of full size.
    let (read, wal, tail) = recover_with(&disk.fork(), with_mark(mark), options.clone()).unwrap();
    assert_eq!((&read, tail, wal.next_offset()), (&records, Tail::Clean, 4));
    drop(wal);
    let (read, mut wal, _) = recover_with(&disk.fork(), expected(), options.clone()).unwrap();
    assert_eq!((&read, wal.next_offset()), (&records, 4 + SEGMENT_OFFSETS));
    (_, wal, _) = recover_with(&disk, with_mark(mark), options.clone()).unwrap();
    records.push(commit(&mut wal));
    assert_eq!((records[4].first_offset, wal.stats().last_segment), (4, 4));
    wal.rotate().unwrap();
    assert_eq!(disk.read(&segment(5)).unwrap().len() as u64, segment_bytes);
    let mark = wal.close().unwrap();
    // A close without a write in between has nothing to give back.
    let before = disk.contents();
    let (read, wal, _) = recover_with(&disk, with_mark(mark), options).unwrap();
    assert_eq!(read, records);
    assert_eq!((wal.close().unwrap(), disk.contents()), (mark, before));
}

#[test]
fn a_close_without_room_for_another_segment_leaves_the_file_as_long_as_it_is() {
    let disk = disk();
    let mut wal = Wal::create(shared(&disk), dir(), identity(), tight(96 << 10)).unwrap();
    let record = commit(&mut wal);
    disk.set_capacity(Some(100 << 10));
    let mark = wal.close().unwrap();
    assert_eq!((mark.segment, disk.read(&segment(1)).unwrap().len()), (1, 96 << 10));
    let (read, _, tail) = recover(&disk, with_mark(mark)).unwrap();
    assert_eq!((read, tail), (vec![record], Tail::Clean));
}

#[test]
fn a_log_whose_slack_is_small_is_closed_in_place() {
    let disk = disk();
    let mut wal = create(&disk);
    commit(&mut wal);
    drop(wal.spare_job().unwrap().run().unwrap());
    let mark = wal.close().unwrap();
    assert_eq!(mark.segment, 1);
    assert_eq!(disk.read(&segment(1)).unwrap().len(), 16 << 10);
    let spare = dir().join("spare.ready");
    kyro_wal::remove_spare(&disk, dir(), 16 << 10).unwrap();
    assert!(disk.read(&spare).is_ok(), "it is not larger than that");
    kyro_wal::remove_spare(&disk, dir(), (16 << 10) - 1).unwrap();
    assert!(disk.read(&spare).is_err());
    kyro_wal::remove_spare(&disk, dir(), 0).unwrap();
}
