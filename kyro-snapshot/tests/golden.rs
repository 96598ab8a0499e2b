//! Files that released versions wrote, byte for byte. Never regenerate one: a change of bytes is a new format version,
//! with a new file beside the old ones.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::PathBuf;

use kyro_snapshot::inspect::inspect;
use kyro_snapshot::{Mapping, Run, RunInfo, Writer};

/// Every golden file, and what was written into it.
const FILES: [&str; 3] = ["v1-mixed.run", "v1-fixed.run", "v1-empty.run"];

fn info() -> RunInfo {
    RunInfo { uuid: *b"golden run, v1 !", database: *b"golden database!", epoch: 0x0102_0304_0506_0708 }
}

type Rows = Vec<(u64, u64, Option<Vec<u8>>)>;

/// The content of a golden file. Arithmetic, so that it can be made again without the file.
fn rows(name: &str) -> Rows {
    let value =
        |key: u64, len: u64| (0..len).map(|at| (key.wrapping_mul(131) + at * 7) as u8).collect::<Vec<_>>();
    match name {
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

fn write(rows: &Rows) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), info()).unwrap();
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
        let read: Rows = run
            .iter()
            .map(Result::unwrap)
            .map(|record| (record.key, record.offset, record.value.map(<[u8]>::to_vec)))
            .collect();
        assert_eq!(read, rows(name), "{name}");
        assert_eq!(run.info(), &info());
        run.verify(&mut |_, _| ()).unwrap();
    }
}

#[test]
fn writes_version_1_byte_for_byte() {
    for name in FILES {
        let golden = std::fs::read(golden(name)).unwrap();
        assert!(write(&rows(name)) == golden, "{name}: today's writer makes other bytes");
        let run = Run::open(Mapping::from_bytes(golden.clone())).unwrap();
        let mut writer = Writer::new(Vec::new(), *run.info()).unwrap();
        for record in &run {
            let record = record.unwrap();
            writer.push(record.key, record.offset, record.value).unwrap();
        }
        assert!(writer.finish().unwrap().0 == golden, "{name}: read and written again");
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
