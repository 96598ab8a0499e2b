//! The bytes of format version 1, frozen: read back, written again byte for byte, and shown field by field.
//!
//! A golden file is written once, when it is missing, and never again: a change of bytes needs a new version.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::fmt::Write as _;
use std::path::PathBuf;

use kyro_wal::inspect::{self, Item};
use kyro_wal::storage::SimDisk;
use kyro_wal::{CleanMark, Expected, Tail};
use rig::*;

/// The golden files are segments 1 (sealed, cut short), 2 (sealed, of a large group's size) and 3 (ends with a clean
/// close) of one log.
const FILES: [&str; 3] = ["v1-sealed.wal", "v1-large.wal", "v1-live.wal"];

const MARK: CleanMark = CleanMark { segment: 3, end: 8240, next_offset: 16, checksum: 3_320_156_561 };

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Writes the log that the golden files hold, with today's code.
fn written_today() -> (SimDisk, CleanMark, Vec<Record>) {
    let disk = disk();
    let mut wal = create(&disk);
    let mut records = Vec::new();
    let mut add = |wal: &mut kyro_wal::Wal, count: u32, payload: &[u8]| {
        let first_offset = wal.append(count, payload).unwrap();
        records.push(Record { first_offset, count, payload: payload.to_vec() });
    };
    add(&mut wal, 1, b"first");
    add(&mut wal, 3, b"a batch of three");
    wal.write_group().unwrap();
    wal.sync().unwrap();
    add(&mut wal, 1, b"");
    wal.write_group().unwrap();
    wal.sync().unwrap();
    wal.set_metadata(b"opaque").unwrap();
    add(&mut wal, 10, &vec![0x5a; 9_000]);
    wal.write_group().unwrap();
    wal.rotate().unwrap();
    add(&mut wal, 1, b"last");
    let mark = wal.close().unwrap();
    (disk, mark, records)
}

#[test]
fn version_1_is_written_as_it_ever_was() {
    let (disk, mark, _) = written_today();
    for (name, number) in FILES.into_iter().zip(1..) {
        let path = golden(name);
        let today = disk.read(&segment(number)).unwrap();
        if !path.exists() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &today).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == today, "{name} is no longer written byte for byte");
    }
    assert_eq!(mark, MARK);
}

#[test]
fn version_1_is_read() {
    let (_, _, records) = written_today();
    let disk = disk();
    for (name, number) in FILES.into_iter().zip(1..) {
        disk.overwrite(&segment(number), &std::fs::read(golden(name)).unwrap()).unwrap();
    }
    let (read, wal, tail) = recover(&disk, with_mark(MARK)).unwrap();
    assert_eq!((read, tail, wal.metadata()), (records.clone(), Tail::Clean, &b"opaque"[..]));
    let (read, ..) = recover(&disk, Expected { clean: None, ..with_mark(MARK) }).unwrap();
    assert_eq!(read, records);
}

#[test]
fn version_1_field_by_field() {
    let disk = disk();
    let mut text = String::new();
    for (name, number) in FILES.into_iter().zip(1..) {
        let bytes = std::fs::read(golden(name)).unwrap();
        disk.overwrite(&segment(number), &bytes).unwrap();
        writeln!(text, "== {name}: {} bytes", bytes.len()).unwrap();
        let header = ["magic", "version, checksum algorithm", "uuid", "number, epoch", "first offset, limit"];
        let header = header.into_iter().zip([0..8, 8..16, 16..32, 32..48, 48..64]);
        let rest =
            ["capacity", "predecessor: number, end, next offset", "predecessor: checksum", "flags, metadata"];
        let rest = rest.into_iter().zip([64..72, 72..96, 96..100, 100..114]);
        for (field, range) in header.chain(rest).chain([("checksum", 4092..4096)]) {
            writeln!(text, "{:>5}  {:<49} {field}", range.start, hex(&bytes[range.clone()])).unwrap();
        }
        let mut pieces = String::new();
        let facts = inspect::walk(&disk, &segment(number), &mut |item| match item {
            Item::Frame { facts, payload } => {
                let at = facts.at as usize;
                let fields = [
                    "magic, length",
                    "first offset",
                    "watermark",
                    "count, flags",
                    "previous, payload checksum",
                ];
                let starts = [0, 8, 16, 24, 32];
                for (field, start) in fields.into_iter().zip(starts) {
                    let bytes = hex(&bytes[at + start..at + start + 8]);
                    writeln!(pieces, "{:>5}  {bytes:<49} {field}", at + start).unwrap();
                }
                writeln!(pieces, "{:>5}  {:<49} attempt, checksum", at + 40, hex(&bytes[at + 40..at + 48]))
                    .unwrap();
                let start = hex(&payload[..payload.len().min(16)]);
                writeln!(pieces, "{:>5}  {start:<49} payload, {} bytes", at + 48, payload.len()).unwrap();
                writeln!(pieces, "       {facts:?}").unwrap();
            }
            other => writeln!(pieces, "       {other:?}").unwrap(),
        });
        let footer = bytes.len() - 4096;
        text.push_str(&pieces);
        writeln!(text, "{footer:>5}  {:<49} footer", hex(&bytes[footer..footer + 16])).unwrap();
        writeln!(text, "{:>5}  {:<49}", footer + 16, hex(&bytes[footer + 16..footer + 32])).unwrap();
        writeln!(text, "{:>5}  {:<49}", footer + 32, hex(&bytes[footer + 32..footer + 48])).unwrap();
        writeln!(text, "       {:?}", facts.unwrap()).unwrap();
    }
    insta::assert_snapshot!(text);
}

fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = pairs.join(" ");
    if text.len() > 47 {
        text.truncate(47);
        text.push('…');
    }
    text
}
