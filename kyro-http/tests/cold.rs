//! Reads of what is not in memory: another thread waits for the disk, the connection's own task answers the rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::format_collect,
    reason = "a test that cannot go on fails"
)]

mod running;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use running::{Server, fresh, wait_until};

const COLD: &str = "kyrodb_http_cold_reads_total";
const KEYS: u64 = 16;

/// A value with some blocks to itself.
fn value(key: u64) -> String {
    format!("{key:02}").repeat(20_000)
}

/// A server that was started over what another one wrote: nothing of it has been read yet.
fn cold_server(dir: &std::path::Path, arguments: &[&str]) -> Server {
    let server = Server::start(dir);
    for key in 0..KEYS {
        server.put(key, &value(key));
    }
    assert_eq!(server.post("/v1/snapshot", "").status, 200);
    assert_eq!(server.metric(COLD), 0, "what was just written is in memory");
    assert_eq!(server.stop().0, 0);
    Server::start_with(dir, arguments)
}

#[test]
fn the_first_read_waits_elsewhere_and_the_next_is_answered_at_once() {
    let (_parent, dir) = fresh();
    let server = cold_server(&dir, &[]);
    let targets =
        ["/v1/get_fast/3", "/v1/lookup_fast/5", "/v1/kv/7", "/v1/lookup?key=9", "/v1/lookup_raw?key=11"];
    for (done, target) in targets.iter().enumerate() {
        let done = done as u64;
        assert_eq!(server.metric(COLD), done, "before {target}");
        let first = server.get(target);
        assert!([200, 204].contains(&first.status), "{target}: {}", first.status);
        assert_eq!(server.metric(COLD), done + 1, "{target} was not in memory");
        for _ in 0..3 {
            let again = server.get(target);
            assert_eq!((again.status, &again.body), (first.status, &first.body), "{target}");
            assert_eq!(again.header("content-type"), first.header("content-type"), "{target}");
            assert_eq!(again.header("etag"), first.header("etag"), "{target}");
        }
        assert_eq!(server.metric(COLD), done + 1, "{target} is in memory now");
    }
    assert_eq!(server.get("/v1/get_fast/3").text(), value(3));
    assert_eq!(server.get("/v1/get_fast/1000").status, 404);
    // Of the same value, by another route; and HEAD, with conditions.
    assert_eq!(server.get("/v1/get_fast/7").text(), value(7));
    assert_eq!(server.metric(COLD), targets.len() as u64);
    let head = server.connect().request("HEAD", "/v1/kv/13", &[("if-none-match", "\"13\"")], b"");
    assert_eq!(head.status, 304);
    assert_eq!(server.metric(COLD), targets.len() as u64 + 1);
    let range = server.connect().request("GET", "/v1/kv/14", &[("range", "bytes=0-1")], b"");
    assert_eq!((range.status, range.text().as_str()), (206, "14"));
    assert_eq!(server.metric(COLD), targets.len() as u64 + 2);
}

#[test]
fn what_was_warmed_up_written_or_never_there_needs_no_other_thread() {
    let (_parent, dir) = fresh();
    let server = cold_server(&dir, &[]);
    assert_eq!(server.post("/v1/warmup", "").status, 200);
    server.put(3, "new");
    server.put(1000, "new");
    for key in 0..KEYS {
        let expected = if key == 3 { "new".to_owned() } else { value(key) };
        assert_eq!(server.get(&format!("/v1/get_fast/{key}")).text(), expected);
    }
    assert_eq!(server.get("/v1/get_fast/1000").text(), "new");
    assert_eq!(server.get("/v1/get_fast/2000").status, 404);
    assert_eq!(server.connect().request("PUT", "/v1/kv/5", &[], b"x").status, 200);
    assert_eq!(server.metric(COLD), 0);
}

#[test]
fn a_put_that_asks_whether_there_is_a_value_does_not_ask_the_disk_on_its_way() {
    let (_parent, dir) = fresh();
    let server = cold_server(&dir, &[]);
    assert_eq!(server.connect().request("PUT", "/v1/kv/5", &[], b"x").status, 200, "there was a value");
    assert_eq!(server.metric(COLD), 1);
    assert_eq!(server.connect().request("PUT", "/v1/kv/5", &[], b"y").status, 200);
    assert_eq!(server.metric(COLD), 1, "it is among the recent writes now");
}

#[test]
fn pipelined_reads_keep_their_order_where_some_are_cold() {
    let (_parent, dir) = fresh();
    let server = cold_server(&dir, &[]);
    let mut connection = server.connect();
    let mut requests = String::new();
    for key in (0..KEYS).chain(0..KEYS) {
        let target = format!("/v1/get_fast/{key}");
        requests.extend(["GET ", &target, " HTTP/1.1\r\nhost: localhost\r\n\r\n"]);
    }
    let first = connection.raw(requests.as_bytes()).unwrap();
    assert_eq!(first.text(), value(0));
    for key in (1..KEYS).chain(0..KEYS) {
        assert_eq!(connection.raw(b"").unwrap().text(), value(key));
    }
    assert!((1..=KEYS).contains(&server.metric(COLD)));
}

