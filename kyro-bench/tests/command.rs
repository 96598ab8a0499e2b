//! The command, end to end, on few keys. Times are never looked at.

mod running;

use running::{kyro_bench, text};

#[test]
fn the_index_benchmark_reports() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let markdown = directory.path().join("report.md");
    let paths = [json.to_str().unwrap(), markdown.to_str().unwrap()];
    let mut arguments =
        vec!["index", "--keys", "3000", "--keys", "100", "--lookups", "500", "--repeats", "2"];
    arguments.extend([
        "--data",
        "uniform",
        "--data",
        "dense",
        "--pages",
        "4k",
        "--json",
        paths[0],
        "--markdown",
        paths[1],
    ]);
    let output = kyro_bench(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    assert_eq!(report, std::fs::read_to_string(markdown).unwrap());
    for part in [
        "pages: 4 KiB",
        "commit: ",
        "## 100 keys",
        "## 3000 keys",
        "### hits, serial",
        "floor",
        "S+ tree",
        "targets",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(report["results"]["sets"].as_array().unwrap().len(), 4);
    let set = &report["results"]["sets"][0];
    assert_eq!((&set["set"], &set["keys"]), (&"uniform".into(), &3000.into()));
    let kyro = &set["contenders"][0];
    assert_eq!(kyro["name"], "kyro-rmi");
    assert!(kyro["figures"]["hit-serial"]["median"].is_number());
    assert!(set["floor"]["miss-independent"]["least"].is_number());
    assert!(!report["machine"]["cpu"].as_str().unwrap().is_empty());
}

#[test]
fn verification_alone_times_nothing() {
    let output =
        kyro_bench(&["index", "--keys", "5000", "--data", "adversarial", "--verify-only", "--no-rivals"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains(" ns"));
}

#[test]
fn a_set_goes_through_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("snowflake_uint64");
    let path = file.to_str().unwrap();
    assert!(kyro_bench(&["data", "write", "snowflake", path, "--keys", "2000"]).status.success());
    let output = kyro_bench(&[
        "index",
        "--sosd",
        path,
        "--keys",
        "1000",
        "--verify-only",
        "--no-rivals",
        "--pages",
        "4k",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("## 1000 keys"));

    std::fs::write(&file, [1, 2, 3]).unwrap();
    let output = kyro_bench(&["index", "--sosd", path, "--keys", "1000", "--pages", "4k"]);
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("truncated, or not a SOSD uint64 file"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn sets_are_listed_and_unknown_ones_refused() {
    let list = text(&kyro_bench(&["data", "list"]).stdout);
    assert_eq!(list.lines().count(), 10);
    let output = kyro_bench(&["index", "--data", "nonsense"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("osm-like"));
}
