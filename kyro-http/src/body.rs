//! Response bodies: nothing, bytes that are already there (never copied), or a stream with back-pressure.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::streaming::Place;

/// The body of a response.
#[derive(Debug, Default)]
pub(crate) struct Body(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Whole(Bytes),
    Number([u8; 8]),
    Stream(Stream),
}

/// A piece of a body: shared bytes, or a number that needs no memory of its own.
#[derive(Debug)]
pub(crate) enum Piece {
    Shared(Bytes),
    Number { bytes: [u8; 8], at: u8 },
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Number { bytes, at } => bytes.get(usize::from(*at)..).unwrap_or_default(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Shared(bytes) => bytes.advance(count),
            Self::Number { at, .. } => *at = at.saturating_add(count as u8),
        }
    }
}

/// A stream broke off: the connection is cut, so that the client cannot take a part for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the stream broke off: {0}")]
pub(crate) struct BrokenOff(pub(crate) String);

#[derive(Debug)]
struct Stream {
    chunks: mpsc::Receiver<Bytes>,
    last: Arc<Last>,
    /// Gives back the stream's place among the streams that may be open.
    _place: Option<Place>,
    connection: Option<Arc<Connection>>,
    ended: bool,
}

impl Stream {
    /// What comes when nothing is queued and the writer is gone. A writer that vanished without a word (its task was
    /// dropped) has not finished: the client must not take what it got for everything.
    fn end(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        match self.last.take() {
            Some(Ok(chunk)) if chunk.is_empty() => None,
            Some(last) => Some(last),
            None => Some(Err(BrokenOff("it was never finished".to_owned()))),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.watch.response_ready(false);
        }
    }
}

/// What follows the queued chunks: set by a writer that cannot wait for room in the queue.
#[derive(Debug, Default)]
struct Last(Mutex<Option<Result<Bytes, BrokenOff>>>);

/// The writing end of a stream.
#[derive(Debug)]
pub(crate) struct Writer {
    chunks: mpsc::Sender<Bytes>,
    last: Arc<Last>,
}

/// The reader is gone; nobody wants the rest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReaderGone;

impl Writer {
    /// Waits for room, then queues a chunk. At most two chunks are ever queued.
    pub(crate) async fn send(&self, chunk: Bytes) -> Result<(), ReaderGone> {
        self.chunks.send(chunk).await.map_err(|_| ReaderGone)
    }

    /// Resolves when the reader is gone.
    pub(crate) async fn reader_gone(&self) {
        self.chunks.closed().await;
    }

    /// Ends the stream after what is queued and this chunk; never waits.
    pub(crate) fn finish_with(self, chunk: Bytes) {
        self.last.set(Ok(chunk));
    }

    /// Breaks the stream off after what is queued.
    pub(crate) fn break_off(self, reason: String) {
        self.last.set(Err(BrokenOff(reason)));
    }
}

impl Last {
    fn set(&self, last: Result<Bytes, BrokenOff>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    fn take(&self) -> Option<Result<Bytes, BrokenOff>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Body {
    /// A body that is written while it is read.
    pub(crate) fn stream(place: Option<Place>) -> (Writer, Self) {
        const QUEUED_CHUNKS: usize = 2;
        let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
        let last = Arc::new(Last::default());
        let stream = Stream {
            chunks: receiver,
            last: Arc::clone(&last),
            _place: place,
            connection: None,
            ended: false,
        };
        (Writer { chunks: sender, last }, Self(Kind::Stream(stream)))
    }

    /// A number as 8 bytes, little-endian.
    pub(crate) fn number(number: u64) -> Self {
        Self(Kind::Number(number.to_le_bytes()))
    }

    /// Tells the connection's watch that this body is about to be written, and when a stream has ended.
    pub(crate) fn watched_by(&mut self, connection: &Arc<Connection>) {
        if let Kind::Stream(stream) = &mut self.0 {
            connection.watch.response_ready(true);
            stream.connection = Some(Arc::clone(connection));
        } else {
            connection.watch.response_ready(false);
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Kind::Empty } else { Kind::Whole(bytes) })
    }
}

impl hyper::body::Body for Body {
    type Data = Piece;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BrokenOff>>> {
        let next = match &mut self.0 {
            Kind::Empty => None,
            Kind::Number(bytes) => {
                let piece = Piece::Number { bytes: *bytes, at: 0 };
                self.0 = Kind::Empty;
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Some(Ok(bytes))
            }
            Kind::Stream(stream) => match stream.chunks.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(chunk)) => Some(Ok(chunk)),
                Poll::Ready(None) => stream.end(),
            },
        };
        Poll::Ready(next.map(|chunk| chunk.map(|bytes| Frame::data(Piece::Shared(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Number(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn the_last_chunk_follows_what_is_queued() {
        let (writer, body) = Body::stream(None);
        writer.send(Bytes::from_static(b"a")).await.unwrap();
        writer.send(Bytes::from_static(b"b")).await.unwrap();
        writer.finish_with(Bytes::from_static(b"c"));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn a_broken_stream_is_an_error_and_not_an_end() {
        let (writer, mut body) = Body::stream(None);
        writer.send(Bytes::from_static(b"a")).await.unwrap();
        writer.break_off("test".to_owned());
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
        let (writer, mut body) = Body::stream(None);
        drop(writer);
        assert!(body.frame().await.unwrap().is_err(), "a writer that vanished has not finished");
        let (writer, mut body) = Body::stream(None);
        writer.finish_with(Bytes::new());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader_and_learns_that_it_left() {
        let (writer, body) = Body::stream(None);
        writer.send(Bytes::from_static(b"a")).await.unwrap();
        writer.send(Bytes::from_static(b"b")).await.unwrap();
        let third = tokio::time::timeout(std::time::Duration::from_millis(20), writer.send(Bytes::new()));
        assert!(third.await.is_err(), "a third chunk must wait");
        drop(body);
        assert_eq!(writer.send(Bytes::new()).await, Err(ReaderGone));
        writer.reader_gone().await;
    }
}
