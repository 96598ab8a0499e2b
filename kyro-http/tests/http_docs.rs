//! docs/http.md by example: its curl lines, its Python, and its EventSource in a browser, against a fresh server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::process::Command;

use running::documented::{ADDRESS, blocks, is_there, run_curl_lines};
use running::{Server, fresh};

const DOCUMENT: &str = include_str!("../../docs/http.md");

#[test]
fn every_curl_line_works_and_prints_what_stands_below_it() {
    if !is_there("curl") {
        return;
    }
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let (run, compared) = run_curl_lines(&blocks(DOCUMENT, "sh").concat(), &server);
    assert!(run >= 23 && compared == run, "{run} commands, {compared} with their output");
    let calls = DOCUMENT.lines().filter(|line| line.contains("curl ") && line.contains(ADDRESS)).count();
    assert_eq!(run, calls, "a line that no block of shell holds is not run");
    if is_there("python3") {
        let [script] = &blocks(DOCUMENT, "python")[..] else { panic!("one block of Python") };
        let promised = script.lines().last().unwrap().strip_prefix("# ").unwrap();
        let script = script.replace(ADDRESS, &server.address.to_string());
        let output = Command::new("python3").args(["-c", &script]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), promised);
    }
}

/// A browser runs the script of the document in a page and writes the page out when the server has stopped: each event
/// with its id, and the end that the server gave as its last one.
#[test]
fn a_browsers_event_source_gets_every_event_and_the_end() {
    let Some(browser) =
        ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_there(name))
    else {
        return;
    };
    let (parent, dir) = fresh();
    let server = Server::start(&dir);
    for key in 0..12 {
        server.put(key, "<\u{e9}\n>");
    }
    let [script] = &blocks(DOCUMENT, "js")[..] else { panic!("one block of JavaScript") };
    let script = script.replace(ADDRESS, &server.address.to_string());
    let page = format!(
        "<!doctype html><meta charset=utf-8><pre id=seen></pre><script>
         const seen = document.getElementById('seen');
         function show(id, event) {{ seen.textContent += `${{id}}:${{event.op}}:${{event.key}}:${{event.payload.length}};`; }}
         {script}
         events.addEventListener('shutdown', (event) => {{ seen.textContent += 'end:' + event.data; document.title = 'end'; }});
         </script>"
    );
    let file = parent.path().join("page.html");
    std::fs::write(&file, page).unwrap();
    // The page is not of the server's origin: the browser is told to let it read what it gets.
    let profile = format!("--user-data-dir={}", parent.path().join("profile").display());
    let browsing = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-web-security", "--dump-dom"])
        .args(["--timeout=60000", "--virtual-time-budget=20000", &profile])
        .arg(format!("file://{}", file.display()))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while !server.get("/metrics").text().contains("{route=\"/v1/subscribe\",status=\"200\"}") {
        assert!(start.elapsed() < running::PATIENCE, "the browser does not come");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    server.put(12, "live");
    assert_eq!(server.stop().0, 0);
    let output = browsing.wait_with_output().unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("9:put:9:4;10:put:10:4;11:put:11:4;12:put:12:4;end:{\"resume\":13}"), "{page}");
}
