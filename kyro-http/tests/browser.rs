//! `/ui` in headless Chromium, through its WebDriver: what a person sees and does, light and dark, wide and narrow.
//!
//! Where there is no chromedriver the test says so and ends; `KYRO_INSTALL_BROWSER=1` installs it first (Debian, as root).
//! `KYRO_SCREENSHOTS=DIR` keeps the pictures.

#![expect(clippy::print_stdout, reason = "what is skipped is said")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod running;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use running::{Connection, Server, command, fresh};
use serde_json::{Value, json};

/// A browser with one page.
struct Browser {
    driver: Child,
    address: std::net::SocketAddr,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// `None`, with a printed reason, where there is none.
    fn start() -> Option<Self> {
        let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if !there("chromedriver") && std::env::var_os("KYRO_INSTALL_BROWSER").is_some() {
            let installed = Command::new("apt-get")
                .args(["install", "-y", "--no-install-recommends", "chromium", "chromium-driver"])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .status();
            println!("installing chromium and chromium-driver: {installed:?}");
        }
        if !there("chromedriver") {
            println!(
                "skipped: there is no chromedriver; KYRO_INSTALL_BROWSER=1 installs it on Debian as root"
            );
            return None;
        }
        let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let said = lines.by_ref();
        let port = said
            .filter_map(|line| line.ok()?.split("on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok())
            .find(|port| *port != 0)
            .expect("chromedriver tells its port");
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut browser =
            Self { driver, address: ([127, 0, 0, 1], port).into(), session: String::new(), profile };
        let profile = format!("--user-data-dir={}", browser.profile.path().display());
        let session = browser.call("POST", "/session", &json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
                "--no-first-run", "--disable-dev-shm-usage", profile,
            ] },
        } } }));
        browser.session =
            format!("/session/{}", session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}")));
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut connection = Connection::open(self.address).unwrap();
        let host = format!("localhost:{}", self.address.port());
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let headers =
            [("host", host.as_str()), ("content-type", "application/json"), ("connection", "close")];
        connection.request(method, path, &headers, body.as_bytes()).json()["value"].take()
    }

    fn session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("{}{path}", self.session), body)
    }

    fn open(&self, url: &str) {
        self.session("POST", "/url", &json!({ "url": url }));
    }

    /// What a script in the page returns.
    fn run(&self, script: &str) -> Value {
        let value = self.session("POST", "/execute/sync", &json!({ "script": script, "args": [] }));
        assert!(value.get("error").is_none(), "{script}: {value}");
        value
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        let body = json!({ "cmd": command, "params": parameters });
        let value = self.session("POST", "/goog/cdp/execute", &body);
        assert!(value.get("error").is_none(), "{command}: {value}");
    }

    /// Waits until an expression of the page is true.
    fn wait_for(&self, what: &str) {
        let start = Instant::now();
        while self.run(&format!("return Boolean({what})")) != json!(true) {
            let text = self.run("return document.body.innerText");
            assert!(start.elapsed() < running::PATIENCE, "{what} does not come:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fills a field and sends its form.
    fn send(&self, field: &str, text: &str) {
        let (field, text) = (json!(field), json!(text));
        self.run(&format!(
            "const field = document.getElementById({field}); field.value = {text}; field.form.requestSubmit();"
        ));
    }

    fn screenshot(&self, name: &str) {
        let Some(dir) = std::env::var_os("KYRO_SCREENSHOTS").map(PathBuf::from) else { return };
        let picture = self.session("GET", "/screenshot", &Value::Null);
        let picture =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, picture.as_str().unwrap());
        fs::write(dir.join(format!("{name}.png")), picture.unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.session("DELETE", "", &Value::Null);
        }
        let _either = self.driver.kill();
        let _either = self.driver.wait();
        // A driver that ends before its browser has does not take it along.
        for process in processes_with(&self.profile.path().display().to_string()) {
            let _either = Command::new("kill").args(["-9", &process]).status();
        }
    }
}

/// The numbers of the processes that have this among their arguments.
fn processes_with(argument: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(argument)
        })
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_person_sees_the_server_and_looks_a_key_up() {
    let Some(browser) = Browser::start() else { return };
    let (parent, dir) = fresh();
    let file = parent.path().join("in.ndjson");
    let lines: Vec<String> =
        (0..20_000_u64).map(|n| format!("{{\"key\":{},\"value\":\"value {n}\"}}", n * n + n % 7)).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    assert!(command().arg("build").arg(&file).arg("--data-dir").arg(&dir).output().unwrap().status.success());
    let sets = parent.path().join("sets");
    let night = parent.path().join("night.ndjson");
    fs::write(&night, "{\"key\":7,\"value\":\"of the night\"}\n").unwrap();
    let night_set = sets.join("night");
    let built = command().arg("build").arg(&night).arg("--data-dir").arg(&night_set).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let mut serve = command();
    serve.env("KYRODB_AUTH_TOKEN", "canary-token").args(["serve", "127.0.0.1", "0", "--data-dir"]).arg(&dir);
    serve.arg("--push-root").arg(&sets);
    let server = Server::spawn(serve);
    let token = [("authorization", "Bearer canary-token")];
    let mut connection = server.connect();
    for key in 0..300 {
        let body = json!({ "key": key, "value": "new" }).to_string();
        assert_eq!(connection.request("POST", "/v1/put", &token, body.as_bytes()).status, 200);
        assert_eq!(connection.request("GET", &format!("/v1/get_fast/{key}"), &token, b"").status, 200);
    }

    // Without a token there is nothing to see, and the page asks for one.
    browser.devtools("Emulation.setDeviceMetricsOverride", &size(1280));
    browser.open(&format!("http://{}/ui", server.address));
    browser.wait_for("document.getElementById('state').textContent === 'a token is needed'");
    assert_eq!(browser.run("return document.getElementById('token-form').hidden"), false);
    browser.send("token", "canary-token");
    browser.wait_for("document.getElementById('state').textContent === 'serving'");
    browser.wait_for("document.getElementById('epsilon').childElementCount > 0");
    let text = browser.run("return document.body.innerText").as_str().unwrap().to_owned();
    assert!(text.contains("/v1/get_fast/{key}") && text.contains("sampled keys"), "{text}");
    assert!(!text.contains("canary-token") && !text.contains("NaN") && !text.contains("undefined"), "{text}");

    // A key with a value and one without.
    browser.send("key", "7");
    browser.wait_for("document.getElementById('found').textContent === 'new'");
    browser.send("key", "18446744073709551615");
    browser.wait_for(
        "document.getElementById('found-note').textContent === 'Key 18446744073709551615 has no value.'",
    );
    browser.send("key", "8");
    // Work is started by a button and shows up as a task; the delta is empty after it.
    browser.run("document.querySelector('[data-post*=snapshot]').click()");
    browser.wait_for("document.getElementById('tasks').textContent.includes('snapshotdone')");
    browser.wait_for("document.querySelectorAll('#runs tr').length === 3");
    browser.wait_for("document.querySelectorAll('#rate path').length === 2");
    versions(&browser);

    // Everything fits at any width, in both colours.
    for (colour, width) in [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390), ("light", 820)] {
        browser.devtools("Emulation.setDeviceMetricsOverride", &size(width));
        let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": colour }] });
        browser.devtools("Emulation.setEmulatedMedia", &feature);
        let ground = browser.run("return getComputedStyle(document.body).backgroundColor");
        let expected = if colour == "dark" { "rgb(15, 18, 22)" } else { "rgb(246, 247, 249)" };
        assert_eq!(ground, expected, "{colour}");
        let overflow = browser.run("return document.documentElement.scrollWidth - window.innerWidth");
        assert!(overflow.as_i64().unwrap() <= 0, "at {width} the page is {overflow} wider than the window");
        let cut = "const box = document.getElementById('versions').parentNode; return box.scrollWidth - box.clientWidth";
        assert_eq!(browser.run(cut), 0, "at {width} the button of a version is cut off");
        browser.screenshot(&format!("ui-{colour}-{width}"));
    }

    // The token is in this tab's memory alone; nobody else was asked for anything; nothing was refused or failed.
    assert_eq!(browser.run("return localStorage.length + document.cookie.length"), 0);
    let elsewhere = "return performance.getEntriesByType('resource').map((entry) => entry.name)\
        .filter((name) => !name.startsWith(location.origin + '/v1/'))";
    assert_eq!(browser.run(elsewhere), json!([]));
    let log = browser.session("POST", "/se/log", &json!({ "type": "browser" }));
    let said: Vec<&str> =
        log.as_array().unwrap().iter().filter_map(|line| line["message"].as_str()).collect();
    let expected = |line: &&str| line.contains("401") || line.contains("404");
    assert!(said.iter().all(expected), "{said:#?}");
}

/// A data set takes the place of the content, one that is not there is told of, and the content comes back.
fn versions(browser: &Browser) {
    browser.wait_for("!document.getElementById('versions-card').hidden");
    let rows = "[...document.querySelectorAll('#versions tr')].map((row) => row.innerText)";
    browser.send("push-name", "day");
    let refused = "there is no directory `day` under --push-root";
    browser.wait_for(&format!("document.getElementById('version-error').innerText.includes('{refused}')"));
    browser.send("push-name", "night");
    browser.wait_for(&format!("{rows}.some((row) => row.includes('1 night') && row.includes('current'))"));
    browser.send("key", "7");
    browser.wait_for("document.getElementById('found').textContent === 'of the night'");
    browser.run("document.querySelector('[data-rollback=\"0\"]').click()");
    browser.wait_for(&format!("{rows}.some((row) => row.startsWith('0') && row.includes('current'))"));
    browser.wait_for("document.querySelector('[data-rollback=\"1\"]') !== null");
    browser.send("key", "7");
    browser.wait_for("document.getElementById('found').textContent === 'new'");
}

fn size(width: u32) -> Value {
    json!({ "width": width, "height": if width < 600 { 3300 } else { 1500 }, "deviceScaleFactor": 1, "mobile": false })
}
