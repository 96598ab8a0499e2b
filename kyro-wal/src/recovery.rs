//! From what a disk holds to a log: the only road to a [`Wal`] over existing segments.
//!
//! Opening has three parts. [`Recovery::open`] reads the first and last block of every segment and refuses a log with
//! a segment missing, of another database, or of a newer version. [`Recovery::next_frame`] gives the frames, each
//! checked, and at the last one decides whether the log ends as it may (see [`Tail`]) or is damaged. Only
//! [`Recovery::finish`] writes, and only when nothing was refused: so a refused open changes nothing.
//!
//! # Torn or damaged
//!
//! Let X be where the frames of the last segment stop. Damage is what no crash can leave behind:
//! - the last run closed cleanly and X is not where it did;
//! - anywhere after X there is a frame header that validates, whose watermark lies beyond X: the bytes at X were synced
//!   when that header was built;
//! - a segment that has a successor stops before the end its successor's header names: that end was synced before the
//!   successor got its name;
//! - the last segment is sealed: it is sealed only after its successor is durable, so a segment is missing.
//!
//! Everything else is a torn write of frames nobody was told were durable: cut, kept in `quarantine/`, reported.

mod chain;
mod mend;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cursor::{Cursor, Place, Step};
use crate::segment::{Pin, Segment};
use crate::storage::Storage;
use crate::{Error, Expected, Options, Wal};

use chain::Chain;
use tail::Verdict;

/// A log being read back. The only road to a [`Wal`] over an existing log.
///
/// Needs the directory to itself: take a lock ([`Storage::lock`]) first.
#[derive(Debug)]
pub struct Recovery {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    options: Options,
    expected: Expected,
    chain: Chain,
    /// The segment being read, as an index into the chain.
    current: usize,
    cursor: Option<Cursor>,
    verdict: Option<Verdict>,
    bytes_done: u64,
}

/// One frame of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame<'a> {
    /// The first of the offsets it covers.
    pub first_offset: u64,
    /// How many it covers; at least 1.
    pub count: u32,
    /// What was appended.
    pub payload: &'a [u8],
    /// Number of the segment it is in.
    pub segment: u64,
    /// Byte at which it starts there.
    pub at: u64,
}

/// How much of a log there is; see [`Recovery::extent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// Segments.
    pub segments: u64,
    /// Bytes they take on disk.
    pub bytes: u64,
    /// Number of the oldest.
    pub first_segment: u64,
    /// The oldest offset that can be read.
    pub oldest_offset: u64,
}

/// How the log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tail {
    /// At the mark of a clean close.
    Clean,
    /// Without a mark, at a whole frame.
    Unconfirmed {
        /// The last segment.
        segment: u64,
        /// Where its frames end.
        end: u64,
        /// Bytes at the end that nothing proved durable: they were written and synced again.
        rewritten: u64,
    },
    /// In the middle of a write that nothing proved durable. What followed the last whole frame was cut.
    Torn {
        /// The last segment.
        segment: u64,
        /// Where its whole frames end.
        kept: u64,
        /// Bytes cut: up to the last one that was not zero.
        dropped: u64,
        /// The last offset that was kept, if there is one.
        last_offset: Option<u64>,
        /// As in [`Tail::Unconfirmed`].
        rewritten: u64,
        /// Where the cut bytes (at most [`Options::quarantine_bytes`]) were copied; `None` when there was no room or the
        /// options keep none.
        quarantined: Option<PathBuf>,
    },
}

