//! The frames gathered since the last write, laid out as they will be on disk, headers still blank.

use crate::cursor::Place;
use crate::format::{FRAME_HEADER, FrameHeader, checksum, padded};

use super::Live;

/// A group buffer larger than this is given back after use.
const KEEP_BYTES: usize = 4 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// For each frame room for its header, its payload, padding.
    pub(crate) buffer: Vec<u8>,
    frames: Vec<Gathered>,
    offsets: u64,
}

#[derive(Clone, Copy, Debug)]
struct Gathered {
    at: usize,
    length: usize,
    first_offset: u64,
    count: u32,
}

/// Where [`Wal::append_with`](crate::Wal::append_with) writes a payload.
#[derive(Debug)]
pub struct Payload<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
}

impl Payload<'_> {
    /// Adds bytes to the payload.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames.len() as u64
    }

    pub(super) fn offsets(&self) -> u64 {
        self.offsets
    }

    /// Adds a frame, and gives the length of its payload.
    pub(super) fn push(
        &mut self,
        first_offset: u64,
        count: u32,
        bytes_hint: usize,
        fill: impl FnOnce(&mut Payload<'_>),
    ) -> u64 {
        let at = self.buffer.len();
        let start = at + FRAME_HEADER;
        self.buffer.reserve(FRAME_HEADER + padded(bytes_hint));
        self.buffer.resize(start, 0);
        fill(&mut Payload { buffer: &mut self.buffer, start });
        let length = self.buffer.len() - start;
        self.buffer.resize(start + padded(length), 0);
        self.frames.push(Gathered { at, length, first_offset, count });
        self.offsets += u64::from(count);
        length as u64
    }

    /// Takes the last frame out again.
    pub(super) fn pop(&mut self) {
        if let Some(last) = self.frames.pop() {
            self.buffer.truncate(last.at);
            self.offsets -= u64::from(last.count);
        }
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BYTES);
        self.offsets = 0;
    }

    /// Fills the headers in for the end of this segment, and gives the place behind the last frame. Cost: one pass over
    /// the bytes for the checksums.
    pub(super) fn encode(&mut self, live: &Live) -> Place {
        let seed = live.segment.header.seed();
        let mut place = live.place;
        for frame in &self.frames {
            let start = frame.at + FRAME_HEADER;
            let Some((header, rest)) = self.buffer[frame.at..].split_first_chunk_mut::<FRAME_HEADER>() else {
                break;
            };
            debug_assert_eq!(start, frame.at + header.len(), "the payload follows the header");
            let fields = FrameHeader {
                length: frame.length as u32,
                first_offset: frame.first_offset,
                watermark: live.synced,
                count: frame.count,
                flags: 0,
                previous: place.chain,
                payload_checksum: checksum(seed, &rest[..frame.length]),
                attempt: live.place.attempt,
            };
            let sum = fields.encode(seed, header);
            place = place.after(&fields, sum);
        }
        place
    }
}
