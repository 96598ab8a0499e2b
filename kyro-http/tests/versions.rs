//! A data set pushed into a running server, and taken back, while clients read: each sees the one content or the other.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use running::{Ended, Server, command, ended, fresh};
use serde_json::{Value, json};

const KEYS: u64 = 50_000;

/// A data set whose every value begins with its letter.
fn data_set(sets: &Path, letter: &str) -> PathBuf {
    let file = sets.join(format!("{letter}.ndjson"));
    fs::create_dir_all(sets).unwrap();
    let lines: String =
        (0..KEYS).map(|key| format!("{{\"key\":{key},\"value\":\"{letter}{key}\"}}\n")).collect();
    fs::write(&file, lines).unwrap();
    let dir = sets.join(letter);
    let built = ended(command().env("RUST_LOG", "warn").arg("build").arg(&file).arg("--data-dir").arg(&dir));
    assert_eq!(built.code, 0, "{built:?}");
    dir
}

fn run(words: &[&str]) -> Ended {
    ended(command().env("RUST_LOG", "warn").args(words))
}

fn document(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len() - 1;
    let rank = (0..last).take_while(|rank| (*rank as f64) < last as f64 * share).count();
    times[rank]
}

/// What a reader saw: times of its single reads, and the contents in the order of seeing.
fn read(server: &Server, seed: u64, stop: &AtomicBool) -> (Vec<(Instant, Duration)>, Vec<char>) {
    let mut connection = server.connect();
    let (mut times, mut contents) = (Vec::new(), Vec::new());
    let mut state = seed;
    while !stop.load(Ordering::Relaxed) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let first = (state >> 33) % (KEYS - 64);
        let start = Instant::now();
        let one = connection.request("GET", &format!("/v1/get_fast/{first}"), &[], b"");
        times.push((start, start.elapsed()));
        assert_eq!(one.status, 200);
        let keys: Vec<u64> = (0..32).map(|nth| (first + nth * 1543) % KEYS).collect();
        let many = connection.request("POST", "/v1/mget", &[], json!(keys).to_string().as_bytes());
        let many = many.json();
        let values: Vec<&str> =
            many.as_array().unwrap().iter().map(|entry| entry["value"].as_str().unwrap()).collect();
        let letter = values[0].chars().next().unwrap();
        for (key, value) in keys.iter().zip(&values) {
            assert_eq!(*value, format!("{letter}{key}"), "one request, one content");
        }
        let scan =
            connection.request("GET", &format!("/v1/scan?from={first}&to={}", first + 40), &[], b"").text();
        let letters: Vec<char> = scan
            .lines()
            .map(|line| line.split("\"value\":\"").nth(1).unwrap().chars().next().unwrap())
            .collect();
        assert_eq!(letters.len(), 41);
        assert!(letters.iter().all(|other| *other == letters[0]), "one scan, one content: {letters:?}");
        for letter in [one.text().chars().next().unwrap(), letter, letters[0]] {
            if contents.last() != Some(&letter) {
                contents.push(letter);
            }
        }
    }
    (times, contents)
}

