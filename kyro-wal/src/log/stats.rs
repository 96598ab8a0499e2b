//! Plain numbers about a log.

use super::Wal;
use crate::format::FIRST_FRAME;

/// What one [`Wal::write_group`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Frames in the group.
    pub frames: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    /// The offset after the group's last one.
    pub next_offset: u64,
    /// Whether a new segment was begun for it.
    pub rotated: bool,
}

/// What [`Wal::purge_before`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// Segments removed.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// The oldest segment that is left.
    pub first_segment: u64,
}

/// How far a log is durable; given to the function of [`Wal::on_sync`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Synced {
    /// Every offset below this one is durable.
    pub next_offset: u64,
    /// The live segment.
    pub segment: u64,
    /// End of its synced bytes.
    pub end: u64,
}

/// Plain numbers about a log, as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Segments, the live one included.
    pub segments: u64,
    /// Bytes of their files, preallocated space included.
    pub bytes: u64,
    /// Number of the oldest segment.
    pub first_segment: u64,
    /// Number of the live segment.
    pub last_segment: u64,
    /// No offset below this one is in the log.
    pub oldest_offset: u64,
    /// The offset after the last written one.
    pub next_offset: u64,
    /// Bytes of the frames in the live segment.
    pub live_bytes: u64,
    /// Written bytes of the live segment that no sync covers yet.
    pub unsynced_bytes: u64,
    /// Groups written since the log was opened.
    pub groups: u64,
    /// Bytes of frames written since the log was opened.
    pub written_bytes: u64,
    /// Syncs of the live segment since the log was opened.
    pub syncs: u64,
    /// Segments begun since the log was opened.
    pub rotations: u64,
    /// Whether a prepared file waits for the next rotation.
    pub spare: bool,
    /// Whether the log takes nothing more.
    pub poisoned: bool,
}

impl Wal {
    /// Plain numbers about the log. Cost: one pass over the list of segments.
    pub fn stats(&self) -> LogStats {
        let oldest = self.sealed.front();
        let header = &self.live.segment.header;
        LogStats {
            segments: self.sealed.len() as u64 + 1,
            bytes: self.sealed.iter().map(|sealed| sealed.bytes).sum::<u64>() + self.live.segment.len,
            first_segment: oldest.map_or(header.number, |sealed| sealed.number),
            last_segment: header.number,
            oldest_offset: oldest.map_or(header.first_offset, |sealed| sealed.first_offset),
            next_offset: self.next_offset,
            live_bytes: self.live.place.at - FIRST_FRAME,
            unsynced_bytes: self.live.place.at - self.live.synced,
            groups: self.counters.groups,
            written_bytes: self.counters.bytes,
            syncs: self.counters.syncs,
            rotations: self.counters.rotations,
            spare: self.spare.is_some(),
            poisoned: self.poisoned.is_some(),
        }
    }
}
