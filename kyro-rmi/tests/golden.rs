//! Indexes as versions 1 and 2 wrote them. The files are never written again: a change of the bytes' meaning needs a new
//! format version and new files beside these.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use kyro_rmi::{BuildOptions, Column, OpenError, Rmi, RootKind};

/// A column whose index is one straight line: what a build writes for it leaves nothing to choose.
fn small() -> Vec<u64> {
    (0..48).map(|i| 1000 + 10 * i).collect()
}

/// Even keys, uneven keys, runs and jumps, with outliers at both ends.
fn mixed() -> Vec<u64> {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 11
    };
    let mut keys = vec![0, 5, u64::MAX - 3, u64::MAX];
    keys.extend((0..3000).map(|i| (1 << 40) + 37 * i));
    keys.extend((0..6000).map(|_| (1 << 40) + (random() >> 13)));
    let mut key = 1u64 << 39;
    keys.extend((0..4000).map(|_| {
        key += 1 << (random() % 25);
        key
    }));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Keys whose density halves with each power of two.
fn heavy_tailed() -> Vec<u64> {
    (0..8000u64).map(|i| (((i % 400) + 400) << (i / 400)) + 7).collect()
}

fn column(keys: &[u64]) -> Column {
    Column { uuid: *b"kyro-rmi golden!", checksum: 0x1234_5678, keys: keys.len() as u64 }
}

/// Opens a golden file and asks it about every key and its neighbours.
fn check(golden: &[u8], keys: &[u64], root: RootKind) {
    let column = column(keys);
    let index = Rmi::open(golden, &column).expect("an old version is read for ever");
    index.verify_checksums().expect("the file is whole");
    index.verify(keys).expect("every key is in its window");
    assert_eq!(index.stats().root, root);
    assert_eq!(index.encode(&column).as_deref(), Ok(golden), "what was read is written back the same");
    for &key in keys {
        for key in [key.wrapping_sub(1), key, key.wrapping_add(1)] {
            let probe = index.probe(keys, key);
            assert_eq!(probe.position, keys.partition_point(|&other| other < key), "{key}");
            assert!(!probe.mispredicted, "{key}");
        }
    }
}

#[test]
fn today_writes_what_version_1_wrote() {
    let keys = small();
    let golden = include_bytes!("golden/v1-small.rmi");
    check(golden, &keys, RootKind::Linear);
    let built = Rmi::build(&keys, &BuildOptions::default()).expect("sorted");
    assert_eq!(built.encode(&column(&keys)).as_deref(), Ok(&golden[..]));
}

#[test]
fn every_kind_of_record_of_version_1_is_read() {
    let keys = mixed();
    let golden = include_bytes!("golden/v1-mixed.rmi");
    check(golden, &keys, RootKind::Linear);
    let stats = Rmi::open(&golden[..], &column(&keys)).expect("version 1").stats();
    assert!(stats.outliers > 0 && stats.fallback_keys > 0 && stats.further_keys > 0, "{stats:?}");
}

#[test]
fn logarithmic_roots_of_version_1_are_read() {
    check(include_bytes!("golden/v1-heavy-tailed.rmi"), &heavy_tailed(), RootKind::Logarithmic);
}

/// Keys whose tree of separators has an inner level: runs of 40 keys, each of another density.
fn uneven() -> Vec<u64> {
    (0..50_000u64)
        .scan(9, |key, i| {
            *key += 1 << (i / 40 * 7 % 37);
            Some(*key)
        })
        .collect()
}

#[test]
fn separators_are_version_2() {
    let keys = uneven();
    let golden = include_bytes!("golden/v2-separators.rmi");
    check(golden, &keys, RootKind::Separators);
    let index = Rmi::open(&golden[..], &column(&keys)).expect("version 2");
    assert_eq!(index.stats().max_steps, 3, "a top, an inner level and leaves");
    assert_eq!(golden[8..12], [2, 0, 0, 0]);
    // Version 1 has no such root, whatever the checksums say.
    let mut older = golden.to_vec();
    older[8] = 1;
    let checksum = crc32fast::hash(&older[..252]);
    older[252..256].copy_from_slice(&checksum.to_le_bytes());
    assert!(matches!(Rmi::open(older, &column(&keys)), Err(OpenError::Corrupt { offset: 80, .. })));
}

