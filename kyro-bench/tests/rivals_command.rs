//! YCSB over all stores, one report of all groups, and pictures, end to end on very little. Times are never looked at.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod running;

use std::path::Path;
use std::process::Output;

use running::{kyro_bench, text};

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Runs the group on very little into `out`.
fn rivals(place: &Path, out: &Path) -> Output {
    kyro_bench(&[
        "rivals",
        "--dir",
        place.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--records=2000",
        "--operations=500",
        "--durable-operations=60",
        "--writers=4",
        "--repeats=2",
        "--seconds=600",
    ])
}

#[test]
fn every_workload_of_every_store_is_reported_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let (place, all) = (dir.path().join("place"), dir.path().join("all"));
    std::fs::create_dir(&place).unwrap();
    let out = all.join("rivals");
    let output = rivals(&place, &out);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "everything is removed");
    let report = json(&out.join("report.json"));
    let results = &report["results"];
    assert!(!report["machine"]["cpu"].as_str().unwrap().is_empty() && report["commit"].is_string());
    assert!(report["durability"].as_str().unwrap().starts_with("never and always"));

    let mut stores = vec!["kyro-engine"];
    if cfg!(feature = "rivals-engines") {
        stores.extend(["redb", "fjall", "LMDB", "sled"]);
    } else {
        let excluded = results["excluded"].as_array().unwrap();
        assert!(excluded.iter().any(|row| row["name"] == "redb"), "{results}");
    }
    for store in &stores {
        for mode in ["never", "always"] {
            for workload in ["A", "B", "C", "D", "E", "F"] {
                let rows = results["rows"].as_array().unwrap();
                let row = rows.iter().find(|row| {
                    row["store"] == *store && row["durability"] == mode && row["workload"] == workload
                });
                let row = row.unwrap_or_else(|| panic!("{store} {mode} {workload}: {results}"));
                assert_eq!(row["repeats"].as_array().unwrap().len(), 2);
                assert!(row["per_second"]["median"].as_f64().unwrap() > 0.0, "{row}");
                assert!(row["reads"]["p99"].as_f64().unwrap() > 0.0, "{row}");
                assert_eq!(row["writes"].is_null(), workload == "C", "{row}");
                assert_eq!(row["keeps_mode"], *store != "sled" || mode == "never");
            }
            let resources = results["resources"].as_array().unwrap();
            let row = resources.iter().find(|row| row["store"] == *store && row["durability"] == mode);
            let row = row.unwrap();
            for figure in ["disk", "loaded_disk", "resident_bytes", "load_per_second"] {
                assert!(row[figure].as_f64().unwrap() > 0.0, "{figure} of {row}");
            }
        }
    }

    // One report of all groups, though only one is there, and its pictures.
    let summary = kyro_bench(&["summary", all.to_str().unwrap(), "--command", "the command"]);
    assert!(summary.status.success(), "{}", text(&summary.stderr));
    let markdown = std::fs::read_to_string(all.join("report.md")).unwrap();
    for part in ["commit: ", "`the command`", "## rivals", "Without a report: index, wal, engine, http."] {
        assert!(markdown.contains(part), "{part} in {markdown}");
    }
    let pictures = ["rivals-never.svg", "rivals-always.svg", "latency-cdf-never.svg"];
    for picture in pictures {
        let svg = std::fs::read_to_string(all.join(picture)).unwrap();
        assert!(svg.contains("kyro-engine") && svg.trim_end().ends_with("</svg>"), "{picture}");
        assert!(markdown.contains(picture), "{picture} in {markdown}");
        std::fs::remove_file(all.join(picture)).unwrap();
    }

    // They are drawn again from the directory, and elsewhere from the file.
    assert!(kyro_bench(&["plot", all.to_str().unwrap()]).status.success());
    let elsewhere = dir.path().join("elsewhere");
    let file = out.join("report.json");
    let drawn = kyro_bench(&["plot", file.to_str().unwrap(), "--out", elsewhere.to_str().unwrap()]);
    assert!(drawn.status.success(), "{}", text(&drawn.stderr));
    for picture in pictures {
        assert_eq!(
            std::fs::read(all.join(picture)).unwrap(),
            std::fs::read(elsewhere.join(picture)).unwrap(),
            "{picture}"
        );
    }
}

#[test]
fn what_cannot_be_drawn_or_summed_up_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("empty.json"), "{\"title\": \"Engine\"}").unwrap();
    std::fs::write(path("other.csv"), "a,b\n1,2\n").unwrap();
    for (file, reason) in [
        (path("none.json"), "cannot be read"),
        (path("empty.json"), "nothing to draw"),
        (path("other.csv"), "has no column"),
    ] {
        let output = kyro_bench(&["plot", &file]);
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains(reason), "{file}: {}", text(&output.stderr));
    }
    let output = kyro_bench(&["summary", &path("")]);
    assert!(text(&output.stderr).contains("has no report of any group"), "{}", text(&output.stderr));
}
