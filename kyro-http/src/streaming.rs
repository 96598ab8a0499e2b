//! Answers that are read from the database while they are sent: one chunk at a time, as fast as the client takes them.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use kyro_engine::ReadError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use crate::answer;
use crate::app::{App, Life, reach};
use crate::body::{Body, Writer};
use crate::problem::{Code, Problem};
use crate::rate_limit::{Client, ClientStream};

/// A chunk is sent when it has grown to this size. One record may be larger.
pub(crate) const CHUNK_BYTES: usize = 128 << 10;

/// A place among the streams that may be open at a time, in all and for one client.
#[derive(Debug)]
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_client: ClientStream,
}

impl Place {
    /// Takes a place.
    pub(crate) fn take(app: &App, client: &Arc<Client>) -> Result<Self, Problem> {
        let full = |limit: u32, whose: &str| {
            Problem::new(Code::TooManyStreams, format!("{limit} streams {whose}are open, the most at a time"))
                .retry_after(5)
        };
        let limit = app.limits.max_streams_per_client;
        let of_client = client.stream(limit).ok_or_else(|| full(limit, "of this address "))?;
        let of_all = Arc::clone(&app.streams).try_acquire_owned();
        Ok(Self { _of_all: of_all.map_err(|_| full(app.limits.max_streams, ""))?, _of_client: of_client })
    }
}

/// Something that is read piece by piece, on a thread that may block.
pub(crate) trait Source: Send + 'static {
    /// Appends to `chunk` until it has [`CHUNK_BYTES`] or there is no more. True: there is no more.
    ///
    /// # Errors
    /// What the database could not read: the answer is broken off.
    fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<bool, ReadError>;
}

/// The answer that a source gives, as a stream.
pub(crate) fn stream(
    app: Arc<App>,
    place: Place,
    source: impl Source,
    media_type: &'static str,
) -> Response<Body> {
    let (writer, body) = Body::stream(Some(place));
    tokio::spawn(write_all(app, writer, source));
    let mut response = answer::with_type(media_type, Bytes::new());
    *response.body_mut() = body;
    response
}

async fn write_all<S: Source>(app: Arc<App>, writer: Writer, mut source: S) {
    let mut life = app.watch_life();
    loop {
        // While the client is slow, no thread is held.
        let filled = spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 3));
            let done = source.fill(&mut chunk);
            (chunk, done, source)
        });
        let Ok((chunk, done, back)) = filled.await else {
            return writer.break_off("the server is stopping".to_owned());
        };
        source = back;
        match done {
            Ok(true) => return writer.finish_with(Bytes::from(chunk)),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = kyro_engine::describe(&error), "an answer broke off");
                return writer.break_off("the database could not be read".to_owned());
            }
        }
        tokio::select! {
            sent = writer.send(Bytes::from(chunk)) => if sent.is_err() { return },
            () = reach(&mut life, Life::Cut) => return,
        }
    }
}
