//! Every operation of a run fails, in every way, once or from then on.
//!
//! Whatever fails: what a sync covered stays; a group that was refused for want of space is not there later; the log
//! either goes on or takes nothing more; and what recovery gives out after the process dies survives a power cut, also
//! when a sync had failed and the page cache showed bytes that the disk lacked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::path::Path;

use kyro_wal::storage::sim::{Fault, FaultKind};
use kyro_wal::storage::{SimDisk, Storage};
use kyro_wal::{Error, Expected, Wal};
use rig::*;

/// What a run did until its end.
#[derive(Default)]
struct Run {
    /// Frames written, in order; of a group that failed with `StorageFull` none.
    records: Vec<Record>,
    synced: usize,
    /// Groups of which it is not known whether they are there, since the last one that is; at most one is.
    doubtful: Vec<Vec<Record>>,
    expected: Option<Expected>,
    poisoned: bool,
    full: u64,
    went_on: bool,
}

impl Run {
    /// Takes an error note of; says whether the run is over.
    fn fails(&mut self, error: &Error) -> bool {
        match error {
            Error::StorageFull { .. } => self.full += 1,
            Error::Poisoned { .. } => self.poisoned = true,
            Error::Io { .. } => {}
            other => panic!("{other}"),
        }
        self.poisoned
    }

    /// What a recovery gave out stays; of the doubtful groups it decided.
    fn adopt(&mut self, read: &[Record]) {
        assert!(read.len() >= self.synced);
        for record in read.get(self.records.len()..).unwrap_or(&[]) {
            assert!(self.doubtful.iter().flatten().any(|doubtful| doubtful == record));
        }
        self.records = read.to_vec();
        self.synced = read.len();
        self.doubtful.clear();
    }

    fn group(&mut self, wal: &mut Wal, frames: u64, attempt: u64) -> Result<(), Error> {
        let mut group = Vec::new();
        for _ in 0..frames {
            let first_offset = wal.next_offset();
            let payload = payload(first_offset ^ attempt << 20);
            assert_eq!(wal.append(2, &payload)?, first_offset);
            group.push(Record { first_offset, count: 2, payload });
        }
        self.expected = Some(expected());
        let next = wal.next_offset() - 2 * frames;
        match wal.write_group() {
            Ok(_) => {
                self.records.append(&mut group);
                self.doubtful.clear();
                Ok(())
            }
            Err(error) => {
                assert_eq!(wal.next_offset(), next, "offsets of a failed group are free again");
                let certain = matches!(error, Error::StorageFull { certain: true, .. } | Error::Io { .. });
                if !certain {
                    self.doubtful.push(group);
                }
                Err(error)
            }
        }
    }
}

/// The steps that are run under faults. A step that fails without poisoning is not repeated.
fn run(disk: &SimDisk) -> Run {
    let mut run = Run::default();
    let mut wal = None;
    for _ in 0..3 {
        if let Ok(created) = Wal::create(shared(disk), dir(), identity(), tight(48 << 10)) {
            wal = Some(created);
            break;
        }
    }
    let Some(mut wal) = wal else { return run };
    run.expected = Some(expected());
    for step in 0..136_u64 {
        if step % 34 == 33 {
            // The process dies, and the next one opens the log while the faults go on.
            drop(wal);
            match recover_with(disk, run.expected.unwrap_or_else(expected), tight(48 << 10)) {
                Ok((read, opened, _)) => {
                    run.adopt(&read);
                    wal = opened;
                }
                Err(Error::Io { .. } | Error::StorageFull { .. } | Error::Unstable { .. }) => return run,
                Err(error) => panic!("step {step}: {error}"),
            }
        }
        let done = match step % 8 {
            0 | 2 | 5 => run.group(&mut wal, 1 + step % 3, step).and_then(|()| {
                wal.sync()?;
                run.synced = run.records.len();
                Ok(())
            }),
            1 | 6 => run.group(&mut wal, 2, step),
            3 => wal.confirm().map(|_| run.synced = run.records.len()),
            4 => wal.rotate().map(|_| run.synced = run.records.len()),
            _ => match wal.spare_job().map(kyro_wal::SpareJob::run) {
                Some(Ok(spare)) => {
                    wal.accept_spare(spare);
                    Ok(())
                }
                Some(Err(error)) => Err(error),
                None => Ok(()),
            },
        };
        match done {
            Err(error) if run.fails(&error) => {
                let again = wal.append(1, b"after the poison").unwrap_err();
                assert!(matches!(again, Error::Poisoned { .. }), "{again}");
                assert!(matches!(wal.sync().unwrap_err(), Error::Poisoned { .. }));
                assert!(wal.stats().poisoned);
                return run;
            }
            Err(_) => {}
            Ok(()) => run.went_on |= run.full > 0,
        }
    }
    match wal.close() {
        Ok(mark) => {
            run.synced = run.records.len();
            run.expected = Some(with_mark(mark));
        }
        Err(error) => {
            run.fails(&error);
        }
    }
    run
}

