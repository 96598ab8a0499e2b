//! Following a log while it is written: for replaying history and for subscribing to what comes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cursor::{Cursor, Step, Stop};
use crate::error::Corruption;
use crate::format::FIRST_FRAME;
use crate::scan;
use crate::segment::{self, Segment};
use crate::storage::Storage;
use crate::{Error, Frame};

/// The cap that the format puts on a payload; the log's own option does not concern a reader.
const MAX_PAYLOAD: u32 = 1 << 30;

/// Reads a log from an offset on, also while a [`Wal`](crate::Wal) writes it, in this process or another.
///
/// It needs no lock. It changes nothing. A segment that is purged while it is being read is read to its end.
#[derive(Debug)]
pub struct Reader {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    uuid: [u8; 16],
    /// The offset after the last frame given; before the first, the one asked for.
    next_offset: u64,
    segment: Segment,
    cursor: Cursor,
    /// Whether the frame at the cursor was given.
    given: bool,
    /// Whether what follows the cursor was searched for frames that should have been reached.
    searched: bool,
    /// The largest bound so far. What was read ahead beyond it may since have been taken back and written anew.
    bound: u64,
}

impl Reader {
    /// Finds the segment that holds the offset `from`, or will.
    ///
    /// Cost: two reads of 4 KiB for each segment from the newest back to that one. The first
    /// [`next_frame`](Self::next_frame) reads that segment up to the offset.
    ///
    /// # Errors
    /// [`Error::HistoryGone`] when the offset has been purged; [`Error::MissingSegment`], [`Error::Corrupt`],
    /// [`Error::WrongDatabase`], [`Error::NewerFormat`], [`Error::UnknownChecksum`], [`Error::Io`].
    pub fn open(storage: Arc<dyn Storage>, dir: &Path, uuid: [u8; 16], from: u64) -> Result<Self, Error> {
        let numbers = segment::numbers(&*storage, dir)?;
        let Some(&last) = numbers.last() else {
            let why = "the directory holds no segment";
            return Err(Error::MissingSegment { dir: dir.to_owned(), segment: 1, why });
        };
        let mut segment = Segment::open(&*storage, dir, last, Some(&uuid))?;
        while segment.header.first_offset > from {
            let before = segment.header.predecessor;
            if before.number == 0 || before.next_offset <= from {
                break;
            }
            segment = match Segment::open(&*storage, dir, before.number, Some(&uuid)) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Err(Error::HistoryGone { from, oldest: segment.header.first_offset });
                }
                other => other?,
            };
        }
        let cursor = Cursor::new(&segment, segment.frames_limit(), MAX_PAYLOAD);
        let dir = dir.to_owned();
        Ok(Self {
            storage,
            dir,
            uuid,
            next_offset: from,
            segment,
            cursor,
            given: false,
            searched: false,
            bound: 0,
        })
    }

    /// The next frame that starts before the offset `before`; `None` once all of them were given. Call again later with
    /// a larger bound: it goes on where it was, and reads afresh (so keep a bound until it is exhausted). The first
    /// frame given is the one that holds the offset asked for at [`open`](Self::open), which may start earlier.
    ///
    /// The bound must be an offset that the log has reached: every frame that starts before it is wholly written.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a frame that must be there is not, [`Error::HistoryGone`] when the next one was purged or
    /// truncated, and [`Error::Io`].
    pub fn next_frame(&mut self, before: u64) -> Result<Option<Frame<'_>>, Error> {
        if !self.find_frame(before)? {
            return Ok(None);
        }
        self.given = true;
        let Some(header) = self.cursor.peeked() else { return Ok(None) };
        self.next_offset = header.next_offset();
        Ok(Some(Frame {
            first_offset: header.first_offset,
            count: header.count,
            payload: self.cursor.payload(),
            segment: self.segment.number(),
            at: self.cursor.place().at,
        }))
    }

    /// Brings the cursor to the next frame to be given, if there is one.
    fn find_frame(&mut self, before: u64) -> Result<bool, Error> {
        if std::mem::take(&mut self.given) {
            self.cursor.advance();
            self.searched = false;
        }
        if before > self.bound {
            self.bound = before;
            self.cursor.forget();
        }
        while self.next_offset < before {
            match self.peek()? {
                Step::Frame(header) if header.count == 0 || header.next_offset() <= self.next_offset => {
                    self.cursor.advance();
                    self.searched = false;
                }
                Step::Frame(header) => return Ok(header.first_offset < before),
                Step::Stop(stop) => {
                    if !self.enter_successor()? {
                        self.check_end(stop)?;
                        return Ok(false);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Looks at the cursor; what was read ahead may be older than what is there now, so a stop is believed only when
    /// read afresh.
    fn peek(&mut self) -> Result<Step, Error> {
        match self.cursor.peek(&self.segment.path, &*self.segment.file)? {
            Step::Stop(_) => {
                self.cursor.forget();
                self.cursor.peek(&self.segment.path, &*self.segment.file)
            }
            frame @ Step::Frame(_) => Ok(frame),
        }
    }

    /// Goes on in the segment that names this one as its predecessor, if there is one.
    fn enter_successor(&mut self) -> Result<bool, Error> {
        let number = self.segment.number();
        let successor = loop {
            let numbers = segment::numbers(&*self.storage, &self.dir)?;
            let Some(&next) = numbers.iter().find(|&&next| next > number) else { return Ok(false) };
            match Segment::open(&*self.storage, &self.dir, next, Some(&self.uuid)) {
                // Purged in between: look again. The live segment is never purged, so this ends.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                other => break other?,
            }
        };
        let before = successor.header.predecessor;
        let place = self.cursor.place();
        let gone = Error::HistoryGone { from: self.next_offset, oldest: successor.header.first_offset };
        if before.number != number {
            return Err(gone);
        }
        if before.end != place.at || before.checksum != place.chain {
            // The writer may have sealed this segment between the look at its end and the look at its successor.
            self.cursor.forget();
            if let Step::Frame(_) = self.cursor.peek(&self.segment.path, &*self.segment.file)? {
                return Ok(true);
            }
            if successor.header.truncates {
                return Err(gone);
            }
            return Err(self.damage(place.at, "the frames do not end where the successor's header says"));
        }
        self.next_offset = self.next_offset.max(successor.header.first_offset);
        self.cursor = Cursor::new(&successor, successor.frames_limit(), MAX_PAYLOAD);
        self.segment = successor;
        self.searched = false;
        Ok(true)
    }

    /// Whether frames may end here, in the last segment, although the log has reached a larger offset: they may when it
    /// was opened after a crash, which leaves the offsets up to the segment's limit unused.
    fn check_end(&mut self, stop: Stop) -> Result<(), Error> {
        let at = self.cursor.place().at;
        match stop {
            Stop::Bad { at, what, sums } => {
                return Err(Error::Corrupt(Box::new(Corruption {
                    expected: sums.map(|(expected, _)| expected),
                    found: sums.map(|(_, found)| found),
                    last_good_offset: self.next_offset.checked_sub(1),
                    ..Corruption::new(&self.segment.path, at, what)
                })));
            }
            Stop::Blank | Stop::Limit => {}
        }
        if !self.searched {
            let remains = scan::remains(&self.segment, at.max(FIRST_FRAME), self.segment.frames_limit())?;
            if remains.watermark > at {
                return Err(self.damage(at, "a later frame proves that the bytes here were durable"));
            }
            self.searched = true;
        }
        Ok(())
    }

    fn damage(&self, at: u64, what: &'static str) -> Error {
        Error::Corrupt(Box::new(Corruption {
            last_good_offset: self.next_offset.checked_sub(1),
            ..Corruption::new(&self.segment.path, at, what)
        }))
    }
}