/// Has the kernel give up the pages of a process's mapped runs, for each line that it is sent, and prints how many KiB of
/// them are left in memory.
const EVICT: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
runs = [line.split()[0] for line in open(f"/proc/{pid}/maps") if line.rstrip().endswith(".run")]
handle = libc.syscall(434, pid, 0)  # pidfd_open
PAGEOUT = 21
for _ in sys.stdin:
    failed = handle < 0
    for area in runs:
        start, end = (int(number, 16) for number in area.split("-"))
        part = Part(start, end - start)
        failed |= libc.syscall(440, handle, ctypes.byref(part), 1, PAGEOUT, 0) < 0  # process_madvise
    if failed or not runs:
        sys.exit(f"cannot: {os.strerror(ctypes.get_errno())}, {len(runs)} runs")
    left, inside = 0, False
    for line in open(f"/proc/{pid}/smaps"):
        first = line.split()[0]
        if "-" in first:
            inside = first in runs
        elif inside and first == "Rss:":
            left += int(line.split()[1])
    print(left, flush=True)
"#;

/// Evicts a server's runs. One process does so again and again: a worker is careful for a second only, which is less than
/// the start of a process may take.
struct Evictor {
    process: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Evictor {
    /// `None` where this system does not let one process do so with another.
    fn of(server: &Server) -> Option<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", EVICT, &server.pid().to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().ok()?;
        let (asks, says) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut evictor = Self { process, asks, says };
        if evictor.try_evict().is_none() {
            eprintln!("not run: this system lets no process evict what another one has mapped");
            return None;
        }
        Some(evictor)
    }

    fn try_evict(&mut self) -> Option<u64> {
        let mut left = String::new();
        self.asks.write_all(b"\n").ok()?;
        self.says.read_line(&mut left).ok()?;
        left.trim().parse().ok()
    }

    /// The KiB that are left.
    fn evict(&mut self) -> u64 {
        self.try_evict().expect("it could before")
    }
}

impl Drop for Evictor {
    fn drop(&mut self) {
        let _either = self.process.kill();
        let _either = self.process.wait();
    }
}

/// The flag that tells what was read does not know what the kernel gave up since: a worker finds out by having waited,
/// and from then on asks.
#[test]
fn what_the_kernel_gave_up_is_read_by_another_thread() {
    for log in ["off", "all"] {
        let (_parent, dir) = fresh();
        let server = cold_server(&dir, &["--access-log", log]);
        assert_eq!(server.post("/v1/warmup", "").status, 200);
        let mut connection = server.connect();
        let mut get = |key: u64| {
            let answer = connection.request("GET", &format!("/v1/get_fast/{key}"), &[], b"");
            assert_eq!((answer.status, answer.text()), (200, value(key)), "{key}");
        };
        (0..40).for_each(|n| get(n % KEYS));
        assert_eq!(server.metric(COLD), 0, "all of it is in memory, and a worker has looked");
        let Some(mut evictor) = Evictor::of(&server) else { return };
        // What another processor has just touched the kernel may keep for a moment.
        wait_until("the runs are given up", || evictor.evict() < 64);
        let start = Instant::now();
        let mut round = 0;
        while server.metric(COLD) == 0 {
            assert!(start.elapsed() < running::PATIENCE, "no worker asks the kernel, after {round} rounds");
            // The worker waits for a page, and sees at its next sample that it did.
            evictor.evict();
            (0..17).for_each(|_| get(round % KEYS));
            // From then on, for a second, it asks: this one is not in memory.
            evictor.evict();
            get((round + 7) % KEYS);
            round += 1;
        }
        // All routes of one key have the right answer on that way too.
        for target in ["/v1/lookup_fast/3", "/v1/kv/5", "/v1/lookup?key=9", "/v1/lookup_raw?key=11"] {
            evictor.evict();
            get(1);
            assert!([200, 204].contains(&server.get(target).status), "{target}");
        }
        assert_eq!(server.stop().0, 0);
    }
}

#[test]
fn long_work_can_be_cancelled() {
    let (_parent, dir) = fresh();
    let root = dir.with_file_name("backups");
    let server = Server::start_with(&dir, &["--backup-root", root.to_str().unwrap()]);
    let records: String =
        (0..500).map(|key| format!("{{\"key\":{key},\"value\":\"{}\"}}\n", value(key))).collect();
    for (target, body) in [
        ("/v1/snapshot?wait=false", ""),
        ("/v1/rmi/build?wait=false", ""),
        ("/v1/compact?wait=false", ""),
        ("/v1/warmup?wait=false", ""),
        ("/v1/backup?wait=false", "{\"name\":\"one\"}"),
    ] {
        assert_eq!(server.post("/v1/load", &records).json()["loaded"], 500);
        let answer = server.post(target, body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        let task = format!("/v1/tasks/{}", answer.json()["task"]);
        // It may have ended before: then, and only then, it says so.
        let cancelled = server.connect().request("DELETE", &task, &[], b"");
        let start = Instant::now();
        let state = loop {
            let state = server.get(&task).json()["state"].as_str().unwrap().to_owned();
            if !["running", "cancelling"].contains(&state.as_str()) {
                break state;
            }
            assert!(start.elapsed() < running::PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        };
        match cancelled.status {
            202 => assert!(["cancelled", "done"].contains(&state.as_str()), "{target}: {state}"),
            _ => assert_eq!((cancelled.code().as_str(), state.as_str()), ("not_cancellable", "done")),
        }
    }
    // Whatever of it was cut, nothing is lost, and the next one does it.
    assert_eq!(server.post("/v1/rmi/build", "").json()["count"], 500);
    assert!((0..500).all(|key| server.get(&format!("/v1/get_fast/{key}")).text() == value(key)));
}