/// Every golden index as text: the header by the table in `src/format.rs`, where the sections lie, and how they begin.
#[test]
fn annotated_dumps_are_as_they_were() {
    let golden: [(&str, &[u8]); 4] = [
        ("v1-small", include_bytes!("golden/v1-small.rmi")),
        ("v1-mixed", include_bytes!("golden/v1-mixed.rmi")),
        ("v1-heavy-tailed", include_bytes!("golden/v1-heavy-tailed.rmi")),
        ("v2-separators", include_bytes!("golden/v2-separators.rmi")),
    ];
    let mut text = String::new();
    for (name, bytes) in golden {
        writeln!(text, "== {name}: {} bytes\n{}", bytes.len(), dump(bytes)).expect("writes to memory");
    }
    insta::assert_snapshot!(text);
}

fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut show = |at: usize, length: usize, what: &str| {
        let shown = &bytes[at..at + length.min(16)];
        let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        let more = if length > 16 { "…" } else { "" };
        writeln!(text, "{at:>7}  {:<48} {what}", hex.join(" ") + more).expect("writes to memory");
    };
    let header = [
        (8, "magic"),
        (4, "format version"),
        (4, "checksum algorithm"),
        (16, "UUID of the key column"),
        (4, "checksum of the key column"),
        (4, "bytes to each checksum of the body"),
        (8, "number of keys"),
        (8, "root: smallest key on the grid"),
        (8, "root: range of the grid"),
        (8, "root: number of cells"),
        (8, "root: multiplier or bits"),
        (4, "root: kind"),
        (4, "window in keys"),
        (8, "number of words"),
        (8, "number of blocks"),
        (8, "statistics: outliers"),
        (8, "statistics: leaves"),
        (8, "statistics: fallback keys"),
        (8, "statistics: further keys"),
        (16, "statistics: epsilon p50, p99, max, most steps"),
        (100, "zeros"),
        (4, "checksum of the header"),
    ];
    let mut at = 0;
    for (length, what) in header {
        show(at, length, what);
        at += length;
    }
    assert_eq!(at, 256, "the header");
    let number = |at: usize| {
        let word = bytes[at..].first_chunk().expect("a header is 256 bytes");
        usize::try_from(u64::from_le_bytes(*word)).expect("a small file")
    };
    let (words, blocks) = (number(88) * 8, number(96) * 64);
    let checksums = 4 * (words + blocks).div_ceil(16_384);
    for (length, what) in [
        (words, "words"),
        (blocks, "blocks"),
        (checksums, "checksums of the body"),
        (4, "checksum of those checksums"),
    ] {
        if length > 0 {
            show(at, length, &format!("{what}, {length} bytes"));
        }
        at += length;
    }
    assert_eq!(at, bytes.len(), "nothing else");
    text
}

/// The header of version 1, field by field, against the table in `src/format.rs`.
#[test]
fn the_header_is_where_version_1_put_it() {
    let golden = include_bytes!("golden/v1-small.rmi");
    let u32_at = |at: usize| u32::from_le_bytes(*golden[at..].first_chunk().expect("a header is 256 bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(*golden[at..].first_chunk().expect("a header is 256 bytes"));
    assert_eq!(&golden[..8], b"KYRORMI\0");
    assert_eq!((u32_at(8), u32_at(12)), (1, 1), "version, checksum algorithm");
    assert_eq!(&golden[16..32], b"kyro-rmi golden!");
    assert_eq!((u32_at(32), u32_at(36), u64_at(40)), (0x1234_5678, 16_384, 48), "checksum, block, keys");
    assert_eq!((u64_at(48), u64_at(56), u64_at(64)), (1000, 470, 1), "root: low, range, cells");
    assert_eq!((u32_at(80), u32_at(84)), (0, 64), "root kind, window");
    assert_eq!((u64_at(88), u64_at(96)), (8, 0), "words, blocks");
    assert_eq!(golden[152..252], [0; 100]);
    assert_eq!(u32_at(252), crc32fast::hash(&golden[..252]));
    assert_eq!(u64_at(256), 48 << 38, "the only cell: a leaf of 48 keys from position 0");
    assert_eq!(golden.len(), 256 + 64 + 4 + 4);
}
