//! What is in ops/, checked by the tools it is for where they are installed, and against a running server.

#![expect(clippy::print_stdout, reason = "what is skipped is said")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod running;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use running::{PATIENCE, Server, command, ended, fresh};
use serde_json::Value;

fn ops(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops").join(name)
}

/// Runs a tool and gives what it said; `None`, with a printed reason, where it is not installed.
fn tool(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        println!("skipped: {program} is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Some((output.status.success(), text))
}

/// The metrics that an expression names.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("kyrodb_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_of_dashboard_and_alerts_is_one_of_the_servers() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "one");
    server.get("/v1/get_fast/1");
    server.post("/v1/snapshot", "");
    let told = server.get("/metrics").text();
    let names: BTreeSet<&str> = told
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let mut asked = 0;
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(ops("grafana/kyrodb.json")).unwrap()).unwrap();
    let mut expressions: Vec<String> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(expressions.len() >= 25, "{}", expressions.len());
    let alerts = fs::read_to_string(ops("prometheus/alerts.yml")).unwrap();
    let rules = alerts.lines().filter_map(|line| line.trim_start().strip_prefix("expr: "));
    expressions.extend(rules.map(str::to_owned));
    for expression in expressions {
        for name in metrics_in(&expression) {
            asked += 1;
            assert!(names.contains(name.as_str()), "{name} of {expression} is no metric of the server");
        }
    }
    assert!(asked >= 35, "{asked}");
    // Labels that are asked for are there too.
    for label in ["reason=\"storage_full\"", "reason=\"memory\"", "class=", "status=\"200\"", "route="] {
        assert!(told.contains(label), "{label}");
    }
}

#[test]
fn prometheus_takes_its_configuration_and_the_metrics() {
    let config = ops("prometheus/prometheus.yml");
    let Some((fine, text)) = tool("promtool", &["check", "config", config.to_str().unwrap()]) else { return };
    assert!(fine && text.contains("10 rules found"), "{text}");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let unit = fs::read_to_string(ops("systemd/kyrodb.service")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("kyrodb.service");
    // Verify wants the program to be there.
    fs::write(&copy, unit.replace("/usr/local/bin/kyro-http", env!("CARGO_BIN_EXE_kyro-http"))).unwrap();
    let copy = copy.to_str().unwrap();
    let Some((fine, text)) = tool("systemd-analyze", &["verify", copy]) else { return };
    assert!(fine && !text.contains("kyrodb.service"), "{text}");
    let (_, text) = tool("systemd-analyze", &["security", "--offline=true", copy]).unwrap();
    let exposure = text.split("Overall exposure level for kyrodb.service: ").nth(1);
    let exposure: f64 =
        exposure.unwrap_or_else(|| panic!("{text}")).split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= 2.0, "exposure {exposure} of 10");
    println!("systemd-analyze security: exposure {exposure} of 10");
}

/// The flags and variables that the unit, the image and compose use are ones the program takes.
#[test]
fn flags_and_variables_are_real() {
    let help = ended(command().args(["serve", "--help"])).stdout;
    for (file, words) in [
        ("systemd/kyrodb.service", &["--data-dir", "--auth-token-file", "KYRODB_LOG"][..]),
        (
            "Dockerfile",
            &["KYRODB_DATA_DIR", "KYRODB_HOST", "KYRODB_PORT", "KYRODB_LOG", "KYRODB_AUTH_TOKEN"][..],
        ),
        ("compose.yaml", &["KYRODB_AUTH_TOKEN", "KYRODB_BACKUP_ROOT"][..]),
    ] {
        let text = fs::read_to_string(ops(file)).unwrap();
        for word in words {
            assert!(text.contains(word) && help.contains(word), "{word} of {file}");
        }
        let variables = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for variable in variables.filter(|word| word.starts_with("KYRODB_")) {
            assert!(help.contains(variable), "{variable} of {file}");
        }
    }
    let image = fs::read_to_string(ops("Dockerfile")).unwrap();
    for line in ["HEALTHCHECK", "\"healthcheck\"]", "USER nonroot", "distroless", "CMD [\"serve\"]"] {
        assert!(image.contains(line), "{line}");
    }
    let compose = fs::read_to_string(ops("compose.yaml")).unwrap();
    for mounted in [
        "./prometheus:",
        "./grafana/datasource.yaml:",
        "./grafana/dashboards.yaml:",
        "./grafana/kyrodb.json:",
    ] {
        assert!(compose.contains(mounted), "{mounted}");
        assert!(ops(mounted.trim_end_matches(':')).exists(), "{mounted}");
    }
}

#[test]
fn nginx_passes_events_as_they_come() {
    let (parent, dir) = fresh();
    let place = parent.path();
    if tool("nginx", &["-v"]).is_none() || tool("openssl", &["version"]).is_none() {
        return;
    }
    let server = Server::start_with(&dir, &["--trusted-proxies", "127.0.0.1"]);
    let (key, certificate) = (place.join("key.pem"), place.join("certificate.pem"));
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=db.example",
        "-days",
        "1",
        "-keyout",
        key,
        "-out",
        certificate,
    ];
    assert!(tool("openssl", &made).unwrap().0);
    // The example as it is, but for places; and the same without TLS, to be asked in plain text.
    let socket = place.join("socket");
    let example = fs::read_to_string(ops("proxy/nginx.conf")).unwrap();
    let example = example
        .replace("/etc/ssl/kyrodb/fullchain.pem", certificate)
        .replace("/etc/ssl/kyrodb/privkey.pem", key)
        .replace("127.0.0.1:8080", &server.address.to_string());
    let plain = example.replace("listen 443 ssl;", &format!("listen unix:{};", socket.display()));
    assert_ne!(plain, example);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", place.join(kind).display()))
        .concat();
    let config = |server: &str| {
        format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{server}}}\n",
            place.join("pid").display()
        )
    };
    let path = place.join("nginx.conf");
    fs::write(&path, config(&example)).unwrap();
    let (fine, text) = tool("nginx", &["-t", "-c", path.to_str().unwrap()]).unwrap();
    assert!(fine && text.contains("test is successful"), "{text}");
    fs::write(&path, config(&plain)).unwrap();
    let mut nginx = Command::new("nginx")
        .arg("-c")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();

    running::wait_until("nginx", || UnixStream::connect(&socket).is_ok());
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /v1/subscribe HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut come = |what: &str| {
        let mut buffer = [0; 4096];
        while !text.contains(what) {
            let read = stream.read(&mut buffer).unwrap_or(0);
            assert!(read > 0, "{what} does not come: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    // One event at a time, each while the stream stays open: a proxy that buffers would hold it back.
    for key in 0..5 {
        server.put(key, "an event");
        come(&format!("id: {key}\n"));
    }
    nginx.kill().unwrap();
    nginx.wait().unwrap();
}
