//! docs/openapi.yaml against the server: every route, method and status in it is real, and none is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod running;

use std::collections::{BTreeMap, BTreeSet};

use running::{Connection, Server, fresh};

const SPEC: &str = include_str!("../openapi.yaml");

/// What the spec says of one operation: its statuses, each with the name of its response.
type Operations = BTreeMap<(String, String), BTreeMap<String, String>>;

/// The spec is indented by two; a line-wise look is enough, and fails on anything else.
fn operations() -> Operations {
    let mut operations = Operations::new();
    let (mut path, mut method) = (String::new(), String::new());
    let paths = SPEC.lines().skip_while(|line| *line != "paths:").skip(1);
    for line in paths.take_while(|line| line.starts_with(' ')) {
        let text = line.trim_start();
        match line.len() - text.len() {
            2 => text.trim_end_matches(':').clone_into(&mut path),
            4 => method = text.trim_end_matches(':').to_ascii_uppercase(),
            8 if text.starts_with('\'') || text.starts_with("default:") => {
                let (status, rest) = text.split_once(':').unwrap();
                let response = rest.rsplit('/').next().unwrap_or_default().trim_end_matches("' }").to_owned();
                let statuses = operations.entry((path.clone(), method.clone())).or_default();
                assert!(statuses.insert(status.trim_matches('\'').to_owned(), response).is_none(), "{line}");
            }
            _ => {}
        }
    }
    operations
}

