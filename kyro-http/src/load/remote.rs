//! Into a running server: several connections, each of which sends what waits for it as one `POST /v1/load` of one chunk,
//! which is committed whole or not at all, and counted when the server acknowledges it.
//!
//! A key always travels on the same connection, so that of two lines with one key the later one wins. A batch that the
//! server does not take is sent again in halves, down to single records: the bad one is named, the others are loaded.

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::progress::{Counts, Progress, Speaker};
use super::records::Record;
use super::target::Target;
use super::{LoadError, Sink, note_bad};
use crate::cli::{LoadArgs, TokenArgs};
use crate::frame::{HEADER_BYTES, Kind, MEDIA_TYPE, RECORD_BYTES, write_header, write_put};
use crate::load_stream::{CHUNK_RECORDS, CHUNK_VALUE_BYTES};
use crate::tokens::{self, TokenError};

/// Records waiting for one connection, and the most of one batch: both limits of a batch are those of a chunk.
const BATCH_RECORDS: usize = CHUNK_RECORDS;
/// A batch is sent when its values have grown to this size.
const BATCH_BYTES: usize = CHUNK_VALUE_BYTES;
/// Bytes of values on their way, over all connections: what the load needs of memory.
const BYTES_ON_THE_WAY: usize = 64 << 20;
/// How long one batch is tried: a server that is away or too busy for longer ends the load.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Of an error answer no more than this is read.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// A running server, through many connections.
pub(super) struct Server {
    runtime: Runtime,
    lanes: Vec<mpsc::Sender<Queued>>,
    room: Arc<Semaphore>,
    workers: Vec<JoinHandle<()>>,
    failure: Arc<Failure>,
}

/// A record on its way, with its share of the memory.
struct Queued {
    record: Record,
    _room: OwnedSemaphorePermit,
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
            let (lane, records) = mpsc::channel(BATCH_RECORDS);
            let sender = Worker {
                client: Client { target: target.clone(), token: token.clone(), connection: None },
                counts: Arc::clone(counts),
                speaker: progress.speaker(),
                strict: arguments.input.strict,
            };
            lanes.push(lane);
            workers.push(runtime.spawn(sender.run(records, Arc::clone(&failure))));
        }
        let room = Arc::new(Semaphore::new(BYTES_ON_THE_WAY));
        Ok(Self { runtime, lanes, room, workers, failure })
    }
}

