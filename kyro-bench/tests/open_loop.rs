//! The load generator against servers made for it: one that stalls, and one whose answers a terminal watches.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use kyro_bench::http::client::{Client, Load, Measured, Source};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A server of one connection that answers everything with `body`, and stalls once, before its tenth answer.
fn server(body: &'static [u8], stall: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut answers = 0;
        for stream in listener.incoming() {
            // A client that goes away is no failure of the server.
            answer_all(stream.unwrap(), body, stall, &mut answers).ok();
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, body: &[u8], stall: Duration, answers: &mut u32) -> std::io::Result<()> {
    let mut waiting = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        waiting.extend_from_slice(&chunk[..count]);
        while let Some(end) = waiting.windows(4).position(|window| window == b"\r\n\r\n") {
            waiting.drain(..end + 4);
            *answers += 1;
            if *answers == 10 {
                std::thread::sleep(stall);
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body].concat())?;
        }
    }
}

/// Requests whose answer is `right`.
struct Right;

impl Source for Right {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        0
    }

    fn check(&mut self, _: u64, status: u16, body: &[u8]) -> Result<(), String> {
        if status == 200 && body == b"right" { Ok(()) } else { Err("not right".to_owned()) }
    }
}

fn run(rate: Option<f64>) -> Measured {
    let address = server(b"right", Duration::from_millis(500));
    let load = Load {
        address,
        connections: 1,
        depth: 1,
        length: Duration::from_secs(1),
        warm_up: Duration::ZERO,
        rate,
        most: u64::MAX,
        seed: 1,
    };
    Client::connect(address, 1).unwrap().run(&load, &mut Right).unwrap()
}

/// The server stands still for half of the time. In closed loop one request sees each such time. In open loop every request that was
/// due meanwhile does, so that the mean one waits for a good part of it.
#[test]
fn a_stall_is_not_hidden_by_waiting_for_it() {
    let open = run(Some(200.0));
    assert!((100..300).contains(&open.answers), "{} of 200 that were due", open.answers);
    let late = open.latencies.len() - open.latencies.count_between(0, 50_000_000);
    assert!(late * 4 > open.latencies.len(), "{late} of {} came late", open.latencies.len());
    assert!(
        open.latencies.value_at_quantile(0.9) > 300_000_000,
        "{:?}",
        open.latencies.value_at_quantile(0.9)
    );
    let closed = run(None);
    let late = closed.latencies.len() - closed.latencies.count_between(0, 400_000_000);
    // Of the stall, and of those that a busy machine adds: in a second no more of them begin one after the other.
    assert!((1..=3).contains(&late), "{late} of {}", closed.latencies.len());
}

#[test]
fn a_wrong_answer_ends_it() {
    let address = server(b"wrong", Duration::ZERO);
    let load = Load {
        address,
        connections: 1,
        depth: 1,
        length: Duration::from_secs(10),
        warm_up: Duration::ZERO,
        rate: None,
        most: 100,
        seed: 1,
    };
    let error = Client::connect(address, 1).unwrap().run(&load, &mut Right).unwrap_err().to_string();
    assert!(error.contains("a wrong answer, with status 200: not right"), "{error}");
}

/// What the workload client, reading for this long, writes to standard error when that is a terminal, or is none.
fn standard_error(terminal: bool, seconds: &str) -> String {
    let address = server(b"{\"offset\":1}", Duration::from_millis(300));
    let mut command = Command::new(env!("CARGO_BIN_EXE_kyro-bench"));
    command.args(["workload", "--base", &format!("http://{address}"), "--load-n", "0", "--regime", "cold"]);
    command.args(["--op", "put", "--read-concurrency", "1", "--read-seconds", seconds]);
    command.stdout(Stdio::null());
    if !terminal {
        return String::from_utf8(command.stderr(Stdio::piped()).output().unwrap().stderr).unwrap();
    }
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut child = command.stderr(OwnedFd::from(slave)).spawn().unwrap();
    // The command holds the terminal's other side too: without it the end would never come.
    drop(command);
    let mut shown = Vec::new();
    let mut master = std::fs::File::from(master);
    let mut chunk = [0; 4096];
    // A terminal that nobody holds any more ends with an error.
    while let Ok(count) = master.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..count]);
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn a_terminal_sees_a_bar_and_a_pipe_does_not() {
    // The bar moves with the answers: where a busy machine gave too few, there is more time.
    let has_bar = |text: &str| text.contains("reading ") && text.contains("(left ");
    let mut terminal = String::new();
    for seconds in ["0.8", "4", "20"] {
        terminal = standard_error(true, seconds);
        if has_bar(&terminal) {
            break;
        }
    }
    assert!(has_bar(&terminal), "{terminal:?}");
    let pipe = standard_error(false, "0.8");
    assert!(!pipe.contains("(left ") && pipe.contains("/v1/put"), "{pipe:?}");
}
