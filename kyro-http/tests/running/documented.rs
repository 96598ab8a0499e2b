//! Runs what a document shows: the `curl` lines of its shell blocks, whose output stands below them.

#![allow(clippy::print_stdout, reason = "a test says why it does nothing")]

use std::process::Command;

use super::Server;

/// The address that documents use.
pub(crate) const ADDRESS: &str = "127.0.0.1:8080";

/// Whether a program can be run here; says so where it cannot.
pub(crate) fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        println!("skipped: there is no {program} on this machine");
    }
    there
}

/// The contents of the fenced blocks of one language.
pub(crate) fn blocks(document: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let parts = document.split(opening.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// Runs each line that calls curl at [`ADDRESS`], in order, and compares its output with the lines below it that begin
/// with `#`, where there are any. Gives how many ran and how many had an output to compare.
pub(crate) fn run_curl_lines(document: &str, server: &Server) -> (usize, usize) {
    let lines: Vec<&str> = document.lines().collect();
    let (mut run, mut compared) = (0, 0);
    for (at, line) in lines.iter().enumerate() {
        let calls = line.starts_with("curl ") || line.contains("| curl ");
        if !calls || !line.contains(ADDRESS) {
            continue; // not a command, or an example of an address elsewhere
        }
        let command = line.replace(ADDRESS, &server.address.to_string());
        let stream = command.contains("/v1/subscribe");
        let below = lines[at + 1..].iter().map_while(|line| line.strip_prefix('#'));
        let promised: Vec<&str> = below
            .map(|line| line.strip_prefix(' ').unwrap_or(line).split("   ").next().unwrap().trim())
            .collect();
        let text = run_curl(&command, |text| {
            if promised.is_empty() { !text.is_empty() } else { without_id(text) == promised.join("\n") }
        });
        if promised.is_empty() {
            assert!(stream || !text.contains("\"request_id\":"), "{command}: {text}");
        } else {
            assert_eq!(without_id(&text), promised.join("\n"), "{command}");
            compared += 1;
        }
        run += 1;
    }
    (run, compared)
}

/// Runs a line that calls curl, and gives what it printed. A stream has no end: it is read for a while, and once more for
/// longer where that was not enough. Its first heartbeat, which nobody promised, comes after 15 s.
fn run_curl(command: &str, is_enough: impl Fn(&str) -> bool) -> String {
    let stream = command.contains("/v1/subscribe");
    let run = |options: &str| {
        let command = command.replacen("curl", options, 1);
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(stream || output.status.success(), "{command}: {text} {error}");
        text
    };
    if !stream {
        return run("curl -sS");
    }
    let text = run("curl -sS --max-time 2");
    if is_enough(&text) { text } else { run("curl -sS --max-time 14") }
}

/// An answer as a document shows it: with `ID` for the id of the request.
fn without_id(text: &str) -> String {
    let Some((before, rest)) = text.split_once("\"request_id\":\"") else { return text.to_owned() };
    let after = rest.split_once('"').map_or("", |(_, after)| after);
    format!("{before}\"request_id\":\"ID\"{after}")
}
