//! The fuzz bodies: what no bytes may make the decoders do. Shared by the fuzzer (`fuzz/`) and by a bounded test.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a fuzz body stops at the first thing it did not expect"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::{BLOCK, Footer, FrameHeader, SegmentHeader, checksum, frame};
use crate::storage::{SimDisk, Storage};
use crate::{CleanMark, Error, Expected, Identity, Options, Recovery, Wal, inspect};

const DIR: &str = "/wal";
const UUID: [u8; 16] = *b"a fuzzed log....";
/// No lie makes a file longer than this.
const FILE_MAX: usize = 64 << 10;

/// A frame as recovery gave it: its first offset and its payload.
type Kept = (u64, Vec<u8>);

/// Any 48 bytes as a frame's header, as they are and with a checksum that fits: no arithmetic overflows, and what was
/// decoded encodes to the same bytes.
pub fn frame(data: &[u8]) {
    let Some((seed, data)) = data.split_first_chunk::<4>() else { return };
    let Some((place, data)) = data.split_first_chunk::<8>() else { return };
    let Some(bytes) = data.first_chunk::<{ frame::BYTES }>() else { return };
    let (seed, place) = (u32::from_le_bytes(*seed), u64::from_le_bytes(*place));
    let mut mended = *bytes;
    mended[..4].copy_from_slice(&frame::MAGIC);
    let sum = checksum(seed, &mended[..frame::BYTES - 4]);
    mended[frame::BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    if let Ok((_, found)) = FrameHeader::decode(seed, bytes) {
        assert_eq!((*bytes, found), (mended, sum), "a wrong checksum or magic was let through");
    }
    let (header, found) = FrameHeader::decode(seed, &mended).expect("the checksum fits");
    assert_eq!(found, sum);
    assert!(header.frame_bytes() >= frame::BYTES as u64 + u64::from(header.length));
    assert!(header.next_offset() >= header.first_offset);
    if header.is_sane(place) {
        assert!(
            header.watermark <= place
                && header.next_offset() - header.first_offset == u64::from(header.count)
        );
    }
    let mut again = [0; frame::BYTES];
    assert_eq!(header.encode(seed, &mut again), sum);
    assert_eq!(again, mended);
}

/// A log of two segments with lies in it, most of them with checksums that fit: recovery refuses it without writing, or
/// gives frames, goes on, and gives the same frames the next time.
pub fn segment(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let disk = SimDisk::new();
    disk.create_dir(Path::new(DIR)).unwrap();
    let clean = log(&disk, mode & 7);
    let mark = if mode & 8 == 0 { clean } else { None };
    for (number, lies) in [(1_u64, 0x10), (2, 0x20)] {
        if mode & lies != 0 {
            let path = path(number);
            let mut file = disk.read(&path).unwrap();
            lie(&mut file, data, mode & 0x40 != 0);
            disk.overwrite(&path, &file).unwrap();
        }
    }
    let expected =
        Expected { uuid: UUID, first_segment: 1, replay_from: u64::from(mode & 0x80 != 0) * 3, clean: mark };
    look(&disk, data);
    let before = disk.contents();
    match recover(&disk, expected, 1) {
        Err(Error::Io { .. } | Error::Poisoned { .. }) => panic!("a sound disk fails nothing"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(disk.contents() == before, "a refused opening wrote");
        }
        Ok((mut frames, mut wal)) => {
            let next = wal.next_offset();
            if wal.append(1, b"goes on").is_ok() {
                wal.write_group().expect("room on the disk");
                wal.sync().expect("a sound disk");
                frames.push((next, b"goes on".to_vec()));
            }
            drop(wal);
            let (again, _) =
                recover(&disk, Expected { clean: None, ..expected }, u64::MAX).expect("what it wrote itself");
            assert_eq!(again, frames, "the second recovery differs");
        }
    }
}

/// A sound log: segment 1 sealed, segment 2 live, ending as `kind` says.
fn log(disk: &SimDisk, kind: u8) -> Option<CleanMark> {
    let identity = Identity { uuid: UUID, epoch: 1 };
    let mut wal = Wal::create(Arc::new(disk.clone()), Path::new(DIR), identity, options()).unwrap();
    for group in 0..4_u8 {
        for frame in 0..=group % 2 {
            wal.append(1 + u32::from(frame), &vec![group; 7 * usize::from(group)]).unwrap();
        }
        wal.write_group().unwrap();
        wal.sync().unwrap();
        if group == 1 {
            wal.rotate().unwrap();
        }
    }
    match kind {
        0..=2 => wal.close().ok(),
        3 | 4 => {
            wal.confirm().unwrap();
            None
        }
        _ => None,
    }
}

/// Changes bytes as `data` says, in steps of four: where (from the start or the end of what is used), what, how long.
/// With `mended`, every checksum is made to fit afterwards, so that what remains is arithmetic.
fn lie(file: &mut Vec<u8>, data: &[u8], mended: bool) {
    let used = file.iter().rposition(|&byte| byte != 0).map_or(BLOCK, |last| last + 1);
    for step in data.chunks_exact(4).take(64) {
        let near = usize::from(step[0]) | usize::from(step[1] & 0x07) << 8;
        let at = match step[1] >> 6 {
            0 => near % 160,
            1 => BLOCK + near % 512,
            2 => used.saturating_sub(near % used),
            _ => file.len().saturating_sub(BLOCK) + near % 64,
        };
        let len = 1 << (step[3] & 3);
        match step[3] >> 4 {
            0 => file.truncate(at.max(1)),
            1 => file.resize((file.len() + near * 8).min(FILE_MAX), step[2]),
            2 => file.iter_mut().skip(at).take(len).for_each(|byte| *byte = step[2]),
            _ => file.iter_mut().skip(at).take(len).for_each(|byte| *byte ^= step[2]),
        }
    }
    if mended {
        make_checksums_fit(file);
    }
}

/// Header, chain of frames and footer as their own fields have it.
fn make_checksums_fit(file: &mut [u8]) {
    let Some(block) = file.first_chunk_mut::<BLOCK>() else { return };
    let uuid: [u8; 16] = block[16..32].try_into().unwrap();
    let number = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().unwrap());
    let seed = crate::format::seed(&uuid, number(32), number(40));
    let mut chain = checksum(seed, &block[..BLOCK - 4]);
    block[BLOCK - 4..].copy_from_slice(&chain.to_le_bytes());
    let mut at = BLOCK;
    while let Some(header) = file.get(at..at + frame::BYTES)
        && header.starts_with(&frame::MAGIC)
    {
        let length = u32::from_le_bytes(header[4..8].try_into().unwrap()) as usize;
        let payload = at + frame::BYTES;
        if let Some(bytes) = file.get(payload..payload.saturating_add(length)) {
            let sum = checksum(seed, bytes);
            file[at + 36..at + 40].copy_from_slice(&sum.to_le_bytes());
        }
        file[at + 32..at + 36].copy_from_slice(&chain.to_le_bytes());
        chain = checksum(seed, &file[at..payload - 4]);
        file[payload - 4..payload].copy_from_slice(&chain.to_le_bytes());
        at = payload.saturating_add(frame::padded(length));
    }
    let footer = file.len().saturating_sub(BLOCK);
    if footer > BLOCK && file[footer..].starts_with(b"KYROSEAL") {
        let sum = checksum(seed, &file[footer..footer + 44]);
        file[footer + 44..footer + 48].copy_from_slice(&sum.to_le_bytes());
    }
}

