//! Reads of one key that would wait for a disk: they go to a thread that may wait, so that the other connections of a
//! worker need not.
//!
//! What has been read since its run was opened counts as being in memory; to know that costs a flag. Where memory is short
//! the kernel gives such pages up, and a worker that reads one waits. It sees that afterwards, from its count of page
//! faults, and from then on asks the kernel before each read, until nothing cold was met for a while.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::http::request::Parts;
use kyro_engine::{Engine, Presence, major_faults};
use tokio::task::spawn_blocking;

use crate::answer::Answer;
use crate::app::App;
use crate::call::Call;
use crate::engine_errors::internal;

/// How long a worker asks the kernel after the last cold read.
const CAUTIOUS_FOR: Duration = Duration::from_secs(1);

/// Of more keys than this not each is asked for: another thread reads them.
const ASKED_MAX: usize = 16;

thread_local! {
    static CAUTION: Caution = const { Caution::new() };
}

/// Whether this worker has met pages that the kernel gave up.
#[derive(Debug)]
struct Caution {
    /// Page faults of this thread that waited for the disk, when last looked at; `None` before.
    faults: Cell<Option<u64>>,
    until: Cell<Option<Instant>>,
}

impl Caution {
    const fn new() -> Self {
        Self { faults: Cell::new(None), until: Cell::new(None) }
    }

    /// Notes how many page faults have waited for the disk so far.
    fn note_faults(&self, faults: u64, now: Instant) {
        // What came before the first look was the start of the thread.
        if self.faults.replace(Some(faults)).is_some_and(|before| before < faults) {
            self.prolong(now);
        }
    }

    fn prolong(&self, now: Instant) {
        self.until.set(Some(now + CAUTIOUS_FOR));
    }

    /// What counts as being in memory.
    #[inline]
    fn presence(&self, now: impl FnOnce() -> Instant) -> Presence {
        let Some(until) = self.until.get() else { return Presence::Read };
        if until > now() {
            return Presence::Resident;
        }
        self.until.set(None);
        Presence::Read
    }
}

/// To be called now and then by a thread that reads: looks whether it had to wait for the disk.
pub(crate) fn look() {
    CAUTION.with(|caution| caution.note_faults(major_faults(), Instant::now()));
}

/// Whether a read of this key can be answered at once.
#[inline]
pub(crate) fn is_at_hand(engine: &Engine, key: u64) -> bool {
    CAUTION.with(|caution| {
        let presence = caution.presence(Instant::now);
        let at_hand = engine.has_at_hand(key, presence);
        if !at_hand && presence == Presence::Resident {
            caution.prolong(Instant::now());
        }
        at_hand
    })
}

/// Whether reads of these keys can be answered at once, as far as that is known without asking for each of many.
pub(crate) fn are_at_hand(engine: &Engine, keys: &[u64]) -> bool {
    let is_careless = CAUTION.with(|caution| caution.presence(Instant::now)) == Presence::Read;
    (is_careless && engine.is_read())
        || (keys.len() <= ASKED_MAX && keys.iter().all(|key| is_at_hand(engine, *key)))
}

/// Answers a read of one key on a thread that may wait for the disk.
pub(crate) async fn read(
    call: Call,
    key: u64,
    answer: impl FnOnce(&App, &mut Parts) -> Answer + Send + 'static,
) -> Answer {
    let Call { app, mut head, .. } = call;
    app.metrics.cold_reads.fetch_add(1, Ordering::Relaxed);
    let answered = spawn_blocking(move || {
        // Where this fails, so does the read, which tells how.
        app.engine()?.fetch(key)?;
        answer(&app, &mut head)
    });
    answered.await.map_err(|error| internal(&error))?
}

/// Brings in what a read of `key` needs, where that is not in memory.
pub(crate) async fn fetch(app: &App, key: u64) -> Result<(), crate::problem::Problem> {
    let engine = app.engine()?;
    if is_at_hand(engine, key) {
        return Ok(());
    }
    app.metrics.cold_reads.fetch_add(1, Ordering::Relaxed);
    let engine = engine.clone();
    Ok(spawn_blocking(move || engine.fetch(key)).await.map_err(|error| internal(&error))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_makes_a_worker_careful_for_a_while() {
        let caution = Caution::new();
        let start = Instant::now();
        let at = |millis| move || start + Duration::from_millis(millis);
        caution.note_faults(17, start);
        assert_eq!(caution.presence(at(0)), Presence::Read, "the first look only takes the count");
        caution.note_faults(17, start);
        assert_eq!(caution.presence(at(1)), Presence::Read);
        caution.note_faults(18, start);
        assert_eq!(caution.presence(at(999)), Presence::Resident);
        caution.prolong(at(999)());
        assert_eq!(caution.presence(at(1998)), Presence::Resident);
        assert_eq!(caution.presence(at(1999)), Presence::Read);
        assert_eq!(caution.presence(at(1000)), Presence::Read, "it is over");
    }
}
