//! Into a running server: many connections, each record one `POST /v1/put`, counted when the server acknowledges it.
//!
//! A key always travels on the same connection, so that of two lines with one key the later one wins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::progress::{Counts, Progress, Speaker};
use super::records::Record;
use super::target::Target;
use super::{LoadError, Sink, note_bad};
use crate::cli::{LoadArgs, TokenArgs};
use crate::tokens::{self, TokenError};

/// Records waiting for one connection.
const QUEUED_RECORDS: usize = 32;
/// How long one record is tried: a server that is away or too busy for longer ends the load.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Of an error answer no more than this is read.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// A running server, through many connections.
pub(super) struct Server {
    runtime: Runtime,
    lanes: Vec<mpsc::Sender<Record>>,
    workers: Vec<JoinHandle<()>>,
    failure: Arc<Failure>,
}

/// The first failure that ends the load.
#[derive(Default)]
struct Failure(Mutex<Option<LoadError>>);

impl Failure {
    fn set(&self, error: LoadError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn take(&self) -> Option<LoadError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Server {
    pub(super) fn connect(
        target: &Target,
        arguments: &LoadArgs,
        counts: &Arc<Counts>,
        progress: &Progress,
    ) -> Result<Self, LoadError> {
        let token = token(&arguments.tokens)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name("load")
            .build()
            .map_err(LoadError::Start)?;
        let failure = Arc::new(Failure::default());
        let (mut lanes, mut workers) = (Vec::new(), Vec::new());
        for _ in 0..arguments.concurrency {
            let (lane, records) = mpsc::channel(QUEUED_RECORDS);
            let sender = Worker {
                client: Client { target: target.clone(), token: token.clone(), connection: None },
                counts: Arc::clone(counts),
                speaker: progress.speaker(),
                strict: arguments.input.strict,
            };
            lanes.push(lane);
            workers.push(runtime.spawn(sender.run(records, Arc::clone(&failure))));
        }
        Ok(Self { runtime, lanes, workers, failure })
    }
}

impl Sink for Server {
    fn put(&mut self, record: Record) -> Result<(), LoadError> {
        // Keys are often dense or multiples of something; the product spreads them over the lanes.
        let spread = record.key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let line = record.line;
        let queue = self.lanes.get(spread as usize % self.lanes.len().max(1));
        let taken = queue.is_some_and(|queue| queue.blocking_send(record).is_ok());
        if taken {
            return Ok(());
        }
        // The lane's worker is gone: it has left its reason.
        let unknown = || LoadError::Refused { line, reason: "its connection is gone".to_owned() };
        Err(self.failure.take().unwrap_or_else(unknown))
    }

    fn finish(mut self: Box<Self>) -> Result<(), LoadError> {
        self.lanes.clear();
        let workers = std::mem::take(&mut self.workers);
        self.runtime.block_on(async {
            for worker in workers {
                if worker.await.is_err() {
                    self.failure
                        .set(LoadError::Refused { line: 0, reason: "a worker broke down".to_owned() });
                }
            }
        });
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// The header that carries the token, where there is one.
pub(crate) fn token(arguments: &TokenArgs) -> Result<Option<HeaderValue>, TokenError> {
    let (token, origin) = match (&arguments.auth_token, &arguments.auth_token_file) {
        (Some(token), _) => (token.clone(), "--auth-token".to_owned()),
        (None, Some(path)) => {
            (tokens::read_file(path)?.into_iter().next().unwrap_or_default(), path.display().to_string())
        }
        (None, None) => return Ok(None),
    };
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| TokenError::Unprintable { origin })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What came of one attempt.
enum Outcome {
    Acknowledged,
    /// Not done, and worth another try after this time.
    Again(Duration, String),
    /// The server will not take this record.
    Bad(String),
    /// The server will take no record.
    Fatal(String),
}

struct Worker {
    client: Client,
    counts: Arc<Counts>,
    speaker: Speaker,
    strict: bool,
}

impl Worker {
    async fn run(mut self, mut records: mpsc::Receiver<Record>, failure: Arc<Failure>) {
        while let Some(record) = records.recv().await {
            if let Err(error) = self.put(&record).await {
                failure.set(error);
                return;
            }
        }
    }

    async fn put(&mut self, record: &Record) -> Result<(), LoadError> {
        let line = record.line;
        let body = body(record);
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.client.put(body.clone()).await {
                Outcome::Acknowledged => {
                    self.counts.acknowledge(1, record.value.len() as u64);
                    return Ok(());
                }
                Outcome::Again(pause, reason) if Instant::now() + pause >= give_up => {
                    return Err(LoadError::Refused { line, reason });
                }
                Outcome::Again(pause, _) => tokio::time::sleep(pause).await,
                Outcome::Bad(reason) if self.strict => {
                    self.counts.add_bad();
                    return Err(LoadError::Strict { line, reason });
                }
                Outcome::Bad(reason) => {
                    note_bad(&self.counts, &self.speaker, line, &reason);
                    return Ok(());
                }
                Outcome::Fatal(reason) => return Err(LoadError::Refused { line, reason }),
            }
        }
    }
}

fn body(record: &Record) -> Bytes {
    let mut text = Vec::with_capacity(record.value.len() + 64);
    text.extend_from_slice(format!("{{\"key\":{},", record.key).as_bytes());
    crate::kv::write_bytes(&mut text, "value", "value_base64", &record.value);
    text.push(b'}');
    Bytes::from(text)
}

/// One connection, made again when it breaks.
struct Client {
    target: Target,
    token: Option<HeaderValue>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    async fn put(&mut self, body: Bytes) -> Outcome {
        const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
        let answered = match timeout(ANSWER_TIMEOUT, self.exchange(body)).await {
            Ok(answered) => answered,
            Err(_) => Err("the server did not answer in time".to_owned()),
        };
        match answered {
            Ok(outcome) => outcome,
            Err(reason) => {
                // Whether the server took the record is not known; putting it again changes nothing if it did.
                self.connection = None;
                Outcome::Again(RECONNECT_PAUSE, reason)
            }
        }
    }

    async fn exchange(&mut self, body: Bytes) -> Result<Outcome, String> {
        let mut request = Request::post("/v1/put").header(CONTENT_TYPE, "application/json");
        request = request.header(HOST, &self.target.authority);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let connection = self.connected().await?;
        connection.ready().await.map_err(|error| error.to_string())?;
        let response = connection.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let pause = retry_after(response.headers().get(RETRY_AFTER));
        let body = http_body_util::Limited::new(response.into_body(), ERROR_BYTES_MAX);
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(outcome(status, pause, &body))
    }

    async fn connected(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, String> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => {
                let connect = |error: &dyn std::fmt::Display| {
                    format!("cannot connect to {}: {error}", self.target.authority)
                };
                let socket =
                    TcpStream::connect(&self.target.authority).await.map_err(|error| connect(&error))?;
                socket.set_nodelay(true).map_err(|error| connect(&error))?;
                let (connection, driver) =
                    handshake(TokioIo::new(socket)).await.map_err(|error| connect(&error))?;
                tokio::spawn(driver);
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }
}

fn retry_after(value: Option<&HeaderValue>) -> Option<Duration> {
    let seconds: u64 = value?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(30)))
}

fn outcome(status: StatusCode, pause: Option<Duration>, body: &[u8]) -> Outcome {
    if status == StatusCode::OK {
        return Outcome::Acknowledged;
    }
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let reason = format!("the server answered {status}: {} {}", text("code"), text("detail"));
    match (status.as_u16(), pause) {
        (400 | 413, _) => Outcome::Bad(reason),
        // A pause is named where trying again makes sense: busy, not ready, no space, over the rate.
        (429 | 500..=599, Some(pause)) => Outcome::Again(pause, reason),
        _ => Outcome::Fatal(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_tell_what_to_do_next() {
        let second = Some(Duration::from_secs(1));
        let of = |status, pause| {
            outcome(StatusCode::from_u16(status).unwrap(), pause, b"{\"code\":\"c\",\"detail\":\"d\"}")
        };
        assert!(matches!(of(200, None), Outcome::Acknowledged));
        assert!(matches!(of(413, None), Outcome::Bad(reason) if reason.ends_with("c d")));
        for status in [429, 503, 507] {
            assert!(
                matches!(of(status, second), Outcome::Again(pause, _) if pause == Duration::from_secs(1)),
                "{status}"
            );
        }
        for status in [401, 403, 404, 405, 500, 503] {
            assert!(matches!(of(status, None), Outcome::Fatal(_)), "{status}: without a pause");
        }
    }

    #[test]
    fn a_value_that_is_no_text_travels_as_base64() {
        let body = body(&Record { line: 1, key: u64::MAX, value: vec![0, 255] });
        assert_eq!(body, "{\"key\":18446744073709551615,\"value_base64\":\"AP8=\"}");
    }
}