impl Sink for Server {
    fn put(&mut self, record: Record) -> Result<(), LoadError> {
        // Keys are often dense or multiples of something; the product spreads them over the lanes.
        let spread = record.key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let line = record.line;
        let queue = self.lanes.get(spread as usize % self.lanes.len().max(1));
        let bytes = record.value.len().min(BYTES_ON_THE_WAY) as u32;
        let taken = self.runtime.block_on(async {
            let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
            queue?.send(Queued { record, _room: room }).await.ok()
        });
        // Without an answer the lane's worker is gone: it has left its reason.
        let unknown = || LoadError::Refused { line, reason: "its connection is gone".to_owned() };
        taken.ok_or_else(|| self.failure.take().unwrap_or_else(unknown))
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
    /// The server will not take these records.
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
    async fn run(mut self, mut records: mpsc::Receiver<Queued>, failure: Arc<Failure>) {
        let mut waiting = Vec::new();
        while records.recv_many(&mut waiting, BATCH_RECORDS).await > 0 {
            let mut rest = waiting.as_slice();
            while !rest.is_empty() {
                let (batch, after) = rest.split_at(first_batch(rest));
                if let Err(error) = self.put(batch).await {
                    failure.set(error);
                    return;
                }
                rest = after;
            }
            waiting.clear();
        }
    }

    /// Puts records in their order: as one batch, or where the server does not take that, in parts of it.
    async fn put(&mut self, batch: &[Queued]) -> Result<(), LoadError> {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            if !self.put_part(part).await? {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
        Ok(())
    }

    /// Puts all of a part or none; false where it has to be sent in smaller ones.
    async fn put_part(&mut self, part: &[Queued]) -> Result<bool, LoadError> {
        let line = part.first().map_or(0, |queued| queued.record.line);
        let body = body(part);
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.client.put(&body).await {
                Outcome::Acknowledged => {
                    let bytes = part.iter().map(|queued| queued.record.value.len() as u64).sum();
                    self.counts.acknowledge(part.len() as u64, bytes);
                    return Ok(true);
                }
                Outcome::Again(pause, reason) if Instant::now() + pause >= give_up => {
                    return Err(LoadError::Refused { line, reason });
                }
                Outcome::Again(pause, _) => tokio::time::sleep(pause).await,
                Outcome::Bad(_) if part.len() > 1 => return Ok(false),
                Outcome::Bad(reason) if self.strict => {
                    self.counts.add_bad();
                    return Err(LoadError::Strict { line, reason });
                }
                Outcome::Bad(reason) => {
                    note_bad(&self.counts, &self.speaker, line, &reason);
                    return Ok(true);
                }
                Outcome::Fatal(reason) => return Err(LoadError::Refused { line, reason }),
            }
        }
    }
}

/// How many of `records` are the next batch: at least one, and no more than fill it.
fn first_batch(records: &[Queued]) -> usize {
    let mut bytes = 0;
    let fit = records.iter().take_while(|queued| {
        let fits = bytes < BATCH_BYTES;
        bytes += queued.record.value.len();
        fits
    });
    fit.count()
}

/// What is sent: where, in which form, and the bytes.
struct Body {
    route: &'static str,
    media_type: &'static str,
    bytes: Bytes,
}

/// A single record travels as JSON: it may be one that no frame could hold.
fn body(part: &[Queued]) -> Body {
    if let [one] = part {
        return Body { route: "/v1/put", media_type: "application/json", bytes: json(&one.record) };
    }
    let bytes: usize = part.iter().map(|queued| queued.record.value.len() + RECORD_BYTES).sum();
    let mut text = Vec::with_capacity(bytes + HEADER_BYTES);
    write_header(&mut text, Kind::Operations, Some(part.len() as u64));
    for Queued { record, .. } in part {
        write_put(&mut text, record.key, &record.value);
    }
    Body { route: "/v1/load", media_type: MEDIA_TYPE, bytes: Bytes::from(text) }
}

fn json(record: &Record) -> Bytes {
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
    async fn put(&mut self, body: &Body) -> Outcome {
        const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
        let answered = match timeout(ANSWER_TIMEOUT, self.exchange(body)).await {
            Ok(answered) => answered,
            Err(_) => Err("the server did not answer in time".to_owned()),
        };
        match answered {
            Ok(outcome) => outcome,
            Err(reason) => {
                // Whether the server took the records is not known; putting them again changes nothing if it did.
                self.connection = None;
                Outcome::Again(RECONNECT_PAUSE, reason)
            }
        }
    }

    async fn exchange(&mut self, body: &Body) -> Result<Outcome, String> {
        let mut request = Request::post(body.route).header(CONTENT_TYPE, body.media_type);
        request = request.header(HOST, &self.target.authority);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body.bytes.clone())).map_err(|error| error.to_string())?;
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
        let body = json(&Record { line: 1, key: u64::MAX, value: vec![0, 255] });
        assert_eq!(body, "{\"key\":18446744073709551615,\"value_base64\":\"AP8=\"}");
    }

    #[test]
    fn batches_are_as_large_as_their_values_allow() {
        let room = Arc::new(Semaphore::new(8));
        let queued = |bytes: usize| Queued {
            record: Record { line: 1, key: 1, value: vec![0; bytes] },
            _room: Arc::clone(&room).try_acquire_many_owned(1).unwrap(),
        };
        assert_eq!(first_batch(&[queued(2 * BATCH_BYTES), queued(1)]), 1);
        assert_eq!(first_batch(&[queued(1), queued(BATCH_BYTES), queued(1)]), 2);
        assert_eq!(first_batch(&[queued(0), queued(0), queued(0)]), 3);
        assert_eq!(body(&[queued(1)]).route, "/v1/put");
        let two = body(&[queued(3), queued(4)]);
        assert_eq!((two.route, two.bytes.len()), ("/v1/load", HEADER_BYTES + 2 * RECORD_BYTES + 7));
    }
}