fn check(run: &Run, disk: &SimDisk, what: &dyn Fn() -> String) -> Option<(Vec<Record>, Wal)> {
    let expected = run.expected?;
    let (read, wal, _) =
        recover(disk, expected).unwrap_or_else(|error| panic!("refused: {error}: {}", what()));
    assert!(read.len() >= run.synced, "lost {} of {}: {}", run.synced - read.len(), run.synced, what());
    let known = run.records.len().min(read.len());
    let (sure, beyond) = read.split_at(known);
    assert!(run.records.starts_with(sure), "not what was written: {}", what());
    let doubtful = run.doubtful.iter().any(|group| group.starts_with(beyond));
    assert!(beyond.is_empty() || doubtful, "what nobody wrote: {}", what());
    Some((read, wal))
}

#[test]
fn no_fault_loses_or_invents_a_frame() {
    let healthy = disk();
    let whole = run(&healthy);
    assert!(whole.synced == whole.records.len() && whole.records.len() > 40);
    let operations = healthy.operations();
    let (mut points, mut states, mut poisoned, mut full, mut went_on) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let kinds = [
        FaultKind::Eio,
        FaultKind::NoSpace,
        FaultKind::ShortWrite,
        FaultKind::SyncError,
        FaultKind::ReadError,
        FaultKind::PowerCut,
    ];
    for at in 0..operations {
        for kind in kinds {
            for sticky in [false, true] {
                let disk = disk();
                disk.inject(Fault { at: disk.operations() + at, kind, sticky });
                let run = run(&disk);
                points += 1;
                poisoned += u64::from(run.poisoned);
                full += u64::from(run.full > 0);
                went_on += u64::from(run.went_on);
                let what = || format!("{kind:?} at {at}, sticky {sticky}");
                for seed in 0..4 {
                    // The machine lost power.
                    disk.clear_faults();
                    states += 1;
                    check(&run, &disk.crash(seed), &|| format!("{}, crash {seed}", what()));
                    // Only the process died: the page cache is what the next one reads.
                    let next = disk.restart();
                    if seed == 3 {
                        next.drop_caches();
                    }
                    states += 1;
                    let Some((read, wal)) = check(&run, &next, &|| format!("{}, restart {seed}", what()))
                    else {
                        continue;
                    };
                    // What was given out then stays, whatever the platter had.
                    let after = next.crash(seed);
                    drop(wal);
                    states += 1;
                    let again = Run { records: read.clone(), synced: read.len(), ..Run::default() };
                    let expected = run.expected;
                    check(&Run { expected, ..again }, &after, &|| {
                        format!("{}, restart, crash {seed}", what())
                    });
                }
            }
        }
    }
    println!(
        "{points} fault points ({operations} operations): {poisoned} poisoned, {full} without space, of which \
         {went_on} went on; {states} states recovered"
    );
    assert!(points > 5_000 && poisoned > 1_000 && full > 1_000 && went_on > 500);
}

#[test]
fn after_a_failed_sync_the_tail_is_written_again() {
    // The page cache shows the new frame, the platter lacks it, and a second sync would succeed without storing it.
    let mut kept = 0;
    for _ in 0..8 {
        let disk = disk();
        let mut wal = create(&disk);
        let first = commit(&mut wal);
        let second = append(&mut wal, 1);
        wal.write_group().unwrap();
        disk.inject(Fault { at: 0, kind: FaultKind::SyncError, sticky: false });
        let error = wal.sync().unwrap_err();
        assert!(error.to_string().contains("a sync of /wal/0000000000000001.wal failed"), "{error}");
        assert!(matches!(wal.sync(), Err(Error::Poisoned { .. })), "a failed sync is never tried again");
        drop(wal);
        let disk = disk.restart();
        let (read, wal, _) = recover(&disk, expected()).unwrap();
        assert_eq!(read, [first, second]);
        drop(wal);
        let (again, ..) = recover(&disk.crash(0), expected()).unwrap();
        assert_eq!(again, read);
        kept += 1;
    }
    assert_eq!(kept, 8);
}

