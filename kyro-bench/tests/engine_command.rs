//! The benchmark of the engine, end to end, on very little. Times are never looked at.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::Path;
use std::process::Command;

fn compare(old: &Path, new: &Path) -> Option<i32> {
    let command = Command::new(env!("CARGO_BIN_EXE_kyro-bench")).arg("compare").args([old, new]).output();
    command.unwrap().status.code()
}

#[test]
fn every_row_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (place, out) = (dir.path().join("place"), dir.path().join("out"));
    std::fs::create_dir(&place).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kyro-bench"))
        .args(["engine", "--sizes", "20000x16,3000x64", "--gets", "2000", "--repeats", "2", "--loads", "1"])
        .args(["--busy-seconds", "0.2", "--dir"])
        .arg(&place)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert_eq!(text, String::from_utf8(output.stdout).unwrap());
    for part in
        ["commit: ", "durability: ", "## 20000 records of 16 B", "## reads beside 50000 puts/s", "## targets"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }

    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let results = &report["results"];
    let measures = |store: &str, records: u64| {
        let rows = results["rows"].as_array().unwrap().iter();
        let of_store = rows.filter(|row| row["store"] == store && row["records"] == records);
        let mut measures: Vec<String> = of_store
            .map(|row| {
                assert!(row["figure"]["median"].as_f64().unwrap() > 0.0, "{row}");
                row["measure"].as_str().unwrap().to_owned()
            })
            .collect();
        measures.sort_unstable();
        measures
    };
    let mut everyone = vec![
        "amplification",
        "disk-random",
        "disk-sorted",
        "hit",
        "hit-p50",
        "hit-p99",
        "hit-p999",
        "hit-serial",
        "load-random",
        "load-sorted",
        "many",
        "miss",
        "reopen",
        "scan-all",
        "scan100",
        "speedup",
        "two-threads",
        "zipf",
        "zipf-serial",
    ];
    for rival in ["redb", "fjall", "LMDB", "sled"] {
        if cfg!(feature = "rivals-engines") {
            assert_eq!(measures(rival, 20_000), everyone, "{rival}: {}", results["excluded"]);
        } else {
            let excluded = results["excluded"].as_array().unwrap();
            assert!(excluded.iter().any(|row| row["name"] == rival), "{results}");
        }
    }
    everyone.insert(2, "disk-runs");
    assert_eq!(measures("kyro-engine", 20_000), everyone);
    assert_eq!(measures("kyro-engine", 3_000), everyone);
    let states = ["hit", "hit-serial", "miss"];
    assert_eq!(measures("kyro-engine, as many entries again in the delta", 20_000), states);
    let scanned = ["hit", "hit-serial", "many", "miss", "scan-all", "scan100"];
    assert_eq!(measures("kyro-engine, everything in the delta", 20_000), scanned);
    assert_eq!(measures("kyro-engine, 4 runs", 20_000), scanned);
    assert_eq!(measures("floor", 20_000), ["hit-serial", "zipf-serial"]);
    assert!(results["busy"][0]["busy"]["gets"].as_u64().unwrap() > 0);
    assert_eq!(compare(&out.join("report.json"), &out.join("report.json")), Some(0));
    let mut worse = report.clone();
    for ratio in worse["results"]["ratios"].as_array_mut().unwrap() {
        ratio["ratio"] = (ratio["ratio"].as_f64().unwrap() / 1.3).into();
    }
    let changed = dir.path().join("worse.json");
    std::fs::write(&changed, worse.to_string()).unwrap();
    assert_eq!(compare(&out.join("report.json"), &changed), Some(1));
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "everything is removed");
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    for size in ["16", "0x16", "10x7", "tenx16", "5000000000x16"] {
        let output = Command::new(env!("CARGO_BIN_EXE_kyro-bench"))
            .args(["engine", "--sizes", size])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{size}");
    }
}
