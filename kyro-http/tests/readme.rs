//! The README's commands, run as they stand there (the address aside) against a fresh server.

mod running;

use running::documented::{is_there, run_curl_lines};
use running::{Server, fresh};

#[test]
fn the_curl_lines_work_and_print_what_they_promise() {
    if !is_there("curl") {
        return;
    }
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let (run, compared) = run_curl_lines(include_str!("../README.md"), &server);
    assert!(run >= 14 && compared >= 6, "{run} commands, {compared} with their output");
}
