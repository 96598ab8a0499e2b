//! One segment of a damaged log, as pieces: the frames that validate, and what lies between them.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use kyro_wal::Identity;
use kyro_wal::inspect::{self, FooterFacts, FrameFacts, Item, SegmentFacts};
use kyro_wal::storage::Storage;

use super::error::RepairError;
use super::report::RepairReport;

/// A segment as it was found.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    /// What its header says, when it is right.
    pub(super) facts: Option<SegmentFacts>,
    /// Under which identity its frames validate, when the header is not right.
    identity: Option<Identity>,
    pub(super) pieces: Vec<Piece>,
}

/// A piece between header and footer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece {
    Frame(FrameFacts),
    /// Bytes that are no frame.
    Gap {
        from: u64,
        to: u64,
        /// What is wrong with them; `None` when they are zeros.
        damage: Option<&'static str>,
    },
}

/// Where a segment's frames end.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) at: u64,
    pub(super) next_offset: u64,
}

impl Segment {
    /// Reads a segment. `None` when it belongs to another database. Where its header is damaged, the epochs are tried
    /// until a frame validates.
    pub(super) fn read(
        storage: &dyn Storage,
        path: &Path,
        uuid: [u8; 16],
        epochs: RangeInclusive<u64>,
        report: &mut RepairReport,
    ) -> Result<Option<Self>, RepairError> {
        let number = number(path);
        let mut pieces = Vec::new();
        let walked = inspect::walk(storage, path, &mut |item| pieces.extend(Piece::of(&item)));
        let newer = |what| RepairError::NewerFormat { file: path.to_owned(), what };
        let mut identity = None;
        let facts = match walked {
            Ok(facts) if facts.uuid != uuid => {
                report.ignored.push(path.to_owned());
                return Ok(None);
            }
            Ok(facts) => Some(facts),
            Err(kyro_wal::Error::NewerFormat { found, .. }) => {
                return Err(newer(format!("log format {found}")));
            }
            Err(kyro_wal::Error::UnknownChecksum { found, .. }) => {
                return Err(newer(format!("checksum algorithm {found}")));
            }
            Err(kyro_wal::Error::Corrupt(damage)) => {
                report.note(path, Some(damage.at), damage.reason());
                for epoch in epochs {
                    let tried = Identity { uuid, epoch };
                    pieces.clear();
                    let walked = inspect::walk_without_header(storage, path, tried, &mut |item| {
                        pieces.extend(Piece::of(&item));
                    });
                    if let Err(error) = walked {
                        report.note(path, None, crate::describe(&error));
                    }
                    if pieces.iter().any(|piece| matches!(piece, Piece::Frame(_))) {
                        identity = Some(tried);
                        break;
                    }
                }
                None
            }
            // A read failed on the way: what was read before it counts.
            Err(error) => {
                report.note(path, None, crate::describe(&error));
                inspect::segment_facts(storage, path).ok().filter(|facts| facts.uuid == uuid)
            }
        };
        if let Some(FooterFacts::Damaged { expected, found }) = facts.as_ref().map(|facts| facts.footer) {
            let problem =
                format!("the footer's checksum is wrong ({expected:08x} expected, {found:08x} found)");
            report.note(path, facts.as_ref().map(|facts| facts.bytes.saturating_sub(4096)), problem);
        }
        Ok(Some(Self { path: path.to_owned(), number, facts, identity, pieces }))
    }

    /// Gives its frames once more, with their payloads.
    pub(super) fn frames(
        &self,
        storage: &dyn Storage,
        visit: &mut dyn FnMut(&FrameFacts, &[u8]),
    ) -> Result<(), kyro_wal::Error> {
        let mut frame = |item: Item<'_>| {
            if let Item::Frame { facts, payload } = item {
                visit(&facts, payload);
            }
        };
        match (&self.facts, self.identity) {
            (Some(_), _) => inspect::walk(storage, &self.path, &mut frame).map(|_| ()),
            (None, Some(identity)) => inspect::walk_without_header(storage, &self.path, identity, &mut frame),
            (None, None) => Ok(()),
        }
    }

    /// Where its frames end, on the word of its own footer.
    pub(super) fn footer(&self) -> Option<End> {
        match self.facts.as_ref()?.footer {
            FooterFacts::Sealed { next_offset, end, .. } => Some(End { at: end, next_offset }),
            _ => None,
        }
    }

    /// Where the frames of the segment before it end, on the word of its header.
    pub(super) fn predecessor(&self) -> Option<(u64, End)> {
        let before = self.facts.as_ref()?.predecessor?;
        Some((before.number, End { at: before.end, next_offset: before.next_offset }))
    }

    /// Whether it is shorter than its header says without having been sealed.
    pub(super) fn is_cut(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| {
            facts.bytes < facts.capacity && !matches!(facts.footer, FooterFacts::Sealed { .. })
        })
    }
}

impl Piece {
    fn of(item: &Item<'_>) -> Option<Self> {
        match *item {
            Item::Frame { facts, .. } => Some(Self::Frame(facts)),
            Item::Damage { from, to, what } => Some(Self::Gap { from, to, damage: Some(what) }),
            Item::Zeros { from, to } => Some(Self::Gap { from, to, damage: None }),
            _ => None,
        }
    }
}

/// The number of a segment, from its file name; the caller has listed it as a segment.
pub(super) fn number(path: &Path) -> u64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    u64::from_str_radix(stem, 16).unwrap_or(0)
}
