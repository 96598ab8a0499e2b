//! A server whose disk fails to sync: what it answers, what it says of itself, and how it ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use kyro_engine::storage::{Contents, LockError, LockGuard, RealStorage, Storage, StorageFile};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::*;
use crate::cli::{Cli, Verb};

const EIO: i32 = 5;
const LONG: Duration = Duration::from_secs(120);

/// The real disk, of which every sync of a file fails while the flag is set. As on Linux, one that is tried again
/// afterwards succeeds.
#[derive(Debug, Clone, Default)]
struct FailingDisk {
    fails: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct FailingFile(Box<dyn StorageFile>, FailingDisk);

impl FailingDisk {
    fn file(&self, file: io::Result<Box<dyn StorageFile>>) -> io::Result<Box<dyn StorageFile>> {
        file.map(|file| Box::new(FailingFile(file, self.clone())) as Box<dyn StorageFile>)
    }

    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if !self.fails.load(Ordering::SeqCst) {
            return sync();
        }
        self.failed.fetch_add(1, Ordering::SeqCst);
        Err(io::Error::from_raw_os_error(EIO))
    }
}

impl Storage for FailingDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealStorage.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.file(RealStorage.create(path))
    }
    fn open_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.file(RealStorage.open_file(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        RealStorage.open_read(path)
    }
    fn load(&self, path: &Path) -> io::Result<Contents> {
        RealStorage.load(path)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        RealStorage.len(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealStorage.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealStorage.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealStorage.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealStorage.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        RealStorage.lock(path)
    }
    fn random(&self) -> io::Result<[u8; 16]> {
        RealStorage.random()
    }
}

impl StorageFile for FailingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn zero_fill(&self, len: u64) -> io::Result<()> {
        self.0.zero_fill(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.sync(|| self.0.sync_data())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.1.sync(|| self.0.sync_all())
    }
}

/// Keeps what the process logs.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What came back on a connection of its own.
struct Answered {
    status: u16,
    head: String,
    body: String,
}

impl Answered {
    fn code(&self) -> String {
        let document: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        document["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn exchange(address: SocketAddr, method: &str, target: &str, body: &str) -> Answered {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answered { status, head: head.to_owned(), body: body.to_owned() }
}

/// A server over this disk, until it is told to stop; then what it ended with.
struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<Result<(), ServeError>>,
}

fn serve_on(disk: &FailingDisk, dir: &Path) -> Serving {
    let words = ["kyro-http", "--data-dir", dir.to_str().unwrap(), "serve", "127.0.0.1", "0"];
    let limits =
        ["--access-log", "all", "--drain-timeout", "60", "--rl-admin-rps", "0", "--rl-data-rps", "0"];
    let cli = Cli::try_parse_from(words.into_iter().chain(limits)).unwrap();
    let Verb::Serve(arguments) = cli.verb else { unreachable!("the verb is serve") };
    let config = Config::new(cli.data_dir, &arguments).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (told, address) = channel();
    let disk = disk.clone();
    let thread = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let open = move |dir: &Path, options| Engine::open_on(Arc::new(disk), dir, options);
        let stop = async { stopped.await.unwrap() };
        runtime.block_on(serve_engine(config, open, stop, move |address| told.send(address).unwrap()))
    });
    Serving { address: address.recv_timeout(LONG).unwrap(), stop, thread }
}

