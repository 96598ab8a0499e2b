//! What the command says of itself, and what an error looks like, word for word.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use running::{Server, command, ended, fresh};

fn help(arguments: &[&str]) -> String {
    let help = ended(command().env("COLUMNS", "100").args(arguments));
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    help.stdout
}

#[test]
fn help_is_frozen() {
    // The limiter's settings in the environment of these tests are no part of it.
    let plain = |text: String| {
        text.lines()
            .map(str::trim_end)
            .map(|line| line.replace("_RPS=0]", "_RPS=]"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!("help", plain(help(&["--help"])));
    insta::assert_snapshot!("help_serve", plain(help(&["serve", "--help"])));
    insta::assert_snapshot!("help_load", plain(help(&["load", "--help"])));
    insta::assert_snapshot!("help_verify", plain(help(&["verify", "--help"])));
    insta::assert_snapshot!("help_repair", plain(help(&["repair", "--help"])));
    insta::assert_snapshot!("help_inspect", plain(help(&["inspect", "--help"])));
}

#[test]
fn the_version_names_commit_and_compiler() {
    let version = help(&["--version"]);
    assert!(version.starts_with(concat!("kyro-http ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    assert!(version.contains("rustc 1."), "{version}");
}

#[test]
fn error_bodies_are_frozen() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut bodies = Vec::new();
    for (method, target, body) in [
        ("POST", "/v1/put", ""),
        ("POST", "/v1/put", "{"),
        ("POST", "/v1/put", r#"{"value":"x"}"#),
        ("POST", "/v1/put", r#"{"key":"abc","value":"x"}"#),
        ("POST", "/v1/put", r#"{"key":18446744073709551616,"value":"x"}"#),
        ("POST", "/v1/put", r#"{"key":1,"value":7}"#),
        ("POST", "/v1/put", r#"{"key":1,"key":1,"value":"x"}"#),
        ("POST", "/v1/put", r#"{"key":1,"value":"x","ttl":60}"#),
        ("GET", "/v1/lookup?key=9", ""),
        ("GET", "/v1/nothing", ""),
        ("GET", "/v1/put", ""),
    ] {
        let answer = server.connect().request(method, target, &[], body.as_bytes());
        answer.code();
        let text = answer.text();
        let request_id = answer.json()["request_id"].as_str().unwrap().to_owned();
        bodies.push(format!("{method} {target} {body}\n{}", text.replace(&request_id, "ID")));
    }
    insta::assert_snapshot!("error_bodies", bodies.join("\n\n"));
}
