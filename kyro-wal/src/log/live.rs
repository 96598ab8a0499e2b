//! The segment that takes frames, and those that no longer do.

use crate::cursor::Place;
use crate::format::frame::CONFIRM;
use crate::format::{BLOCK, FRAME_HEADER, FrameHeader, checksum};
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

    /// Confirming frames for the end: one that fills the page up, if there is room, and one behind it. Gives their bytes
    /// and the place behind them.
    pub(super) fn confirming_frames(&self) -> (Vec<u8>, Place) {
        let header = FRAME_HEADER as u64;
        let page_end = (self.place.at + header).next_multiple_of(BLOCK as u64);
        let mut bytes = Vec::new();
        let mut place = self.place;
        if !self.place.at.is_multiple_of(BLOCK as u64) && page_end + header <= self.segment.frames_limit() {
            place = self.confirming_frame((page_end - self.place.at - header) as usize, place, &mut bytes);
        }
        place = self.confirming_frame(0, place, &mut bytes);
        (bytes, place)
    }

    fn confirming_frame(&self, length: usize, place: Place, bytes: &mut Vec<u8>) -> Place {
        let seed = self.segment.header.seed();
        let payload = vec![0; length];
        let fields = FrameHeader {
            length: length as u32,
            first_offset: place.next_offset,
            watermark: self.synced,
            count: 0,
            flags: CONFIRM,
            previous: place.chain,
            payload_checksum: checksum(seed, &payload),
            attempt: place.attempt,
        };
        let mut header = [0; FRAME_HEADER];
        let sum = fields.encode(seed, &mut header);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&payload);
        place.after(&fields, sum)
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
