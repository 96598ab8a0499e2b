//! The entries of a scan as a server sends them: a binary frame that comes in pieces of any size.

use super::Seen;
use crate::frame::{FrameError, HEADER_BYTES, Kind, RECORD_BYTES, read_header};
use bytes::{Buf, Bytes, BytesMut};

/// What one look at the pieces so far gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More has to come first.
    Needs,
    /// An entry was given out.
    Entry,
    /// The scan is whole.
    End,
}

/// Pieces of a frame that are not read yet.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pieces: BytesMut,
    begun: bool,
    records: u64,
}

impl Entries {
    pub(super) fn add(&mut self, piece: &[u8]) {
        self.pieces.extend_from_slice(piece);
    }

    /// Reads one entry, if it is there whole, and gives it to `visit`.
    pub(super) fn next<E: From<FrameError>>(
        &mut self,
        visit: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<Step, E> {
        if !self.begun {
            if self.pieces.len() < HEADER_BYTES {
                return Ok(Step::Needs);
            }
            let mut header: Bytes = self.pieces.split_to(HEADER_BYTES).freeze();
            read_header(&mut header, Kind::Entries)?;
            self.begun = true;
        }
        if self.pieces.len() < RECORD_BYTES {
            return Ok(Step::Needs);
        }
        let mut head = self.pieces.get(..RECORD_BYTES).unwrap_or_default();
        let tag = head.get_u8();
        head.advance(3);
        let length = head.get_u32_le() as usize;
        let (key, offset) = (head.get_u64_le(), head.get_u64_le());
        match tag {
            0 => Ok(Step::End),
            1 | 2 if self.pieces.len() < RECORD_BYTES + length => Ok(Step::Needs),
            1 | 2 => {
                let record = self.pieces.split_to(RECORD_BYTES + length);
                self.records += 1;
                visit(Seen { key, offset, value: record.get(RECORD_BYTES..).unwrap_or_default() })?;
                Ok(Step::Entry)
            }
            tag => Err(FrameError::Tag { record: self.records, tag }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{write_end, write_entry, write_header};

    #[test]
    fn entries_come_whole_however_they_are_cut() {
        let mut frame = Vec::new();
        write_header(&mut frame, Kind::Entries, None);
        write_entry(&mut frame, 7, 3, Some(b"seven"));
        write_entry(&mut frame, u64::MAX, 4, None);
        write_end(&mut frame, None);
        for size in 1..frame.len() {
            let (mut entries, mut found, mut ended) = (Entries::default(), Vec::new(), false);
            for piece in frame.chunks(size) {
                entries.add(piece);
                loop {
                    let mut visit = |seen: Seen<'_>| -> Result<(), FrameError> {
                        found.push((seen.key, seen.offset, seen.value.to_vec()));
                        Ok(())
                    };
                    match entries.next(&mut visit).unwrap() {
                        Step::Needs => break,
                        Step::Entry => {}
                        Step::End => {
                            ended = true;
                            break;
                        }
                    }
                }
            }
            assert!(ended, "{size}");
            assert_eq!(found, [(7, 3, b"seven".to_vec()), (u64::MAX, 4, Vec::new())], "{size}");
        }
    }

    #[test]
    fn an_unknown_record_is_refused() {
        let mut frame = Vec::new();
        write_header(&mut frame, Kind::Entries, None);
        frame.extend_from_slice(&[9; RECORD_BYTES]);
        let mut entries = Entries::default();
        entries.add(&frame);
        let refused = entries.next::<FrameError>(&mut |_| Ok(()));
        assert_eq!(refused, Err(FrameError::Tag { record: 0, tag: 9 }));
    }
}
