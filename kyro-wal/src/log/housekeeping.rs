//! What keeps a log from growing for ever, and rotations from costing a commit: purging, and spares.

use std::io;
use std::sync::Arc;

use crate::segment;
use crate::{Error, Spare, SpareJob};

use super::{Purged, Wal};

impl Wal {
    /// Goes on in a new segment, unless the live one is empty. Gives the live segment's number. What is gathered in the
    /// group stays there.
    ///
    /// Every frame written so far is durable when this returns, has a witness, and can be purged.
    ///
    /// # Errors
    /// As [`write_group`](Self::write_group), but the group stays.
    pub fn rotate(&mut self) -> Result<u64, Error> {
        self.check_poison()?;
        if self.live.place.frames > 0
            || self.live.closed
            || self.live.segment.header.metadata != self.metadata
        {
            self.rotate_for(0, 0)?;
        }
        Ok(self.live.segment.number())
    }

    /// Gives up the offsets below `offset`: writes what is gathered in the group, and goes on at `offset` in a new
    /// segment. Does nothing when the log is there already or further.
    ///
    /// # Errors
    /// As [`write_group`](Self::write_group); whether the offsets were given up is then for
    /// [`next_offset`](Self::next_offset) to say.
    pub fn skip_to(&mut self, offset: u64) -> Result<(), Error> {
        self.write_group()?;
        if offset <= self.next_offset {
            return Ok(());
        }
        let (next_offset, segment) = (self.next_offset, self.live.segment.number());
        self.next_offset = offset;
        let rotated = self.rotate_for(0, 0);
        if rotated.is_err() && self.live.segment.number() == segment {
            self.next_offset = next_offset;
        }
        rotated
    }

    /// The oldest segment that [`purge_before`](Self::purge_before) with this offset would leave. Store it durably as
    /// [`Expected::first_segment`](crate::Expected::first_segment) before purging.
    pub fn first_segment_after_purge(&self, offset: u64) -> u64 {
        let purged = self.purgeable(offset);
        self.sealed.get(purged).map_or(self.live.segment.number(), |sealed| sealed.number)
    }

    /// Removes the sealed segments whose every offset is below `offset`, oldest first. The live segment stays; call
    /// [`rotate`](Self::rotate) first to have it go as well.
    ///
    /// The removals need not be durable, and are not synced: what a crash brings back, the next opening takes for
    /// history or removes.
    ///
    /// # Errors
    /// [`Error::Io`]: those removed before the failure are gone; [`Error::Poisoned`].
    pub fn purge_before(&mut self, offset: u64) -> Result<Purged, Error> {
        self.check_poison()?;
        let mut purged = Purged::default();
        for _ in 0..self.purgeable(offset) {
            let Some(oldest) = self.sealed.front() else { break };
            let path = self.dir.join(segment::name(oldest.number));
            match self.storage.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("removing", &path, error));
                }
                _ => {}
            }
            purged.segments += 1;
            purged.bytes += oldest.bytes;
            self.sealed.pop_front();
        }
        purged.first_segment = self.stats().first_segment;
        Ok(purged)
    }

    /// How many segments hold only offsets above this one.
    pub fn segments_above(&self, offset: u64) -> u64 {
        let firsts = self.sealed.iter().map(|sealed| sealed.first_offset);
        let firsts = firsts.chain([self.live.segment.header.first_offset]);
        firsts.filter(|first_offset| *first_offset > offset).count() as u64
    }

    /// The job of preparing the next segment's file, if it is to be done: to be run on another thread, so that the
    /// next rotation writes no zeros. `None` while a spare waits, while a job or its outcome is still held somewhere, and
    /// until a quarter of a live segment that is smaller than the next will be is used.
    pub fn spare_job(&self) -> Option<SpareJob> {
        let live = &self.live;
        let early = live.segment.len < self.options.segment_bytes && live.place.at < live.segment.len / 4;
        if early || self.spare.is_some() || !self.no_spare_job_runs() || self.poisoned.is_some() {
            return None;
        }
        Some(SpareJob {
            storage: Arc::clone(&self.storage),
            dir: self.dir.clone(),
            bytes: self.options.segment_bytes,
            ticket: Arc::clone(&self.spare_ticket),
        })
    }

    /// Takes a prepared file for the next rotation.
    pub fn accept_spare(&mut self, spare: Spare) {
        self.spare = Some(spare);
    }

    pub(super) fn no_spare_job_runs(&self) -> bool {
        Arc::strong_count(&self.spare_ticket) == 1
    }

    /// How many sealed segments, from the oldest on, lie wholly below an offset.
    fn purgeable(&self, offset: u64) -> usize {
        let unsealed = usize::from(self.unsealed.is_some());
        let candidates = self.sealed.iter().take(self.sealed.len() - unsealed);
        candidates.take_while(|sealed| sealed.next_offset <= offset).count()
    }
}
