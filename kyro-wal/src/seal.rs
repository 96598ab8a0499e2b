//! Sealing a segment: the footer, behind its frames.
//!
//! # Order of a rotation
//!
//! 1. every frame of segment N is synced;
//! 2. the file of N+1 (zeros, synced) gets its header, which names N's number, end, next offset and last checksum; it is
//!    synced, renamed to its number, and the directory is synced;
//! 3. N gets its footer, synced;
//! 4. the first frame of N+1 is written.
//!
//! So "N is sealed before N+1 goes live" holds where going live means taking frames, and a footer on N proves that N+1
//! is durable: a sealed last segment means that one is missing. The other order (seal, then create) could not tell a
//! missing last segment from a crash in between. Each state a crash leaves recovers:
//! - before the rename is durable: N is the last segment, as before; a file without a number is ignored;
//! - N+1 is there and N has no valid footer: N+1's header pins N's end, which was synced before; the footer is written
//!   again. Legal only while N+1 has no frame, otherwise the footer was durable and has been damaged;
//! - N is sealed and N+1 is empty: N+1 is the last segment, with no frames.
//!
//! When it is only the process that died, after a sync failed, names and footers can be read that the platter lacks.
//! While N+1 is empty recovery therefore writes N's footer again, and, when N had none, N+1 too, under its own name.
//!
//! A file is cut short behind its frames when an eighth of it or more would stay empty. The header of N+1 pins N's end
//! until the footer is durable, so the new length and the footer may reach the disk in any order.

use std::io;

use crate::cursor::Place;
use crate::format::{BLOCK, Footer};
use crate::segment::Segment;

/// Writes and syncs the footer of a segment whose successor is durable, and gives the file's new length. `exact` cuts
/// the file however little that saves, so that nothing of what followed the end is left.
///
/// Any error leaves the segment unsealed or sealed; doing it again is harmless. An error of the sync is the caller's to
/// treat as final.
pub(crate) fn seal(segment: &Segment, place: &Place, exact: bool) -> Result<u64, (SealStep, io::Error)> {
    let block = BLOCK as u64;
    let frames_end = place.at.next_multiple_of(block);
    let shortest = frames_end + block;
    let saved = segment.len.saturating_sub(shortest);
    let cut = saved > 0 && (exact || saved > segment.len / 8);
    let footer = footer(segment, place);
    let write = |error| (SealStep::Write, error);
    if cut {
        segment.file.set_len(shortest).map_err(write)?;
        let mut tail = vec![0; (frames_end - place.at) as usize];
        tail.extend_from_slice(&footer);
        segment.file.write_at(&tail, place.at).map_err(write)?;
    } else {
        segment.file.write_at(&footer, segment.len - block).map_err(write)?;
    }
    segment.file.sync_all().map_err(|error| (SealStep::Sync, error))?;
    Ok(if cut { shortest } else { segment.len })
}

/// As [`seal`], for recovery: the file keeps the length in its header, with nothing between frames and footer. It does
/// not matter then whether an earlier sealing's shorter length reached the platter or not.
pub(crate) fn seal_in_full(segment: &Segment, place: &Place) -> io::Result<()> {
    let len = segment.header.capacity;
    segment.file.set_len(place.at)?;
    segment.file.set_len(len)?;
    segment.file.write_at(&footer(segment, place), len - BLOCK as u64)?;
    segment.file.sync_all()
}

fn footer(segment: &Segment, place: &Place) -> Vec<u8> {
    let footer = Footer {
        number: segment.number(),
        frames: place.frames,
        next_offset: place.next_offset,
        end: place.at,
        checksum: place.chain,
    };
    footer.encode(segment.header.seed())
}

/// Where sealing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealStep {
    Write,
    Sync,
}
