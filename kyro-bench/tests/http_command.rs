//! The benchmark of the server and the workload client, end to end, on very little. Times are never looked at.
//!
//! The server is another package's program: it is built into the same directory by whoever tests the workspace, or by
//! this test.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod running;

use std::path::PathBuf;
use std::process::Command;

use kyro_bench::http::process::Server;

use running::{a_processor, kyro_bench, text};

/// kyro-http beside the program under test.
fn server() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_kyro-bench")).with_file_name("kyro-http");
    let release = path.parent().is_some_and(|dir| dir.ends_with("release"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "kyro-http"]).args(release.then_some("--release"));
    assert!(cargo.status().unwrap().success());
    assert!(path.is_file(), "{}", path.display());
    path
}

#[test]
fn every_row_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (place, out) = (dir.path().join("place"), dir.path().join("out"));
    std::fs::create_dir(&place).unwrap();
    let (server, place_, out_) = (server(), place.to_str().unwrap(), out.to_str().unwrap());
    let processor = a_processor();
    let small = ["--records", "5000", "--connections", "8", "--seconds", "0.1", "--repeats", "2"];
    let output = kyro_bench(
        &[
            &["http", "--dir", place_, "--out", out_, "--server", server.to_str().unwrap()][..],
            &["--idle-connections", "50", "--server-processor", &processor, "--client-processor", &processor],
            &small,
        ]
        .concat(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    for part in [
        "commit: ",
        "## requests a second",
        "## latency at a given rate",
        "## durable puts",
        "## memory",
        "## targets",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let results = &report["results"];
    let excluded: Vec<&str> =
        results["excluded"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    for (name, depth) in [
        ("bare hyper", 1),
        ("GET /v1/get_fast", 1),
        ("GET /v1/lookup_fast", 1),
        ("GET /v1/kv", 1),
        ("POST /v1/mget", 1),
        ("bare hyper", 16),
        ("GET /v1/get_fast", 16),
    ] {
        let rows = results["rates"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name && row["depth"] == depth);
        let row = row.unwrap_or_else(|| panic!("{name}, depth {depth}: {excluded:?}"));
        assert!(row["per_second"]["median"].as_f64().unwrap() > 0.0, "{row}");
        let compared = name.starts_with("GET");
        assert_eq!(row["over_bare"].is_object(), compared, "{row}");
    }
    assert_eq!(results["open_loop"].as_array().unwrap().len(), 6);
    assert!(results["puts"]["ratio"]["median"].as_f64().unwrap() > 0.0);
    assert_eq!(results["idle"].as_array().unwrap().len(), 2);
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "everything is removed");
}

#[test]
fn a_workload_checks_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(server());
    command.arg("--data-dir").arg(dir.path().join("data")).args(["serve", "127.0.0.1", "0"]);
    command.env("KYRODB_RL_DATA_RPS", "0").env("KYRODB_RL_ADMIN_RPS", "0").env("RUST_LOG", "warn");
    command.env("KYRODB_AUTH_TOKEN", "secret");
    let server = Server::start_anywhere(command).unwrap();
    let base = format!("http://{}", server.address);
    let csv = dir.path().join("out.csv");
    let common = |more: &[&str]| {
        let common = ["workload", "--base", &base, "--auth-token", "secret", "--read-seconds", "0.2"];
        let files =
            ["--out-csv", csv.to_str().unwrap(), "--read-concurrency", "4", "--load-concurrency", "4"];
        kyro_bench(&[&common[..], &files, more].concat())
    };
    let loaded = common(&["--load-n", "500", "--dist", "zipf", "--misses", "0.3", "--op", "get_fast"]);
    assert!(loaded.status.success(), "{}", text(&loaded.stderr));
    assert!(!text(&loaded.stdout).contains("secret"), "{}", text(&loaded.stdout));
    for op in ["lookup_fast", "put", "mixed", "mget", "kv", "kv_put"] {
        let ran =
            common(&["--load-n", "0", "--records", "500", "--op", op, "--rate", "200", "--regime", "cold"]);
        assert!(ran.status.success(), "{op}: {}", text(&ran.stderr));
    }
    let json = dir.path().join("report.json");
    let pictures = dir.path().join("pictures");
    let ran = common(
        &[
            &["--load-n", "0", "--records", "500", "--op", "mget", "--batch", "50", "--json"][..],
            &[json.to_str().unwrap()],
        ]
        .concat(),
    );
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["durability"], "always", "the server says so");
    assert!(!report["machine"]["cpu"].as_str().unwrap().is_empty() && report["commit"].is_string());
    let figure = |name: &str| report["results"][name].as_f64().unwrap();
    assert!(figure("p50_us") > 0.0 && figure("answers") > 0.0, "{report}");
    assert!((figure("keys_per_second") / figure("per_second") - 50.0).abs() < 1e-6, "{report}");
    for (from, picture) in [(&json, "latency-cdf.svg"), (&csv, "workload-throughput.svg")] {
        let drawn = kyro_bench(&["plot", from.to_str().unwrap(), "--out", pictures.to_str().unwrap()]);
        assert!(drawn.status.success(), "{}", text(&drawn.stderr));
        assert!(pictures.join(picture).is_file(), "{picture}");
    }
    let lines: Vec<String> = std::fs::read_to_string(&csv).unwrap().lines().map(str::to_owned).collect();
    assert!(
        lines[0].starts_with("base,dist,regime,reads_total,rps,p50_us,p95_us,p99_us,p999_us,"),
        "{}",
        lines[0]
    );
    assert_eq!(lines.len(), 9);
    let columns = lines[0].split(',').count();
    assert!(lines.iter().all(|line| line.split(',').count() == columns), "{lines:?}");
    assert!(lines[1].starts_with(&format!("{base},zipf,warm,")), "{}", lines[1]);

    // Another seed asks for other keys; another length expects other values: both are wrong answers.
    for wrong in [["--seed", "2"], ["--val-bytes", "65"]] {
        let ran = common(&[&["--load-n", "0", "--records", "500"][..], &wrong].concat());
        assert!(!ran.status.success(), "{}", text(&ran.stdout));
        assert!(text(&ran.stderr).contains("a wrong answer"), "{}", text(&ran.stderr));
    }
    let refused = kyro_bench(&["workload", "--base", &base, "--load-n", "1"]);
    assert!(text(&refused.stderr).contains("status 401"), "{}", text(&refused.stderr));
}

#[test]
fn a_switch_of_versions_is_measured_and_every_answer_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (place, server) = (dir.path().join("place"), server());
    std::fs::create_dir(&place).unwrap();
    let json = dir.path().join("switch.json");
    let output = kyro_bench(&[
        "switch",
        "--dir",
        place.to_str().unwrap(),
        "--server",
        server.to_str().unwrap(),
        "--json",
        json.to_str().unwrap(),
        "--records=3000",
        "--connections=4",
        "--rate=500",
        "--seconds=0.3",
        "--repeats=2",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for part in ["get_fast", "mget of 16", "left alone", "switched all the time", "an mget never mixes both"]
    {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let results = &report["results"];
    let rows = results["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["answers"].as_u64().unwrap() > 0), "{rows:?}");
    let count = |name: &str| results["switches"][name].as_array().unwrap().len();
    // At least one in each of two repeats of two rows.
    assert!(count("pushes_ms") >= 4 && count("pushes_ms") == count("rollbacks_ms"), "{results}");
    assert_eq!(std::fs::read_dir(place).unwrap().count(), 0, "everything is removed");
}
