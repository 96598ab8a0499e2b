//! Walking through the frames of one segment, each checked before it is believed.

use std::path::Path;

use crate::Error;
use crate::format::{FIRST_FRAME, FRAME_HEADER, FrameHeader, checksum};
use crate::segment::Segment;
use crate::storage::StorageFile;

/// How many bytes are read at once: a few at first, because a reader that follows the end of a log finds little there;
/// twice as many each time, up to the largest.
const FIRST_CHUNK: usize = 1 << 14;
const CHUNK: usize = 1 << 18;

/// What is at the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A valid frame; its payload is [`Cursor::payload`] until the cursor moves on.
    Frame(FrameHeader),
    /// No valid frame.
    Stop(Stop),
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No room for one.
    Limit,
    /// Zeros where a header would be.
    Blank,
    /// Something else.
    Bad { at: u64, what: &'static str, sums: Option<(u32, u32)> },
}

/// A place between two frames, and what is known of the frames before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: u64,
    /// Header checksum of the frame before.
    pub(crate) chain: u32,
    pub(crate) next_offset: u64,
    /// Frames so far.
    pub(crate) frames: u64,
    /// The largest watermark so far: all before it was synced.
    pub(crate) watermark: u64,
    /// End of the last frame that carries offsets.
    pub(crate) data_end: u64,
    /// The attempt of the last frame.
    pub(crate) attempt: u32,
}

impl Place {
    /// Before the first frame of a segment.
    pub(crate) fn start(segment: &Segment) -> Self {
        Self {
            at: FIRST_FRAME,
            chain: segment.header_checksum,
            next_offset: segment.header.first_offset,
            frames: 0,
            watermark: FIRST_FRAME,
            data_end: FIRST_FRAME,
            attempt: 0,
        }
    }

    /// After a frame that starts here.
    pub(crate) fn after(&self, header: &FrameHeader, sum: u32) -> Self {
        let end = self.at + header.frame_bytes();
        Self {
            at: end,
            chain: sum,
            next_offset: header.next_offset(),
            frames: self.frames + 1,
            watermark: self.watermark.max(header.watermark),
            data_end: if header.count > 0 { end } else { self.data_end },
            attempt: header.attempt,
        }
    }
}

/// Reads frame after frame, in pieces of a quarter megabyte or of one frame, whichever is larger.
#[derive(Debug)]
pub(crate) struct Cursor {
    place: Place,
    seed: u32,
    offset_limit: u64,
    /// No frame reaches beyond this byte.
    limit: u64,
    max_payload: u32,
    buffer: Vec<u8>,
    /// Where in the file the buffer starts.
    buffer_at: u64,
    /// How many bytes the next read asks for.
    chunk: usize,
    /// The frame that [`Self::peek`] found here, and its header's checksum.
    peeked: Option<(FrameHeader, u32)>,
}

