//! SIGKILL during a load with 64 writers, again and again on one directory: whatever was acknowledged is there, with
//! its bytes, after each restart; nothing is half written; no offset is used twice.
//!
//! `KYRO_KILL_CYCLES` sets the number of cycles (default 4).

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use running::{Connection, Server, fresh};

const WRITERS: u64 = 64;

/// A value that tells its key and its version, and shows where it is cut.
fn value(key: u64, version: u64) -> String {
    format!("{key}:{version}:{}:end", "x".repeat((key.wrapping_mul(31).wrapping_add(version) % 700) as usize))
}

/// What one writer knows of one of its keys.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The version that must be there: the last one acknowledged, or one that a restart has shown.
    present: Option<u64>,
    /// A later version that was sent and not answered: it may be there or not.
    unknown: Option<u64>,
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let cycles: u64 = std::env::var("KYRO_KILL_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let (_parent, dir) = fresh();
    let mut known: BTreeMap<u64, Known> = BTreeMap::new();
    let mut used: BTreeSet<u64> = BTreeSet::new();
    let mut total = 0_usize;
    for cycle in 0..cycles {
        let server = Server::start_with(&dir, &["--snapshot-every-n-appends", "5000"]);
        check(&server, &mut known);
        let next = server.next_offset();
        assert!(used.last().is_none_or(|last| *last < next), "an offset would be given twice");
        let acknowledged = AtomicU64::new(0);
        let (seen, offsets) = write_until_killed(server, cycle, &known, &acknowledged);
        for offset in &offsets {
            assert!(
                *offset >= next && used.insert(*offset),
                "offset {offset} in cycle {cycle} was used before"
            );
        }
        total += offsets.len();
        known.extend(seen);
    }
    let server = Server::start(&dir);
    check(&server, &mut known);
    assert_eq!(server.metric("kyrodb_rmi_mispredicts_total"), 0);
    assert!(total as u64 > cycles * WRITERS, "{total} acknowledgements: the load was none");
    println!("{cycles} kills, {total} acknowledgements, none lost");
    assert_eq!(server.stop().0, 0);
}

/// Writes with all writers and kills the server in the middle.
fn write_until_killed(
    server: Server,
    cycle: u64,
    known: &BTreeMap<u64, Known>,
    acknowledged: &AtomicU64,
) -> (BTreeMap<u64, Known>, Vec<u64>) {
    let address = server.address;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let (mut mine, mut offsets) = (BTreeMap::new(), Vec::new());
                    let Ok(mut connection) = Connection::open(address) else { return (mine, offsets) };
                    for n in 0_u64.. {
                        // Half of the puts overwrite: the newest acknowledged version must win.
                        let key = (n / 2) * WRITERS + writer;
                        let version = cycle * 1_000_000 + n;
                        let entry: &mut Known =
                            mine.entry(key).or_insert_with(|| known.get(&key).copied().unwrap_or_default());
                        entry.unknown = Some(version);
                        let body = format!(r#"{{"key":{key},"value":"{}"}}"#, value(key, version));
                        let Ok(answer) = connection.try_request("POST", "/v1/put", &[], body.as_bytes())
                        else {
                            break;
                        };
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        let offset = answer.json()["offset"].as_u64().unwrap();
                        *entry = Known { present: Some(version), unknown: None };
                        offsets.push(offset);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    (mine, offsets)
                })
            })
            .collect();
        // In the middle of the load, at another point each time.
        while acknowledged.load(Ordering::Relaxed) < WRITERS * 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(150 + 67 * (cycle % 7)));
        server.kill();
        let mut all = (BTreeMap::new(), Vec::new());
        for writer in writers {
            let (mine, offsets) = writer.join().unwrap();
            all.0.extend(mine);
            all.1.extend(offsets);
        }
        all
    })
}

/// Checks every key, and settles what was open: whatever a restart shows once is so from then on.
fn check(server: &Server, known: &mut BTreeMap<u64, Known>) {
    let mut connection = server.connect();
    for (key, known) in known {
        let answer = connection.request("GET", &format!("/v1/get_fast/{key}"), &[], b"");
        let text = answer.text();
        let holds = |version: Option<u64>| match version {
            Some(version) => answer.status == 200 && text == value(*key, version),
            None => answer.status == 404,
        };
        if known.unknown.is_some() && holds(known.unknown) {
            known.present = known.unknown;
        }
        assert!(holds(known.present), "key {key}: {known:?}, found {} {text:.60}", answer.status);
        known.unknown = None;
    }
}
