//! The README's commands, run as they stand there (the address aside) against a fresh server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::process::Command;

use running::{Server, fresh};

#[test]
fn the_curl_lines_work_and_print_what_they_promise() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: there is no curl on this machine");
        return;
    }
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let readme = include_str!("../README.md");
    let lines: Vec<&str> = readme.lines().collect();
    let (mut run, mut compared) = (0, 0);
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("curl ")) {
        if !line.contains("127.0.0.1:8080") {
            continue; // an example of an address elsewhere
        }
        let command = line.replace("127.0.0.1:8080", &server.address.to_string());
        let stream = command.contains("/v1/subscribe");
        let command =
            command.replacen("curl", if stream { "curl -sS --max-time 1" } else { "curl -sS --fail" }, 1);
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        if stream {
            assert!(text.contains("id: 0\ndata: {"), "{command}: {text}");
        } else {
            assert!(output.status.success(), "{command}: {text} {error}");
        }
        if let Some(promised) = lines.get(at + 1).and_then(|next| next.strip_prefix("# ")) {
            let promised = promised.split("   ").next().unwrap().trim();
            assert_eq!(text, promised, "{command}");
            compared += 1;
        }
        run += 1;
    }
    assert!(run >= 14 && compared >= 6, "{run} commands, {compared} with their output");
}
