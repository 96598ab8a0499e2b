//! Starting: what the command line, the environment and the data directory may be, and the exit code of each refusal.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use running::{Ended, Server, command, ended, fresh};

fn serve(dir: &Path, arguments: &[&str]) -> Ended {
    ended(serve_command(dir, arguments).as_mut())
}

fn serve_command(dir: &Path, arguments: &[&str]) -> Box<Command> {
    let mut command = Box::new(command());
    command
        .env("RUST_LOG", "off")
        .arg("--data-dir")
        .arg(dir)
        .args(["serve", "127.0.0.1", "0"])
        .args(arguments);
    command
}

/// Every file of a directory with its bytes, the lock aside: it names whoever looked last.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().unwrap() != "LOCK" {
                files.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_second_server_is_told_who_holds_the_directory() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "mine");
    let second = serve(&dir, &[]);
    assert_eq!(second.code, 5, "{second:?}");
    assert!(second.stderr.contains(&format!("pid {}", server.pid())), "{}", second.stderr);
    assert_eq!(second.stdout, "");
    assert_eq!(server.get("/v1/get_fast/1").text(), "mine");
    assert_eq!(server.put(2, "still mine"), 1);
    assert_eq!(server.stop().0, 0);
    assert_eq!(Server::start(&dir).next_offset(), 2, "free again");
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_its_name() {
    let (parent, dir) = fresh();
    let file = parent.path().join("a_file");
    fs::write(&file, "precious").unwrap();
    let under_a_file = serve(&file.join("data"), &[]);
    assert_eq!(under_a_file.code, 1);
    assert!(under_a_file.stderr.contains("a_file/data"), "{}", under_a_file.stderr);
    let the_file = serve(&file, &[]);
    assert_eq!(the_file.code, 1);
    assert!(the_file.stderr.contains("a_file"), "{}", the_file.stderr);
    assert_eq!(fs::read(&file).unwrap(), b"precious");

    let foreign = parent.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    let refused = serve(&foreign, &[]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("not a KyroDB data directory"), "{}", refused.stderr);
    assert_eq!(
        contents(&foreign),
        [(foreign.join("thesis.txt").display().to_string(), b"years of work".to_vec())]
    );

    // Only a user whom permissions bind can see this one.
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&dir).is_err() {
        let unreadable = serve(&dir, &[]);
        assert_eq!(unreadable.code, 1);
        assert!(unreadable.stderr.contains("Permission denied"), "{}", unreadable.stderr);
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_newer_format_is_refused_naming_both_versions_and_nothing_is_changed() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "x");
    server.stop();
    let manifest = dir.join("MANIFEST");
    let text = fs::read_to_string(&manifest).unwrap();
    let newer = text.replacen("{\"kyrodb_manifest\":1,", "{\"kyrodb_manifest\":9,", 1);
    assert_ne!(newer, text);
    fs::write(&manifest, &newer).unwrap();
    let before = contents(&dir);
    let refused = serve(&dir, &[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("version 9") && refused.stderr.contains("reads up to 3"),
        "{}",
        refused.stderr
    );
    assert_eq!(contents(&dir), before);
    fs::write(&manifest, text).unwrap();
    assert_eq!(Server::start(&dir).get("/v1/get_fast/1").text(), "x");
}

#[test]
fn damage_is_refused_with_a_code_of_its_own_and_nothing_is_changed() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    for key in 0..50 {
        server.put(key, &"v".repeat(500));
    }
    server.stop();
    let segment = fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|end| end == "wal")).min().unwrap();
    for file in [segment, dir.join("MANIFEST")] {
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        let middle = if good.len() > 10_000 { 10_000 } else { good.len() / 2 };
        bad[middle] ^= 0x10;
        fs::write(&file, &bad).unwrap();
        let before = contents(&dir);
        let refused = serve(&dir, &[]);
        assert_eq!(refused.code, 4, "{}: {refused:?}", file.display());
        assert!(refused.stderr.contains(file.file_name().unwrap().to_str().unwrap()), "{}", refused.stderr);
        let repair = format!("  kyro-http repair {0} --into {0}.repaired\n", dir.display());
        assert!(refused.stderr.ends_with(&repair), "{}", refused.stderr);
        assert_eq!(contents(&dir), before);
        fs::write(&file, &good).unwrap();
    }
    assert_eq!(Server::start(&dir).next_offset(), 50);
}

