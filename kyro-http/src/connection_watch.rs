//! What a connection is doing, and for how long: the deadlines for request heads, idle time and stalled writes.
//!
//! A timer per request, or per connection, would cost a registration each time. Instead the socket and the service
//! note each change of phase in one word, and one task for the whole server looks from time to time whether the
//! words have moved.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

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

/// A deadline that has passed, and the word that has not changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) reason: Cut,
    word: u32,
}

impl Overdue {
    /// As one number that is not 0.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.word) << 8 | (self.reason as u64 + 1)
    }

    /// What [`to_bits`](Self::to_bits) gave; `None` for 0.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let reason = Cut::ALL.get(usize::from(bits as u8).checked_sub(1)?).copied()?;
        Some(Self { reason, word: (bits >> 8) as u32 })
    }
}

/// The phase of a connection and a count of its changes, in one word, and when that word was last seen to move.
#[derive(Debug, Default)]
pub(crate) struct ConnectionWatch {
    /// Written by the connection's task alone.
    word: AtomicU32,
    /// The word at the last look, and the time of that look in milliseconds. Only the looking task uses them.
    seen: AtomicU32,
    since: AtomicU64,
}

impl ConnectionWatch {
    /// A watch over a connection that was accepted at this time, in milliseconds.
    pub(crate) fn new(now: u64) -> Self {
        Self { since: AtomicU64::new(now), ..Self::default() }
    }

    fn phase(&self) -> Phase {
        let index = self.word.load(Ordering::Relaxed) & ((1 << PHASE_BITS) - 1);
        PHASES.get(index as usize).copied().unwrap_or(Phase::Answering)
    }

    fn enter(&self, phase: Phase) {
        let changes = (self.word.load(Ordering::Relaxed) >> PHASE_BITS).wrapping_add(1);
        self.word.store((changes << PHASE_BITS) | phase as u32, Ordering::Relaxed);
    }

    /// Why the connection is to be cut now, in milliseconds, as far as the watch can tell. One task at a time may ask.
    pub(crate) fn overdue(&self, deadlines: &Deadlines, now: u64) -> Option<Overdue> {
        let word = self.word.load(Ordering::Relaxed);
        if word != self.seen.swap(word, Ordering::Relaxed) {
            self.since.store(now, Ordering::Relaxed);
            return None;
        }
        let (limit, reason) = match self.phase() {
            Phase::Idle | Phase::Writing => (deadlines.idle, Cut::Idle),
            Phase::Head => (deadlines.head, Cut::SlowHead),
            Phase::Stalled | Phase::StreamStalled => (deadlines.write, Cut::SlowReader),
            Phase::Answering | Phase::Streaming => return None,
        };
        let quiet = now.saturating_sub(self.since.load(Ordering::Relaxed));
        (u128::from(quiet) >= limit.as_millis()).then_some(Overdue { reason, word })
    }

    /// Whether nothing has changed since this was found.
    pub(crate) fn is_still(&self, overdue: Overdue) -> bool {
        self.word.load(Ordering::Relaxed) == overdue.word
    }

    /// A request's head is complete.
    pub(crate) fn request_begins(&self) {
        self.enter(Phase::Answering);
    }

    /// The response is handed over for writing, or a stream has come to its end.
    pub(crate) fn response_ready(&self, stream: bool) {
        self.enter(if stream { Phase::Streaming } else { Phase::Writing });
    }

    /// Something came from the client.
    pub(crate) fn bytes_read(&self) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// The client took something.
    pub(crate) fn bytes_written(&self) {
        match self.phase() {
            // Of a large response this may only be a part; with each part the idle time starts again.
            Phase::Writing | Phase::Stalled | Phase::Idle => self.enter(Phase::Idle),
            Phase::StreamStalled => self.enter(Phase::Streaming),
            Phase::Head | Phase::Answering | Phase::Streaming => {}
        }
    }

    /// The client takes nothing.
    pub(crate) fn write_blocked(&self) {
        match self.phase() {
            Phase::Idle | Phase::Writing => self.enter(Phase::Stalled),
            Phase::Streaming => self.enter(Phase::StreamStalled),
            Phase::Head | Phase::Answering | Phase::Stalled | Phase::StreamStalled => {}
        }
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
    const SECOND: u64 = 1000;

    /// Looks once, and again after so many seconds.
    fn after(seconds: u64, watch: &ConnectionWatch) -> Option<Cut> {
        assert_eq!(watch.overdue(&DEADLINES, 5), None, "the first look only notes the phase");
        at(5 + seconds * SECOND, watch)
    }

    fn at(millis: u64, watch: &ConnectionWatch) -> Option<Cut> {
        let overdue = watch.overdue(&DEADLINES, millis)?;
        assert!(watch.is_still(overdue));
        assert_eq!(Overdue::from_bits(overdue.to_bits()), Some(overdue));
        Some(overdue.reason)
    }

    #[test]
    fn each_phase_has_its_own_limit() {
        let watch = ConnectionWatch::new(0);
        assert_eq!(watch.overdue(&DEADLINES, 59 * SECOND), None);
        assert_eq!(at(60 * SECOND, &watch), Some(Cut::Idle));
        watch.bytes_read();
        assert_eq!(after(10, &watch), Some(Cut::SlowHead));
        watch.request_begins();
        assert_eq!(after(10_000, &watch), None, "the engine's time is not the client's");
        watch.response_ready(false);
        watch.write_blocked();
        assert_eq!(after(30, &watch), Some(Cut::SlowReader));
        watch.bytes_written();
        assert_eq!(after(30, &watch), None);
    }

    #[test]
    fn a_slow_head_is_not_saved_by_single_bytes_but_a_slow_response_is_by_progress() {
        let watch = ConnectionWatch::new(0);
        watch.bytes_read();
        assert_eq!(watch.overdue(&DEADLINES, 0), None);
        watch.bytes_read();
        assert_eq!(at(10 * SECOND, &watch), Some(Cut::SlowHead));

        watch.request_begins();
        watch.response_ready(false);
        watch.bytes_written();
        watch.write_blocked();
        assert_eq!(watch.overdue(&DEADLINES, 0), None);
        watch.bytes_written();
        watch.write_blocked();
        assert_eq!(watch.overdue(&DEADLINES, 40 * SECOND), None, "some of it was taken");
    }

    #[test]
    fn whoever_moves_after_the_look_is_no_longer_overdue() {
        let watch = ConnectionWatch::new(0);
        let overdue = watch.overdue(&DEADLINES, 60 * SECOND).unwrap();
        assert!(watch.is_still(overdue));
        watch.bytes_read();
        assert!(!watch.is_still(overdue));
        assert_eq!(Overdue::from_bits(0), None);
    }

    #[test]
    fn a_quiet_stream_is_not_idle() {
        let watch = ConnectionWatch::new(0);
        watch.request_begins();
        watch.response_ready(true);
        watch.bytes_written();
        assert_eq!(after(100_000, &watch), None);
        watch.write_blocked();
        assert_eq!(after(31, &watch), Some(Cut::SlowReader));
    }
}
