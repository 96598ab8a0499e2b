//! Power cuts at every operation, and again during the recovery from them.
//!
//! For each state a power cut may legally leave: every frame whose sync returned is there byte for byte, frames are
//! whole or absent, their order is that of appending without a gap, no offset that was given out is given out again,
//! nothing legal is refused, and recovering a second time (also after a power cut during the first recovery) gives the
//! same.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::collections::BTreeSet;

use kyro_wal::storage::SimDisk;
use kyro_wal::{Expected, Options, Wal};
use rig::*;

/// What had happened when an operation of the disk was about to begin.
#[derive(Clone, Debug)]
struct Fact {
    operation: u64,
    /// Frames that were handed to `write_group`, and of them those that a sync has covered.
    written: usize,
    synced: usize,
    /// No offset from here on was given out.
    next_offset: u64,
    /// What the caller's manifest says.
    expected: Expected,
    /// Frames below this index were purged, or may be.
    purged: usize,
}

/// A run of the log with everything a power cut may be checked against.
struct Story {
    disk: SimDisk,
    records: Vec<Record>,
    facts: Vec<Fact>,
    options: Options,
    /// Clean closes that gave space back.
    shortened: u64,
}

impl Story {
    fn new(options: Options) -> Self {
        Self { disk: disk(), records: Vec::new(), facts: Vec::new(), options, shortened: 0 }
    }

    fn last(&self) -> Fact {
        let start =
            Fact { operation: 0, written: 0, synced: 0, next_offset: 0, expected: expected(), purged: 0 };
        self.facts.last().cloned().unwrap_or(start)
    }

    fn note(&mut self, change: impl FnOnce(&mut Fact)) {
        let mut fact = self.last();
        fact.operation = self.disk.operations();
        change(&mut fact);
        self.facts.push(fact);
    }

    /// What was known when this operation had not begun.
    fn before(&self, operation: u64) -> Option<&Fact> {
        let known = self.facts.partition_point(|fact| fact.operation <= operation);
        self.facts[..known].last()
    }

    fn append(&mut self, wal: &mut Wal, count: u32) {
        let record = append(wal, count);
        self.records.push(record);
    }

    fn write(&mut self, wal: &mut Wal) {
        let written = self.records.len();
        self.note(|fact| (fact.written, fact.expected.clean) = (written, None));
        let next_offset = wal.write_group().unwrap().next_offset;
        // Until the segment that reserves them is durable, nobody has seen these offsets.
        self.note(|fact| fact.next_offset = next_offset);
    }

    fn sync(&mut self, wal: &mut Wal) {
        wal.sync().unwrap();
        let synced = self.last().written;
        self.note(|fact| fact.synced = synced);
    }

    fn close(&mut self, wal: Wal) {
        let last_segment = wal.stats().last_segment;
        let mark = wal.close().unwrap();
        self.shortened += u64::from(mark.segment > last_segment);
        let synced = self.records.len();
        self.note(|fact| {
            (fact.synced, fact.written) = (synced, synced);
            (fact.expected.clean, fact.next_offset) = (Some(mark), mark.next_offset);
        });
    }

    fn reopen(&mut self) -> Wal {
        let opened = recover_with(&self.disk, self.last().expected, self.options.clone());
        let (read, wal, _) = opened.unwrap();
        assert!(read.ends_with(&self.records[self.last().purged..]));
        let next_offset = wal.next_offset();
        let written = self.last().written;
        self.note(|fact| (fact.next_offset, fact.synced) = (next_offset, written));
        wal
    }

    fn purge(&mut self, wal: &mut Wal, offset: u64) {
        let first_segment = wal.first_segment_after_purge(offset);
        let purged = self.records.partition_point(|record| record.first_offset < offset);
        self.note(|fact| {
            (fact.expected.first_segment, fact.expected.replay_from) = (first_segment, offset);
            fact.purged = purged;
        });
        wal.purge_before(offset).unwrap();
    }
}

