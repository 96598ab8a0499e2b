//! `kyro-http load`: both forms, into a directory and into a server, with every line accounted for.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use running::{Ended, Server, command, ended, fresh};
use serde_json::Value;

fn load(arguments: &[&str]) -> Ended {
    ended(load_command().args(arguments))
}

fn load_command() -> Command {
    let mut command = command();
    command.env("RUST_LOG", "warn").arg("load");
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn summary(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn records(count: u64) -> String {
    (0..count).map(|n| format!("{{\"key\":{},\"value\":\"value é {n}\"}}\n", n * 7)).collect()
}

fn check(server: &Server, count: u64) {
    let mut connection = server.connect();
    for n in 0..count {
        let answer = connection.request("GET", &format!("/v1/get_fast/{}", n * 7), &[], b"");
        assert_eq!((answer.status, answer.text()), (200, format!("value é {n}")));
    }
    assert_eq!(connection.request("GET", "/v1/get_fast/1", &[], b"").status, 404);
}

#[test]
fn a_file_into_a_directory() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    fs::write(&file, records(5000)).unwrap();
    let loaded = load(&[text(&file), "--data-dir", text(&dir), "--json"]);
    assert_eq!(loaded.code, 0, "{loaded:?}");
    let summary = summary(&loaded);
    assert_eq!(
        (&summary["loaded"], &summary["bad"], &summary["complete"]),
        (&5000.into(), &0.into(), &true.into())
    );
    let server = Server::start(&dir);
    assert_eq!(server.next_offset(), 5000);
    check(&server, 5000);
}

#[test]
fn a_file_into_a_server_with_a_token() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    fs::write(&file, records(500) + "{\"key\":1000001,\"value_base64\":\"AP8=\"}\n").unwrap();
    let server = Server::start_with(&dir, &["--auth-token", "secret"]);
    let url = format!("http://{}", server.address);
    let refused = load(&[text(&file), "--url", &url, "--concurrency", "4"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("401"), "{refused:?}");
    let loaded = ended(load_command().env("KYRODB_AUTH_TOKEN", "secret").args([text(&file), "--url", &url]));
    assert_eq!(loaded.code, 0, "{loaded:?}");
    assert!(loaded.stdout.starts_with("loaded 501 of 501 records"), "{}", loaded.stdout);
    assert!(!loaded.stderr.contains("secret"), "{}", loaded.stderr);
    server.stop();
    let server = Server::start(&dir);
    assert_eq!(server.next_offset(), 501, "each record once");
    check(&server, 500);
    assert_eq!(server.get("/v1/get_fast/1000001").body, [0, 255]);
}

#[test]
fn records_travel_in_batches_that_shrink_to_what_the_server_takes() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    let too_long = format!("{{\"key\":1000002,\"value\":\"{}\"}}\n", "x".repeat(2000));
    fs::write(&file, records(300) + &too_long + &records(300)).unwrap();
    let server = Server::start_with(&dir, &["--max-value-bytes", "1000"]);
    let url = format!("http://{}", server.address);
    let loaded = load(&[text(&file), "--url", &url, "--concurrency", "2", "--json"]);
    assert_eq!(loaded.code, 1, "{loaded:?}");
    let summary = summary(&loaded);
    assert_eq!((&summary["loaded"], &summary["bad"]), (&600.into(), &1.into()), "{loaded:?}");
    assert!(loaded.stderr.contains("line 301: "), "{loaded:?}");
    assert_eq!(server.next_offset(), 600, "each record once");
    check(&server, 300);
    let batches = server.metric("kyrodb_http_requests_total{route=\"/v1/load\",status=\"200\"}");
    assert!((1..200).contains(&batches), "{batches} requests for 600 records");
}

