//! What a log is told: how to write, who it belongs to, and what must be found when it is opened.

use crate::format::{FRAME_HEADER, MAX_METADATA, MIN_SEGMENT};

/// How a log writes. Plain numbers: take the defaults and change fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Bytes a segment is preallocated with, header and footer included. Rounded up to 4 KiB; at least 16 KiB. The first
    /// segment that a run begins has 1 MiB at most. A group that does not fit gets a segment of its own size. Default
    /// 16 MiB.
    pub segment_bytes: u64,
    /// The largest payload of a frame, in bytes, checked before anything is allocated, on reading as well. At most
    /// 1 GiB. Default 64 MiB.
    pub max_payload_bytes: u32,
    /// The most bytes of a torn tail that are kept in `quarantine/`. Default 1 MiB; 0 keeps none.
    pub quarantine_bytes: u64,
    /// The most files kept in `quarantine/`; when there are more, the oldest go. Default 16.
    pub quarantine_files: usize,
    /// The most bytes of preallocated and unused space that a clean close leaves. Where there would be more, the live
    /// segment is sealed and cut behind its frames, an empty one of 16 KiB follows it, and a spare is removed.
    /// `u64::MAX` leaves everything as it is. Default 1 MiB: a first segment stays as it is.
    pub close_slack_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            max_payload_bytes: 64 << 20,
            quarantine_bytes: 1 << 20,
            quarantine_files: 16,
            close_slack_bytes: 1 << 20,
        }
    }
}

impl Options {
    /// The options as the log uses them: sizes brought inside what the format allows.
    pub(crate) fn normalized(self) -> Self {
        let segment_bytes = self.segment_bytes.clamp(MIN_SEGMENT, 1 << 40).next_multiple_of(4096);
        Self { segment_bytes, max_payload_bytes: self.max_payload_bytes.min(1 << 30), ..self }
    }
}

/// Whose log it is, and which writer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// UUID of the database: a segment of another one is refused.
    pub uuid: [u8; 16],
    /// Epoch of the writer, recorded in every segment it makes. A writer with a smaller epoch than the log's newest
    /// segment is refused (fencing).
    pub epoch: u64,
}

/// Where a clean close left the log. The caller keeps it, durably, and removes it, durably, before the next run's first
/// write; a log that is opened with a mark must end exactly there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanMark {
    /// Number of the last segment.
    pub segment: u64,
    /// Byte in it where its frames end.
    pub end: u64,
    /// The offset the next operation gets.
    pub next_offset: u64,
    /// Header checksum of its last frame (of the segment header when it has none).
    pub checksum: u32,
}

/// What must be found when a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// UUID of the database.
    pub uuid: [u8; 16],
    /// The oldest segment that must be there. Older ones are what an interrupted purge left; they may be there or not.
    pub first_segment: u64,
    /// The first offset the caller needs. History from here on must be complete; frames wholly before it are not given.
    pub replay_from: u64,
    /// The mark of a clean close, if the last run ended with one.
    pub clean: Option<CleanMark>,
}

const _: () = assert!(MIN_SEGMENT > (2 * 4096 + FRAME_HEADER + MAX_METADATA) as u64);
