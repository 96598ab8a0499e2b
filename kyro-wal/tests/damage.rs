//! Damage: every bit flipped, every sector zeroed, every length cut, every file taken away.
//!
//! Never a wrong frame, never a panic. What was synced and has a witness is never lost in silence: the opening is
//! refused. Only the last unconfirmed group may go as a torn write would. A refused opening changes nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use kyro_wal::storage::SimDisk;
use kyro_wal::{Error, Expected, Options, Wal};
use rig::*;

/// A log of some small segments, and how its frames may be lost.
struct Subject {
    disk: SimDisk,
    expected: Expected,
    records: Vec<Record>,
    /// Frames that have a witness.
    confirmed: usize,
}

/// Three segments, and perhaps an empty one; the last one ends as told.
fn subject(end: End) -> Subject {
    let disk = disk();
    let mut wal = Wal::create(shared(&disk), dir(), identity(), end.options()).unwrap();
    let mut records = Vec::new();
    for group in 0..9 {
        for _ in 0..2 {
            records.push(append(&mut wal, 1));
        }
        wal.write_group().unwrap();
        wal.sync().unwrap();
        if group % 3 == 2 && group < 8 {
            wal.rotate().unwrap();
        }
    }
    let mut expected = expected();
    let confirmed = match end {
        End::Unconfirmed => records.len() - 2,
        End::Confirmed => {
            assert!(wal.confirm().unwrap());
            records.len()
        }
        End::Clean => {
            expected.clean = Some(wal.close().unwrap());
            records.len()
        }
        End::Empty => {
            wal.rotate().unwrap();
            records.len()
        }
        End::EmptyClean => {
            wal.rotate().unwrap();
            expected.clean = Some(wal.close().unwrap());
            records.len()
        }
        End::Shortened | End::ShortenedUnmarked => {
            let mark = wal.close().unwrap();
            assert_eq!((mark.segment, mark.end), (4, 4096));
            expected.clean = Some(mark).filter(|_| end == End::Shortened);
            records.len()
        }
    };
    Subject { disk, expected, records, confirmed }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Unconfirmed,
    Confirmed,
    Clean,
    /// The last segment holds nothing.
    Empty,
    EmptyClean,
    /// A clean close gave space back, and its mark was stored or not.
    Shortened,
    ShortenedUnmarked,
}

impl End {
    fn segments(self) -> u64 {
        if matches!(self, Self::Unconfirmed | Self::Confirmed | Self::Clean) { 3 } else { 4 }
    }

    fn options(self) -> Options {
        if matches!(self, Self::Shortened | Self::ShortenedUnmarked) { tight(48 << 10) } else { options() }
    }
}

const ENDS: [End; 7] = [
    End::Unconfirmed,
    End::Confirmed,
    End::Clean,
    End::Empty,
    End::EmptyClean,
    End::Shortened,
    End::ShortenedUnmarked,
];

#[derive(Debug, Default)]
struct Count {
    cases: u64,
    refused: u64,
    harmless: u64,
    cut: u64,
}

/// A frame's header as it is in the bytes of a whole segment.
struct Header {
    at: u64,
    end: u64,
    watermark: u64,
    carries: bool,
}

fn headers(segment: &[u8]) -> Vec<Header> {
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&segment[at..at + len]);
        u64::from_le_bytes(bytes)
    };
    let mut headers = Vec::new();
    let mut at = 4096;
    while segment[at..].starts_with(b"KYFR") {
        let end = at + 48 + (number(at + 4, 4) as usize).next_multiple_of(8);
        let (watermark, carries) = (number(at + 16, 8), number(at + 24, 4) > 0);
        headers.push(Header { at: at as u64, end: end as u64, watermark, carries });
        at = end;
    }
    headers
}

impl Subject {
    /// How many frames must be there, or the opening refused, when these bytes of a segment are lost: all, if a header
    /// that is not among them vouches for the first frame that is.
    fn must_have(&self, number: u64, lost: std::ops::Range<u64>) -> usize {
        let whole = self.disk.read(&segment(number)).unwrap();
        let headers = headers(&whole);
        let Some(first) = headers.iter().find(|header| header.end > lost.start) else {
            return self.records.len();
        };
        let witness = headers.iter().any(|header| {
            header.watermark > first.at && (header.at + 48 <= lost.start || header.at >= lost.end)
        });
        if number < 3
            || self.confirmed == self.records.len() && self.disk.read(&segment(4)).is_ok()
            || self.expected.clean.is_some()
            || witness
            || lost.start < 4096
        {
            return self.records.len();
        }
        let gone = headers.iter().filter(|header| header.carries && header.at >= first.at).count();
        self.records.len() - gone
    }

    fn check(&self, disk: &SimDisk, count: &mut Count, what: &dyn Fn() -> String) {
        self.check_has(self.confirmed, disk, count, what);
    }

