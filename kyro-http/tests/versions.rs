//! A data set pushed into a running server, and taken back, while clients read: each sees the one content or the other.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use running::{Ended, Server, command, ended, fresh, wait_until};
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

/// What the readers and the one who switches tell each other.
#[derive(Default)]
struct Together {
    stop: AtomicBool,
    /// A switch is under way.
    switching: AtomicBool,
    /// Single reads that began or ended during a switch.
    during: AtomicU64,
    /// Rounds of reads that each reader has ended.
    rounds: [AtomicU64; 3],
}

impl Together {
    /// Waits until each reader has begun and ended a round.
    fn a_round_of_each(&self) {
        let before = self.rounds.each_ref().map(|rounds| rounds.load(Ordering::SeqCst));
        wait_until("a round of each reader", || {
            let mut pairs = self.rounds.iter().zip(before);
            // The first to end may have begun before.
            pairs.all(|(rounds, before)| rounds.load(Ordering::SeqCst) >= before + 2)
        });
    }
}

/// What a reader saw: how long its single reads took, and which of them were during a switch; and the contents in the
/// order of seeing.
fn read(server: &Server, reader: usize, together: &Together) -> (Vec<(bool, Duration)>, String) {
    let mut connection = server.connect();
    let (mut times, mut contents) = (Vec::new(), String::new());
    let mut state = reader as u64;
    while !together.stop.load(Ordering::Relaxed) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let first = (state >> 33) % (KEYS - 64);
        let mut during = together.switching.load(Ordering::SeqCst);
        let start = Instant::now();
        let one = connection.request("GET", &format!("/v1/get_fast/{first}"), &[], b"");
        let took = start.elapsed();
        during |= together.switching.load(Ordering::SeqCst);
        times.push((during, took));
        together.during.fetch_add(u64::from(during), Ordering::SeqCst);
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
            if !contents.ends_with(letter) {
                contents.push(letter);
            }
        }
        together.rounds[reader].fetch_add(1, Ordering::SeqCst);
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

    let together = Together::default();
    let (readers, expected) = std::thread::scope(|scope| {
        let (server, together) = (&server, &together);
        let readers: Vec<_> =
            (0..3).map(|reader| scope.spawn(move || read(server, reader, together))).collect();
        // Whatever fails here, the readers end.
        let _stop = Stop(&together.stop);
        together.a_round_of_each();
        let mut expected = "a".to_owned();
        let mut switch = |route: &str, body: &str, letter: char| {
            together.switching.store(true, Ordering::SeqCst);
            let answer = server.post(route, body);
            together.switching.store(false, Ordering::SeqCst);
            assert_eq!(answer.status, 200, "{}", answer.text());
            // Whoever asks after the acknowledgement sees the new content.
            assert!(server.get("/v1/get_fast/77").text().starts_with(letter));
            expected.push(letter);
            together.a_round_of_each();
        };
        switch("/v1/push", r#"{"name":"b"}"#, 'b');
        switch("/v1/rollback", r#"{"version":1}"#, 'a');
        switch("/v1/rollback", r#"{"version":2}"#, 'b');
        switch("/v1/push", r#"{"name":"a"}"#, 'a');
        // For some more reads during a switch; how many there are at a time is up to the machine.
        let start = Instant::now();
        while together.during.load(Ordering::SeqCst) <= 20 && start.elapsed() < Duration::from_secs(20) {
            switch("/v1/rollback", r#"{"version":2}"#, 'b');
            switch("/v1/rollback", r#"{"version":3}"#, 'a');
        }
        together.stop.store(true, Ordering::Relaxed);
        (readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>(), expected)
    });
    for (_, seen) in &readers {
        // Each content in turn, as each reader read between any two switches: nobody went back to what was left.
        assert_eq!(*seen, expected);
    }
    let times: Vec<(bool, Duration)> = readers.into_iter().flat_map(|(times, _)| times).collect();
    let (inside, outside): (Vec<_>, Vec<_>) = times.into_iter().partition(|(during, _)| *during);
    for (name, times) in [("during a switch", inside), ("otherwise", outside)] {
        let mut times: Vec<Duration> = times.into_iter().map(|(_, took)| took).collect();
        let count = times.len();
        assert!(count > 0, "no reads {name}");
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| quantile(&mut times, share));
        println!("{count} reads {name}: p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, largest {max:.1?}");
        assert!(max < Duration::from_secs(20), "a read waited {max:?}");
    }
    assert_eq!(server.stop().0, 0);
    let server = Server::start(&dir);
    assert_eq!(server.get("/v1/get_fast/7").text(), "a7", "the last push is there after a restart");
    assert_eq!(server.get("/v1/versions").json()["versions"].as_array().unwrap().len(), 4);
}

/// Tells the readers to stop when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