#[test]
fn a_failed_sync_ends_writing_and_nothing_else() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("secret-place");
    let disk = FailingDisk::default();
    let Serving { address, stop, thread } = serve_on(&disk, &dir);
    let ask = |method: &str, target: &str, body: &str| exchange(address, method, target, body);
    assert_eq!(ask("PUT", "/v1/kv/1", "durable").status, 201);
    assert_eq!(ask("GET", "/readyz", "").status, 200);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"GET /v1/subscribe HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();

    disk.fails.store(true, Ordering::SeqCst);
    let first = ask("PUT", "/v1/kv/2", "unknown");
    // Where the log's own confirming frame was synced before, that was what failed.
    assert_eq!(first.status, 503, "{}", first.body);
    assert!(["commit_unknown", "read_only"].contains(&first.code().as_str()), "{}", first.body);
    assert!(disk.failed.load(Ordering::SeqCst) > 0);
    // From here on a sync would succeed, and prove nothing.
    disk.fails.store(false, Ordering::SeqCst);

    for (method, target, body) in [
        ("POST", "/v1/put", r#"{"key":3,"value":"x"}"#),
        ("PUT", "/v1/kv/3", "x"),
        ("DELETE", "/v1/kv/1", ""),
        ("POST", "/v1/append", r#"{"payload":"x"}"#),
        ("POST", "/v1/batch", r#"[{"op":"put","key":3,"value":"x"}]"#),
        ("POST", "/v1/load", r#"{"key":3,"value":"x"}"#),
        ("DELETE", "/v1/range?from=0&to=9", ""),
        ("POST", "/v1/snapshot", ""),
        ("POST", "/v1/compact", ""),
        ("POST", "/v1/rmi/build", ""),
        ("GET", "/health", ""),
        ("GET", "/readyz", ""),
    ] {
        let refused = ask(method, target, body);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "read_only"),
            "{target}: {}",
            refused.body
        );
        assert!(refused.head.contains("\r\nretry-after: "), "{target}: {}", refused.head);
        assert!(refused.body.contains("restart"), "{target} says what to do: {}", refused.body);
        assert!(!refused.body.contains("secret-place"), "{target} tells no path: {}", refused.body);
        if target.starts_with("/v1/put") {
            assert!(refused.body.contains("os error 5"), "{target} says why: {}", refused.body);
        }
    }
    for (method, target, body, part) in [
        ("GET", "/v1/get_fast/1", "", "durable"),
        ("GET", "/v1/kv/1", "", "durable"),
        ("GET", "/v1/lookup?key=1", "", "durable"),
        ("GET", "/v1/scan", "", "durable"),
        ("GET", "/v1/replay", "", "durable"),
        ("GET", "/v1/count", "", "{\"count\":1}"),
        ("POST", "/v1/mget", "[1,2]", "durable"),
        ("POST", "/v1/warmup", "", "ok"),
        ("GET", "/livez", "", "ok"),
        ("GET", "/v1/stats", "", "\"read_only\":true"),
        ("GET", "/metrics", "", "\nkyrodb_read_only 1\n"),
        ("GET", "/metrics", "", "kyrodb_http_requests_total{route=\"/v1/put\",status=\"503\"} 1\n"),
    ] {
        let read = ask(method, target, body);
        assert!(read.status == 200 && read.body.contains(part), "{target}: {} {}", read.status, read.body);
    }
    for key in [2, 3] {
        assert_eq!(ask("GET", &format!("/v1/get_fast/{key}"), "").status, 404, "{key} was not acknowledged");
    }

    stop.send(()).unwrap();
    let ended = thread.join().unwrap().unwrap_err();
    assert!(matches!(ended, ServeError::Close(CloseError::Log { .. })), "{ended:?}");
    assert_eq!(ended.exit(), Exit::Failed);
    assert!(kyro_engine::describe(&ended).contains("os error 5"), "{}", kyro_engine::describe(&ended));
    let mut events = String::new();
    stream.read_to_string(&mut events).unwrap();
    assert!(events.contains("event: shutdown"), "the drain ended its stream: {events}");
    assert!(events.ends_with("\r\n0\r\n\r\n"), "{events:?}");
    let log = log.text();
    let line = |parts: &[&str]| {
        assert!(log.lines().any(|line| parts.iter().all(|part| line.contains(part))), "{parts:?} in\n{log}");
    };
    line(&["request failed", "route=\"/v1/kv/{key}\"", "status=503", "os error 5"]);
    line(&["route=\"/v1/put\"", "status=503", "client=127.0.0.1", "method=\"POST\"", " request "]);
    line(&["route=\"/v1/get_fast/{key}\"", "status=200", " request "]);

    // A restart clears it: what was acknowledged is there, the rest as its answers said.
    let Serving { address, stop, thread } = serve_on(&disk, &dir);
    let ask = |method: &str, target: &str, body: &str| exchange(address, method, target, body);
    assert_eq!(ask("GET", "/v1/get_fast/1", "").body, "durable");
    let unknown = ask("GET", "/v1/get_fast/2", "");
    assert!(unknown.status == 404 || unknown.body == "unknown", "whole or not at all: {}", unknown.body);
    assert_eq!(ask("GET", "/v1/get_fast/3", "").status, 404);
    assert_eq!((ask("PUT", "/v1/kv/4", "again").status, ask("GET", "/health", "").status), (201, 200));
    stop.send(()).unwrap();
    thread.join().unwrap().unwrap();
}
