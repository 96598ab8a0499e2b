//! Every verb of the command, run as an operator runs it: over a directory and over a server, with the same outcome.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_collect,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use running::{Ended, Server, command, ended, fresh};
use serde_json::Value;

fn quiet() -> Command {
    let mut command = command();
    command.env("RUST_LOG", "warn");
    command
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// The words that name a database: a directory, or a server.
type Place = Vec<String>;

fn run(place: &Place, words: &[&str]) -> Ended {
    ended(quiet().args(words).args(place))
}

fn directory(dir: &Path) -> Place {
    vec!["--data-dir".to_owned(), dir.display().to_string()]
}

fn server(server: &Server) -> Place {
    vec!["--url".to_owned(), format!("http://{}", server.address)]
}

/// Runs a check over a fresh directory, and over a fresh server.
fn over_both(check: impl Fn(&Place, &Path)) {
    let (parent, dir) = fresh();
    check(&directory(&dir), parent.path());
    let (parent, dir) = fresh();
    let serving = Server::start(&dir);
    check(&server(&serving), parent.path());
}

#[test]
fn put_get_and_del_say_what_they_did() {
    over_both(|place, parent| {
        let put = run(place, &["put", "7", "seven"]);
        assert_eq!(
            (put.code, put.stdout.as_str(), put.stderr.as_str()),
            (0, "key 7 written at offset 0\n", "")
        );
        let file = parent.join("value");
        fs::write(&file, [0, 255, b'\n']).unwrap();
        let put = run(place, &["put", "18446744073709551615", "--json", "--file", file.to_str().unwrap()]);
        assert_eq!(put.stdout, "{\"key\":18446744073709551615,\"offset\":1}\n");
        let got = ended(quiet().args(["get", "7"]).args(place));
        assert_eq!((got.code, got.stdout.as_str()), (0, "seven"), "the exact bytes and no line end");
        let got = quiet().args(["get", "18446744073709551615"]).args(place).output().unwrap();
        assert_eq!(got.stdout, [0, 255, b'\n']);
        let got = run(place, &["get", "18446744073709551615", "--json"]);
        assert_eq!(got.stdout, "{\"key\":18446744073709551615,\"offset\":1,\"value_base64\":\"AP8K\"}\n");

        let missing = run(place, &["get", "8"]);
        assert_eq!((missing.code, missing.stdout.as_str()), (3, ""));
        assert_eq!(missing.stderr, "kyro-http: key 8 has no value\n");
        assert_eq!(run(place, &["del", "7"]).stdout, "key 7 removed at offset 2\n");
        assert_eq!(run(place, &["get", "7"]).code, 3);
        let gone = run(place, &["del", "7"]);
        assert_eq!((gone.code, gone.stderr.as_str()), (3, "kyro-http: key 7 has no value\n"));
    });
}

#[test]
fn a_range_is_removed_only_after_a_yes() {
    over_both(|place, _| {
        for key in ["1", "2", "3"] {
            run(place, &["put", key, "v"]);
        }
        let refused = run(place, &["del", "--from", "2", "--to", "9"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains("this removes 2 keys, from 2 to 9; say --yes"), "{refused:?}");
        assert_eq!(run(place, &["get", "2"]).code, 0, "nothing was removed");
        let removed = run(place, &["del", "--from", "2", "--to", "9", "--yes"]);
        assert_eq!((removed.code, removed.stdout.as_str()), (0, "2 keys from 2 to 9 removed at offset 3\n"));
        assert_eq!((run(place, &["get", "2"]).code, run(place, &["get", "1"]).code), (3, 0));
        assert_eq!(run(place, &["del", "--from", "9", "--to", "2", "--yes"]).code, 2);
        assert_eq!(run(place, &["del", "--from", "2"]).code, 2, "both ends have to be named");
    });
}

#[test]
fn scan_lists_in_order_and_escapes() {
    over_both(|place, _| {
        for (key, value) in [("3", "c\td"), ("1", "a"), ("2", "b\nb"), ("10", "é")] {
            run(place, &["put", key, value]);
        }
        assert_eq!(run(place, &["scan"]).stdout, "1\ta\n2\tb\\nb\n3\tc\\td\n10\té\n");
        assert_eq!(run(place, &["scan", "--reverse", "--limit", "2", "--keys-only"]).stdout, "10\n3\n");
        let lines = run(place, &["scan", "--from", "2", "--to", "3", "--json"]).stdout;
        assert_eq!(
            lines,
            "{\"key\":2,\"offset\":2,\"value\":\"b\\nb\"}\n{\"key\":3,\"offset\":0,\"value\":\"c\\td\"}\n"
        );
        assert_eq!(run(place, &["scan", "--from", "3", "--to", "2"]).code, 2);
    });
}

#[test]
fn what_is_dumped_loads_and_builds_the_same_in_every_form() {
    over_both(|place, parent| {
        let source = parent.join("source.ndjson");
        let mut lines: String =
            (0..2000).map(|n| format!("{{\"key\":{},\"value\":\"v,\\\"é {n}\"}}\n", n * 3)).collect();
        lines.push_str("{\"key\":18446744073709551615,\"value_base64\":\"AP8K\"}\n");
        fs::write(&source, lines).unwrap();
        assert_eq!(run(place, &["load", source.to_str().unwrap()]).code, 0);
        let scanned = run(place, &["scan"]).stdout;
        assert_eq!(scanned.lines().count(), 2001);
        for (name, more) in
            [("d.ndjson", None), ("d.csv", Some("value")), ("d.kyf", None), ("d.ndjson.gz", None)]
        {
            let file = parent.join(name);
            let dumped = run(place, &["dump", file.to_str().unwrap(), "--json"]);
            assert_eq!(dumped.code, 0, "{name}: {dumped:?}");
            assert_eq!((&json(&dumped)["entries"], &json(&dumped)["bad"]), (&2001.into(), &0.into()));
            for verb in ["load", "build"] {
                let other = parent.join(format!("{verb}-{name}"));
                let mut words = vec![verb, file.to_str().unwrap(), "--data-dir", other.to_str().unwrap()];
                words.extend(more.map(|_| ["--value-column", "value"]).into_iter().flatten());
                let loaded = ended(quiet().args(words));
                assert_eq!(loaded.code, 0, "{verb} {name}: {loaded:?}");
                assert_eq!(run(&directory(&other), &["scan"]).stdout, scanned, "{verb} {name}");
            }
        }
        let again = run(place, &["dump", parent.join("d.csv").to_str().unwrap()]);
        assert_eq!(again.code, 2, "{again:?}");
        assert!(again.stderr.contains("replaces") && again.stderr.contains("--yes"), "{again:?}");
        assert_eq!(run(place, &["dump", parent.join("d.csv").to_str().unwrap(), "--yes"]).code, 0);
        let piped = run(place, &["dump", "-", "--from", "3", "--to", "3"]);
        assert_eq!(piped.stdout, "{\"key\":3,\"value\":\"v,\\\"é 1\"}\n");
    });
}

#[test]
fn rows_become_objects_and_objects_become_rows() {
    let (parent, dir) = fresh();
    let file = parent.path().join("rows.csv");
    fs::write(&file, "id,city,people\n1,Ålesund,52626\n2,\"Oslo, city\",709037\n").unwrap();
    let place = directory(&dir);
    assert_eq!(run(&place, &["load", file.to_str().unwrap(), "--key-column", "id"]).code, 0);
    assert_eq!(run(&place, &["get", "2"]).stdout, r#"{"city":"Oslo, city","people":"709037"}"#);
    let back = ["dump", "-", "--format", "csv", "--key-column", "id", "--columns", "city,people"];
    assert_eq!(run(&place, &back).stdout, fs::read_to_string(&file).unwrap());
    run(&place, &["put", "3", "no object"]);
    let bad = run(&place, &back);
    assert_eq!(bad.code, 1, "a value was left out");
    assert_eq!(bad.stderr, "kyro-http: key 3: the value is no JSON object\n");
    assert!(bad.stdout.ends_with("709037\n"), "{bad:?}");
    let strict = run(&place, &[&back[..], &["--strict"]].concat());
    assert!(strict.code == 2 && strict.stderr.contains("--strict stops"), "{strict:?}");
}

#[test]
fn build_reports_its_index_and_refuses_what_is_there() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    let mut lines: String =
        (0..5000_u64).rev().map(|n| format!("{{\"key\":{},\"value\":\"{n}\"}}\n", n * n)).collect();
    lines.push_str("not json\n{\"key\":4,\"value\":\"the last one wins\"}\n");
    fs::write(&file, lines).unwrap();
    let words = ["build", file.to_str().unwrap()];
    let built = run(&directory(&dir), &[&words[..], &["--json"]].concat());
    assert_eq!(built.code, 1, "a line was bad: {built:?}");
    assert!(built.stderr.contains("line 5001: "), "{built:?}");
    let report = json(&built);
    assert_eq!(
        (&report["records"], &report["keys"], &report["bad"]),
        (&5001.into(), &5000.into(), &1.into())
    );
    assert!(report["index"]["max_window"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(run(&directory(&dir), &["get", "4"]).stdout, "the last one wins");
    assert_eq!(run(&directory(&dir), &["verify"]).code, 0);
    let again = run(&directory(&dir), &words);
    assert!(again.code == 2 && again.stderr.contains("holds a database already"), "{again:?}");
    let unique = run(&directory(&parent.path().join("u")), &[&words[..], &["--unique"]].concat());
    assert!(unique.code == 1 && unique.stderr.contains("key 4 came twice"), "{unique:?}");
    let text = ended(quiet().args(words).arg("--data-dir").arg(parent.path().join("t")));
    assert!(text.stdout.contains("places from its prediction"), "{text:?}");
}

#[test]
fn backups_are_incremental_and_restore_to_what_was_there() {
    let (parent, dir) = fresh();
    let at = |name: &str| parent.path().join(name).display().to_string();
    let place = directory(&dir);
    for key in 0..20 {
        run(&place, &["put", &key.to_string(), "before"]);
    }
    let first = run(&place, &["backup", "--to", &at("backups"), "--name", "first", "--copy", "--json"]);
    assert_eq!(
        (first.code, &json(&first)["copied"], &json(&first)["base"]),
        (0, &2.into(), &Value::Null),
        "{first:?}"
    );
    // By a server, which takes its backups where it was told to and goes on.
    let serving = Server::start_with(&dir, &["--backup-root", &at("backups")]);
    let over = server(&serving);
    run(&over, &["put", "20", "after"]);
    let locked = run(&place, &["backup", "--to", &at("backups"), "--name", "x"]);
    assert!(locked.code == 5 && locked.stderr.contains(&serving.pid().to_string()), "{locked:?}");
    let second = run(&over, &["backup", "--name", "second", "--copy", "--json"]);
    let report = json(&second);
    assert_eq!(
        (second.code, &report["runs"], &report["base"]),
        (0, &2.into(), &"first".into()),
        "{second:?}"
    );
    assert_eq!((&report["reused"], &report["copied"]), (&2.into(), &2.into()), "only the new run is copied");
    let third = json(&run(&over, &["backup", "--json"]));
    assert!(third["name"].as_str().unwrap().ends_with('Z') && third["linked"] == 0, "{third}");
    assert_eq!(third["reused"], 4, "nothing was written since: {third}");
    let named = run(&over, &["backup", "--name", "../x"]);
    assert_eq!(named.code, 2, "{named:?}");
    assert_eq!(run(&over, &["backup", "--name", "second"]).code, 1, "the name is taken");

    let restored = run(&directory(Path::new(&at("new"))), &["restore", &at("backups/first")]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert!(restored.stdout.contains("restored and verified: 20 entries"), "{restored:?}");
    assert!(restored.stderr.contains("kyro-http serve --data-dir"), "{restored:?}");
    // A backup is only read: neither verb leaves a file in it.
    let verified = ended(quiet().args(["verify", &at("backups/first")]));
    assert!(verified.code == 0 && verified.stdout.contains("nothing is wrong"), "{verified:?}");
    assert!(!Path::new(&at("backups/first/LOCK")).exists() && !Path::new(&at("new/LOCK")).exists());
    assert_eq!(run(&directory(Path::new(&at("new"))), &["scan", "--keys-only"]).stdout.lines().count(), 20);
    let restored = run(&directory(Path::new(&at("new2"))), &["restore", "--json", &at("backups/second")]);
    assert_eq!(json(&restored)["entries"], 21);
    assert_eq!(run(&directory(Path::new(&at("new2"))), &["get", "20"]).stdout, "after");
    // Nothing is overwritten, and a damaged backup is refused before anything is made.
    let over = run(&directory(Path::new(&at("new2"))), &["restore", &at("backups/first")]);
    assert!(over.code == 1 && over.stderr.contains("is there already"), "{over:?}");
    let run_file = fs::read_dir(at("backups/first/runs")).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        (path.extension()? == "run").then_some(path)
    });
    let run_file = run_file.unwrap();
    let mut bytes = fs::read(&run_file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&run_file, bytes).unwrap();
    let damaged = run(&directory(Path::new(&at("new3"))), &["restore", &at("backups/first")]);
    assert!(damaged.code == 4 && damaged.stderr.contains("is damaged at byte"), "{damaged:?}");
    assert!(!Path::new(&at("new3")).exists() && !Path::new(&at("new3.partial")).exists());
}

#[test]
fn compact_and_stats_are_the_same_from_both_sides() {
    over_both(|place, _| {
        for n in 0..10 {
            run(place, &["put", "1", &n.to_string()]);
        }
        let compacted = run(place, &["compact", "--json"]);
        assert_eq!((compacted.code, &json(&compacted)["keys_retained"]), (0, &1.into()), "{compacted:?}");
        let stats = run(place, &["stats", "--json"]);
        assert_eq!(
            (stats.code, &json(&stats)["keys_at_most"], &json(&stats)["runs"][0]["entries"]),
            (0, &1.into(), &1.into())
        );
        let text = run(place, &["stats"]).stdout;
        let line = text.lines().find(|line| line.starts_with("next_offset ")).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some("10"), "{line}");
    });
}

#[test]
fn a_directory_in_use_is_read_and_not_written() {
    let (_parent, dir) = fresh();
    let serving = Server::start(&dir);
    serving.put(1, "one");
    let place = directory(&dir);
    assert_eq!(run(&place, &["get", "1"]).stdout, "one");
    assert_eq!(run(&place, &["scan"]).stdout, "1\tone\n");
    let refused = run(&place, &["put", "1", "two"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains(&format!("(pid {})", serving.pid())), "{refused:?}");
    let both = ended(quiet().args(["get", "1", "--url", "http://127.0.0.1:1"]).args(&place));
    assert!(both.code == 2 && both.stderr.contains("cannot both be given"), "{both:?}");
    let versions = run(&directory(&dir), &["versions", "--json"]);
    assert_eq!((versions.code, &json(&versions)["versions"][0]["id"]), (0, &0.into()), "{versions:?}");
}

#[test]
fn a_server_is_healthy_or_the_check_fails() {
    let (_parent, dir) = fresh();
    let serving = Server::start(&dir);
    let url = format!("http://{}", serving.address);
    let healthy = ended(quiet().args(["healthcheck", "--timeout", "60", "--url", &url]));
    assert_eq!((healthy.code, healthy.stdout.as_str()), (0, "ready\n"));
    let port = serving.address.port().to_string();
    assert_eq!(
        ended(quiet().env("KYRODB_PORT", &port).args(["healthcheck", "--timeout", "60", "--json"])).code,
        0
    );
    serving.kill();
    // Its own port may be another server's by now.
    let gone = ended(quiet().args(["healthcheck", "--url", "http://127.0.0.1:1", "--timeout", "60"]));
    assert!(gone.code == 1 && gone.stderr.contains("is the server running?"), "{gone:?}");
}

#[test]
fn top_shows_a_server_as_text_and_as_json() {
    let (_parent, dir) = fresh();
    let serving = Server::start(&dir);
    serving.put(1, "one");
    let url = format!("http://{}", serving.address);
    let seen = ended(quiet().args(["top", "--once", "--interval", "0.1", "--url", &url]));
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen:?}");
    for part in ["serving", "/v1/put", "until the next flush", "stalls none", "mispredicts 0"] {
        assert!(seen.stdout.contains(part), "{part} in {}", seen.stdout);
    }
    assert!(!seen.stdout.contains('\x1b'), "no colours where no terminal is");
    let seen = json(&ended(quiet().args(["top", "--once", "--json", "--url", &url])));
    assert_eq!((&seen["stats"]["operations"], seen["tasks"].is_array()), (&1.into(), true));
}

#[test]
fn completions_and_manual_pages_name_every_verb() {
    let help = ended(quiet().arg("--help")).stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() >= 19, "{verbs:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = ended(quiet().args(["completions", shell]));
        assert_eq!((script.code, script.stderr.as_str()), (0, ""));
        for verb in &verbs {
            assert!(script.stdout.contains(verb), "{shell} lacks {verb}");
        }
    }
    let (parent, _) = fresh();
    let pages = parent.path().join("share/man1");
    assert_eq!(ended(quiet().args(["man", "--dir"]).arg(&pages)).code, 0);
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        let page = fs::read_to_string(pages.join(format!("kyro-http-{verb}.1"))).unwrap();
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{verb}: {page}");
        assert_eq!(ended(quiet().args(["man", verb])).stdout, page);
    }
    assert!(pages.join("kyro-http.1").exists());
    assert_eq!(ended(quiet().args(["man", "nothing"])).code, 2);
    let bench = ended(quiet().arg("bench-client"));
    assert!(bench.code == 0 && bench.stdout.contains("kyro-bench -- workload"), "{bench:?}");
}