#[test]
fn of_two_lines_with_one_key_the_later_wins() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    let lines: String = (0..400).map(|n| format!("{{\"key\":{},\"value\":\"{n}\"}}\n", n % 20)).collect();
    fs::write(&file, lines).unwrap();
    let check = |server: &Server| {
        for key in 0..20 {
            assert_eq!(server.get(&format!("/v1/get_fast/{key}")).text(), (380 + key).to_string());
        }
    };
    let server = Server::start(&dir);
    assert_eq!(load(&[text(&file), "--url", &format!("http://{}/", server.address)]).code, 0);
    check(&server);
    let other = parent.path().join("other");
    assert_eq!(load(&[text(&file), "--data-dir", text(&other), "--batch", "3"]).code, 0);
    check(&Server::start(&other));
}

#[test]
fn bad_lines_are_counted_and_named_and_the_good_ones_loaded() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.jsonl");
    let mut lines = String::new();
    for n in 0..100 {
        lines.push_str(&format!("{{\"key\":{n},\"value\":\"good\"}}\n"));
        match n {
            10 => lines.push_str("not json\n"),
            20 => lines.push_str("{\"value\":\"no key\"}\n"),
            30 => lines.push_str("{\"key\":-5,\"value\":\"x\"}\n"),
            40 => lines.push_str("{\"key\":5,\"value\":7}\n"),
            50 => lines.push('\n'),
            60.. => lines.push_str("[]\n"),
            _ => {}
        }
    }
    fs::write(&file, &lines).unwrap();
    let loaded = load(&[text(&file), "--data-dir", text(&dir), "--json"]);
    assert_eq!(loaded.code, 1, "a load with bad lines is no success");
    let summary = summary(&loaded);
    assert_eq!(
        (&summary["loaded"], &summary["bad"], &summary["complete"]),
        (&100.into(), &44.into(), &false.into())
    );
    for (line, reason) in [
        (12, "not a JSON object"),
        (23, "`key` is missing"),
        (34, "is negative"),
        (45, "`value` must be a string"),
    ] {
        assert!(loaded.stderr.contains(&format!("line {line}: ")), "{}", loaded.stderr);
        assert!(loaded.stderr.contains(reason), "{}", loaded.stderr);
    }
    assert_eq!(
        loaded.stderr.lines().filter(|line| line.starts_with("line ")).count(),
        20,
        "{}",
        loaded.stderr
    );
    assert_eq!(Server::start(&dir).next_offset(), 100);

    let other = parent.path().join("strict");
    let strict = load(&[text(&file), "--data-dir", text(&other), "--strict", "--json"]);
    assert_eq!(strict.code, 1);
    let summary = self::summary(&strict);
    assert_eq!((&summary["loaded"], &summary["bad"]), (&11.into(), &1.into()), "what came before is loaded");
    assert!(strict.stderr.contains("line 12"), "{}", strict.stderr);
    assert_eq!(Server::start(&other).next_offset(), 11);
}

#[test]
fn values_over_the_limit_are_bad_lines_in_both_ways() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    fs::write(
        &file,
        format!("{{\"key\":1,\"value\":\"{}\"}}\n{{\"key\":2,\"value\":\"ok\"}}\n", "x".repeat(2000)),
    )
    .unwrap();
    let embedded = load(&[text(&file), "--data-dir", text(&dir), "--max-value-bytes", "1000"]);
    assert_eq!(embedded.code, 1);
    assert!(
        embedded.stdout.contains("loaded 1 of 1 records") && embedded.stdout.contains("1 bad"),
        "{embedded:?}"
    );
    let server = Server::start_with(&dir, &["--max-value-bytes", "1000"]);
    let remote = load(&[text(&file), "--url", &format!("http://{}", server.address)]);
    assert_eq!(remote.code, 1);
    assert!(remote.stdout.contains("1 bad") && remote.stderr.contains("line 1: "), "{remote:?}");
    assert_eq!(server.get("/v1/get_fast/2").text(), "ok");
}