/// Requests and the statuses that they get: path of the spec, method, target, header, body, status.
type Example = (&'static str, &'static str, &'static str, Option<(&'static str, &'static str)>, String, u16);

fn example(path: &'static str, method: &'static str, target: &'static str, status: u16) -> Example {
    (path, method, target, None, String::new(), status)
}

fn with(mut example: Example, body: impl Into<String>) -> Example {
    example.4 = body.into();
    example
}

fn headed(example: Example, name: &'static str, value: &'static str) -> Example {
    (example.0, example.1, example.2, Some((name, value)), example.4, example.5)
}

/// Shown by other tests, as they take some doing.
const ELSEWHERE: [(&str, &str, &str); 4] = [
    ("/v1/push", "POST", "409"),
    ("/v1/rollback", "POST", "202"),
    ("/v1/load", "POST", "409"),
    ("/v1/tasks/{id}", "DELETE", "202"),
];

#[expect(clippy::too_many_lines, reason = "a table of requests")]
fn examples() -> Vec<Example> {
    let large = || "x".repeat(100_001);
    let many = |item: &str| format!("[{}]", [item; 11].join(","));
    let mut all = vec![
        with(example("/v1/put", "POST", "/v1/put", 200), r#"{"key":"7","value":"seven"}"#),
        with(example("/v1/put", "POST", "/v1/put", 400), "{}"),
        with(example("/v1/put", "POST", "/v1/put", 413), large()),
        with(example("/v1/append", "POST", "/v1/append", 200), r#"{"payload":"p"}"#),
        with(example("/v1/append", "POST", "/v1/append", 400), "{}"),
        with(example("/v1/append", "POST", "/v1/append", 413), large()),
        headed(example("/v1/kv/{key}", "GET", "/v1/kv/7", 206), "range", "bytes=1-"),
        headed(example("/v1/kv/{key}", "GET", "/v1/kv/7", 304), "if-none-match", "*"),
        headed(example("/v1/kv/{key}", "HEAD", "/v1/kv/7", 304), "if-none-match", "*"),
        headed(example("/v1/kv/{key}", "GET", "/v1/kv/7", 412), "if-match", "\"1\""),
        headed(example("/v1/kv/{key}", "GET", "/v1/kv/7", 416), "range", "bytes=9-"),
        with(example("/v1/kv/{key}", "PUT", "/v1/kv/7", 200), "seven"),
        with(example("/v1/kv/{key}", "PUT", "/v1/kv/8", 201), "eight"),
        with(example("/v1/kv/{key}", "PUT", "/v1/kv/x", 400), "x"),
        with(example("/v1/kv/{key}", "PUT", "/v1/kv/7", 413), large()),
        headed(example("/v1/kv/{key}", "PUT", "/v1/kv/7", 415), "content-encoding", "gzip"),
        example("/v1/kv/{key}", "DELETE", "/v1/kv/8", 200),
        example("/v1/kv/{key}", "DELETE", "/v1/kv/8", 404),
        example("/v1/kv/{key}", "DELETE", "/v1/kv/x", 400),
        headed(example("/v1/kv/{key}", "DELETE", "/v1/kv/8", 412), "if-match", "\"1\""),
        with(example("/v1/batch", "POST", "/v1/batch", 200), r#"[{"op":"delete","key":9}]"#),
        with(example("/v1/batch", "POST", "/v1/batch", 400), "[]"),
        with(example("/v1/batch", "POST", "/v1/batch", 413), many(r#"{"op":"delete","key":9}"#)),
        headed(example("/v1/batch", "POST", "/v1/batch", 415), "content-type", "text/plain"),
        with(
            example("/v1/batch", "POST", "/v1/batch", 409),
            r#"[{"op":"delete","key":9,"if_present":true}]"#,
        ),
        headed(example("/v1/kv/{key}", "PUT", "/v1/kv/7", 412), "if-none-match", "*"),
        example("/v1/range", "DELETE", "/v1/range?from=1000&to=2000", 200),
        example("/v1/range", "DELETE", "/v1/range?from=1000", 400),
        with(example("/v1/backup", "POST", "/v1/backup", 200), r#"{"name":"one"}"#),
        with(example("/v1/backup", "POST", "/v1/backup?wait=false", 202), r#"{"name":"two"}"#),
        with(example("/v1/backup", "POST", "/v1/backup", 400), r#"{"name":"../one"}"#),
        with(example("/v1/backup", "POST", "/v1/backup", 409), r#"{"name":"one"}"#),
        with(example("/v1/push", "POST", "/v1/push", 400), r#"{"name":"../set"}"#),
        with(example("/v1/push", "POST", "/v1/push", 404), r#"{"name":"nowhere"}"#),
        with(example("/v1/push", "POST", "/v1/push", 200), r#"{"name":"set"}"#),
        with(
            example("/v1/push", "POST", "/v1/push?wait=false", 202),
            r#"{"name":"empty","label":"fails later"}"#,
        ),
        with(example("/v1/rollback", "POST", "/v1/rollback", 400), "{}"),
        with(example("/v1/rollback", "POST", "/v1/rollback", 404), r#"{"version":99}"#),
        with(example("/v1/rollback", "POST", "/v1/rollback", 200), r#"{"version":0}"#),
        with(example("/v1/rollback", "POST", "/v1/rollback", 409), r#"{"version":0}"#),
        with(example("/v1/versions/{id}", "DELETE", "/v1/versions/0", 409), ""),
        with(example("/v1/versions/{id}", "DELETE", "/v1/versions/99", 404), ""),
        with(example("/v1/versions/{id}", "DELETE", "/v1/versions/x", 400), ""),
        with(example("/v1/versions/{id}", "DELETE", "/v1/versions/1", 200), ""),
        with(example("/v1/mget", "POST", "/v1/mget", 200), "[7]"),
        with(example("/v1/mget", "POST", "/v1/mget", 400), "7"),
        with(example("/v1/mget", "POST", "/v1/mget", 413), many("7")),
        headed(example("/v1/mget", "POST", "/v1/mget", 415), "content-type", "text/plain"),
        with(example("/v1/load", "POST", "/v1/load", 200), r#"{"key":9,"value":"x"}"#),
        with(example("/v1/load", "POST", "/v1/load", 400), "{"),
        headed(example("/v1/load", "POST", "/v1/load", 415), "content-type", "text/plain"),
        with(example("/v1/replay", "POST", "/v1/replay", 200), r#"{"start":100000}"#),
        with(example("/v1/replay", "POST", "/v1/replay", 400), "[]"),
        with(example("/v1/replay", "POST", "/v1/replay", 410), r#"{"start":0}"#),
        example("/v1/replay", "GET", "/v1/replay?start=100000", 200),
        example("/v1/replay", "GET", "/v1/replay?start=0", 410),
        example("/v1/changes", "GET", "/v1/changes?since=100000", 200),
        example("/v1/changes", "GET", "/v1/changes?since=0", 410),
        example("/v1/subscribe", "GET", "/v1/subscribe?from=0", 410),
        example("/v1/scan", "GET", "/v1/scan?limit=1", 200),
        example("/v1/tasks/{id}", "DELETE", "/v1/tasks/x", 400),
        example("/v1/tasks/{id}", "DELETE", "/v1/tasks/99999", 404),
        example("/v1/tasks/{id}", "DELETE", "/v1/tasks/1", 409),
    ];
    for (path, found, missing, bad) in [
        ("/v1/lookup_fast/{key}", "/v1/lookup_fast/7", Some("/v1/lookup_fast/99"), "/v1/lookup_fast/x"),
        ("/v1/get_fast/{key}", "/v1/get_fast/7", Some("/v1/get_fast/99"), "/v1/get_fast/x"),
        ("/v1/kv/{key}", "/v1/kv/7", Some("/v1/kv/99"), "/v1/kv/x"),
        ("/v1/lookup", "/v1/lookup?key=7", Some("/v1/lookup?key=99"), "/v1/lookup"),
        ("/v1/lookup_raw", "/v1/lookup_raw?key=7", Some("/v1/lookup_raw?key=99"), "/v1/lookup_raw"),
        ("/v1/select", "/v1/select?rank=0", Some("/v1/select?rank=99"), "/v1/select"),
        ("/v1/tasks/{id}", "/v1/tasks/1", Some("/v1/tasks/99999"), "/v1/tasks/x"),
        ("/v1/count", "/v1/count", None, "/v1/count?from=x"),
        ("/v1/tasks", "/v1/tasks", None, "/v1/tasks?x"),
        ("/v1/stats", "/v1/stats", None, "/v1/stats?x"),
        ("/v1/offset", "/v1/offset", None, "/v1/offset?x"),
        ("/health", "/health", None, "/health?x"),
        ("/livez", "/livez", None, "/livez?x"),
        ("/readyz", "/readyz", None, "/readyz?x"),
        ("/metrics", "/metrics", None, "/metrics?x"),
        ("/build_info", "/build_info", None, "/build_info?x"),
        ("/openapi.yaml", "/openapi.yaml", None, "/openapi.yaml?x"),
        ("/v1/versions", "/v1/versions", None, "/v1/versions?x"),
        ("/v1/index", "/v1/index", None, "/v1/index?x"),
        ("/ui", "/ui", None, "/ui?x"),
    ] {
        for method in ["GET", "HEAD"] {
            all.push(example(path, method, found, if path == "/v1/lookup_raw" { 204 } else { 200 }));
            all.push(example(path, method, bad, 400));
            all.extend(missing.map(|missing| example(path, method, missing, 404)));
        }
    }
    for (path, wait, bad) in [
        ("/v1/rmi/build", "/v1/rmi/build?wait=false", "/v1/rmi/build?wait=x"),
        ("/v1/warmup", "/v1/warmup?wait=false", "/v1/warmup?wait=x"),
        ("/v1/snapshot", "/v1/snapshot?wait=false", "/v1/snapshot?wait=x"),
        ("/v1/compact", "/v1/compact?wait=false", "/v1/compact?wait=x"),
    ] {
        all.extend([
            example(path, "POST", path, 200),
            example(path, "POST", wait, 202),
            example(path, "POST", bad, 400),
        ]);
    }
    for (path, bad) in [
        ("/v1/replay", "/v1/replay?start=x"),
        ("/v1/changes", "/v1/changes?wait=61"),
        ("/v1/scan", "/v1/scan?reverse=x"),
        ("/v1/subscribe", "/v1/subscribe?from=x"),
    ] {
        all.push(example(path, "GET", bad, 400));
    }
    all.push(example("/v1/subscribe", "GET", "/v1/subscribe?from=100000", 200));
    all
}

/// A server with history that is gone, one key, and a task.
fn server(dir: &std::path::Path) -> Server {
    let limits = ["--max-body-bytes", "100000", "--max-value-bytes", "50000", "--max-batch-keys", "10"];
    let backups = dir.with_file_name("backups");
    std::fs::create_dir_all(&backups).unwrap();
    let sets = dir.with_file_name("sets");
    std::fs::create_dir_all(sets.join("empty")).unwrap();
    let file = dir.with_file_name("set.ndjson");
    std::fs::write(&file, "{\"key\":7,\"value\":\"seven\"}").unwrap();
    let built = running::command().arg("build").arg(file).arg("--data-dir").arg(sets.join("set")).status();
    assert!(built.unwrap().success());
    let more = [
        "--wal-segment-bytes",
        "65536",
        "--backup-root",
        backups.to_str().unwrap(),
        "--push-root",
        sets.to_str().unwrap(),
    ];
    let server = Server::start_with(dir, &[&limits[..], &more].concat());
    for _ in 0..5 {
        server.put(7, &"x".repeat(40_000));
    }
    assert_eq!(server.post("/v1/snapshot", "").status, 200);
    server.put(7, "seven");
    server
}

#[test]
fn every_status_is_real_and_every_body_is_of_its_kind() {
    let (_parent, dir) = fresh();
    let server = server(&dir);
    let operations = operations();
    let mut shown: BTreeSet<(String, String, String)> = BTreeSet::new();
    for (path, method, target, header, body, status) in examples() {
        let mut connection = server.connect();
        let headers: Vec<(&str, &str)> = header.into_iter().collect();
        let send = |connection: &mut Connection| {
            if target == "/v1/subscribe?from=100000" {
                let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                std::io::Write::write_all(&mut connection.stream, request.as_bytes()).unwrap();
                return connection.head().unwrap();
            }
            connection.request(method, target, &headers, body.as_bytes())
        };
        let mut answer = send(&mut connection);
        // Work that was left to itself by an earlier example may still be running.
        while answer.status == 409 && status != 409 && path != "/v1/batch" {
            std::thread::sleep(std::time::Duration::from_millis(20));
            answer = send(&mut connection);
        }
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        let response = operations
            .get(&(path.to_owned(), method.to_owned()))
            .and_then(|statuses| statuses.get(&status.to_string()))
            .unwrap_or_else(|| panic!("{method} {path} has no {status} in openapi.yaml"));
        let kind = answer.header("content-type").unwrap_or_default().split(';').next().unwrap().to_owned();
        match response.as_str() {
            "Empty" => assert!(answer.body.is_empty(), "{method} {target}"),
            "Octets" => assert_eq!(kind, "application/octet-stream", "{method} {target}"),
            "Offset" => assert!(answer.json()["offset"].is_u64(), "{method} {target}"),
            "Json" => assert!(answer.json().is_object(), "{method} {target}"),
            "Many" => {
                assert!(["application/json", "application/x-ndjson"].contains(&kind.as_str()), "{kind}");
            }
            "Problem" => assert!(!answer.code().is_empty()),
            _ => assert!(SPEC.contains(&format!("            {kind}: {{}}")), "{method} {target}: {kind}"),
        }
        shown.insert((path.to_owned(), method.to_owned(), status.to_string()));
    }
    for ((path, method), statuses) in &operations {
        assert!(statuses.contains_key("default"), "{method} {path} has no default");
        for status in statuses.keys().filter(|status| *status != "default") {
            let place = (path.clone(), method.clone(), status.clone());
            let elsewhere = ELSEWHERE.contains(&(path.as_str(), method.as_str(), status.as_str()));
            assert!(shown.contains(&place) != elsewhere, "{place:?} is shown by no example, or twice");
        }
    }
}

#[test]
fn every_route_and_method_is_in_it_and_no_other() {
    let (_parent, dir) = fresh();
    let server = server(&dir);
    let docs = include_str!("../../docs/http.md");
    let documented: BTreeSet<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `/"))
        .map(|line| line.split('`').next().unwrap())
        .collect();
    let operations = operations();
    let in_spec: BTreeSet<&str> = operations.keys().map(|(path, _)| path.trim_start_matches('/')).collect();
    assert_eq!(in_spec, documented);
    for path in in_spec {
        let target = format!("/{path}").replace("{key}", "7").replace("{id}", "1");
        let answer = server.connect().request("PATCH", &target, &[], b"");
        assert_eq!(answer.status, 405, "{target}");
        let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
        allowed.sort_unstable();
        let named = operations.keys().filter(|(named, _)| named.trim_start_matches('/') == path);
        assert_eq!(named.map(|(_, method)| method.as_str()).collect::<Vec<_>>(), allowed, "{path}");
    }
    assert_eq!(server.get("/openapi.yaml").text(), SPEC);
}