/// The tools that show and salvage: they refuse nothing and never panic.
fn look(disk: &SimDisk, data: &[u8]) {
    for number in [1, 2] {
        let path = path(number);
        let mut frames = 0;
        drop(inspect::walk(disk, &path, &mut |_| frames += 1));
        let identity = Identity { uuid: UUID, epoch: 1 };
        drop(inspect::walk_without_header(disk, &path, identity, &mut |_| frames += 1));
        let bytes = disk.read(&path).unwrap();
        assert!(frames <= 2 * bytes.len(), "more pieces than bytes");
        drop(SegmentHeader::decode(&bytes[..bytes.len().min(BLOCK)]));
    }
    drop(SegmentHeader::decode(data));
    let footer = Footer::decode(0, data, data.len() as u64);
    assert!(footer.is_err() || data.len() >= BLOCK);
}

fn recover(disk: &SimDisk, expected: Expected, epoch: u64) -> Result<(Vec<Kept>, Wal), Error> {
    let mut recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), expected, options())?;
    let mut frames = Vec::new();
    while let Some(frame) = recovery.next_frame()? {
        frames.push((frame.first_offset, frame.payload.to_vec()));
    }
    assert!(frames.is_sorted_by(|(one, _), (other, _)| one < other), "offsets go back");
    let (done, all) = recovery.progress();
    assert!(done <= all);
    let epoch = epoch.max(recovery.epoch());
    let (wal, _) = recovery.finish(epoch)?;
    Ok((frames, wal))
}

fn options() -> Options {
    Options { segment_bytes: 16 << 10, max_payload_bytes: 1 << 20, ..Options::default() }
}

fn path(number: u64) -> PathBuf {
    Path::new(DIR).join(crate::segment::name(number))
}

#[cfg(test)]
mod tests {
    /// Random inputs, which a seed determines.
    fn inputs(seed: u64, count: usize, longest: u64) -> impl Iterator<Item = Vec<u8>> {
        let mut state = seed;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..count).map(move |_| (0..random() % longest).map(|_| (random() >> 32) as u8).collect())
    }

    #[test]
    fn random_frame_headers() {
        inputs(11, 20_000, 80).for_each(|data| super::frame(&data));
    }

    #[test]
    fn random_lies_in_segments() {
        inputs(12, 6_000, 40).for_each(|data| super::segment(&data));
    }
}
