//! A running server, asked over one connection that is made again when it has gone.

use std::ops::RangeInclusive;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kyro_engine::Compression;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::entries::{Entries, Step};
use super::{Asked, BackupPlace, Found, Store, StoreError, Visit};
use crate::cli::TokenArgs;
use crate::frame::{FrameError, MEDIA_TYPE};
use crate::load::{Target, token};

/// How long a connection may take to be made, and an answer to a short request.
const SHORT: Duration = Duration::from_secs(10);
/// Work on the whole database may take long; a server that died closes the connection.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// Of an error answer no more than this is read.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// A server.
pub(crate) struct Server {
    runtime: Runtime,
    target: Target,
    token: Option<HeaderValue>,
    connection: Option<SendRequest<Full<Bytes>>>,
    patience: Duration,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) etag: Option<u64>,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as a JSON document.
    pub(crate) fn json(&self) -> Result<Value, StoreError> {
        serde_json::from_slice(&self.body).map_err(|error| StoreError::Nonsense(error.to_string()))
    }

    /// The reply, unless it says that something is not there.
    fn found(self) -> Result<Self, StoreError> {
        if self.status == 404 { Err(refused(self.status, &self.body)) } else { Ok(self) }
    }

    fn offset(&self) -> Result<u64, StoreError> {
        let offset = self.json()?.get("offset").and_then(Value::as_u64);
        offset.ok_or_else(|| StoreError::Nonsense("it has no offset".to_owned()))
    }
}

impl Server {
    /// Makes ready; the connection is made with the first request.
    pub(crate) fn connect(target: &Target, tokens: &TokenArgs) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            runtime: runtime.map_err(StoreError::Start)?,
            target: target.clone(),
            token: token(tokens)?,
            connection: None,
            patience: SHORT,
        })
    }

    /// The same, with answers awaited so long.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a request and reads its answer; an answer that is an error becomes one, but for 404.
    pub(crate) fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Reply, StoreError> {
        let patience = self.patience;
        self.ask_within(patience, method, path, body)
    }

    fn ask_within(
        &mut self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, StoreError> {
        let response = self.send(patience, method, path, body, None)?;
        let status = response.status().as_u16();
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        let etag = tag.and_then(|tag| tag.trim_matches('"').parse().ok());
        let body = self.runtime.block_on(async { timeout(patience, response.into_body().collect()).await });
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(self.broken(&error.to_string())),
            Err(_) => return Err(self.broken("the server did not answer in time")),
        };
        match status {
            200..=299 | 404 => Ok(Reply { status, etag, body }),
            _ => Err(refused(status, &body)),
        }
    }

    /// Sends a request; gives the head of the answer, the body is still to come.
    fn send(
        &mut self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Bytes,
        accept: Option<&'static str>,
    ) -> Result<Response<Incoming>, StoreError> {
        let authority = self.target.authority.clone();
        let unreachable = |reason: String| StoreError::Unreachable { authority: authority.clone(), reason };
        let kind = if path.starts_with("/v1/kv/") { "application/octet-stream" } else { "application/json" };
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.target.authority);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request =
            request.body(Full::new(body)).map_err(|error| StoreError::Nonsense(error.to_string()))?;
        let held = self.connection.take().filter(|connection| !connection.is_closed());
        let sent = self.runtime.block_on(async {
            let mut connection = match held {
                Some(connection) => connection,
                None => timeout(SHORT, connect(&authority))
                    .await
                    .map_err(|_| unreachable("it does not take connections".to_owned()))?
                    .map_err(unreachable)?,
            };
            let response = timeout(patience, connection.send_request(request)).await;
            Ok::<_, StoreError>((connection, response))
        });
        let (connection, response) = sent?;
        let response = match response {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.broken(&error.to_string())),
            Err(_) => return Err(self.broken("the server did not answer in time")),
        };
        self.connection = Some(connection);
        Ok(response)
    }

    /// Asks for work on the whole database and waits for its end.
    fn work(&mut self, path: &str, body: &Value) -> Result<Value, StoreError> {
        self.ask_within(LONG, Method::POST, path, body.to_string().into())?.found()?.json()
    }

    fn broken(&self, reason: &str) -> StoreError {
        StoreError::Broken { authority: self.target.authority.clone(), reason: reason.to_owned() }
    }
}

async fn connect(authority: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let socket = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let (connection, driver) = handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
    tokio::spawn(driver);
    Ok(connection)
}

fn refused(status: u16, body: &[u8]) -> StoreError {
    let body = body.get(..ERROR_BYTES_MAX).unwrap_or(body);
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    StoreError::Refused { status, code: text("code"), detail: text("detail") }
}

/// A frame that could not be read, or an output that could not be written.
enum Stopped {
    Frame(FrameError),
    Output(std::io::Error),
}

