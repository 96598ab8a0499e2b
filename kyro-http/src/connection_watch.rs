//! What a connection is doing, and for how long: the deadlines for request heads, idle time and stalled writes.
//!
//! A timer per request would cost an allocation and a registration each time. Instead the socket and the service
//! note each change of phase in one word, and a slow tick per connection looks whether that word has moved.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::metrics::Cut;

/// How long each phase may last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// From a request's first byte to the end of its head.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// Without the client taking any of the response.
    pub(crate) write: Duration,
}

impl Deadlines {
    /// How often a connection has to be looked at, to be at most an eighth late.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = self.head.min(self.idle).min(self.write);
        (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing: no request is under way.
    Idle = 0,
    /// The first bytes of a request have come, its head is not complete.
    Head = 1,
    /// A request is being answered.
    Answering = 2,
    /// A response whose end is known is being written.
    Writing = 3,
    /// A stream is being written.
    Streaming = 4,
    /// The client takes nothing of a response.
    Stalled = 5,
    /// The client takes nothing of a stream.
    StreamStalled = 6,
}

const PHASE_BITS: u32 = 3;
const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Head,
    Phase::Answering,
    Phase::Writing,
    Phase::Streaming,
    Phase::Stalled,
    Phase::StreamStalled,
];

/// The phase of a connection and a count of its changes, in one word. Written by one task at a time.
#[derive(Debug, Default)]
pub(crate) struct ConnectionWatch(AtomicU32);

impl ConnectionWatch {
    fn phase(&self) -> Phase {
        let index = self.0.load(Ordering::Relaxed) & ((1 << PHASE_BITS) - 1);
        PHASES.get(index as usize).copied().unwrap_or(Phase::Answering)
    }

    fn enter(&self, phase: Phase) {
        let changes = (self.0.load(Ordering::Relaxed) >> PHASE_BITS).wrapping_add(1);
        self.0.store((changes << PHASE_BITS) | phase as u32, Ordering::Relaxed);
    }

    /// A request's head is complete.
    pub(crate) fn request_begins(&self) {
        self.enter(Phase::Answering);
    }

    /// The response is handed over for writing, or a stream has come to its end.
    pub(crate) fn response_ready(&self, stream: bool) {
        self.enter(if stream { Phase::Streaming } else { Phase::Writing });
    }

    fn bytes_read(&self) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn bytes_written(&self) {
        match self.phase() {
            // Of a large response this may only be a part; with each part the idle time starts again.
            Phase::Writing | Phase::Stalled | Phase::Idle => self.enter(Phase::Idle),
            Phase::StreamStalled => self.enter(Phase::Streaming),
            Phase::Head | Phase::Answering | Phase::Streaming => {}
        }
    }

    fn write_blocked(&self) {
        match self.phase() {
            Phase::Idle | Phase::Writing => self.enter(Phase::Stalled),
            Phase::Streaming => self.enter(Phase::StreamStalled),
            Phase::Head | Phase::Answering | Phase::Stalled | Phase::StreamStalled => {}
        }
    }
}

/// Looks at a [`ConnectionWatch`] from time to time.
#[derive(Debug)]
pub(crate) struct Overdue {
    watch: Arc<ConnectionWatch>,
    deadlines: Deadlines,
    seen: u32,
    since: Instant,
}

impl Overdue {
    pub(crate) fn new(watch: Arc<ConnectionWatch>, deadlines: Deadlines) -> Self {
        Self { seen: watch.0.load(Ordering::Relaxed), watch, deadlines, since: Instant::now() }
    }

    /// Why the connection is to be cut now, if it is.
    pub(crate) fn reason(&mut self, now: Instant) -> Option<Cut> {
        let word = self.watch.0.load(Ordering::Relaxed);
        if word != self.seen {
            (self.seen, self.since) = (word, now);
            return None;
        }
        let (limit, reason) = match self.watch.phase() {
            Phase::Idle | Phase::Writing => (self.deadlines.idle, Cut::Idle),
            Phase::Head => (self.deadlines.head, Cut::SlowHead),
            Phase::Stalled | Phase::StreamStalled => (self.deadlines.write, Cut::SlowReader),
            Phase::Answering | Phase::Streaming => return None,
        };
        (now.duration_since(self.since) >= limit).then_some(reason)
    }
}

/// A socket that notes what it sees.
#[derive(Debug)]
pub(crate) struct WatchedSocket {
    pub(crate) socket: TokioIo<TcpStream>,
    pub(crate) watch: Arc<ConnectionWatch>,
}

impl WatchedSocket {
    fn noted<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Ok(_)) => self.watch.bytes_written(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.watch.write_blocked(),
        }
        written
    }
}

impl Read for WatchedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if read.is_ready() {
            self.watch.bytes_read();
        }
        read
    }
}

impl Write for WatchedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINES: Deadlines = Deadlines {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        write: Duration::from_secs(30),
    };

    fn after(seconds: u64, overdue: &mut Overdue) -> Option<Cut> {
        let start = Instant::now();
        assert_eq!(overdue.reason(start), None, "the first look only notes the phase");
        overdue.reason(start + Duration::from_secs(seconds))
    }

    #[test]
    fn each_phase_has_its_own_limit() {
        let watch = Arc::new(ConnectionWatch::default());
        let overdue = || Overdue::new(Arc::clone(&watch), DEADLINES);
        let mut idle = overdue();
        let start = idle.since;
        assert_eq!(idle.reason(start + Duration::from_secs(59)), None);
        assert_eq!(idle.reason(start + Duration::from_secs(60)), Some(Cut::Idle));

        let mut head = overdue();
        watch.bytes_read();
        assert_eq!(after(10, &mut head), Some(Cut::SlowHead));

        let mut answering = overdue();
        watch.request_begins();
        assert_eq!(after(10_000, &mut answering), None, "the engine's time is not the client's");

        let mut stalled = overdue();
        watch.response_ready(false);
        watch.write_blocked();
        assert_eq!(after(30, &mut stalled), Some(Cut::SlowReader));

        let mut idle_again = overdue();
        watch.bytes_written();
        assert_eq!(after(30, &mut idle_again), None);
    }

    #[test]
    fn a_slow_head_is_not_saved_by_single_bytes_but_a_slow_response_is_by_progress() {
        let watch = Arc::new(ConnectionWatch::default());
        let mut overdue = Overdue::new(Arc::clone(&watch), DEADLINES);
        let start = overdue.since;
        watch.bytes_read();
        assert_eq!(overdue.reason(start), None);
        watch.bytes_read();
        assert_eq!(overdue.reason(start + Duration::from_secs(10)), Some(Cut::SlowHead));

        watch.request_begins();
        watch.response_ready(false);
        watch.bytes_written();
        watch.write_blocked();
        assert_eq!(overdue.reason(start), None);
        watch.bytes_written();
        watch.write_blocked();
        assert_eq!(overdue.reason(start + Duration::from_secs(40)), None, "some of it was taken");
    }

    #[test]
    fn a_quiet_stream_is_not_idle() {
        let watch = Arc::new(ConnectionWatch::default());
        let mut overdue = Overdue::new(Arc::clone(&watch), DEADLINES);
        watch.request_begins();
        watch.response_ready(true);
        watch.bytes_written();
        assert_eq!(after(100_000, &mut overdue), None);
        watch.write_blocked();
        assert_eq!(after(31, &mut overdue), Some(Cut::SlowReader));
    }
}