#[test]
fn csv_rows_become_json_or_one_column() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.csv");
    fs::write(&file, "name,id,note\n\"Sant Julià, \"\"S\"\"\",7,\nplain,8,x\nbad,nine,x\nshort,10\n")
        .unwrap();
    let loaded = load(&[text(&file), "--data-dir", text(&dir), "--key-column", "id"]);
    assert_eq!(loaded.code, 1);
    assert!(
        loaded.stderr.contains("line 4: column `id`")
            && loaded.stderr.contains("line 5: the row has 2 columns"),
        "{loaded:?}"
    );
    let server = Server::start(&dir);
    assert_eq!(server.get("/v1/get_fast/7").text(), r#"{"name":"Sant Julià, \"S\"","note":""}"#);
    assert_eq!(server.get("/v1/get_fast/8").text(), r#"{"name":"plain","note":"x"}"#);
    drop(server);
    let loaded =
        load(&[text(&file), "--data-dir", text(&dir), "--key-column", "id", "--value-column", "name"]);
    assert_eq!(loaded.code, 1);
    assert_eq!(Server::start(&dir).get("/v1/get_fast/7").text(), "Sant Julià, \"S\"");
    let no_column = load(&[text(&file), "--data-dir", text(&parent.path().join("none"))]);
    assert_eq!(no_column.code, 1);
    assert!(no_column.stderr.contains("no column `key`; there are: name, id, note"), "{}", no_column.stderr);
    assert!(!parent.path().join("none").exists());
}

#[test]
fn packed_files_and_stdin() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson.gz");
    let packed = fs::File::create(&file).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    gzip.write_all(records(1000).as_bytes()).unwrap();
    gzip.finish().unwrap();
    assert_eq!(load(&[text(&file), "--data-dir", text(&dir)]).code, 0);
    check(&Server::start(&dir), 1000);

    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let cut = load(&[text(&file), "--data-dir", text(&parent.path().join("cut"))]);
    assert_eq!(cut.code, 1, "a packed file that is cut is not taken for a whole one");
    assert!(cut.stderr.contains("cannot read"), "{}", cut.stderr);

    let other = parent.path().join("stdin");
    let mut child = load_command()
        .args(["-", "--format", "ndjson", "--data-dir", text(&other)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(records(50).as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    check(&Server::start(&other), 50);
}

#[test]
fn a_load_that_makes_no_sense_changes_nothing() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    fs::write(&file, records(3)).unwrap();
    let unknown = parent.path().join("in.txt");
    fs::write(&unknown, records(3)).unwrap();
    for (arguments, code, part) in [
        (&[text(&parent.path().join("gone.ndjson")), "--data-dir", text(&dir)][..], 1, "gone.ndjson"),
        (&[text(parent.path()), "--format", "csv", "--data-dir", text(&dir)], 1, "irectory"),
        (&[text(&unknown), "--data-dir", text(&dir)], 1, "--format"),
        (&["-", "--data-dir", text(&dir)], 1, "--format"),
        (&[text(&file), "--url", "http://127.0.0.1:1", "--data-dir", text(&dir)], 2, "cannot both"),
        (&[text(&file), "--url", "https://127.0.0.1:1"], 2, "https"),
        (&[text(&file), "--url", "127.0.0.1:1"], 2, "http://HOST:PORT"),
        (&[text(&file), "--concurrency", "0", "--data-dir", text(&dir)], 2, "concurrency"),
    ] {
        let refused = load(arguments);
        assert_eq!(refused.code, code, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(part), "{arguments:?}: {}", refused.stderr);
    }
    assert!(!dir.exists());
    let server = Server::start(&dir);
    let locked = load(&[text(&file), "--data-dir", text(&dir)]);
    assert_eq!(locked.code, 5);
    assert!(locked.stderr.contains(&format!("pid {}", server.pid())), "{}", locked.stderr);
    assert_eq!(server.next_offset(), 0);
}

#[test]
fn progress_is_told_while_it_runs() {
    let (parent, dir) = fresh();
    let slow = parent.path().join("pipe.ndjson");
    let mut child = load_command()
        .args(["-", "--format", "ndjson", "--data-dir", text(&dir)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&slow).unwrap())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(records(2000).as_bytes()).unwrap();
    // The input goes on until it has been told three times how far it is.
    running::wait_until("three lines of progress", || {
        let lines = fs::read_to_string(&slow).unwrap();
        lines.lines().filter(|line| line.starts_with("load: ") && line.contains("a second")).count() >= 3
    });
    drop(input);
    assert!(child.wait().unwrap().success());
}
