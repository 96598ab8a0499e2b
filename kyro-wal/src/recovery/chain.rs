//! The segments of a log in order, each vouching for the one before it.

use std::path::Path;
use std::sync::Arc;

use crate::error::Corruption;
use crate::format::footer::NoFooter;
use crate::format::{BLOCK, FIRST_FRAME};
use crate::scan;
use crate::segment::{self, Pin, Segment, damaged};
use crate::storage::Storage;
use crate::{Error, Expected};

/// The segments, oldest first, and what else lies in the directory.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) segments: Vec<Segment>,
    /// Numbers of segments that are no longer part of the log: purged or truncated, and not yet removed.
    pub(crate) leftovers: Vec<u64>,
    /// Whether the last segment's predecessor is not sealed yet: the crash came between.
    pub(crate) unsealed: bool,
}

impl Chain {
    /// Opens every segment once. Only the two newest stay open: there may be more of the others than a process may
    /// have files.
    pub(crate) fn open(storage: &Arc<dyn Storage>, dir: &Path, expected: &Expected) -> Result<Self, Error> {
        let numbers = segment::numbers(&**storage, dir)?;
        let missing = |segment, why| Error::MissingSegment { dir: dir.to_owned(), segment, why };
        let Some(&last) = numbers.last() else {
            return Err(missing(expected.first_segment, "the directory holds no segment"));
        };
        let mut segments = vec![Segment::open(&**storage, dir, last, Some(&expected.uuid))?];
        let mut leftovers = Vec::new();
        let mut left = numbers[..numbers.len() - 1].to_vec();
        while let Some(oldest) = segments.last() {
            let before = oldest.header.predecessor;
            // Numbers above the predecessor's were cut off by a truncation, which the header of this one says.
            while left.last().is_some_and(|&number| number > before.number) {
                leftovers.extend(left.pop());
            }
            if left.pop_if(|number| *number == before.number).is_none() {
                if oldest.number() > expected.first_segment {
                    return Err(missing(before.number, "its successor is there and names it"));
                }
                break;
            }
            let opened = Segment::open(&**storage, dir, before.number, Some(&expected.uuid));
            let opened =
                opened.map(|segment| if segments.len() < 2 { segment } else { segment.on_demand(storage) });
            if before.number < expected.first_segment {
                // Older than what must be there: kept while it is in order, otherwise what a purge is to remove.
                let pin = Pin::from(&before);
                match opened {
                    Ok(segment) if segment.footer.is_ok_and(|footer| Pin::from(&footer) == pin) => {
                        segments.push(segment);
                    }
                    Ok(_) | Err(Error::Corrupt(_)) => {
                        leftovers.push(before.number);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            } else {
                segments.push(opened?);
            }
        }
        leftovers.append(&mut left);
        segments.reverse();
        let mut chain = Self { segments, leftovers, unsealed: false };
        chain.check_coverage(dir, expected)?;
        chain.check_last(dir, expected)?;
        chain.check_links(expected.clean.is_some())?;
        Ok(chain)
    }

    /// Where a segment ends; of the last one that is not known.
    pub(crate) fn pin(&self, index: usize) -> Option<Pin> {
        self.segments.get(index + 1).map(|successor| Pin::from(&successor.header.predecessor))
    }

    /// The byte that no frame of this segment reaches beyond.
    pub(crate) fn limit(&self, index: usize, segment: &Segment) -> u64 {
        self.pin(index).map_or(segment.frames_limit(), |pin| pin.end)
    }

    fn check_coverage(&self, dir: &Path, expected: &Expected) -> Result<(), Error> {
        let Some(oldest) = self.segments.first() else { return Ok(()) };
        let before = oldest.header.predecessor;
        if oldest.number() > expected.first_segment {
            return Err(Error::MissingSegment {
                dir: dir.to_owned(),
                segment: before.number,
                why: "the caller says that it must be there",
            });
        }
        if before.number > 0 && before.next_offset > expected.replay_from {
            return Err(Error::HistoryGone {
                from: expected.replay_from,
                oldest: oldest.header.first_offset,
            });
        }
        Ok(())
    }

    fn check_last(&self, dir: &Path, expected: &Expected) -> Result<(), Error> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        if last.number() < expected.first_segment {
            return Err(Error::MissingSegment {
                dir: dir.to_owned(),
                segment: expected.first_segment,
                why: "the caller says that it must be there",
            });
        }
        if let Some(mark) = expected.clean
            && mark.segment > last.number()
        {
            return Err(Error::MissingSegment {
                dir: dir.to_owned(),
                segment: mark.segment,
                why: "the last run closed cleanly in it",
            });
        }
        let footer_at = last.frames_limit();
        match last.footer {
            Ok(_) => Err(Error::MissingSegment {
                dir: dir.to_owned(),
                segment: last.number() + 1,
                why: "the one before it is sealed, which happens only when it is there",
            }),
            Err(NoFooter::Bad { expected, found }) => Err(Error::Corrupt(Box::new(Corruption {
                expected: Some(expected),
                found: Some(found),
                ..Corruption::new(&last.path, footer_at, "the footer's checksum is wrong")
            }))),
            Err(NoFooter::Unsealed) if last.len != last.header.capacity => Err(damaged(
                &last.path,
                last.len.min(last.header.capacity),
                "the file's length is not the one in its header",
            )),
            Err(NoFooter::Unsealed) => Ok(()),
        }
    }

    /// Each segment but the last must be what its successor says, and sealed; only the one before an empty last one may
    /// still lack its footer, and not when the last run closed cleanly.
    fn check_links(&mut self, clean: bool) -> Result<(), Error> {
        for (before, after) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            let pin = Pin::from(&after.header.predecessor);
            let room = before.len.saturating_sub(BLOCK as u64);
            let sealed = match before.footer {
                Ok(footer) if Pin::from(&footer) == pin => true,
                Ok(_) if !after.header.truncates => {
                    return Err(damaged(&before.path, room, "the footer contradicts the successor's header"));
                }
                _ => false,
            };
            if before.header.epoch > after.header.epoch {
                return Err(damaged(&after.path, 40, "the epoch is smaller than the predecessor's"));
            }
            if before.len < pin.end || pin.end < FIRST_FRAME {
                return Err(damaged(
                    &before.path,
                    before.len,
                    "the file is shorter than its successor's header says",
                ));
            }
            if sealed {
                continue;
            }
            let is_last = self.segments.last().is_some_and(|last| last.number() == after.number());
            let limit = after.frames_limit();
            if !is_last
                || clean
                || scan::used_until(&after.path, &*after.file, FIRST_FRAME, limit)? > FIRST_FRAME
            {
                let (expected, found) = match before.footer {
                    Err(NoFooter::Bad { expected, found }) => (Some(expected), Some(found)),
                    _ => (None, None),
                };
                return Err(Error::Corrupt(Box::new(Corruption {
                    expected,
                    found,
                    ..Corruption::new(
                        &before.path,
                        room,
                        "the footer is not valid, although the segment was sealed",
                    )
                })));
            }
            self.unsealed = true;
        }
        Ok(())
    }
}
