//! Who may do what: every route with every kind of token, and that no token or value is ever printed.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use running::{Server, command, ended, fresh};

/// What a route asks for.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    NothingUnlessProtected,
    Read,
    Write,
    Admin,
}

/// Every route of the server with one request that it answers well. The list is checked against the server's own.
const ROUTES: &[(&str, &str, &str, &str, Needs)] = &[
    ("/v1/put", "POST", "/v1/put", r#"{"key":1,"value":"v"}"#, Needs::Write),
    ("/v1/lookup_fast/{key}", "GET", "/v1/lookup_fast/7", "", Needs::Read),
    ("/v1/get_fast/{key}", "GET", "/v1/get_fast/7", "", Needs::Read),
    ("/v1/kv/{key}", "GET", "/v1/kv/7", "", Needs::Read),
    ("/v1/kv/{key}", "PUT", "/v1/kv/7", "canary-value", Needs::Write),
    ("/v1/kv/{key}", "DELETE", "/v1/kv/8", "", Needs::Write),
    ("/v1/batch", "POST", "/v1/batch", r#"[{"op":"put","key":8,"value":"canary-value"}]"#, Needs::Write),
    ("/v1/mget", "POST", "/v1/mget", "[7,8]", Needs::Read),
    ("/v1/scan", "GET", "/v1/scan", "", Needs::Read),
    ("/v1/count", "GET", "/v1/count", "", Needs::Read),
    ("/v1/select", "GET", "/v1/select?rank=0", "", Needs::Read),
    ("/v1/load", "POST", "/v1/load", r#"{"key":8,"value":"canary-value"}"#, Needs::Write),
    ("/v1/changes", "GET", "/v1/changes", "", Needs::Read),
    ("/v1/range", "DELETE", "/v1/range?from=1000&to=2000", "", Needs::Write),
    ("/v1/backup", "POST", "/v1/backup", r#"{"name":"n"}"#, Needs::Admin),
    ("/v1/tasks", "GET", "/v1/tasks", "", Needs::Read),
    ("/v1/tasks/{id}", "GET", "/v1/tasks/1", "", Needs::Read),
    ("/v1/tasks/{id}", "DELETE", "/v1/tasks/1", "", Needs::Admin),
    ("/v1/stats", "GET", "/v1/stats", "", Needs::Read),
    ("/v1/lookup", "GET", "/v1/lookup?key=7", "", Needs::Read),
    ("/v1/lookup_raw", "GET", "/v1/lookup_raw?key=7", "", Needs::Read),
    ("/v1/append", "POST", "/v1/append", r#"{"payload":"p"}"#, Needs::Write),
    ("/v1/replay", "GET", "/v1/replay", "", Needs::Read),
    ("/v1/replay", "POST", "/v1/replay", "", Needs::Read),
    ("/v1/subscribe", "GET", "/v1/subscribe?from=0", "", Needs::Read),
    ("/v1/rmi/build", "POST", "/v1/rmi/build", "", Needs::Admin),
    ("/v1/warmup", "POST", "/v1/warmup", "", Needs::Admin),
    ("/v1/snapshot", "POST", "/v1/snapshot", "", Needs::Admin),
    ("/v1/compact", "POST", "/v1/compact", "", Needs::Admin),
    ("/v1/offset", "GET", "/v1/offset", "", Needs::Read),
    ("/health", "GET", "/health", "", Needs::Nothing),
    ("/livez", "GET", "/livez", "", Needs::Nothing),
    ("/readyz", "GET", "/readyz", "", Needs::Nothing),
    ("/metrics", "GET", "/metrics", "", Needs::NothingUnlessProtected),
    ("/build_info", "GET", "/build_info", "", Needs::NothingUnlessProtected),
    ("/v1/versions", "GET", "/v1/versions", "", Needs::Read),
    ("/v1/push", "POST", "/v1/push", r#"{"name":"n"}"#, Needs::Admin),
    ("/v1/rollback", "POST", "/v1/rollback", r#"{"version":9}"#, Needs::Admin),
    ("/v1/versions/{id}", "DELETE", "/v1/versions/9", "", Needs::Admin),
    ("/v1/index", "GET", "/v1/index", "", Needs::Read),
    ("/ui", "GET", "/ui", "", Needs::Nothing),
    ("/openapi.yaml", "GET", "/openapi.yaml", "", Needs::NothingUnlessProtected),
];

#[test]
fn the_table_below_lists_every_documented_route() {
    let docs = include_str!("../../docs/http.md");
    let mut documented: Vec<(String, String)> = Vec::new();
    for line in docs.lines().filter_map(|line| line.strip_prefix("| `/")) {
        let mut columns = line.split('|').map(str::trim);
        let route = format!("/{}", columns.next().unwrap().trim_end_matches('`'));
        let methods = columns.next().unwrap();
        documented.extend(methods.split(", ").map(|method| (route.clone(), method.to_owned())));
    }
    let mut listed: Vec<(String, String)> =
        ROUTES.iter().map(|(route, method, ..)| ((*route).to_owned(), (*method).to_owned())).collect();
    // What answers GET answers HEAD, streams aside: those are asked below with the GET of the table.
    documented.retain(|(_, method)| method != "HEAD");
    documented.sort_unstable();
    listed.sort_unstable();
    assert_eq!(documented, listed);
}

#[test]
fn every_route_asks_for_its_token() {
    let (_parent, dir) = fresh();
    for protect in [false, true] {
        let mut serve = command();
        serve.env("KYRODB_AUTH_TOKEN", "canary-admin").env("KYRODB_READ_TOKEN", "canary-read");
        serve.env("KYRODB_WRITE_TOKEN", "canary-write");
        serve.args(["serve", "127.0.0.1", "0", "--data-dir"]).arg(&dir);
        if protect {
            serve.arg("--protect-metrics");
        }
        let server = Server::spawn(serve);
        let put = server.connect().request(
            "POST",
            "/v1/put",
            &[("authorization", "Bearer canary-admin")],
            br#"{"key":7,"value":"canary-value"}"#,
        );
        assert_eq!(put.status, 200);
        let full = [("authorization", "Bearer canary-admin")];
        assert_eq!(server.connect().request("POST", "/v1/snapshot", &full, b"").status, 200, "task 1");
        assert!(server.connect().request("PUT", "/v1/kv/8", &full, b"canary-value").status < 300);
        for (_, method, target, body, needs) in ROUTES {
            for (credentials, kind) in [
                (None, "none"),
                (Some("Bearer wrong"), "wrong"),
                (Some("Bearer canary-admi"), "wrong"),
                (Some("Basic canary-admin"), "wrong"),
                (Some("canary-admin"), "wrong"),
                (Some("Bearer canary-read"), "read"),
                (Some("Bearer canary-write"), "write"),
                (Some("bearer canary-admin"), "admin"),
            ] {
                let headers: Vec<(&str, &str)> =
                    credentials.iter().map(|value| ("authorization", *value)).collect();
                let ok = match (*method, *target) {
                    (_, "/v1/lookup_raw?key=7") => 204,
                    ("DELETE", "/v1/kv/8") if kind == "admin" => 404, // the writer before has deleted it
                    ("DELETE", "/v1/tasks/1") => 409,
                    (_, "/v1/rollback" | "/v1/versions/9") => 404,
                    (_, "/v1/backup" | "/v1/push") => 403, // without --backup-root, after the token is looked at
                    _ => 200,
                };
                let expected = match (needs, kind) {
                    (Needs::Nothing, _) => ok,
                    (Needs::NothingUnlessProtected, _) if !protect => ok,
                    (_, "none" | "wrong") => 401,
                    (Needs::Write | Needs::Admin, "read") | (Needs::Admin, "write") => 403,
                    _ => ok,
                };
                let mut connection = server.connect();
                let answer = if *target == "/v1/subscribe?from=0" {
                    let credentials =
                        credentials.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
                    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{credentials}\r\n");
                    std::io::Write::write_all(&mut connection.stream, request.as_bytes()).unwrap();
                    connection.head().unwrap()
                } else {
                    connection.request(method, target, &headers, body.as_bytes())
                };
                assert_eq!(
                    answer.status, expected,
                    "{method} {target} with {credentials:?}, protect {protect}"
                );
                match expected {
                    401 => assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"kyrodb\"")),
                    403 if ["/v1/backup", "/v1/push"].contains(target) && kind == "admin" => {
                        assert!(["backups_off", "pushes_off"].contains(&answer.code().as_str()));
                    }
                    403 => {
                        assert_eq!(answer.code(), "forbidden");
                        let role = if *needs == Needs::Admin { "administer" } else { "write" };
                        assert!(answer.text().contains(&format!("a token that may {role}")), "{answer:?}");
                    }
                    _ => {}
                }
            }
        }
        // Without a token not even the paths are told apart, and nothing is written.
        assert_eq!(server.get("/v1/nothing").status, 401);
        assert_eq!(server.connect().request("DELETE", "/v1/put", &[], b"").status, 401);
        let (code, log) = server.stop();
        assert_eq!(code, 0);
        for canary in ["canary-admin", "canary-write", "canary-read", "canary-value", "canary-admi"] {
            assert!(!log.contains(canary), "{canary} in the log");
        }
        assert!(log.contains("unauthorized"), "the log is there to be searched: {log}");
    }
}

#[test]
fn several_tokens_of_a_file_are_valid_at_once() {
    let (parent, dir) = fresh();
    let file = parent.path().join("tokens");
    fs::write(&file, "# old and new\none\n\ntwo\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let server =
        Server::start_with(&dir, &["--auth-token-file", file.to_str().unwrap(), "--auth-token", "three"]);
    for (token, status) in [("one", 200), ("two", 200), ("three", 200), ("four", 401), ("# old and new", 401)]
    {
        let credentials = format!("Bearer {token}");
        let answer = server.connect().request("GET", "/v1/offset", &[("authorization", &credentials)], b"");
        assert_eq!(answer.status, status, "{token}");
    }
    // With a token the Host header is free: browsers do not send the token by themselves.
    let headers = [("authorization", "Bearer one"), ("host", "db.example")];
    assert_eq!(server.connect().request("GET", "/v1/offset", &headers, b"").status, 200);
    let (_, log) = server.stop();
    assert!(log.contains("--auth-token shows the token in the process list"), "{log}");
    assert!(!log.contains("three"), "{log}");
}

#[test]
fn help_does_not_show_a_token_of_the_environment() {
    let help = ended(
        command()
            .env("KYRODB_AUTH_TOKEN", "canary")
            .env("KYRODB_READ_TOKEN", "canary")
            .env("KYRODB_WRITE_TOKEN", "canary")
            .args(["serve", "--help"]),
    );
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("KYRODB_AUTH_TOKEN") && !help.stdout.contains("canary"), "{}", help.stdout);
}

#[test]
fn rates_are_limited_by_class_and_failed_tokens_apart() {
    let (_parent, dir) = fresh();
    let mut serve = command();
    serve.args(["serve", "127.0.0.1", "0", "--auth-token", "full", "--data-dir"]).arg(&dir);
    serve.env("KYRODB_RL_ADMIN_RPS", "0.0001").env("KYRODB_RL_ADMIN_BURST", "2");
    serve.env("KYRODB_RL_DATA_RPS", "0.0001").env("KYRODB_RL_DATA_BURST", "3");
    serve.env("KYRODB_RL_AUTH_FAILURE_RPS", "0.0001").env("KYRODB_RL_AUTH_FAILURE_BURST", "4");
    let server = Server::spawn(serve);
    let statuses = |method: &str, target: &str, token: &str, times: usize| -> Vec<u16> {
        let credentials = format!("Bearer {token}");
        let headers = [("authorization", credentials.as_str())];
        (0..times).map(|_| server.connect().request(method, target, &headers, b"").status).collect()
    };
    assert_eq!(statuses("POST", "/v1/snapshot", "full", 3), [200, 200, 429]);
    assert_eq!(statuses("GET", "/v1/offset", "full", 4), [200, 200, 200, 429]);
    assert_eq!(statuses("GET", "/v1/offset", "wrong", 5), [401, 401, 401, 401, 429]);
    assert_eq!(statuses("GET", "/health", "wrong", 50), [200; 50], "probes are free");
    let limited = server.connect().request("GET", "/v1/offset", &[("authorization", "Bearer full")], b"");
    assert_eq!(limited.code(), "rate_limited");
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 5000, "{limited:?}");
    assert_eq!(server.metric("kyrodb_rate_limited_total{class=\"admin\"}"), 1);
    assert_eq!(server.metric("kyrodb_rate_limited_total{class=\"data\"}"), 2);
    assert_eq!(server.metric("kyrodb_rate_limited_total{class=\"auth_failure\"}"), 1);
}

#[test]
fn a_connection_too_many_is_told_so() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--max-connections", "2"]);
    let (mut one, mut two) = (server.connect(), server.connect());
    for connection in [&mut one, &mut two] {
        assert_eq!(connection.request("GET", "/health", &[], b"").status, 200);
    }
    let turned_away = server.connect().raw(b"").unwrap();
    assert_eq!((turned_away.status, turned_away.code().as_str()), (503, "overloaded"));
    assert_eq!(turned_away.header("retry-after"), Some("1"));
    drop(one);
    running::wait_until("the place", || {
        let answer = server.connect().try_request("GET", "/health", &[], b"");
        answer.is_ok_and(|answer| answer.status == 200)
    });
    drop(two);
}
