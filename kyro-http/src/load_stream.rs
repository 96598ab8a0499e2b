//! `POST /v1/load`: records as a stream of any length, committed chunk by chunk.
//!
//! The body is read as fast as chunks are committed and no faster, and no faster than the client's rate limit lets it
//! write. Parsing and committing happen on one thread that may block; between it and the connection are a few frames of
//! the body, and two chunks may be on their way to the disk at a time. What a chunk holds is committed whole; the answer,
//! also of an error, says how much was.

use std::io::{self, BufReader, Read};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kyro_engine::{Batch, Commit, Engine};
use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::answer::{self, Answer};
use crate::app::{App, Life, reach};
use crate::call::{Call, Form, refuse_encoding};
use crate::engine_errors::internal;
use crate::load::{BinaryRecords, CsvRecords, NdjsonRecords, Record, Records};
use crate::problem::{Code, Member, Problem};
use crate::rate_limit::{Class, Client};
use crate::streaming::Place;
use crate::tasks::{Kind, Running};

/// Records of a chunk at most.
pub(crate) const CHUNK_RECORDS: usize = 10_000;
/// A chunk is committed when it has grown to this size.
pub(crate) const CHUNK_VALUE_BYTES: usize = 1 << 20;
/// Frames of the body between the connection and the thread that parses.
const QUEUED_FRAMES: usize = 4;

/// What is still read of the body of a load that has ended early, so that the client hears why.
const DISCARD_BYTES: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// `POST /v1/load`
pub(crate) async fn post(call: Call) -> Answer {
    let query = call.query(&["key_column", "value_column"])?;
    let key_column = query.get("key_column").unwrap_or("key").to_owned();
    let value_column = query.get("value_column").map(str::to_owned);
    refuse_encoding(&call.head.headers)?;
    let form = Form::of_body(&call.head.headers, &[Form::Ndjson, Form::Csv, Form::Binary])?;
    let _place = Place::take(&call.app, &call.client)?;
    let engine = call.app.engine()?.clone();
    let running = call.app.tasks.begin(Kind::Load);
    let (frames, body) = channel(QUEUED_FRAMES);
    let limit = call.app.limits.max_value_bytes;
    let toll = Toll::new(&call.app, &call.client);
    let abandoned = Abandoned(Arc::clone(&toll.abandoned));
    let loading = spawn_blocking(move || {
        let input = BodyReader { frames: body, rest: Bytes::new(), ended: false };
        let input = BufReader::with_capacity(64 << 10, input);
        let records: Result<Box<dyn Records>, String> = match form {
            Form::Csv => CsvRecords::new(input, &key_column, value_column.as_deref(), limit)
                .map(|records| Box::new(records) as Box<dyn Records>)
                .map_err(|error| error.to_string()),
            Form::Binary => Ok(Box::new(BinaryRecords::new(input, limit))),
            _ => Ok(Box::new(NdjsonRecords::new(input, limit))),
        };
        let loaded = records.map_err(|reason| Problem::new(Code::InvalidField, reason));
        load(&engine, loaded, running, limit, &toll)
    });
    let received = receive(&call.app, call.body, &frames).await;
    if received.is_err() {
        abandoned.tell();
    }
    drop(frames);
    let (loaded, outcome) = loading.await.map_err(|error| internal(&error))?;
    drop(abandoned);
    match received.and(outcome) {
        Err(problem) => Err(Problem { more: loaded.member(), ..problem }),
        Ok(()) => Ok(answer::json(loaded.document().to_string())),
    }
}

/// A frame of the body, or its proper end.
type Piece = Option<Bytes>;

/// Passes the body on until it ends, fails, or the server stops. Where it does not end nothing more is passed on, and the
/// loader takes what it has for a part.
async fn receive(app: &App, mut body: Incoming, frames: &Sender<Piece>) -> Result<(), Problem> {
    tokio::select! {
        biased;
        received = pass_on(app, &mut body, frames) => return received,
        () = server_waits_no_longer(app) => {}
    }
    let _either = timeout(DISCARD_TIMEOUT, discard(&mut body)).await;
    let detail = "the server is stopping: what `loaded` says is written, the rest is not";
    Err(Problem::new(Code::Draining, detail).retry_after(1))
}

