//! The configuration: flag over environment over file over default, and what `--print-config` says of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use running::{Ended, Server, command, ended, fresh};

fn print(file: &Path, arguments: &[&str]) -> Ended {
    let mut command = command();
    command.env("KYRODB_MAX_STREAMS", "17").env("KYRODB_AUTH_TOKEN", "canary-token");
    command.args(["serve", "--print-config", "--config"]).arg(file).args(arguments);
    ended(&mut command)
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_value_is_printed_with_its_source_and_no_token_is_shown() {
    let (parent, _dir) = fresh();
    let file = parent.path().join("kyro.toml");
    write(&file, "max-streams = 5\nmax-connections = 6\nport = 7\nread-token = 'canary-read'\n", 0o600);
    let printed = print(&file, &["127.0.0.1", "0", "--max-connections", "8", "--protect-metrics"]);
    assert_eq!(printed.code, 0, "{printed:?}");
    for line in [
        "port = 0  # flag",
        "max-streams = 17  # environment, KYRODB_MAX_STREAMS",
        "max-connections = 8  # flag",
        "protect-metrics = true  # flag",
        "insecure = false  # default",
        "max-value-bytes = 16777216  # default",
        "durability = \"always\"  # default",
        "compression = \"none\"  # default",
        "# auth-token is set and not shown  # environment, KYRODB_AUTH_TOKEN",
        "# read-token is set and not shown  # file",
        "# auth-token-file is not set",
    ] {
        assert!(printed.stdout.lines().any(|printed| printed == line), "{line} in\n{}", printed.stdout);
    }
    assert!(!format!("{printed:?}").contains("canary"), "{printed:?}");

    // What is printed can be read back, and then says the same of itself.
    let again = parent.path().join("again.toml");
    write(&again, &printed.stdout, 0o600);
    let reread = print(&again, &[]);
    assert_eq!(reread.code, 0, "{reread:?}");
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&reread.stdout), values(&printed.stdout));
}

#[test]
fn the_server_starts_from_a_file() {
    let (parent, dir) = fresh();
    let file = parent.path().join("kyro.toml");
    write(&file, &format!("port = 0\ndata-dir = {:?}\nauth-token = 'from-the-file'\n", dir.display()), 0o600);
    let mut serve = command();
    serve.args(["serve", "--config"]).arg(&file);
    let server = Server::spawn(serve);
    assert_eq!(server.get("/v1/offset").status, 401);
    let headers = [("authorization", "Bearer from-the-file")];
    assert_eq!(server.connect().request("GET", "/v1/offset", &headers, b"").status, 200);
    assert!(dir.join("MANIFEST").exists());
}

#[test]
fn a_file_that_makes_no_sense_is_refused_with_its_key_and_without_its_values() {
    let (parent, _dir) = fresh();
    let file = parent.path().join("kyro.toml");
    for (text, mode, part) in [
        ("auth-tokken = 'canary'", 0o600, "no setting `auth-tokken`"),
        ("auth-token = 'canary'", 0o640, "chmod 600"),
        ("auth-token = ['canary', 'canary']", 0o600, "`auth-token` must be"),
        ("port = 'http'", 0o644, "`port` is not valid"),
        ("port =", 0o644, "line 1"),
        ("max-body-bytes = 10", 0o644, "--max-body-bytes 10 is smaller"),
    ] {
        write(&file, text, mode);
        let refused = print(&file, &[]);
        assert_eq!(refused.code, 2, "{text}: {refused:?}");
        assert!(refused.stderr.contains(part), "{text}: {}", refused.stderr);
        assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
    }
    let gone = print(&parent.path().join("gone.toml"), &[]);
    assert_eq!(gone.code, 2);
    assert!(gone.stderr.contains("gone.toml: No such file"), "{}", gone.stderr);
}
