//! The benchmark of the write path, end to end, on very little. Times are never looked at.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod running;

use std::path::Path;
use std::process::Output;

use kyro_bench::kv::{Contender, Entries};
use kyro_bench::wal::recovery::CHILD;
use kyro_engine::Durability;

use running::{kyro_bench, text};

#[test]
fn every_row_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let (json, markdown) = (dir.path().join("report.json"), dir.path().join("report.md"));
    let paths = [&place, &json, &markdown].map(|path| path.to_str().unwrap());
    let output =
        kyro_bench(&["wal", "--quick", "--dir", paths[0], "--json", paths[1], "--markdown", paths[2]]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    assert_eq!(report, std::fs::read_to_string(&markdown).unwrap());
    for part in [
        "commit: ",
        "4 KiB made durable",
        "append + fdatasync",
        "processor kept awake",
        "long transfers",
        "write, buffered, synced",
        "puts a second: always",
        "puts a second: interval(100 ms)",
        "puts a second: never, batches of 1,000",
        "reading the log alone",
        "opening after an unclean stop",
        "targets",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }

    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let results = &report["results"];
    let rows = |name: &str| results[name].as_array().unwrap();
    let puts_of = |store: &str| {
        let of_store = rows("puts").iter().filter(|row| row["store"] == store);
        let cell = |row: &serde_json::Value| {
            assert!(row["puts"]["median"].as_f64().unwrap() > 0.0, "{row}");
            let (mode, writers) = (row["mode"].as_str().unwrap(), row["writers"].as_u64().unwrap());
            (mode.to_owned(), writers, row["value_bytes"].as_u64().unwrap())
        };
        of_store.map(cell).collect::<Vec<_>>()
    };
    let cells = |cells: &[(&str, u64, u64)]| -> Vec<_> {
        cells.iter().map(|&(mode, writers, bytes)| (mode.to_owned(), writers, bytes)).collect()
    };
    let ours = [
        ("always", 1, 16),
        ("always", 8, 16),
        ("always", 64, 16),
        ("always", 1, 64),
        ("always", 8, 64),
        ("always", 64, 64),
        ("interval", 1, 64),
        ("interval", 64, 64),
        ("never", 1, 64),
    ];
    assert_eq!(puts_of("kyro-engine"), cells(&ours));
    let theirs =
        [("always", 1, 16), ("always", 64, 16), ("always", 1, 64), ("always", 64, 64), ("never", 1, 64)];
    for rival in ["redb", "fjall", "LMDB", "sled"] {
        if cfg!(feature = "rivals-engines") {
            assert_eq!(puts_of(rival), cells(&theirs), "{rival}");
        } else {
            assert!(rows("excluded").iter().any(|row| row["name"] == rival), "{results}");
        }
    }
    assert_eq!(rows("replays").len(), 2);
    let opens: Vec<_> = rows("opens").iter().map(|row| (&row["stored"], &row["tail"])).collect();
    assert_eq!(opens.len(), 3);
    assert_eq!(opens[1], (&10_000.into(), &2_500.into()));
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "everything is removed");
}

#[test]
fn parts_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let output = kyro_bench(&["wal", "--quick", "--no-rivals", "--parts", "never", "--dir", place]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    assert!(report.contains("puts a second: never") && !report.contains("redb"), "{report}");
    assert!(!report.contains("puts a second: always") && !report.contains("unclean stop"), "{report}");
}

fn child(verb: &str, dir: &Path, stored: u64, tail: u64, seed: u64) -> Output {
    let [stored, tail, seed] = [stored, tail, seed].map(|number| number.to_string());
    let dir = dir.to_str().unwrap();
    // Its standard input is empty, so it ends by itself: without closing the database.
    kyro_bench(&[
        CHILD,
        verb,
        "--dir",
        dir,
        "--stored",
        &stored,
        "--tail",
        &tail,
        "--value-bytes",
        "64",
        "--seed",
        &seed,
    ])
}

/// What recovery gives back is compared with what was written: other keys, another tail and a lost entry are noticed.
#[test]
fn a_wrong_recovery_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("database");
    let filled = child("fill", &place, 3_000, 1_500, 1);
    assert_eq!(text(&filled.stdout), "null\n", "{}", text(&filled.stderr));

    let right = child("open", &place, 3_000, 1_500, 1);
    assert!(text(&right.stdout).contains("\"replayed\":1500"), "{}", text(&right.stderr));
    let other_keys = child("open", &place, 3_000, 1_500, 2);
    assert!(text(&other_keys.stderr).contains("is not there"), "{}", text(&other_keys.stderr));
    let other_tail = child("open", &place, 3_000, 1_400, 1);
    assert!(text(&other_tail.stderr).contains("1500 entries came from the log"));

    let store = Contender::Kyro.open(&place, Durability::Always).unwrap();
    let entries = Entries { seed: 1, value_bytes: 64 };
    store.put(entries.key(4_000), b"another value").unwrap();
    store.close().unwrap();
    let changed = child("open", &place, 3_000, 1_501, 1);
    assert!(text(&changed.stderr).contains("entry 4000"), "{}", text(&changed.stderr));
    assert!(!changed.status.success() && changed.stdout.is_empty());
}