/// Passes the body on, frame by frame, waiting for room.
async fn pass_on(app: &App, body: &mut Incoming, frames: &Sender<Piece>) -> Result<(), Problem> {
    loop {
        let Ok(next) = timeout(app.bodies.timeout(), body.frame()).await else {
            let seconds = app.bodies.timeout().as_secs_f64();
            return Err(Problem::new(
                Code::BodyTimeout,
                format!("nothing of the body came for {seconds} seconds"),
            ));
        };
        let frame = match next {
            None => {
                let _gone = frames.send(None).await;
                return Ok(());
            }
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                return Err(Problem::new(Code::BadRequest, "the body broke off or is malformed"));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if frames.send(Some(data)).await.is_err() {
            // The loader has ended, and says why. A client that is still sending does not listen yet.
            let _either = timeout(DISCARD_TIMEOUT, discard(body)).await;
            return Ok(());
        }
    }
}

/// Reads on without keeping anything, within bounds.
async fn discard(body: &mut Incoming) {
    let mut left = DISCARD_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(less) = left.checked_sub(length) else { return };
        left = less;
    }
}

/// Resolves when half of the time to finish is over: what a load may still be sent has no end, and its client is to
/// hear how much is written.
async fn server_waits_no_longer(app: &App) {
    reach(&mut app.watch_life(), Life::Draining).await;
    tokio::time::sleep(app.limits.drain_timeout / 2).await;
}

/// What a load's records cost: as many requests of the rate limit, paid chunk by chunk. A load is not refused half-way,
/// it waits.
struct Toll {
    app: Arc<App>,
    client: Arc<Client>,
    abandoned: Arc<AtomicBool>,
}

/// Tells the loader that nobody waits for it any more: the body failed, or, when this is dropped, the client left.
struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.tell();
    }
}

impl Toll {
    /// How long to sleep before looking again whether the load is still wanted.
    const LOOK_EVERY: Duration = Duration::from_millis(20);

    fn new(app: &Arc<App>, client: &Arc<Client>) -> Self {
        Self { app: Arc::clone(app), client: Arc::clone(client), abandoned: Arc::default() }
    }

    /// Pays for records, and waits until they are paid for, or nobody waits for the load any more.
    fn pay(&self, records: usize, cancelled: &dyn Fn() -> bool) {
        let mut left = self.app.rates.owe(&self.client, Class::Data, records as u64);
        while !left.is_zero()
            && !cancelled()
            && !self.abandoned.load(Ordering::Acquire)
            && self.app.life() < Life::Cut
        {
            let pause = left.min(Self::LOOK_EVERY);
            thread::sleep(pause);
            left -= pause;
        }
    }
}

