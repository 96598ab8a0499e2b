//! Reads of a content that is replaced, and what each may be answered with.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::client::Source;
use crate::http::source::Target;
use crate::kv::Entries;
use crate::random::Random;

/// How often switches have begun or ended: in 0 the first content is there, in 1 the other comes, in 2 it is there, in 3 the
/// first comes back, in 4 it is there, and so on.
pub(super) type Phase = AtomicU64;

/// One of the two contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// With which the server starts, and to which it is rolled back.
    First,
    /// Which is pushed.
    Pushed,
}

impl Content {
    /// Makes `value` the value of `key` in this content.
    pub(super) fn fill(self, entries: Entries, key: u64, value: &mut Vec<u8>) {
        match self {
            Self::First => entries.fill(key, value),
            // Another chain of random words.
            Self::Pushed => entries.fill(!key, value),
        }
    }

    /// What is there at the end of a phase.
    fn at_end_of(phase: u64) -> Self {
        if matches!(phase % 4, 1 | 2) { Self::Pushed } else { Self::First }
    }

    /// Whether a read that was sent in one phase and answered in another may have seen this.
    fn allowed(self, sent: u64, answered: u64) -> bool {
        let switching = answered > sent || sent % 2 == 1;
        switching || Self::at_end_of(sent) == self
    }
}

/// A request on its way.
#[derive(Clone, Copy)]
struct Asked {
    number: u64,
    phase: u64,
    /// Whether a read before it saw what comes in this phase.
    seen: bool,
}

/// Gets of one key, or of many at once.
pub(super) struct Reads {
    target: Target,
    entries: Entries,
    records: u64,
    batch: usize,
    phase: Arc<Phase>,
    random: Random,
    /// The phase in which the content that comes was seen.
    seen_in: Option<u64>,
    asked: Vec<Asked>,
    free: Vec<usize>,
    value: Vec<u8>,
}

const BINARY: &str = "application/vnd.kyro.v1+binary";
/// Most bytes of a frame between two values, before the first and after the last.
const BETWEEN: usize = 64;

