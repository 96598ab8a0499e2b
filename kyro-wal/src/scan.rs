//! Looking past a place where the frames stop: is what follows the rest of a torn write, or proof of damage?

use std::path::Path;

use crate::Error;
use crate::format::frame::MAGIC;
use crate::format::{FRAME_HEADER, FrameHeader, checksum};
use crate::segment::Segment;
use crate::storage::StorageFile;

/// Bytes read at once.
const CHUNK: u64 = 1 << 18;
/// Bytes looked over at once for being all zeros; a multiple of 8.
const PIECE: usize = 512;

/// Looks at every byte, so that the compiler can look at many at a time.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, &byte| all | byte) == 0
}

/// What follows a place in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Frames whose header and payload validate.
    pub(crate) frames: u64,
    /// The largest watermark of any header that validates.
    pub(crate) watermark: u64,
    /// The byte after the last one that is not zero; the place itself when all are.
    pub(crate) end: u64,
}

/// Reads everything from `from` to `limit`, trying every multiple of 8 as a frame.
pub(crate) fn remains(segment: &Segment, from: u64, limit: u64) -> Result<Remains, Error> {
    let seed = segment.header.seed();
    let mut remains = Remains { end: from, ..Remains::default() };
    let mut buffer = Vec::new();
    let mut at = from;
    // A counted frame's payload is not searched for frames.
    let mut skip_to = from;
    while at < limit {
        // One header more than the chunk, so that a frame that starts in its last bytes is seen whole.
        let len = (CHUNK + FRAME_HEADER as u64).min(limit - at);
        buffer.resize(len as usize, 0);
        let read = read(&segment.path, &*segment.file, &mut buffer, at)?;
        let mut inside = 0;
        while inside < read && (inside as u64) < CHUNK {
            let piece_end = (inside + PIECE).min(read).min(CHUNK as usize);
            if is_zero(&buffer[inside..piece_end]) {
                inside = piece_end;
                continue;
            }
            while inside < piece_end {
                let rest = &buffer[inside..read];
                let word = &rest[..rest.len().min(8)];
                if let Some(last) = word.iter().rposition(|&byte| byte != 0) {
                    let place = at + inside as u64;
                    remains.end = remains.end.max(place + last as u64 + 1);
                    if place >= skip_to
                        && word.starts_with(&MAGIC)
                        && let Some(bytes) = rest.first_chunk::<FRAME_HEADER>()
                        && let Ok((header, _)) = FrameHeader::decode(seed, bytes)
                        && header.is_sane(place)
                    {
                        remains.watermark = remains.watermark.max(header.watermark);
                        if payload_is_right(segment, place, limit, &header)? {
                            remains.frames += 1;
                            skip_to = place + header.frame_bytes();
                        }
                    }
                }
                inside += 8;
            }
        }
        if (read as u64) < len {
            break;
        }
        at += CHUNK;
    }
    Ok(remains)
}

/// The byte after the last one that is not zero in this range; `from` when all are zero.
pub(crate) fn used_until(path: &Path, file: &dyn StorageFile, from: u64, limit: u64) -> Result<u64, Error> {
    let mut used = from;
    let mut buffer = Vec::new();
    let mut at = from;
    while at < limit {
        buffer.resize(CHUNK.min(limit - at) as usize, 0);
        let read = read(path, file, &mut buffer, at)?;
        for (piece, start) in buffer[..read].chunks(PIECE).zip((at..).step_by(PIECE)) {
            if !is_zero(piece)
                && let Some(last) = piece.iter().rposition(|&byte| byte != 0)
            {
                used = start + last as u64 + 1;
            }
        }
        if read < buffer.len() {
            break;
        }
        at += read as u64;
    }
    Ok(used)
}

fn payload_is_right(segment: &Segment, at: u64, limit: u64, header: &FrameHeader) -> Result<bool, Error> {
    if header.frame_bytes() > limit - at {
        return Ok(false);
    }
    let mut sum = segment.header.seed();
    let mut left = u64::from(header.length);
    let mut from = at + FRAME_HEADER as u64;
    let mut buffer = vec![0; CHUNK.min(left) as usize];
    while left > 0 {
        let part = CHUNK.min(left) as usize;
        if read(&segment.path, &*segment.file, &mut buffer[..part], from)? < part {
            return Ok(false);
        }
        sum = checksum(sum, &buffer[..part]);
        left -= part as u64;
        from += part as u64;
    }
    Ok(sum == header.payload_checksum)
}

fn read(path: &Path, file: &dyn StorageFile, buffer: &mut [u8], at: u64) -> Result<usize, Error> {
    file.read_at(buffer, at).map_err(|error| Error::io("reading", path, error))
}