    fn check_has(&self, frames: usize, disk: &SimDisk, count: &mut Count, what: &dyn Fn() -> String) {
        count.cases += 1;
        let before = disk.fork();
        match recover(disk, self.expected) {
            Ok((read, wal, _)) => {
                drop(wal);
                let again = recover(disk, Expected { clean: None, ..self.expected });
                assert!(
                    again.is_ok_and(|(again, ..)| again == read),
                    "opened once and not again: {}",
                    what()
                );
                assert!(self.records.starts_with(&read), "a wrong frame: {}", what());
                assert!(
                    read.len() >= frames,
                    "lost {} in silence: {}",
                    self.records.len() - read.len(),
                    what()
                );
                if read.len() == self.records.len() {
                    count.harmless += 1;
                } else {
                    count.cut += 1;
                }
            }
            Err(error) => {
                assert!(
                    !matches!(error, Error::Io { .. } | Error::Poisoned { .. } | Error::Unstable { .. }),
                    "{error}: {}",
                    what()
                );
                assert!(disk.contents() == before.contents(), "a refused opening wrote: {}", what());
                count.refused += 1;
            }
        }
    }
}

fn used(disk: &SimDisk, number: u64) -> u64 {
    let bytes = disk.read(&segment(number)).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
}

#[test]
fn every_bit() {
    let mut count = Count::default();
    for end in ENDS {
        let subject = subject(end);
        for number in 1..=end.segments() {
            let bytes = subject.disk.read(&segment(number)).unwrap().len() as u64;
            // All of what is used, and a sample of the zeros behind it.
            let used = used(&subject.disk, number);
            let step = if end == End::Confirmed { 1 } else { 5 };
            let bits = (0..used * 8).step_by(step).chain((used * 8..bytes * 8).step_by(97));
            for bit in bits {
                let disk = subject.disk.fork();
                disk.flip_bit(&segment(number), bit).unwrap();
                subject.check(&disk, &mut count, &|| format!("{end:?}, segment {number}, bit {bit}"));
            }
        }
    }
    println!("bits: {count:?}");
    assert!(count.refused > 150_000);
}

#[test]
fn every_sector_zeroed_or_filled_and_every_length() {
    let mut count = Count::default();
    for end in ENDS {
        let subject = subject(end);
        for number in 1..=end.segments() {
            let whole = subject.disk.read(&segment(number)).unwrap();
            for at in (0..whole.len()).step_by(64) {
                for len in [64, 512, 4096] {
                    for fill in [0_u8, 0xff, 0x5a] {
                        let mut bytes = whole.clone();
                        let until = (at + len).min(whole.len());
                        bytes[at..until].fill(fill);
                        let disk = subject.disk.fork();
                        disk.overwrite(&segment(number), &bytes).unwrap();
                        let what = || format!("{end:?}, segment {number}, {len} at {at} made {fill}");
                        let must_have = subject.must_have(number, at as u64..until as u64);
                        subject.check_has(must_have, &disk, &mut count, &what);
                    }
                }
            }
            for len in 0..whole.len() {
                let disk = subject.disk.fork();
                disk.overwrite(&segment(number), &whole[..len]).unwrap();
                subject.check(&disk, &mut count, &|| format!("{end:?}, segment {number}, cut to {len}"));
            }
        }
    }
    println!("sectors and lengths: {count:?}");
    assert!(count.cases > 90_000, "{count:?}");
}

#[test]
fn a_frame_moved_repeated_or_taken_from_elsewhere() {
    let mut count = Count::default();
    let subject = subject(End::Confirmed);
    let other = {
        let disk = disk();
        let identity = kyro_wal::Identity { uuid: *b"another database", epoch: 1 };
        let mut wal = Wal::create(shared(&disk), dir(), identity, options()).unwrap();
        for _ in 0..6 {
            commit(&mut wal);
        }
        disk.read(&segment(1)).unwrap()
    };
    for number in 1..=3 {
        let whole = subject.disk.read(&segment(number)).unwrap();
        for source in [&whole, &other, &subject.disk.read(&segment(number % 3 + 1)).unwrap()] {
            for from in (4096..7000).step_by(136) {
                for to in (4096..7000).step_by(104) {
                    for len in [8, 48, 512] {
                        let mut bytes = whole.clone();
                        let piece = source[from..from + len].to_vec();
                        bytes[to..to + len].copy_from_slice(&piece);
                        let disk = subject.disk.fork();
                        disk.overwrite(&segment(number), &bytes).unwrap();
                        let must_have = subject.must_have(number, to as u64..(to + len) as u64);
                        let what = || format!("segment {number}: {len} from {from} to {to}");
                        subject.check_has(must_have, &disk, &mut count, &what);
                    }
                }
            }
        }
    }
    println!("moved bytes: {count:?}");
    assert!(count.refused > 1_000, "{count:?}");
}