#[test]
fn an_address_open_to_the_network_needs_a_token_or_insecure() {
    let (_parent, dir) = fresh();
    for host in ["0.0.0.0", "::", "[::]"] {
        let refused = ended(command().arg("--data-dir").arg(&dir).args(["serve", host, "0"]));
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused.stderr.contains("--insecure") && refused.stderr.contains("token"),
            "{}",
            refused.stderr
        );
        assert!(!dir.exists(), "nothing is made before the configuration is known to make sense");
    }
    let mut insecure = command();
    insecure.arg("--data-dir").arg(&dir).args(["serve", "0.0.0.0", "0", "--insecure"]);
    let server = Server::spawn(insecure);
    let port = server.address.port();
    let mut connection = running::Connection::open(([127, 0, 0, 1], port).into()).unwrap();
    assert_eq!(
        connection.request("GET", "/v1/offset", &[("host", "db.example")], b"").status,
        200,
        "any Host then"
    );
    drop(server);
    let mut with_token = command();
    with_token.env("KYRODB_AUTH_TOKEN", "secret").arg("--data-dir").arg(&dir).args(["serve", "0.0.0.0", "0"]);
    let server = Server::spawn(with_token);
    let mut connection = running::Connection::open(([127, 0, 0, 1], server.address.port()).into()).unwrap();
    assert_eq!(connection.request("GET", "/v1/offset", &[("host", "db.example")], b"").status, 401);
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    let (parent, dir) = fresh();
    for arguments in [
        &["--durability", "sometimes"][..],
        &["--durability", "interval:0"],
        &["--wal-max-bytes", "-1"],
        &["--wal-segment-bytes", "0"],
        &["--wal-segment-bytes", "99999999999999"],
        &["--max-connections", "0"],
        &["--header-timeout", "soon"],
        &["--max-body-bytes", "10"],
        &["--rmi-rebuild-ratio", "2"],
        &["--auth-token", ""],
        &["--auth-token", "two words"],
        &["--auth-token-file", "/nonexistent/token"],
        &["--no-such-flag"],
    ] {
        let refused = serve(&dir, arguments);
        assert_eq!(refused.code, 2, "{arguments:?}: {refused:?}");
        assert!(!refused.stderr.is_empty() && !refused.stderr.contains("two words"), "{refused:?}");
    }
    let exposed = parent.path().join("token");
    fs::write(&exposed, "secret\n").unwrap();
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = serve(&dir, &["--auth-token-file", exposed.to_str().unwrap()]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("chmod 600") && !refused.stderr.contains("secret"), "{}", refused.stderr);
    let refused = ended(serve_command(&dir, &[]).env("KYRODB_RMI_MAX_EPS", "64"));
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("KYRODB_RMI_MAX_EPS"), "{}", refused.stderr);
    assert_eq!(ended(command().args(["serve", "127.0.0.1", "70000"])).code, 2);
    assert_eq!(ended(command().arg("conquer")).code, 2);
    assert_eq!(ended(&mut command()).code, 2);
    assert!(!dir.exists());
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let (parent, dir) = fresh();
    let server = Server::start(&dir);
    let port = server.address.port().to_string();
    let other = parent.path().join("other");
    let refused = ended(command().arg("--data-dir").arg(&other).args(["serve", "127.0.0.1", &port]));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains(&port) && refused.stderr.contains("in use"), "{}", refused.stderr);
    assert!(!other.exists());
}

#[test]
fn flags_win_over_the_environment_and_the_directory_is_taken_before_and_after_the_verb() {
    let (parent, dir) = fresh();
    let (named, unnamed) = (parent.path().join("named"), parent.path().join("unnamed"));
    let mut by_environment = command();
    by_environment.env("KYRODB_DATA_DIR", &dir).env("KYRODB_PORT", "0").arg("serve");
    drop(Server::spawn(by_environment));
    assert!(dir.join("MANIFEST").exists());
    let mut both = command();
    both.env("KYRODB_DATA_DIR", &unnamed).args(["serve", "127.0.0.1", "0", "--data-dir"]).arg(&named);
    drop(Server::spawn(both));
    assert!(named.join("MANIFEST").exists() && !unnamed.exists());
    let mut by_default = command();
    by_default.current_dir(parent.path()).args(["serve", "127.0.0.1", "0"]);
    drop(Server::spawn(by_default));
    assert!(parent.path().join("data/MANIFEST").exists());
}

#[test]
fn weaker_durability_is_accepted_and_survives_a_kill() {
    for mode in ["interval:50", "never"] {
        let (_parent, dir) = fresh();
        let server = Server::start_with(&dir, &["--durability", mode]);
        let mut connection = server.connect();
        for key in 0..100 {
            connection.put(key, "x");
        }
        server.kill();
        let server = Server::start(&dir);
        for key in 0..100 {
            assert_eq!(server.get(&format!("/v1/get_fast/{key}")).text(), "x", "{mode} {key}");
        }
    }
}

#[test]
fn work_starts_by_itself_when_asked_for() {
    let (_parent, dir) = fresh();
    let server =
        Server::start_with(&dir, &["--auto-snapshot-secs", "1", "--snapshot-every-n-appends", "100000"]);
    server.put(1, "x");
    let start = std::time::Instant::now();
    while server.metric("kyrodb_snapshots_total") < 1 {
        assert!(start.elapsed() < running::PATIENCE, "no snapshot");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(server.metric("kyrodb_snapshot_latency_seconds_count"), 1);
    assert_eq!(server.metric("kyrodb_compaction_duration_seconds_count"), 0);
    drop(server);
    for because in [["--rmi-rebuild-appends", "1"], ["--compact-when-wal-bytes", "1"]] {
        let server = Server::start_with(&dir, &because);
        server.put(2, "x");
        let start = std::time::Instant::now();
        while server.metric("kyrodb_snapshots_total") < 1 {
            assert!(start.elapsed() < running::PATIENCE, "no snapshot by {because:?}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    let server = Server::start_with(&dir, &["--snapshot-every-n-appends", "10"]);
    let mut connection = server.connect();
    for key in 0..40 {
        connection.put(key, "y");
    }
    let start = std::time::Instant::now();
    while server.metric("kyrodb_snapshots_total") < 1 {
        assert!(start.elapsed() < running::PATIENCE, "no snapshot");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