impl Cursor {
    pub(crate) fn new(segment: &Segment, limit: u64, max_payload: u32) -> Self {
        Self {
            place: Place::start(segment),
            seed: segment.header.seed(),
            offset_limit: segment.header.offset_limit,
            limit,
            max_payload,
            buffer: Vec::new(),
            buffer_at: FIRST_FRAME,
            chunk: FIRST_CHUNK,
            peeked: None,
        }
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Looks at what is here without moving. Checks everything: header, place in the chain, offsets, length against
    /// what is left of the segment, payload, padding.
    pub(crate) fn peek(&mut self, path: &Path, file: &dyn StorageFile) -> Result<Step, Error> {
        if let Some((header, _)) = self.peeked {
            return Ok(Step::Frame(header));
        }
        let at = self.place.at;
        let seed = self.seed;
        let room = self.limit.saturating_sub(at);
        if room < FRAME_HEADER as u64 {
            return Ok(Step::Stop(Stop::Limit));
        }
        let Some(bytes) = self.fill(FRAME_HEADER, path, file)?.first_chunk::<FRAME_HEADER>() else {
            return Ok(Step::Stop(Stop::Limit));
        };
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(Step::Stop(Stop::Blank));
        }
        let bad = |at, what, sums| Ok(Step::Stop(Stop::Bad { at, what, sums }));
        let (header, sum) = match FrameHeader::decode(seed, bytes) {
            Ok(decoded) => decoded,
            Err(wrong) => {
                let sums = Some((wrong.expected, wrong.found));
                return bad(at, "the frame header's checksum is wrong", sums);
            }
        };
        if header.previous != self.place.chain && !cfg!(mutant = "ignore_chain") {
            let sums = Some((header.previous, self.place.chain));
            return bad(at, "the frame does not follow the one before it", sums);
        }
        if !header.is_sane(at)
            || header.first_offset != self.place.next_offset
            || header.next_offset() > self.offset_limit
        {
            return bad(at, "the frame header contradicts what came before it", None);
        }
        if header.frame_bytes() > room {
            return bad(at, "the frame is longer than what is left of the segment", None);
        }
        if header.length > self.max_payload {
            return Err(Error::TooLarge {
                bytes: u64::from(header.length),
                count: header.count,
                max_bytes: u64::from(self.max_payload),
                max_count: crate::format::MAX_FRAME_OFFSETS,
            });
        }
        let frame = header.frame_bytes() as usize;
        let bytes = self.fill(frame, path, file)?;
        let (payload, padding) = match bytes.get(FRAME_HEADER..frame) {
            Some(rest) => rest.split_at(header.length as usize),
            None => return bad(at, "the file ends inside the frame", None),
        };
        let found = checksum(seed, payload);
        let payload_at = at + FRAME_HEADER as u64;
        if found != header.payload_checksum && !cfg!(mutant = "ignore_payload_checksum") {
            return bad(
                payload_at,
                "the payload's checksum is wrong",
                Some((header.payload_checksum, found)),
            );
        }
        if padding.iter().any(|&byte| byte != 0) {
            return bad(payload_at + u64::from(header.length), "the padding is not zero", None);
        }
        self.peeked = Some((header, sum));
        Ok(Step::Frame(header))
    }

    /// The header of the frame that was peeked at, if one is here.
    pub(crate) fn peeked(&self) -> Option<FrameHeader> {
        self.peeked.map(|(header, _)| header)
    }

    /// The payload of the frame that was peeked at.
    pub(crate) fn payload(&self) -> &[u8] {
        let Some((header, _)) = self.peeked else { return &[] };
        let from = (self.place.at - self.buffer_at) as usize + FRAME_HEADER;
        self.buffer.get(from..from + header.length as usize).unwrap_or(&[])
    }

    /// The whole frame that was peeked at, header and padding included.
    pub(crate) fn frame_bytes(&self) -> &[u8] {
        let Some((header, _)) = self.peeked else { return &[] };
        let from = (self.place.at - self.buffer_at) as usize;
        self.buffer.get(from..from + header.frame_bytes() as usize).unwrap_or(&[])
    }

    /// Moves behind the frame that was peeked at.
    pub(crate) fn advance(&mut self) {
        if let Some((header, sum)) = self.peeked.take() {
            self.place = self.place.after(&header, sum);
        }
    }

    /// Forgets what was read ahead: the file may have more by now.
    pub(crate) fn forget(&mut self) {
        self.peeked = None;
        self.buffer.clear();
        self.buffer_at = self.place.at;
        self.chunk = FIRST_CHUNK;
    }

    /// Brings at least `len` bytes from the cursor on into the buffer, if the file has them, and gives them. The caller
    /// has checked that they lie before the limit, so nothing larger than the segment is ever allocated.
    fn fill(&mut self, len: usize, path: &Path, file: &dyn StorageFile) -> Result<&[u8], Error> {
        let skip = (self.place.at - self.buffer_at) as usize;
        if self.buffer.len() < skip + len {
            self.buffer.drain(..skip.min(self.buffer.len()));
            self.buffer_at = self.place.at;
            let have = self.buffer.len();
            let left = (self.limit - self.place.at).min(usize::MAX as u64) as usize;
            let want = len.max(self.chunk).min(left);
            self.chunk = (self.chunk * 2).min(CHUNK);
            self.buffer.resize(want.max(have), 0);
            let read = file
                .read_at(&mut self.buffer[have..], self.buffer_at + have as u64)
                .map_err(|error| Error::io("reading", path, error))?;
            self.buffer.truncate(have + read);
        }
        let skip = (self.place.at - self.buffer_at) as usize;
        let end = self.buffer.len().min(skip + len);
        Ok(self.buffer.get(skip..end).unwrap_or(&[]))
    }
}