impl From<FrameError> for Stopped {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<Stopped> for StoreError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Frame(error) => Self::Nonsense(error.to_string()),
            Stopped::Output(error) => Self::Output(error),
        }
    }
}

impl Store for Server {
    fn get(&mut self, key: u64) -> Result<Option<Found>, StoreError> {
        let reply = self.ask(Method::GET, &format!("/v1/kv/{key}"), Bytes::new())?;
        match (reply.status, reply.etag) {
            (404, _) => Ok(None),
            (_, Some(offset)) => Ok(Some(Found { offset, value: reply.body.into() })),
            _ => Err(StoreError::Nonsense("it has no ETag".to_owned())),
        }
    }

    fn put(&mut self, key: u64, value: Vec<u8>) -> Result<u64, StoreError> {
        self.ask(Method::PUT, &format!("/v1/kv/{key}"), value.into())?.offset()
    }

    fn delete(&mut self, key: u64) -> Result<Option<u64>, StoreError> {
        let reply = self.ask(Method::DELETE, &format!("/v1/kv/{key}"), Bytes::new())?;
        if reply.status == 404 { Ok(None) } else { reply.offset().map(Some) }
    }

    fn delete_range(&mut self, keys: RangeInclusive<u64>) -> Result<u64, StoreError> {
        let path = format!("/v1/range?from={}&to={}", keys.start(), keys.end());
        self.ask(Method::DELETE, &path, Bytes::new())?.offset()
    }

    fn count(&mut self, keys: RangeInclusive<u64>) -> Result<u64, StoreError> {
        let path = format!("/v1/count?from={}&to={}", keys.start(), keys.end());
        let count = self.ask_within(LONG, Method::GET, &path, Bytes::new())?.json()?;
        let count = count.get("count").and_then(Value::as_u64);
        count.ok_or_else(|| StoreError::Nonsense("it has no count".to_owned()))
    }

    fn scan(&mut self, asked: &Asked, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let (from, to) = asked.keys.clone().into_inner();
        let mut path = format!("/v1/scan?from={from}&to={to}&values={}", !asked.keys_only);
        if asked.reverse {
            path.push_str("&reverse=true");
        }
        if let Some(limit) = asked.limit {
            path.push_str("&limit=");
            path.push_str(&limit.to_string());
        }
        let response = self.send(LONG, Method::GET, &path, Bytes::new(), Some(MEDIA_TYPE))?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        if status != 200 {
            let read = self.runtime.block_on(async { timeout(SHORT, body.collect()).await });
            let read = read.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
            return Err(refused(status, &read.unwrap_or_default()));
        }
        let mut entries = Entries::default();
        loop {
            loop {
                match entries.next(&mut |seen| visit(seen).map_err(Stopped::Output))? {
                    Step::Needs => break,
                    Step::Entry => {}
                    Step::End => return Ok(()),
                }
            }
            match self.runtime.block_on(body.frame()) {
                Some(Ok(frame)) => entries.add(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(error)) => return Err(self.broken(&error.to_string())),
                None => return Err(self.broken("the scan ended before its end")),
            }
        }
    }

    fn compact(&mut self, _compression: Compression) -> Result<Value, StoreError> {
        let answer = self.ask_within(LONG, Method::POST, "/v1/compact", Bytes::new())?.json()?;
        Ok(answer.get("stats").cloned().unwrap_or_default())
    }

    fn stats(&mut self) -> Result<Value, StoreError> {
        self.ask(Method::GET, "/v1/stats", Bytes::new())?.json()
    }

    fn backup(&mut self, place: &BackupPlace) -> Result<Value, StoreError> {
        if place.root.is_some() {
            let reason = "--to is for a directory; a server makes its backups under its own --backup-root";
            return Err(StoreError::Usage(reason.to_owned()));
        }
        let body = json!({ "name": place.name, "copy": place.copy }).to_string();
        self.ask_within(LONG, Method::POST, "/v1/backup", body.into())?.json()
    }

    fn versions(&mut self) -> Result<Value, StoreError> {
        self.ask(Method::GET, "/v1/versions", Bytes::new())?.json()
    }

    fn push(&mut self, data_set: &str, label: Option<&str>) -> Result<Value, StoreError> {
        let mut body = json!({ "name": data_set });
        if let Some(label) = label {
            body["label"] = label.into();
        }
        self.work("/v1/push", &body)
    }

    fn rollback(&mut self, version: u64) -> Result<Value, StoreError> {
        self.work("/v1/rollback", &json!({ "version": version }))
    }

    fn prune(&mut self, version: u64) -> Result<Value, StoreError> {
        let reply = self.ask(Method::DELETE, &format!("/v1/versions/{version}"), Bytes::new())?;
        reply.found()?.json()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