impl Recovery {
    /// Reads the segments' first and last blocks and checks that they make one log.
    ///
    /// Cost: two reads of 4 KiB for each segment.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::MissingSegment`], [`Error::WrongDatabase`], [`Error::NewerFormat`],
    /// [`Error::UnknownChecksum`], [`Error::HistoryGone`] when offsets from `expected.replay_from` on were purged, and
    /// [`Error::Io`]. Nothing on disk is changed.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        expected: Expected,
        options: Options,
    ) -> Result<Self, Error> {
        let chain = Chain::open(&storage, dir, &expected)?;
        let options = options.normalized();
        // Segments whose every offset is below what the caller needs are not read.
        let below =
            |index: &usize| chain.pin(*index).is_some_and(|pin| pin.next_offset <= expected.replay_from);
        let current = (0..chain.segments.len()).take_while(below).count();
        Ok(Self {
            storage,
            dir: dir.to_owned(),
            options,
            expected,
            chain,
            current,
            cursor: None,
            verdict: None,
            bytes_done: 0,
        })
    }

    /// The next frame with an offset from [`Expected::replay_from`] on (its first ones may be smaller); `None` after
    /// the last.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the log is damaged, [`Error::TooLarge`] when a payload is over
    /// [`Options::max_payload_bytes`], [`Error::Io`]. Nothing on disk is changed; the caller gives the log up.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        while self.verdict.is_none() && !self.find_frame()? {}
        let here = self.cursor.as_ref().zip(self.chain.segments.get(self.current));
        let Some((cursor, segment)) = here else { return Ok(None) };
        Ok(cursor.peeked().map(|header| Frame {
            first_offset: header.first_offset,
            count: header.count,
            payload: cursor.payload(),
            segment: segment.number(),
            at: cursor.place().at,
        }))
    }

    /// The opaque metadata of the newest segment.
    pub fn metadata(&self) -> &[u8] {
        self.chain.segments.last().map_or(&[], |segment| &segment.header.metadata)
    }

    /// The epoch of the newest segment: the next writer's must not be smaller.
    pub fn epoch(&self) -> u64 {
        self.chain.segments.last().map_or(0, |segment| segment.header.epoch)
    }

    /// The oldest offset whose history is still here, and the segments with the bytes they take: what
    /// [`Wal::stats`] says once the log is open.
    pub fn extent(&self) -> Extent {
        let segments = &self.chain.segments;
        Extent {
            segments: segments.len() as u64,
            bytes: segments.iter().map(|segment| segment.len).sum(),
            first_segment: segments.first().map_or(0, Segment::number),
            oldest_offset: segments.first().map_or(0, |segment| segment.header.first_offset),
        }
    }

    /// Bytes read, and bytes to read in all (an upper bound), for showing progress.
    pub fn progress(&self) -> (u64, u64) {
        if self.verdict.is_some() {
            return (self.bytes_done, self.bytes_done);
        }
        let here = self.cursor.as_ref().map_or(0, |cursor| cursor.place().at);
        let lengths = self.chain.segments.iter().enumerate().skip(self.current);
        let left: u64 = lengths.map(|(index, segment)| self.chain.limit(index, segment)).sum();
        (self.bytes_done + here, self.bytes_done + left)
    }

    /// Makes the log as it was read durable, and opens it for writing.
    ///
    /// Reads what [`next_frame`](Self::next_frame) has not given yet (and refuses as it does). Then, unless the last run
    /// closed cleanly: what nothing proves durable at the end of the last segment is written and synced again; what
    /// follows is copied to `quarantine/` and overwritten with zeros, synced. The next write goes to a new segment;
    /// until then nothing more is written, so that a full disk can be opened. Interrupted anywhere, it can be repeated,
    /// with the same outcome.
    ///
    /// # Errors
    /// As [`next_frame`](Self::next_frame); [`Error::Fenced`] when `epoch` is smaller than the newest segment's; and
    /// [`Error::Unstable`], [`Error::StorageFull`], [`Error::Io`] from the writing, after which the log is to be opened
    /// again.
    pub fn finish(mut self, epoch: u64) -> Result<(Wal, Tail), Error> {
        while self.next_frame()?.is_some() {}
        let found = self.epoch();
        if epoch < found {
            return Err(Error::Fenced { dir: self.dir, ours: epoch, found });
        }
        self.mend(epoch)
    }

    /// Moves to the next frame to be given, or to the end of a segment; says whether there is a frame.
    fn find_frame(&mut self) -> Result<bool, Error> {
        let Some(segment) = self.chain.segments.get(self.current) else { return Ok(false) };
        let pin = self.chain.pin(self.current);
        let limit = self.chain.limit(self.current, segment);
        let max_payload = self.options.max_payload_bytes;
        let cursor = self.cursor.get_or_insert_with(|| Cursor::new(segment, limit, max_payload));
        // Behind the frame that was given, if one was.
        cursor.advance();
        loop {
            match cursor.peek(&segment.path, &*segment.file)? {
                Step::Frame(header)
                    if header.next_offset() <= self.expected.replay_from || header.count == 0 =>
                {
                    cursor.advance();
                }
                Step::Frame(_) => return Ok(true),
                Step::Stop(stop) => {
                    let place = cursor.place();
                    if let Some(pin) = pin {
                        tail::check_sealed(&self.chain, self.current, place, stop, &pin)?;
                    } else {
                        self.verdict = Some(tail::verdict(&self.chain, place, stop, self.expected.clean)?);
                    }
                    break;
                }
            }
        }
        self.bytes_done += limit;
        if self.verdict.is_none() {
            self.current += 1;
            self.cursor = None;
        }
        Ok(false)
    }
}

/// Where a segment with a successor must end.
fn ends_at(place: &Place, pin: &Pin) -> bool {
    place.at == pin.end && place.chain == pin.checksum && place.next_offset == pin.next_offset
}

/// The offset before this one.
fn last_offset(segment: &Segment, place: &Place) -> Option<u64> {
    let before = if place.frames > 0 { place.next_offset } else { segment.header.predecessor.next_offset };
    before.checked_sub(1)
}