/// The body as the loader reads it.
struct BodyReader {
    frames: Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.frames.blocking_recv() {
                Some(Some(frame)) => self.rest = frame,
                Some(None) => self.ended = true,
                // The client left, or what it sent was no body: what came is a part, and may end in half a record.
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

/// What was loaded.
#[derive(Debug, Clone, Default)]
struct Loaded {
    records: u64,
    value_bytes: u64,
    chunks: u64,
    last_offset: Option<u64>,
}

impl Loaded {
    fn document(&self) -> serde_json::Value {
        json!({
            "loaded": self.records,
            "value_bytes": self.value_bytes,
            "chunks": self.chunks,
            "last_offset": self.last_offset,
        })
    }

    fn member(&self) -> Option<Box<Member>> {
        let value = serde_json::value::to_raw_value(&self.document()).ok()?;
        Some(Box::new(Member { name: "loaded", value }))
    }
}

/// A chunk on its way to the disk.
struct Committing {
    commit: Commit,
    records: u64,
    value_bytes: u64,
}

/// Loads until the end; says what was loaded, also where that is not all.
fn load(
    engine: &Engine,
    records: Result<Box<dyn Records>, Problem>,
    running: Running,
    max_value_bytes: u32,
    toll: &Toll,
) -> (Loaded, Result<(), Problem>) {
    let mut loaded = Loaded::default();
    let task = Arc::clone(running.task());
    let mut note = |loaded: &Loaded| task.progress(loaded.records, None, "records");
    let result = records.and_then(|mut records| {
        pump(
            engine,
            records.as_mut(),
            &mut loaded,
            max_value_bytes,
            toll,
            &|| running.task().is_cancelled(),
            &mut note,
        )
    });
    let outcome = match result {
        Ok(true) => {
            running.done(loaded.document());
            Ok(())
        }
        Ok(false) => {
            running.cancelled(loaded.document());
            Err(Problem::new(Code::Cancelled, "the load was cancelled"))
        }
        Err(problem) => {
            running.failed(&problem.detail);
            Err(problem)
        }
    };
    (loaded, outcome)
}

/// Reads, chunks and commits until the end; false where it was cancelled.
fn pump(
    engine: &Engine,
    records: &mut dyn Records,
    loaded: &mut Loaded,
    max_value_bytes: u32,
    toll: &Toll,
    cancelled: &dyn Fn() -> bool,
    note: &mut dyn FnMut(&Loaded),
) -> Result<bool, Problem> {
    let mut before: Option<Committing> = None;
    let mut chunk: Vec<Record> = Vec::new();
    let mut first = true;
    loop {
        let (mut bytes, mut failed, mut ended) = (0, None, false);
        while chunk.len() < CHUNK_RECORDS && bytes < CHUNK_VALUE_BYTES {
            match records.next_record() {
                Ok(None) => ended = true,
                Ok(Some(record)) => match record.and_then(|record| record.within(max_value_bytes)) {
                    Ok(record) => {
                        bytes += record.value.len();
                        chunk.push(record);
                        continue;
                    }
                    Err(bad) => {
                        let detail = format!("record at line {}: {}", bad.line, bad.reason);
                        failed = Some(Problem::new(Code::InvalidRecord, detail));
                    }
                },
                Err(error) => {
                    let detail = format!("the body broke off: {}", error.kind());
                    failed = Some(Problem::new(Code::BadRequest, detail));
                }
            }
            break;
        }
        // A chunk that a bad record or a broken body cuts short is not committed: only whole chunks are.
        if failed.is_none() {
            // The request itself has paid for one.
            toll.pay(chunk.len() - usize::from(first && !chunk.is_empty()), cancelled);
            first = false;
        }
        let stop = cancelled();
        let next =
            if failed.is_some() || stop || chunk.is_empty() { None } else { Some(begin(engine, &chunk)?) };
        chunk.clear();
        let last = failed.is_some() || stop || ended;
        let in_turn = if last { [before.take(), next] } else { [mem::replace(&mut before, next), None] };
        for committing in in_turn.into_iter().flatten() {
            finish(committing, loaded)?;
            note(loaded);
        }
        if last {
            return failed.map_or(Ok(!stop), Err);
        }
    }
}

fn begin(engine: &Engine, chunk: &[Record]) -> Result<Committing, Problem> {
    let value_bytes: usize = chunk.iter().map(|record| record.value.len()).sum();
    let mut batch = Batch::with_capacity(value_bytes + 24 * chunk.len());
    for record in chunk {
        batch.put(record.key, &record.value);
    }
    let commit = engine.write_waiting(batch)?;
    Ok(Committing { commit, records: chunk.len() as u64, value_bytes: value_bytes as u64 })
}

fn finish(committing: Committing, loaded: &mut Loaded) -> Result<(), Problem> {
    let committed = committing.commit.wait()?;
    loaded.records += committing.records;
    loaded.value_bytes += committing.value_bytes;
    loaded.chunks += 1;
    loaded.last_offset = Some(committed.last_offset);
    Ok(())
}