/// Random numbers that a seed determines.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A run of about `steps` steps, with everything a log does.
fn story(seed: u64, steps: u64) -> Story {
    let mut random = Random(seed);
    for _ in 0..3 {
        random.below(2);
    }
    // Some logs have long segments, so that many groups and sectors are unsynced at a time, and a clean close makes them
    // shorter.
    let mut story = Story::new(tight([16, 16, 96][seed as usize % 3] << 10));
    story.disk.record_history();
    let created = Wal::create(shared(&story.disk), dir(), identity(), story.options.clone());
    let mut wal = Some(created.unwrap());
    story.note(|_| ());
    for _ in 0..steps {
        let Some(log) = &mut wal else { break };
        match random.below(20) {
            0..=9 => {
                for _ in 0..=random.below(3) {
                    story.append(log, 1 + random.below(3) as u32);
                }
                story.write(log);
                if random.below(3) > 0 {
                    story.sync(log);
                }
            }
            10 | 11 => story.sync(log),
            12 => {
                story.note(|fact| fact.expected.clean = None);
                log.confirm().unwrap();
                let synced = story.last().written;
                story.note(|fact| fact.synced = synced);
            }
            13 => {
                story.note(|fact| fact.expected.clean = None);
                log.rotate().unwrap();
                let synced = story.last().written;
                story.note(|fact| fact.synced = synced);
            }
            14 => {
                let spare = log.spare_job().map(|job| job.run().unwrap());
                if let Some(spare) = spare {
                    log.accept_spare(spare);
                }
            }
            15 => {
                let synced = story.last().synced;
                let from = story.last().purged;
                if synced > from {
                    let offset =
                        story.records[from + random.below((synced - from) as u64) as usize].first_offset;
                    story.purge(log, offset);
                }
            }
            16 => {
                for _ in 0..4 {
                    let payload = vec![random.below(256) as u8; 5000];
                    let first_offset = log.append(1, &payload).unwrap();
                    story.records.push(Record { first_offset, count: 1, payload });
                }
                story.write(log);
            }
            17 | 18 => {
                story.close(wal.take().unwrap());
                wal = Some(story.reopen());
            }
            _ => {
                // The process dies and the machine goes on.
                drop(wal.take());
                wal = Some(story.reopen());
            }
        }
    }
    if let Some(log) = wal {
        story.close(log);
    }
    story
}

/// Checks what recovery made of a crash state; gives the log and the frames.
fn check(story: &Story, fact: &Fact, disk: &SimDisk, what: &dyn Fn() -> String) -> (Vec<Record>, Wal) {
    let (read, wal, _) =
        recover(disk, fact.expected).unwrap_or_else(|error| panic!("refused: {error}: {}", what()));
    // Frames from the first one with an offset that is needed, in order, without a gap.
    let skip = story
        .records
        .partition_point(|record| record.first_offset + u64::from(record.count) <= fact.expected.replay_from);
    let records = &story.records[skip..];
    assert!(read.len() <= records.len() && read == records[..read.len()], "not a prefix: {}", what());
    let there = skip + read.len();
    assert!(there >= fact.synced, "lost {} of {} frames: {}", fact.synced - there, fact.synced, what());
    assert!(there <= fact.written, "a frame from the future: {}", what());
    let next = wal.next_offset();
    assert!(
        next >= fact.next_offset,
        "{wal:?} {:?} {next} given out again, {fact:?}: {}",
        disk.contents().keys(),
        what()
    );
    (read, wal)
}

/// Goes on with a recovered log and reads it again.
fn check_goes_on(fact: &Fact, disk: &SimDisk, read: &[Record], mut wal: Wal, what: &dyn Fn() -> String) {
    let mut all = read.to_vec();
    all.push(commit(&mut wal));
    drop(wal);
    let expected = Expected { clean: None, ..fact.expected };
    let (again, ..) =
        recover(disk, expected).unwrap_or_else(|error| panic!("went on and refused: {error}: {}", what()));
    assert!(again == all, "went on and lost: {}", what());
}

