//! What a repair found, saved and lost.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

/// What [`repair`](crate::repair) did. Everything that is lost is in here: as keys where they can be named, as offsets
/// or as positions in a run where not. Its text is meant for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The directory that was read.
    pub source: PathBuf,
    /// The new directory.
    pub into: PathBuf,
    /// Whether the source could be locked. Where it could not, because nothing can be written there, somebody else
    /// may have changed it meanwhile.
    pub locked: bool,
    /// Live keys in the new directory.
    pub keys: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Operations that the new log holds, events among them.
    pub operations: u64,
    /// Events without a key that the new log holds.
    pub events: u64,
    /// Range deletes that were found, in the log or in the manifest, each of them once. What they cover is gone.
    pub range_deletes: u64,
    /// The offset that the next operation gets: above every offset that was ever given out.
    pub next_offset: u64,
    /// What is wrong, file by file.
    pub damage: Vec<FileDamage>,
    /// Offsets of operations that cannot be read.
    pub lost_offsets: Vec<LostOffsets>,
    /// Keys whose newest value cannot be read.
    pub lost_keys: Vec<LostKey>,
    /// Places of runs whose keys cannot be read.
    pub lost_entries: Vec<LostEntries>,
    /// Offsets whose operations nothing tells any more, and of which any that deleted a range of keys was still needed:
    /// keys that it deleted may be back, with a value of a lower offset. Mostly it was the manifest that had them.
    pub lost_range_deletes: Vec<RangeInclusive<u64>>,
    /// Keys whose value was saved and whose offset was not: they have got new offsets.
    pub renumbered: Vec<Renumbered>,
    /// What was taken for an unfinished write at the end of the log and left out, as opening would have done.
    pub unfinished: Vec<Unfinished>,
    /// Files that are not part of the database and were not read.
    pub ignored: Vec<PathBuf>,
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileDamage {
    /// The file.
    pub file: PathBuf,
    /// The byte at which it shows, where it has a place.
    pub offset: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

/// Offsets of operations that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostOffsets {
    /// The first.
    pub first: u64,
    /// The last; `None` where it is not known how far they went.
    pub last: Option<u64>,
    /// The file that held them, or should have. Where a range delete was among them, keys of it may be back.
    pub file: PathBuf,
    /// Why they are lost.
    pub why: String,
    /// Whether the runs hold the outcome of these operations, so that only history and events are lost.
    pub in_runs: bool,
}

/// A key whose newest value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostKey {
    /// The key.
    pub key: u64,
    /// The offset of the lost value, if it can be read.
    pub offset: Option<u64>,
    /// The run that holds it.
    pub file: PathBuf,
    /// The offset of the older value that the new directory has instead; `None` where it has none.
    pub instead: Option<u64>,
}

/// A place of a run whose keys cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostEntries {
    /// The run.
    pub file: PathBuf,
    /// Positions in it.
    pub positions: Range<u64>,
    /// The keys lie in this range. Any key in it may be missing from the new directory, or have an older value there,
    /// or be there although it was deleted.
    pub keys: RangeInclusive<u64>,
    /// Offsets of the lost entries, where they can be read.
    pub offsets: Vec<u64>,
    /// The range of the offsets that cannot be read; `None` when all can.
    pub other_offsets: Option<RangeInclusive<u64>>,
}

/// A key that has got a new offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renumbered {
    /// The key.
    pub key: u64,
    /// Its new offset.
    pub offset: u64,
}

/// An unfinished write at the end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// The segment.
    pub file: PathBuf,
    /// Where it begins.
    pub at: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The first offset it would have had, if that is known.
    pub first_offset: Option<u64>,
}

impl RepairReport {
    /// Whether it is certain that nothing was lost: the new directory holds all that was acknowledged.
    pub fn is_lossless(&self) -> bool {
        self.lost_offsets.is_empty()
            && self.lost_keys.is_empty()
            && self.lost_entries.is_empty()
            && self.lost_range_deletes.is_empty()
    }

    pub(super) fn note(&mut self, file: impl Into<PathBuf>, offset: Option<u64>, problem: impl Into<String>) {
        self.damage.push(FileDamage { file: file.into(), offset, problem: problem.into() });
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.locked {
            writeln!(f, "{} could not be locked: nothing can be written there", self.source.display())?;
        }
        for FileDamage { file, offset, problem } in &self.damage {
            match offset {
                Some(offset) => writeln!(f, "damaged: {} at byte {offset}: {problem}", file.display())?,
                None => writeln!(f, "damaged: {}: {problem}", file.display())?,
            }
        }
        for file in &self.ignored {
            writeln!(f, "not read: {} is not part of the database", file.display())?;
        }
        self.lost_offsets.iter().try_for_each(|lost| writeln!(f, "{lost}"))?;
        self.lost_entries.iter().try_for_each(|lost| writeln!(f, "{lost}"))?;
        self.lost_keys.iter().try_for_each(|lost| writeln!(f, "{lost}"))?;
        for lost in &self.lost_range_deletes {
            let (first, last) = (lost.start(), lost.end());
            writeln!(
                f,
                "lost: range deletes of offsets {first} to {last}, if there were any: nothing names them any more, and keys that they deleted may be back"
            )?;
        }
        for Renumbered { key, offset } in &self.renumbered {
            writeln!(f, "renumbered: key {key} has its value and the new offset {offset}")?;
        }
        for Unfinished { file, at, bytes, first_offset } in &self.unfinished {
            write!(f, "left out: {bytes} bytes at byte {at} of {}: an unfinished write", file.display())?;
            match first_offset {
                Some(first) => writeln!(f, ", from offset {first} on")?,
                None => writeln!(f)?,
            }
        }
        let verdict = if self.is_lossless() { "nothing was lost" } else { "what is named above was lost" };
        write!(
            f,
            "{}: {} keys ({} bytes of values), {} operations of history ({} events), next offset {}: {verdict}",
            self.into.display(),
            self.keys,
            self.value_bytes,
            self.operations,
            self.events,
            self.next_offset,
        )
    }
}

impl fmt::Display for LostOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost: offsets {} ", self.first)?;
        match self.last {
            Some(last) => write!(f, "to {last}")?,
            None => write!(f, "to an unknown end")?,
        }
        let what = if self.in_runs { " (history only: the runs have the outcome)" } else { "" };
        write!(f, "{what}: {}: {}", self.file.display(), self.why)
    }
}

impl fmt::Display for LostEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.positions;
        let (low, high) = (self.keys.start(), self.keys.end());
        write!(f, "lost: entries {start} to {} of {}", end.saturating_sub(1), self.file.display())?;
        write!(f, ", keys between {low} and {high}, offsets ")?;
        let mut ranges = Vec::new();
        for &offset in &self.offsets {
            match ranges.last_mut() {
                Some((_, last)) if offset == *last + 1 => *last = offset,
                _ => ranges.push((offset, offset)),
            }
        }
        let ranges = ranges.iter().map(|(first, last)| format!("{first} to {last}"));
        let others =
            self.other_offsets.iter().map(|range| format!("some of {} to {}", range.start(), range.end()));
        f.write_str(&ranges.chain(others).collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for LostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost: key {}", self.key)?;
        if let Some(offset) = self.offset {
            write!(f, " of offset {offset}")?;
        }
        write!(f, " in {}", self.file.display())?;
        match self.instead {
            Some(offset) => write!(f, "; it has the older value of offset {offset} instead"),
            None => Ok(()),
        }
    }
}