#[test]
fn readers_see_one_content_or_the_other_through_pushes_and_rollbacks() {
    let (parent, dir) = fresh();
    let sets = parent.path().join("sets");
    data_set(&sets, "a");
    data_set(&sets, "b");
    let server = Server::start_with(&dir, &["--push-root", sets.to_str().unwrap()]);
    let pushed = server.post("/v1/push", r#"{"name":"a","label":"the first"}"#);
    assert_eq!((pushed.status, &pushed.json()["version"]), (200, &1.into()), "{}", pushed.text());

    let stop = AtomicBool::new(false);
    let (readers, switches) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                scope.spawn({
                    let (server, stop) = (&server, &stop);
                    move || read(server, seed, stop)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(400));
        let mut switches = Vec::new();
        for (route, body, letter) in [
            ("/v1/push", r#"{"name":"b"}"#, 'b'),
            ("/v1/rollback", r#"{"version":1}"#, 'a'),
            ("/v1/rollback", r#"{"version":2}"#, 'b'),
            ("/v1/push", r#"{"name":"a"}"#, 'a'),
        ] {
            let start = Instant::now();
            let answer = server.post(route, body);
            switches.push((start, Instant::now()));
            assert_eq!(answer.status, 200, "{}", answer.text());
            // Whoever asks after the acknowledgement sees the new content.
            assert!(server.get("/v1/get_fast/77").text().starts_with(letter));
            std::thread::sleep(Duration::from_millis(150));
        }
        stop.store(true, Ordering::Relaxed);
        (readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>(), switches)
    });
    for (_, seen) in &readers {
        // Each content in turn and none twice: nobody went back to what was left.
        assert!("ababa".starts_with(&seen.iter().collect::<String>()) && seen.len() >= 3, "{seen:?}");
    }
    let times: Vec<(Instant, Duration)> = readers.into_iter().flat_map(|(times, _)| times).collect();
    let during = |(at, took): &(Instant, Duration)| {
        switches.iter().any(|(start, end)| *at <= *end && *at + *took >= *start)
    };
    let (inside, outside): (Vec<_>, Vec<_>) = times.into_iter().partition(during);
    for (name, times) in [("during a switch", inside), ("otherwise", outside)] {
        let mut times: Vec<Duration> = times.into_iter().map(|(_, took)| took).collect();
        let count = times.len();
        assert!(count > 20, "{count} reads {name}");
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| quantile(&mut times, share));
        println!("{count} reads {name}: p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, largest {max:.1?}");
        assert!(max < Duration::from_secs(5), "a read waited {max:?}");
    }
    assert_eq!(server.stop().0, 0);
    let server = Server::start(&dir);
    assert_eq!(server.get("/v1/get_fast/7").text(), "a7", "the last push is there after a restart");
    assert_eq!(server.get("/v1/versions").json()["versions"].as_array().unwrap().len(), 4);
}

#[test]
fn the_verbs_push_and_go_back_over_both() {
    let (parent, dir) = fresh();
    let sets = parent.path().join("sets");
    let set = data_set(&sets, "a");
    let over_directory = ["--data-dir", dir.to_str().unwrap()];
    let put = |place: &[&str]| run(&[&["put", "7", "mine"], place].concat()).code;
    assert_eq!(put(&over_directory), 0);
    let check = |place: &[&str], name: &str| {
        let say = |words: &[&str]| run(&[words, place].concat());
        let pushed = say(&["push", name, "--label", "a set", "--json"]);
        assert_eq!((pushed.code, &document(&pushed)["entries"]), (0, &KEYS.into()), "{pushed:?}");
        let version = document(&pushed)["version"].as_u64().unwrap().to_string();
        assert_eq!(say(&["get", "7"]).stdout, "a7");
        let listed = document(&say(&["versions", "--json"]));
        let labels: Vec<&str> =
            listed["versions"].as_array().unwrap().iter().map(|one| one["label"].as_str().unwrap()).collect();
        assert_eq!(labels.last(), Some(&"a set"), "{listed}");
        assert_eq!(say(&["rollback", "0"]).code, 0);
        assert_eq!(say(&["get", "7"]).stdout, "mine");
        assert_eq!(say(&["rollback", "99"]).code, 3);
        assert_eq!(say(&["prune", "0", "--yes"]).code, 1, "it is the content");
        assert_eq!(say(&["prune", &version]).code, 2, "not without a yes");
        assert_eq!(say(&["prune", &version, "--yes"]).code, 0);
        assert_eq!(say(&["prune", &version, "--yes"]).code, 3);
    };
    check(&over_directory, set.to_str().unwrap());
    let server = Server::start_with(&dir, &["--push-root", sets.to_str().unwrap()]);
    let url = format!("http://{}", server.address);
    check(&["--url", &url], "a");
    // The list of a directory that a server writes is the server's, also while only the log tells of the newest switch.
    for change in [["push", "a"], ["rollback", "0"]] {
        assert_eq!(run(&[&change[..], &["--url", &url]].concat()).code, 0);
        let beside = document(&run(&[&["versions", "--json"], &over_directory[..]].concat()));
        assert_eq!(beside, document(&run(&["versions", "--json", "--url", &url])), "{change:?}");
    }
}
