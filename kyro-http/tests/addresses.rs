//! Clients of very many addresses, told by a trusted proxy: each has its own limits, and all together a bounded memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::io::Write;
use std::net::Ipv4Addr;

use running::{Server, command, fresh, number_of};

/// Requests on their way at a time.
const AHEAD: u32 = 500;

#[test]
fn addresses_without_end_cost_a_bounded_memory() {
    let addresses = number_of("KYRO_HTTP_ADDRESSES", 150_000) as u32;
    let (_parent, dir) = fresh();
    let mut serve = command();
    serve.args(["serve", "127.0.0.1", "0", "--trusted-proxies", "127.0.0.1", "--data-dir"]).arg(&dir);
    serve.env("KYRODB_RL_DATA_RPS", "0.001").env("KYRODB_RL_DATA_BURST", "1").env("RUST_LOG", "warn");
    let server = Server::spawn(serve);
    let mut connection = server.connect();
    let mut ask = |from: u32, until: u32, expected: u16| {
        let mut requests = Vec::new();
        for number in from..until {
            let address = Ipv4Addr::from(0x0b00_0000 + number);
            write!(
                requests,
                "GET /v1/lookup_fast/1 HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {address}\r\n\r\n"
            )
            .unwrap();
        }
        connection.stream.write_all(&requests).unwrap();
        for number in from..until {
            assert_eq!(connection.raw(b"").unwrap().status, expected, "address {number}");
        }
    };
    ask(0, 1, 404);
    ask(0, 1, 429);
    // The table is full by then; from here on memory stands still.
    let full = 80_000;
    let mut before = 0;
    let mut next = 1;
    while next < addresses {
        let until = (next + AHEAD).min(addresses);
        ask(next, until, 404);
        if next <= full && until > full {
            before = server.metric("kyrodb_resident_memory_bytes");
        }
        next = until;
    }
    let after = server.metric("kyrodb_resident_memory_bytes");
    assert!(before > 0 && after < before + (8 << 20), "{before} bytes with a full table, {after} at the end");
    println!("{addresses} addresses: {before} bytes with a full table, {after} at the end");
    assert_eq!(server.stop().0, 0);
}