impl Reads {
    pub(super) fn new(
        target: &Target,
        entries: Entries,
        records: u64,
        batch: usize,
        phase: Arc<Phase>,
    ) -> Self {
        Self {
            target: target.clone(),
            entries,
            records,
            batch,
            phase,
            random: Random::new(entries.seed, "switch"),
            seen_in: None,
            asked: Vec::new(),
            free: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Which content an answer is of, with every value.
    fn content_of(&mut self, asked: Asked, body: &[u8]) -> Result<Content, String> {
        let between = if self.batch == 1 { 0 } else { BETWEEN };
        let mut content = None;
        let mut at = 0;
        for step in 0..self.batch as u64 {
            let number = (asked.number + step) % self.records;
            let Some((of, end)) = self.value_at(number, &body[at..], between) else {
                return Err(format!("entry {number} has a value of neither content"));
            };
            at += end;
            if content.is_some_and(|other| other != of) {
                return Err(format!("a mixture: entry {number} is of {of:?}, those before it are not"));
            }
            content = Some(of);
        }
        if body.len() - at > between {
            return Err(format!("{} bytes follow the last value", body.len() - at));
        }
        content.ok_or_else(|| "nothing was asked".to_owned())
    }

    /// Which content the next value is of, and where it ends.
    fn value_at(&mut self, number: u64, body: &[u8], between: usize) -> Option<(Content, usize)> {
        let key = self.entries.key(number);
        [Content::First, Content::Pushed].into_iter().find_map(|content| {
            content.fill(self.entries, key, &mut self.value);
            let reach = body.len().min(between + self.value.len());
            let before = body[..reach].windows(self.value.len()).position(|window| window == self.value)?;
            Some((content, before + self.value.len()))
        })
    }

    fn judge(&mut self, asked: Asked, answered: u64, content: Content) -> Result<(), String> {
        let Asked { number, phase, seen } = asked;
        if !content.allowed(phase, answered) {
            return Err(format!("entry {number}, sent and answered in phase {phase}, is of {content:?}"));
        }
        if answered != phase || phase % 2 == 0 {
            return Ok(());
        }
        if content == Content::at_end_of(phase) {
            self.seen_in = Some(phase);
        } else if seen {
            return Err(format!(
                "entry {number} is of {content:?} again in phase {phase}, after the other was seen"
            ));
        }
        Ok(())
    }
}

impl Source for Reads {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        let number = self.random.below(self.records);
        if self.batch == 1 {
            let path = format!("/v1/get_fast/{}", self.entries.key(number));
            out.extend_from_slice(&self.target.get("GET", &path));
        } else {
            let keys = (0..self.batch as u64).map(|step| self.entries.key((number + step) % self.records));
            let body: Vec<u8> = keys.flat_map(u64::to_le_bytes).collect();
            self.target.head("POST", "/v1/mget", out);
            // Writing to memory cannot fail.
            write!(
                out,
                "accept: {BINARY}\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )
            .ok();
            out.extend_from_slice(&body);
        }
        let phase = self.phase.load(Ordering::SeqCst);
        let asked = Asked { number, phase, seen: self.seen_in == Some(phase) };
        let place = self.free.pop().unwrap_or_else(|| {
            self.asked.push(asked);
            self.asked.len() - 1
        });
        self.asked[place] = asked;
        place as u64
    }

    fn check(&mut self, place: u64, status: u16, body: &[u8]) -> Result<(), String> {
        let answered = self.phase.load(Ordering::SeqCst);
        let asked = self.asked[place as usize];
        self.free.push(place as usize);
        if status != 200 {
            return Err(format!("entry {} was answered with {}", asked.number, body.escape_ascii()));
        }
        let content = self.content_of(asked, body)?;
        self.judge(asked, answered, content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: Entries = Entries { seed: 1, value_bytes: 24 };

    fn reads(batch: usize) -> (Reads, Arc<Phase>) {
        let phase = Arc::new(Phase::new(0));
        let target = Target::new(([127, 0, 0, 1], 80).into(), None);
        (Reads::new(&target, ENTRIES, 1_000, batch, Arc::clone(&phase)), phase)
    }

    fn answer(reads: &mut Reads, place: u64, contents: &[Content]) -> Result<(), String> {
        let number = reads.asked[place as usize].number;
        let mut body = Vec::new();
        let mut value = Vec::new();
        for (step, content) in contents.iter().enumerate() {
            content.fill(ENTRIES, ENTRIES.key((number + step as u64) % 1_000), &mut value);
            body.extend_from_slice(&value);
        }
        reads.check(place, 200, &body)
    }

    #[test]
    fn only_the_content_of_the_moment_is_right() {
        use Content::{First, Pushed};
        let (mut reads, phase) = reads(1);
        let out = &mut Vec::new();
        let place = reads.request(out);
        assert_eq!(answer(&mut reads, place, &[First]), Ok(()));
        let place = reads.request(out);
        assert!(answer(&mut reads, place, &[Pushed]).unwrap_err().contains("phase 0"));
        // Sent before the switch began, answered while it goes on.
        let place = reads.request(out);
        phase.store(1, Ordering::SeqCst);
        assert_eq!(answer(&mut reads, place, &[Pushed]), Ok(()));
        // The old one may be seen by what was sent before the new one was seen, and then no more.
        let (early, other) = (reads.request(out), reads.request(out));
        assert_eq!(answer(&mut reads, other, &[Pushed]), Ok(()));
        assert_eq!(answer(&mut reads, early, &[First]), Ok(()));
        let late = reads.request(out);
        assert!(answer(&mut reads, late, &[First]).unwrap_err().contains("again"));
        phase.store(2, Ordering::SeqCst);
        let place = reads.request(out);
        assert!(answer(&mut reads, place, &[First]).is_err());
        let place = reads.request(out);
        assert_eq!(answer(&mut reads, place, &[Pushed]), Ok(()));
        let place = reads.request(out);
        assert!(reads.check(place, 404, b"").is_err());
    }

    #[test]
    fn a_mixture_is_noticed() {
        use Content::{First, Pushed};
        let (mut reads, phase) = reads(3);
        phase.store(1, Ordering::SeqCst);
        let out = &mut Vec::new();
        let place = reads.request(out);
        assert_eq!(answer(&mut reads, place, &[Pushed, Pushed, Pushed]), Ok(()));
        let place = reads.request(out);
        assert!(answer(&mut reads, place, &[Pushed, First, Pushed]).unwrap_err().contains("a mixture"));
        let place = reads.request(out);
        assert!(answer(&mut reads, place, &[Pushed, Pushed]).unwrap_err().contains("neither"));
    }
}
