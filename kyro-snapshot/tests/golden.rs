//! Files that released versions wrote, byte for byte. Never regenerate one: a change of bytes is a new format version,
//! with a new file beside the old ones.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::PathBuf;

use kyro_snapshot::inspect::inspect;
use kyro_snapshot::{Compression, Mapping, OpenError, Run, RunInfo, Writer};

/// Every golden file, and what was written into it.
const FILES: [&str; 4] = ["v1-mixed.run", "v1-fixed.run", "v1-empty.run", PACKED];

/// The one with compressed values: some blocks of them are, and some are not.
const PACKED: &str = "v2-lz4.run";

fn info() -> RunInfo {
    RunInfo { uuid: *b"golden run, v1 !", database: *b"golden database!", epoch: 0x0102_0304_0506_0708 }
}

type Rows = Vec<(u64, u64, Option<Vec<u8>>)>;

/// The content of a golden file. Arithmetic, so that it can be made again without the file.
fn rows(name: &str) -> Rows {
    let value =
        |key: u64, len: u64| (0..len).map(|at| (key.wrapping_mul(131) + at * 7) as u8).collect::<Vec<_>>();
    match name {
        PACKED => packed_rows(),
        "v1-empty.run" => Vec::new(),
        "v1-fixed.run" => {
            (0..40).map(|index| (index * index, 1_000 + index, Some(value(index, 9)))).collect()
        }
        _ => (0..60_u64)
            .map(|index| {
                let key = if index == 59 { u64::MAX } else { index * 0x0012_3456_789A_BCDE };
                let value = (index % 5 != 2).then(|| value(index, index * index % 600));
                (key, (1 << 63) - 1 - index, value)
            })
            .collect(),
    }
}

/// Text, a long value that no compression makes shorter, more text, and tombstones.
fn packed_rows() -> Rows {
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = |len: usize| -> Vec<u8> {
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 24) as u8
            })
            .collect()
    };
    (0..90_u64)
        .map(|key| {
            let value = match key {
                40 => Some(noise(30_000)),
                key if key % 11 == 3 => None,
                key => Some(format!("{{\"key\":{key},\"name\":\"number {key}\"}} ").repeat(9).into_bytes()),
            };
            (key * key, 7_000 - key, value)
        })
        .collect()
}

fn write(name: &str, rows: &Rows) -> Vec<u8> {
    let compression = if name == PACKED { Compression::Lz4 } else { Compression::None };
    let mut writer = Writer::with_compression(Vec::new(), info(), compression).unwrap();
    for (key, offset, value) in rows {
        writer.push(*key, *offset, value.as_deref()).unwrap();
    }
    writer.finish().unwrap().0
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn reads_every_file_ever_written() {
    for name in FILES {
        let run = Run::open(Mapping::from_bytes(std::fs::read(golden(name)).unwrap())).unwrap();
        assert_eq!(run.is_compressed(), name == PACKED);
        let read: Rows = run
            .iter()
            .map(Result::unwrap)
            .map(|record| (record.key, record.offset, record.value.map(|value| value.to_vec())))
            .collect();
        assert_eq!(read, rows(name), "{name}");
        assert_eq!(run.info(), &info());
        run.verify(&mut |_, _| ()).unwrap();
    }
}

/// What LZ4 makes of a block may change with its library: of version 2 only what is read is frozen.
#[test]
fn writes_version_1_byte_for_byte() {
    for name in FILES.into_iter().filter(|&name| name != PACKED) {
        let golden = std::fs::read(golden(name)).unwrap();
        assert!(write(name, &rows(name)) == golden, "{name}: today's writer makes other bytes");
        let run = Run::open(Mapping::from_bytes(golden.clone())).unwrap();
        let mut writer = Writer::new(Vec::new(), *run.info()).unwrap();
        for record in &run {
            let record = record.unwrap();
            writer.push(record.key, record.offset, record.value.as_deref()).unwrap();
        }
        assert!(writer.finish().unwrap().0 == golden, "{name}: read and written again");
    }
}

/// A release that knows only version 1 reads the first twelve bytes and the header's checksum, and refuses by them.
#[test]
fn version_2_is_refused_by_version_1() {
    let file = write(PACKED, &rows(PACKED));
    let golden = std::fs::read(golden(PACKED)).unwrap();
    for file in [file, golden] {
        assert_eq!(file[..12], *b"kyro-run\x02\0\0\0");
        assert_eq!(crc32fast::hash(&file[..4092]).to_le_bytes(), file[4092..4096]);
        let mut newer = file.clone();
        newer[8] = 3;
        let sum = crc32fast::hash(&newer[..4092]).to_le_bytes();
        newer[4092..4096].copy_from_slice(&sum);
        let refused = Run::open(Mapping::from_bytes(newer)).unwrap_err();
        assert_eq!(refused, OpenError::NewerVersion { found: 3, supported: 2 });
        // Nor does a file pass for the other version.
        let mut older = file;
        older[8] = 1;
        let sum = crc32fast::hash(&older[..4092]).to_le_bytes();
        older[4092..4096].copy_from_slice(&sum);
        let refused = Run::open(Mapping::from_bytes(older)).unwrap_err();
        assert_eq!(refused, OpenError::Field { field: "format version", expected: 2, found: 1 });
    }
}

#[test]
fn every_golden_file_is_tested() {
    let mut found: Vec<String> = std::fs::read_dir(golden(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort_unstable();
    let mut listed = FILES.map(String::from);
    listed.sort_unstable();
    assert_eq!(found, listed);
}

#[test]
fn the_annotated_dump_is_as_it_was() {
    for name in FILES {
        let facts = inspect(&std::fs::read(golden(name)).unwrap()).unwrap();
        insta::assert_snapshot!(name.replace(['.', '-'], "_"), facts);
        let end = facts.sections.last().unwrap();
        assert_eq!((end.name, end.bytes), ("footer", 256));
    }
}