#[test]
fn a_reader_that_leaves_ends_a_scan_without_a_word() {
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    let lines: String =
        (0..20_000).map(|n| format!("{{\"key\":{n},\"value\":\"{}\"}}\n", "x".repeat(50))).collect();
    fs::write(&file, lines).unwrap();
    let place = directory(&dir);
    assert_eq!(run(&place, &["build", file.to_str().unwrap()]).code, 0);
    let mut scan =
        quiet().arg("scan").args(&place).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(scan.stdout.take());
    let output = scan.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    // A value from a pipe, and back.
    let mut put = quiet()
        .args(["put", "5", "--file", "-"])
        .args(&place)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    put.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    assert!(put.wait().unwrap().success());
    assert_eq!(run(&place, &["get", "5"]).stdout, "from a pipe");
}

/// Bytes of a database's runs.
fn run_bytes(dir: &Path) -> u64 {
    let runs = fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap());
    let runs = runs.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "run"));
    runs.map(|entry| entry.metadata().unwrap().len()).sum()
}

#[test]
fn a_compressed_database_is_like_any_other_to_every_verb() {
    let (parent, _) = fresh();
    let at = |name: &str| parent.path().join(name);
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    let words = "the same words again and again ".repeat(6);
    let lines: String =
        (0..3000).map(|n| format!("{{\"key\":{},\"value\":\"{words}{n}\"}}\n", n * 3)).collect();
    fs::write(at("source.ndjson"), lines).unwrap();
    let ok = |words: &[&str]| {
        let done = ended(quiet().args(words));
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
        done.stdout
    };
    for (name, how) in [("plain", "none"), ("packed", "lz4")] {
        ok(&["build", &path("source.ndjson"), "--data-dir", &path(name), "--compression", how]);
    }
    let [plain, packed] = ["plain", "packed"].map(|name| run_bytes(&at(name)));
    assert!(packed * 2 < plain, "{packed} bytes for {plain}");
    ok(&["dump", &path("dump.ndjson"), "--data-dir", &path("packed")]);
    ok(&["load", &path("dump.ndjson"), "--data-dir", &path("loaded"), "--compression", "lz4"]);
    ok(&["compact", "--data-dir", &path("loaded"), "--compression", "lz4"]);
    ok(&["repair", &path("packed"), "--into", &path("repaired")]);
    ok(&["repair", &path("packed"), "--into", &path("repaired-packed"), "--compression", "lz4"]);
    let scanned = run(&directory(&at("plain")), &["scan"]).stdout;
    assert_eq!(scanned.lines().count(), 3000);
    for (name, is_packed) in
        [("packed", true), ("loaded", true), ("repaired", false), ("repaired-packed", true)]
    {
        assert_eq!(run_bytes(&at(name)) * 2 < plain, is_packed, "{name}");
        assert_eq!(run(&directory(&at(name)), &["scan"]).stdout, scanned, "{name}");
        ok(&["verify", &path(name)]);
    }

    // A server, told by its environment, writes so too; what it was not told, it reads all the same.
    let mut serve = command();
    serve.args(["serve", "127.0.0.1", "0", "--data-dir", &path("served")]).env("KYRODB_COMPRESSION", "lz4");
    let server = Server::spawn(serve);
    for key in 0..200 {
        server.put(key, &words);
    }
    server.post("/v1/snapshot", "");
    assert_eq!(server.stop().0, 0);
    assert!(run_bytes(&at("served")) * 2 < 200 * words.len() as u64);
    let server = Server::start(&at("served"));
    assert_eq!(server.get("/v1/get_fast/7").text(), words);
    assert_eq!(server.stop().0, 0);
    let wrong = ended(quiet().args(["build", "-", "--compression", "zstd"]));
    assert!(wrong.code == 2 && wrong.stderr.contains("none or lz4"), "{wrong:?}");
}
