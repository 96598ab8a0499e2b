//! A full disk, over HTTP: what is refused and how, what goes on, and that writing resumes by itself. The disk is a small
//! file system in memory, in a mount namespace of the server's own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails")]

mod running;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use running::{Answer, Server, fresh};

const SERVE: &str = "mount -t tmpfs -o size=24m tmpfs \"$1\" && dd if=/dev/zero of=\"$1/filler\" bs=1M count=6 2>/dev/null \
     && exec \"$2\" serve 127.0.0.1 0 --data-dir \"$1/db\" --wal-segment-bytes 1048576 --ballast-bytes 2097152";

/// A server on a file system of 24 MiB with a file of 6 MiB that is not its own, and where that file is. `None` where the
/// system does not let users make namespaces.
fn on_a_small_disk(place: &std::path::Path) -> Option<(Server, PathBuf)> {
    let allowed = Command::new("unshare").args(["-rm", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: this system gives no mount namespace to its users");
        return None;
    }
    std::fs::create_dir_all(place).unwrap();
    let mut command = running::command();
    let program = command.get_program().to_owned();
    let mut unshare = Command::new("unshare");
    unshare.args(["-rm", "sh", "-c", SERVE, "sh"]).arg(place).arg(program);
    for (name, value) in command.env("RUST_LOG", "info").get_envs() {
        match value {
            Some(value) => unshare.env(name, value),
            None => unshare.env_remove(name),
        };
    }
    let server = Server::spawn(unshare);
    // As the server sees it.
    let root = format!("/proc/{}/root", server.pid());
    let filler = PathBuf::from(root).join(place.strip_prefix("/").unwrap()).join("filler");
    Some((server, filler))
}

fn put(server: &Server, key: u64, value: &[u8]) -> Answer {
    server.connect().request("PUT", &format!("/v1/kv/{key}"), &[], value)
}

#[test]
fn a_full_disk_refuses_what_grows_serves_the_rest_and_resumes() {
    let (_parent, dir) = fresh();
    let Some((server, filler)) = on_a_small_disk(&dir) else { return };
    assert!(filler.is_file(), "{}", filler.display());
    let value = vec![b'v'; 60_000];
    // Full is a disk on which nothing fits for a while: what is made ready for later may fail beside a write, and give its
    // room back.
    let (mut written, mut refused) = (0, Vec::new());
    while refused.len() < 5 {
        let answer = put(&server, written, &value);
        if answer.status == 201 {
            written += 1;
            refused.clear();
        } else {
            refused.push(answer);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(written < 1000, "24 MiB hold no 60 MB");
    }
    // Each form of a write says the same, and nothing of it is there.
    let next = server.next_offset();
    let put_json =
        || server.post("/v1/put", format!("{{\"key\":9000,\"value\":\"{}\"}}", "x".repeat(60_000)));
    let batch = format!("[{{\"op\":\"put\",\"key\":9001,\"value\":\"{}\"}}]", "x".repeat(60_000));
    refused.extend([put_json(), server.post("/v1/batch", batch), put(&server, 9002, &value)]);
    for answer in refused {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (507, "insufficient_storage"),
            "{}",
            answer.text()
        );
        assert!(answer.header("retry-after").is_some());
        assert!(!answer.text().contains(dir.to_str().unwrap()), "no path of this machine: {}", answer.text());
    }
    assert_eq!(server.next_offset(), next, "what was refused took no offset");
    for key in [9000, 9001, 9002, written] {
        assert_eq!(server.get(&format!("/v1/get_fast/{key}")).status, 404, "{key}");
    }
    // Reads go on, and so do deletes.
    for key in 0..written {
        assert_eq!(server.get(&format!("/v1/get_fast/{key}")).body.len(), value.len(), "{key}");
    }
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/v1/stats").json()["read_only"], false);
    assert!(server.metric("kyrodb_stalls_total{reason=\"storage_full\"}") >= 1);
    let deleted = server.connect().request("DELETE", "/v1/kv/0", &[], b"");
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    assert_eq!(server.get("/v1/get_fast/0").status, 404);
    // With room again, writing resumes without a restart.
    std::fs::remove_file(&filler).unwrap();
    let start = Instant::now();
    while put(&server, 9100, &value).status != 201 {
        assert!(start.elapsed() < running::PATIENCE, "writing does not resume");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.get("/v1/get_fast/9100").body, value);
    assert_eq!(server.get(&format!("/v1/get_fast/{}", written - 1)).body, value);
    let (code, log) = server.stop();
    assert_eq!(code, 0, "{log}");
}
