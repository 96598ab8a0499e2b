//! The clients of examples/ against a running server, with a token.

#![expect(clippy::print_stdout, reason = "what is skipped is said")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::path::Path;
use std::process::Command;

use running::{Server, command, fresh};

/// Runs a client; where its language is not installed it says so.
fn client(program: &str, file: &str) {
    if Command::new(program).arg("--version").output().is_err() {
        println!("skipped: there is no {program} on this machine");
        return;
    }
    let (_parent, dir) = fresh();
    let mut serve = command();
    serve.env("KYRODB_AUTH_TOKEN", "canary-token").args(["serve", "127.0.0.1", "0", "--data-dir"]).arg(dir);
    let server = Server::spawn(serve);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let run = |token: &str| {
        let url = format!("http://{}", server.address);
        Command::new(program).arg(&path).arg(url).env("KYRODB_AUTH_TOKEN", token).output().unwrap()
    };
    let output = run("canary-token");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("all as expected"), "{program}: {output:?}");
    assert!(server.next_offset_with("canary-token") > 2, "it did write");
    let refused = run("wrong");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("401 unauthorized"), "{error}");
}

#[test]
fn python() {
    client("python3", "client.py");
}

#[test]
fn javascript() {
    client("node", "client.mjs");
}

#[test]
fn rust() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let own = std::env::current_exe().unwrap();
    let client = own.ancestors().nth(2).unwrap().join("examples/client");
    if !client.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "-q", "-p", "kyro-http", "--example", "client"])
            .status();
        assert!(built.unwrap().success());
    }
    let output = Command::new(client).arg(server.address.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("put: 200 {\"offset\":0}") && said.contains("get: 200 hello"), "{output:?}");
}
