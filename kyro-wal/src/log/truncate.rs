//! Cutting the end of a log off on purpose, as a replica does whose leader never had it.
//!
//! The cut is one atomic step: a new segment, durable under its number, whose header names the segment that is cut, as
//! its predecessor, with the byte of the cut as that one's end. Before that the log is as it was; from then on what
//! followed the cut is no longer part of it, and removing it is cleaning up, which the next opening completes.

use crate::cursor::{Cursor, Place, Step};
use crate::format::Predecessor;
use crate::segment::{self, Segment};
use crate::{Error, spare};

use super::{Live, Unsealed, Wal};

impl Wal {
    /// Takes every frame with an offset above `last_offset` out of the log, durably. The group that is being gathered
    /// is forgotten. Offsets are not given out again: the next frame goes on where the log had been.
    ///
    /// The caller must not need a removed frame any more: what it derived from them is its own to undo.
    ///
    /// # Errors
    /// [`Error::InsideFrame`] when `last_offset` is not the last one of a frame, and [`Error::StorageFull`],
    /// [`Error::Io`]: nothing was changed. [`Error::Poisoned`].
    pub fn truncate_after(&mut self, last_offset: u64) -> Result<(), Error> {
        self.check_poison()?;
        self.group.clear();
        self.complete_seal()?;
        self.sync()?;
        if self.live.place.next_offset <= last_offset.saturating_add(1) {
            return Ok(());
        }
        // The last segment that starts at or before the offset, or the oldest one.
        let numbers = self.sealed.iter().map(|sealed| (sealed.number, sealed.first_offset));
        let live = (self.live.segment.number(), self.live.segment.header.first_offset);
        let mut cut = None;
        for (number, first_offset) in numbers.chain([live]) {
            if cut.is_none() || first_offset <= last_offset {
                cut = Some(number);
            }
        }
        let number = cut.unwrap_or(live.0);
        let segment = Segment::open(&*self.storage, &self.dir, number, Some(&self.identity.uuid))?;
        let segment = segment.writable(&*self.storage)?;
        let place = self.find_cut(&segment, last_offset)?;
        let predecessor =
            Predecessor { number, end: place.at, next_offset: place.next_offset, checksum: place.chain };
        let live = self.make_segment(predecessor, true, self.options.segment_bytes, 0, 0)?;
        // From here on the cut is durable.
        let removed = std::mem::replace(&mut self.live, live);
        self.sealed.push_back(super::Sealed::of(&removed.segment, removed.place.next_offset));
        while let Some(later) = self.sealed.back().copied().filter(|sealed| sealed.number > number) {
            self.sealed.pop_back();
            spare::clean_up(&*self.storage, &self.dir.join(segment::name(later.number)));
        }
        if let Some(cut) = self.sealed.back_mut() {
            cut.next_offset = place.next_offset;
        }
        let synced = place.at;
        self.unsealed = Some(Unsealed {
            live: Live { segment, place, synced, closed: true, residue: false },
            exact: true,
        });
        self.complete_seal()
    }

    /// The place behind the last frame that stays.
    fn find_cut(&self, segment: &Segment, last_offset: u64) -> Result<Place, Error> {
        let mut cursor = Cursor::new(segment, segment.frames_limit(), self.options.max_payload_bytes);
        while let Step::Frame(header) = cursor.peek(&segment.path, &*segment.file)? {
            if header.first_offset > last_offset {
                break;
            }
            if header.next_offset() > last_offset.saturating_add(1) {
                let last = header.next_offset() - 1;
                return Err(Error::InsideFrame { offset: last_offset, first: header.first_offset, last });
            }
            cursor.advance();
        }
        Ok(cursor.place())
    }
}
