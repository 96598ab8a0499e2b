//! The segment that takes frames, and those that no longer do.

use crate::cursor::Place;
use crate::format::frame::CONFIRM;
use crate::format::{FRAME_HEADER, FrameHeader};
use crate::segment::Segment;

/// The last segment.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) segment: Segment,
    /// Behind the last written frame.
    pub(crate) place: Place,
    /// End of the bytes known synced.
    pub(crate) synced: u64,
    /// Whether it takes no more frames: it was written by an earlier run. Its frames are all synced.
    pub(crate) closed: bool,
    /// Whether a frame of a group that could not be taken back may lie at the end.
    pub(crate) residue: bool,
}

impl Live {
    /// Whether a group of so many bytes, which ends before this offset, has room here. Room for a confirming frame is
    /// always kept.
    pub(super) fn takes(&self, bytes: u64, next_offset: u64) -> bool {
        let end = self.place.at.saturating_add(bytes).saturating_add(FRAME_HEADER as u64);
        !self.closed && end <= self.segment.frames_limit() && next_offset <= self.segment.header.offset_limit
    }

    /// Encodes an empty frame at the end; gives the place behind it.
    pub(super) fn confirming_frame(&self, bytes: &mut [u8; FRAME_HEADER]) -> Place {
        let seed = self.segment.header.seed();
        let fields = FrameHeader {
            length: 0,
            first_offset: self.place.next_offset,
            watermark: self.synced,
            count: 0,
            flags: CONFIRM,
            previous: self.place.chain,
            payload_checksum: crate::format::checksum(seed, &[]),
            attempt: self.place.attempt,
        };
        let sum = fields.encode(seed, bytes);
        self.place.after(&fields, sum)
    }
}

/// A segment that takes no more frames: what housekeeping needs of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed {
    pub(super) number: u64,
    pub(super) first_offset: u64,
    pub(super) next_offset: u64,
    /// Length of the file.
    pub(super) bytes: u64,
}

impl Sealed {
    pub(super) fn of(segment: &Segment, next_offset: u64) -> Self {
        Self {
            number: segment.number(),
            first_offset: segment.header.first_offset,
            next_offset,
            bytes: segment.len,
        }
    }
}
