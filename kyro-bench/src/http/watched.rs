//! A load whose answers move a progress bar, on a terminal.

use std::time::{Duration, Instant};

use crate::http::client::Source;
use crate::progress::Bar;

/// Answers between two looks at the clock.
const LOOK_EVERY: u64 = 64;
/// How often the bar moves.
const MOVE_EVERY: Duration = Duration::from_millis(100);

/// A source with a bar: of answers, where their number is known, or of time.
pub(super) struct Watched<'a> {
    source: &'a mut dyn Source,
    bar: Bar,
    /// The time that all of it takes, in a load that ends by time.
    length: Option<Duration>,
    started: Instant,
    moved: Instant,
    answers: u64,
}

impl<'a> Watched<'a> {
    /// Watches `answers` answers, or as many as come in `length`.
    pub(super) fn new(
        source: &'a mut dyn Source,
        what: &str,
        answers: u64,
        length: Option<Duration>,
    ) -> Self {
        let steps = length.map_or(answers, |length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        let now = Instant::now();
        Self { source, bar: Bar::new(steps, what), length, started: now, moved: now, answers: 0 }
    }
}

impl Source for Watched<'_> {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        self.source.request(out)
    }

    fn check(&mut self, number: u64, status: u16, body: &[u8]) -> Result<(), String> {
        self.answers += 1;
        if self.answers.is_multiple_of(LOOK_EVERY) && self.moved.elapsed() >= MOVE_EVERY {
            self.moved = Instant::now();
            let elapsed = self.started.elapsed();
            let done = match self.length {
                Some(length) => u64::try_from(elapsed.min(length).as_millis()).unwrap_or(u64::MAX),
                None => self.answers,
            };
            let rate = self.answers as f64 / elapsed.as_secs_f64().max(1e-9);
            self.bar.show(done, &format!("{} answers, {rate:.0}/s", self.answers));
        }
        self.source.check(number, status, body)
    }
}