#[test]
fn when_space_comes_back_writing_resumes() {
    let disk = disk();
    let mut wal = create(&disk);
    let mut records = vec![commit(&mut wal)];
    disk.set_capacity(Some(40 << 10));
    let mut refused = 0;
    for _ in 0..40 {
        wal.append(1, &[5; 1000]).unwrap();
        let next = wal.next_offset();
        match wal.write_group() {
            Ok(_) => records.push(Record { first_offset: next - 1, count: 1, payload: vec![5; 1000] }),
            Err(Error::StorageFull { certain: true, .. }) => {
                assert_eq!(wal.next_offset(), next - 1);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        wal.sync().unwrap();
    }
    assert!(refused > 10);
    // Purging needs no space and makes some.
    let first = wal.first_segment_after_purge(10);
    let purged = wal.purge_before(10).unwrap();
    assert!(purged.segments == 1 && purged.first_segment == first, "{purged:?}");
    records.push(commit(&mut wal));
    disk.set_capacity(None);
    records.push(commit(&mut wal));
    let mark = wal.close().unwrap();
    let expected = Expected { first_segment: first, replay_from: 10, ..with_mark(mark) };
    let (read, ..) = recover(&disk, expected).unwrap();
    assert_eq!(read, records[10..]);
}

#[test]
fn a_full_disk_can_be_opened() {
    let disk = disk();
    let mut wal = create(&disk);
    let record = commit(&mut wal);
    append(&mut wal, 1);
    wal.write_group().unwrap();
    drop(wal);
    let full = disk.crash(2);
    full.set_capacity(Some(16 << 10));
    let (read, mut wal, _) = recover(&full, expected()).unwrap();
    assert_eq!(read[0], record);
    wal.append(1, b"no room").unwrap();
    assert!(matches!(wal.write_group(), Err(Error::StorageFull { certain: true, .. })));
    full.set_capacity(None);
    commit(&mut wal);
}

#[test]
fn a_refused_group_does_not_come_back_with_its_retry() {
    // Three frames; the write breaks off in the third. The retry is the first frame alone, byte for byte the same: what
    // lies behind it must not continue its chain.
    for at in 0..200 {
        let disk = disk();
        let mut wal = create(&disk);
        commit(&mut wal);
        let operations = disk.operations();
        for _ in 0..3 {
            wal.append(1, b"the same payload").unwrap();
        }
        disk.inject(Fault { at: operations, kind: FaultKind::ShortWrite, sticky: false });
        for _ in 0..at % 7 {
            // Moves the point at which the write breaks off, which the number of the operation decides.
            assert!(disk.len(Path::new("/wal/none")).is_err());
        }
        assert!(matches!(wal.write_group(), Err(Error::StorageFull { certain: true, .. })));
        wal.append(1, b"the same payload").unwrap();
        wal.write_group().unwrap();
        wal.sync().unwrap();
        drop(wal);
        let (read, ..) = recover(&disk.crash(at), expected()).unwrap();
        assert_eq!(read.len(), 2, "crash {at}");
    }
}

#[test]
fn a_refused_frame_in_the_place_of_its_retry_is_damage() {
    // The disk lost the retry and shows what another attempt would have left: a frame of this segment, for this place and
    // these offsets, whole. Only the frame behind it says that it followed another one.
    let refused = {
        let disk = disk();
        let mut wal = create(&disk);
        commit(&mut wal);
        wal.append(1, b"what was refused").unwrap();
        wal.write_group().unwrap();
        disk.read(&segment(1)).unwrap()
    };
    let disk = disk();
    let mut wal = create(&disk);
    let first = commit(&mut wal);
    disk.inject(Fault { at: disk.operations(), kind: FaultKind::NoSpace, sticky: false });
    wal.append(1, b"what was refused").unwrap();
    assert!(matches!(wal.write_group(), Err(Error::StorageFull { certain: true, .. })));
    wal.append(1, b"what was written").unwrap();
    wal.write_group().unwrap();
    wal.sync().unwrap();
    let last = commit(&mut wal);
    assert_eq!((first.first_offset, last.first_offset), (0, 2));
    assert!(wal.confirm().unwrap());
    drop(wal);
    let at = 4096 + 48 + first.payload.len().next_multiple_of(8);
    let mut whole = disk.read(&segment(1)).unwrap();
    assert_eq!(whole[..at], refused[..at]);
    whole[at..at + 64].copy_from_slice(&refused[at..at + 64]);
    disk.overwrite(&segment(1), &whole).unwrap();
    let error = recover(&disk, expected()).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    assert!(error.to_string().contains("does not follow the one before it"), "{error}");
}