/// Several damages at once, anywhere in what is used: `KYRO_DAMAGE_CASES` of them, from `KYRO_DAMAGE_SEED` on.
#[test]
fn any_damage_at_all() {
    let variable =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap());
    let (cases, seed) = (variable("KYRO_DAMAGE_CASES", 40_000), variable("KYRO_DAMAGE_SEED", 0));
    let subjects: Vec<_> = ENDS.into_iter().map(|end| (end, subject(end))).collect();
    let mut count = Count::default();
    for case in seed..seed + cases {
        let mut state = case.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % bound
        };
        let (end, subject) = &subjects[below(subjects.len() as u64) as usize];
        let disk = subject.disk.fork();
        let damages = 1 + below(4);
        let mut must_have = 0;
        for _ in 0..damages {
            let number = 1 + below(end.segments());
            let mut bytes = disk.read(&segment(number)).unwrap();
            let at = below((used(&subject.disk, number) + 64).min(bytes.len() as u64));
            let len = [1, 1, 2, 8, 48, 512][below(6) as usize].min(bytes.len() as u64 - at);
            let place = &mut bytes[at as usize..(at + len) as usize];
            match below(4) {
                0 => place[0] ^= 1_u8 << below(8),
                1 => place.fill(below(256) as u8),
                2 => place.iter_mut().for_each(|byte| *byte ^= 0xA5),
                _ => place.fill(0),
            }
            disk.overwrite(&segment(number), &bytes).unwrap();
            // Several may take out a frame and every one that vouches for it: what is read is a prefix all the same.
            if damages == 1 {
                // Of bytes that were already what they became, nothing is lost.
                let whole = subject.disk.read(&segment(number)).unwrap();
                let mut changed = (at..at + len).filter(|&at| bytes[at as usize] != whole[at as usize]);
                let first = changed.next();
                let lost = first.map_or(0..0, |first| first..changed.next_back().unwrap_or(first) + 1);
                must_have =
                    if lost.is_empty() { subject.records.len() } else { subject.must_have(number, lost) };
            }
        }
        subject.check_has(must_have, &disk, &mut count, &|| format!("{end:?}, case {case}"));
    }
    println!("any damage: {count:?}");
    assert!(count.refused > cases / 3, "{count:?}");
}

#[test]
fn every_missing_or_swapped_segment_is_refused() {
    for end in [End::Unconfirmed, End::Confirmed, End::Clean] {
        for number in 1..=3 {
            let subject = subject(end);
            subject.disk.vanish(&segment(number)).unwrap();
            let error = recover(&subject.disk, subject.expected).unwrap_err();
            assert!(
                matches!(error, Error::MissingSegment { segment, .. } if segment == number),
                "{end:?}: {error}"
            );
            let subject = self::subject(end);
            let bytes = subject.disk.read(&segment(number)).unwrap();
            subject.disk.overwrite(&segment(number % 3 + 1), &bytes).unwrap();
            assert!(recover(&subject.disk, subject.expected).is_err());
        }
        let subject = subject(end);
        for number in 1..=end.segments() {
            subject.disk.vanish(&segment(number)).unwrap();
        }
        assert!(matches!(
            recover(&subject.disk, subject.expected),
            Err(Error::MissingSegment { segment: 1, .. })
        ));
    }
}

#[test]
fn the_report_says_where_and_what_and_how_much() {
    let subject = subject(End::Confirmed);
    // The payload of a frame in the middle of the second segment.
    let whole = subject.disk.read(&segment(2)).unwrap();
    let second =
        (4096 + 8..whole.len()).step_by(8).find(|&at| whole[at..].starts_with(b"KYFR")).unwrap() as u64;
    subject.disk.flip_bit(&segment(2), (second + 36) * 8).unwrap();
    let error = recover(&subject.disk, subject.expected).unwrap_err();
    let text = error.to_string();
    let Error::Corrupt(corruption) = error else { panic!("{text}") };
    assert_eq!((corruption.file.clone(), corruption.at), (segment(2), second));
    assert_eq!(corruption.last_good_offset, Some(6));
    assert_eq!(corruption.frames_after, 4 + 6 + 2, "four here; six and the two confirming ones in the last");
    assert!(corruption.expected.is_some() && corruption.expected != corruption.found);
    assert!(
        text.contains("kyro-http repair DIR --into NEW") && text.contains("nothing was changed"),
        "{text}"
    );
}

#[test]
fn newer_versions_and_other_databases_are_named() {
    let subject = subject(End::Clean);
    let disk = subject.disk.fork();
    let mut bytes = disk.read(&segment(3)).unwrap();
    bytes[8] = 2;
    bytes[200] = 1;
    disk.overwrite(&segment(3), &bytes).unwrap();
    let error = recover(&disk, subject.expected).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    let expected = Expected { uuid: [0; 16], ..subject.expected };
    let error = recover(&subject.disk, expected).unwrap_err();
    assert!(matches!(error, Error::WrongDatabase { .. }), "{error}");
    let recovery =
        kyro_wal::Recovery::open(shared(&subject.disk), dir(), subject.expected, options()).unwrap();
    assert!(matches!(recovery.finish(0), Err(Error::Fenced { ours: 0, found: 1, .. })));
}
