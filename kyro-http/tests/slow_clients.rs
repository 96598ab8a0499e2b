//! Clients that are slow in every way there is, many at once: cut in time, at little cost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use running::{Server, fresh, number_of};

/// Open connections and resident memory.
fn numbers(server: &Server) -> (u64, u64) {
    let text = server.get("/metrics").text();
    let number = |name: &str| -> u64 {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
    };
    (number("kyrodb_http_connections "), number("kyrodb_resident_memory_bytes "))
}

/// How long threads of this process were ready to run while others had the processor, in all. What the machine keeps
/// from the server in this way is not the server's time.
fn kept_waiting(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanos = threads.filter_map(|thread| {
        // Time on a processor, time in the queue for one, turns. A thread may end meanwhile.
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// How many clients there is room for where nobody asks for more: each is a descriptor here, and one of the server's.
fn clients_with_room() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = open.and_then(|numbers| numbers.split_ascii_whitespace().next()?.parse::<u64>().ok());
    most.map_or(1000, |most| most.saturating_sub(200).clamp(100, 1000))
}

#[test]
fn a_thousand_slow_clients_are_cut_and_cost_little() {
    let (_parent, dir) = fresh();
    let limits =
        ["--header-timeout", "4", "--idle-timeout", "4", "--body-timeout", "4", "--write-timeout", "4"];
    let clients = number_of("KYRO_HTTP_SLOW_CLIENTS", clients_with_room());
    let room = (clients + 24).to_string();
    let limits = [&limits[..], &["--max-connections", &room, "--max-connections-per-ip", &room]].concat();
    let server = Server::start_with(&dir, &limits);
    let value = "v".repeat(4 << 20);
    server.put(1, &value);
    let before = numbers(&server).1;
    let mut slow: Vec<TcpStream> = Vec::new();
    for n in 0..clients {
        let mut connection = TcpStream::connect(server.address)
            .unwrap_or_else(|error| panic!("connection {n} is refused: {error}"));
        let part: &[u8] = match n % 4 {
            0 => b"GET /v1/off",
            1 => b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{\"key\"",
            2 => b"GET /v1/get_fast/1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
            _ => b"",
        };
        connection.write_all(part).unwrap();
        slow.push(connection);
    }
    let start = Instant::now();
    let waited_before = kept_waiting(server.pid());
    let mut grown = 0;
    // The connection that asks is one of those that are open.
    let mut left = u64::MAX;
    // What the machine kept from this thread, beside what it kept from the server.
    let mut stolen = Duration::ZERO;
    while left > 1 {
        let asking = (Instant::now(), kept_waiting(std::process::id()));
        let resident;
        (left, resident) = numbers(&server);
        grown = grown.max(resident.saturating_sub(before));
        let kept = kept_waiting(server.pid()).saturating_sub(waited_before);
        let (late, pause) = (start.elapsed().saturating_sub(stolen + kept), Duration::from_millis(100));
        assert!(
            late < Duration::from_secs(40),
            "{left} are left after {:?}, of which the machine kept {kept:?} from the server and {stolen:?} from its client",
            start.elapsed()
        );
        std::thread::sleep(pause);
        let own = kept_waiting(std::process::id()).saturating_sub(asking.1);
        stolen += own.min(asking.0.elapsed());
    }
    let limit = (64 << 20) * clients.max(1000) / 1000;
    assert!(grown < limit, "{grown} bytes for {clients} slow clients");
    let cut: u64 = ["idle", "slow_head", "slow_reader"]
        .map(|reason| server.metric(&format!("kyrodb_http_connections_cut_total{{reason=\"{reason}\"}}")))
        .iter()
        .sum();
    assert!(cut <= clients, "each is counted once: {cut} of {clients}");
    assert_eq!(server.get("/v1/get_fast/1").body.len(), 4 << 20);
    drop(slow);
}