#[derive(Debug, Default)]
struct Count {
    states: u64,
    second: u64,
    enumerated: u64,
    shortened: u64,
}

/// Crashes at every operation of a story, and at some operations of the recoveries.
fn crash_everywhere(seed: u64, steps: u64, seeds: u64, second_seeds: u64, count: &mut Count) {
    let story = story(seed, steps);
    count.shortened += story.shortened;
    let moments = story.disk.take_history();
    for moment in &moments {
        let Some(fact) = story.before(moment.operation) else { continue };
        let check_one = |crashed: &SimDisk, crash: u64, count: &mut Count| {
            let what = || format!("story {seed}, operation {}, crash {crash}", moment.operation);
            count.states += 1;
            let double = (moment.operation + crash).is_multiple_of(7) && second_seeds > 0;
            if double {
                crashed.record_history();
            }
            let original = if double { Some(crashed.fork()) } else { None };
            let (read, wal) = check(&story, fact, crashed, &what);
            let recovering = crashed.take_history();
            check_goes_on(fact, crashed, &read, wal, &what);
            drop(original);
            for second in &recovering {
                for again in 0..second_seeds {
                    let what = || format!("{}, again at {}, crash {again}", what(), second.operation);
                    let disk = second.disk.crash(again);
                    count.second += 1;
                    let (read, wal) = check(&story, fact, &disk, &what);
                    check_goes_on(fact, &disk, &read, wal, &what);
                }
            }
        };
        for crash in 0..seeds {
            check_one(&moment.disk.crash(crash), crash, count);
        }
        let (states, every) = moment.disk.crash_states(64);
        if every {
            for (number, disk) in states.enumerate() {
                count.enumerated += 1;
                check_one(&disk, 1_000 + number as u64, count);
            }
        }
    }
}

#[test]
fn no_power_cut_loses_or_invents_a_frame() {
    let mut count = Count::default();
    let stories =
        std::env::var("KYRO_WAL_CRASH_STORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let from: u64 = std::env::var("KYRO_WAL_CRASH_FROM").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let started = std::time::Instant::now();
    for seed in from..from + stories {
        crash_everywhere(seed, 24, 8, 3, &mut count);
    }
    let all = count.states + count.second;
    println!("{all} crash states ({count:?}) in {:?}", started.elapsed());
    assert!(all > 1_000 * stories && count.shortened * 10 >= stories, "{count:?}");
}

#[test]
fn after_a_crash_the_story_goes_on_and_crashes_again() {
    // Several lives: each continues from a crash state of the one before, so that skipped offsets, cut tails and
    // half-made segments pile up.
    let mut lives = 0;
    for seed in 0..60 {
        let mut disk = disk();
        let mut acked: Vec<Record> = Vec::new();
        let mut used = BTreeSet::new();
        drop(create(&disk));
        for life in 0..8_u64 {
            let (read, mut wal, _) = recover(&disk, expected()).unwrap();
            for record in &acked {
                assert!(read.contains(record), "seed {seed}, life {life}: {record:?} is lost");
            }
            let mut offsets: Vec<u64> = read.iter().map(|record| record.first_offset).collect();
            offsets.dedup();
            assert!(offsets.is_sorted() && offsets.len() == read.len());
            acked = read;
            let mut random = Random(seed * 100 + life);
            for _ in 0..random.below(12) {
                let record = append(&mut wal, 1);
                assert!(used.insert(record.first_offset), "seed {seed}, life {life}: offset given out twice");
                wal.write_group().unwrap();
                if random.below(2) == 0 {
                    wal.sync().unwrap();
                    acked.push(record);
                    // What was written before is durable too, and is checked by the order alone.
                }
                if random.below(6) == 0 {
                    wal.confirm().unwrap();
                }
            }
            disk = disk.crash(random.below(1_000));
            lives += 1;
        }
    }
    println!("{lives} lives");
}
