//! A server under test: the real binary, on a free port, with a directory of its own; and a client of raw sockets.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::format_push_string, reason = "a test is not in a hurry")]

pub(crate) mod documented;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_kyro-http");
/// Debug builds on a busy machine are slow; a test that waits this long has hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so; where it does not come the test fails, and says what did not.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How wide a test is to be: what the variable of a campaign says, or what fits every run of the tests.
pub(crate) fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect(variable))
}

/// The command, with none of the caller's settings and without rate limits.
pub(crate) fn command() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KYRODB_") {
            command.env_remove(name);
        }
    }
    command.env("RUST_LOG", "debug").env("KYRODB_RL_ADMIN_RPS", "0").env("KYRODB_RL_DATA_RPS", "0");
    command.env("KYRODB_RL_AUTH_FAILURE_RPS", "0").stdin(Stdio::null());
    command
}

/// What a command that ended said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().expect("the command was killed"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    stderr: Option<JoinHandle<String>>,
    /// Kept open, so that the server never writes to a closed pipe.
    _stdout: Mutex<Receiver<String>>,
}

impl Server {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    pub(crate) fn start_with(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = command();
        command.args(["serve", "127.0.0.1", "0", "--data-dir"]).arg(dir).args(arguments);
        Self::spawn(command)
    }

    /// Starts a prepared `serve` command and waits until it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut log = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            log.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let (sender, stdout) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap_or(0) > 0 {
                let _closed = sender.send(std::mem::take(&mut line));
            }
        });
        let Ok(line) = stdout.recv_timeout(PATIENCE) else {
            let _ended = child.kill();
            panic!("the server did not start: {:?}\n{}", child.wait(), stderr.join().unwrap());
        };
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).expect(&line);
        Self { address: address.parse().unwrap(), child, stderr: Some(stderr), _stdout: Mutex::new(stdout) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Ends the server as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the server as a service manager does: gives its exit code and its log.
    pub(crate) fn stop(self) -> (i32, String) {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal again and again until the server has ended: soon after another one it would be the same signal.
    pub(crate) fn signal_until_gone(mut self, name: &str) -> (i32, String) {
        let mut sent = None;
        wait_until("the end by a second signal", || {
            if sent.is_none_or(|at: Instant| at.elapsed() > Duration::from_millis(400)) {
                self.signal(name);
                sent = Some(Instant::now());
            }
            self.child.try_wait().unwrap().is_some()
        });
        self.wait()
    }

    /// Waits for the server to end by itself.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let status = self.wait_status();
        let log = self.stderr.take().unwrap().join().unwrap();
        (status.code().expect("the server was killed"), log)
    }

    fn wait_status(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).unwrap()
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.connect().request("GET", target, &[], b"")
    }

    pub(crate) fn post(&self, target: &str, body: impl AsRef<[u8]>) -> Answer {
        self.connect().request("POST", target, &[], body.as_ref())
    }

    /// Puts text and gives the offset.
    pub(crate) fn put(&self, key: u64, value: &str) -> u64 {
        self.connect().put(key, value)
    }

    pub(crate) fn next_offset(&self) -> u64 {
        self.get("/v1/offset").json()["offset"].as_u64().unwrap()
    }

    /// As [`Server::next_offset`], of a server that asks for a token.
    pub(crate) fn next_offset_with(&self, token: &str) -> u64 {
        let token = format!("Bearer {token}");
        let answer = self.connect().request("GET", "/v1/offset", &[("authorization", &token)], b"");
        answer.json()["offset"].as_u64().unwrap()
    }

    /// Waits until the server works on this many requests whose answers are not there yet.
    pub(crate) fn works_on(&self, requests: u64) {
        wait_until("requests under way", || self.metric("kyrodb_http_requests_in_flight") == requests);
    }

    /// One whole number of `/metrics`, by its name with labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").text();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{text}")).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _either = self.child.kill();
        let _either = self.child.wait();
    }
}

/// A keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.try_request(method, target, headers, body).unwrap()
    }

    pub(crate) fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method != "GET" && method != "HEAD" || !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes)?;
        self.answer(method == "HEAD")
    }

    /// Sends bytes as they are and reads one answer.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(bytes)?;
        self.answer(false)
    }

    pub(crate) fn put(&mut self, key: u64, value: &str) -> u64 {
        let body = serde_json::json!({ "key": key, "value": value }).to_string();
        let answer = self.request("POST", "/v1/put", &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["offset"].as_u64().unwrap()
    }

    /// Reads a status line and headers, not the body.
    pub(crate) fn head(&mut self) -> io::Result<Answer> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Answer { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other("no header"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn answer(&mut self, head_only: bool) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if head_only || [204, 304].contains(&answer.status) {
            return Ok(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                answer.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut answer.body)?;
        } else {
            self.reader.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// The next chunk of a chunked body; `None` at its proper end.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let length =
            usize::from_str_radix(&line, 16).map_err(|_| io::Error::other(format!("no chunk: {line:?}")))?;
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk)?;
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Whether the server closes the connection, within this time, without saying anything more.
    pub(crate) fn closes_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// What the server answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The stable code of an error, after checking that it is a whole problem document.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document = self.json();
        for member in ["type", "title", "detail", "code", "request_id", "error"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {document}");
        }
        assert_eq!(document["status"].as_u64(), Some(u64::from(self.status)));
        document["code"].as_str().unwrap().to_owned()
    }
}

/// A directory that is not there yet, in one that will be removed.
pub(crate) fn fresh() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    (parent, dir)
}

/// Reads the events of a stream until `enough` says so, or the stream ends.
pub(crate) fn events(
    connection: &mut Connection,
    mut enough: impl FnMut(&[SseEvent]) -> bool,
) -> Vec<SseEvent> {
    let (mut text, mut found) = (String::new(), Vec::new());
    while !enough(&found) {
        let Ok(Some(chunk)) = connection.chunk() else { break };
        text.push_str(&String::from_utf8(chunk).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            let event = SseEvent::parse(block);
            text = rest.to_owned();
            found.extend(event);
        }
    }
    found
}

/// One Server-Sent Event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SseEvent {
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl SseEvent {
    fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let data = serde_json::from_str(field("data: ")?).unwrap();
        let id = field("id: ").map(|id| id.parse().unwrap());
        Some(Self { id, name: field("event: ").unwrap_or("message").to_owned(), data })
    }
}
