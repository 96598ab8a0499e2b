//! The runs of a damaged directory, read entry by entry past their damage.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kyro_snapshot::salvage::{Known, salvage};
use kyro_snapshot::{LastBlock, Mapping, Run, Value};
use kyro_wal::storage::Storage;

use super::error::RepairError;
use super::report::RepairReport;
use crate::manifest::RunEntry;
use crate::range_tombstones::RangeTombstones;
use crate::run_files::map;

/// A run file that belongs to the database, or should.
#[derive(Debug)]
pub(super) struct RunFile {
    pub(super) path: PathBuf,
    /// What could be opened of it.
    pub(super) opened: Option<Opened>,
    /// The offsets of its entries lie in here.
    pub(super) offsets: RangeInclusive<u64>,
    /// Entries it has, if that is known.
    pub(super) entries: Option<u64>,
    /// Stretches of entries whose keys cannot be read.
    pub(super) gaps: Vec<Gap>,
    /// Those that the manifest says apply to it. They are newer than all its entries.
    pub(super) ranges: RangeTombstones,
}

/// A run that could be opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Bytes,
    pub(super) run: Run<Bytes>,
    /// What the footer says of the offsets, when it is right.
    pub(super) offsets: Option<RangeInclusive<u64>>,
    pub(super) is_whole: bool,
    /// The offset of all its entries, where the manifest says that one operation brought them.
    pub(super) common_offset: Option<u64>,
}

/// A stretch of entries whose keys cannot be read.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    pub(super) positions: std::ops::Range<usize>,
    /// The keys lie in here.
    pub(super) keys: RangeInclusive<u64>,
    /// The offsets that can be read, ascending.
    pub(super) offsets: Vec<u64>,
    /// How many cannot.
    pub(super) unknown: usize,
}

impl Gap {
    /// Whether one of the entries may be that of this key and offset.
    pub(super) fn may_hold(&self, key: u64, offset: u64) -> bool {
        self.keys.contains(&key) && (self.unknown > 0 || self.offsets.binary_search(&offset).is_ok())
    }
}

/// What one entry of a run gives.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Value(Bytes),
    Deleted,
    /// The key can be read and its value cannot.
    Lost,
}

impl RunFile {
    /// Opens a run, past its damage if need be. What is wrong goes to the report.
    pub(super) fn open(
        storage: &dyn Storage,
        path: PathBuf,
        entry: Option<&RunEntry>,
        report: &mut RepairReport,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, RepairError> {
        let opened = open(storage, &path, entry, report, progress)?;
        let gaps = opened.as_ref().map(gaps).unwrap_or_default();
        let entries =
            opened.as_ref().map(|opened| opened.run.len() as u64).or(entry.map(|entry| entry.entries));
        Ok(Self {
            path,
            opened,
            offsets: 0..=kyro_snapshot::MAX_OFFSET,
            entries,
            gaps,
            ranges: RangeTombstones::default(),
        })
    }

    /// The smallest and the largest offset that is certain to be one of its entries'.
    pub(super) fn known_offsets(&self) -> Option<(u64, u64)> {
        let opened = self.opened.as_ref()?;
        if let Some(range) = &opened.offsets {
            return Some((*range.start(), *range.end()));
        }
        let offsets = (0..opened.run.len()).filter_map(|index| opened.run.offset(index).ok());
        offsets.fold(None, |range: Option<(u64, u64)>, (offset, _)| {
            Some(range.map_or((offset, offset), |(least, most)| (least.min(offset), most.max(offset))))
        })
    }

    /// Every entry whose key can be read, in key order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, Option<u64>, Content)> + '_ {
        self.opened.iter().flat_map(|opened| {
            let mut last = LastBlock::default();
            (0..opened.run.len()).filter_map(move |index| {
                let key = opened.run.key(index).ok()?;
                let (offset, content) = opened.entry(index, &mut last);
                Some((key, offset, content))
            })
        })
    }
}

impl Opened {
    fn share(&self, value: Value<'_>) -> Bytes {
        match value {
            Value::InFile(value) => self.file.slice_ref(value),
            Value::Unpacked(value) => Bytes::from_owner(value),
        }
    }

    fn entry(&self, index: usize, last: &mut LastBlock) -> (Option<u64>, Content) {
        let (offset, content) = self.stored(index, last);
        (self.common_offset.or(offset), content)
    }

    fn stored(&self, index: usize, last: &mut LastBlock) -> (Option<u64>, Content) {
        let value = self.run.value(index);
        let value = value.and_then(|place| place.map(|place| self.run.read(place, last)).transpose());
        match (self.run.offset(index), value) {
            // A tombstone needs nothing but its offset.
            (Ok((offset, true)), _) => (Some(offset), Content::Deleted),
            (Ok((offset, false)), Ok(Some(value))) => (Some(offset), Content::Value(self.share(value))),
            (Ok((offset, false)), _) => (Some(offset), Content::Lost),
            (Err(_), Ok(Some(value))) => (None, Content::Value(self.share(value))),
            (Err(_), Ok(None)) => (None, Content::Deleted),
            (Err(_), Err(_)) => (None, Content::Lost),
        }
    }
}

fn open(
    storage: &dyn Storage,
    path: &Path,
    entry: Option<&RunEntry>,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Opened>, RepairError> {
    let known = Known {
        uuid: entry.map(|entry| entry.uuid.0),
        entries: entry.map(|entry| entry.entries),
        bytes: entry.map(|entry| entry.bytes),
    };
    let file = match map(storage, path) {
        Ok(file) => padded(file, &known),
        Err(error) => {
            report.note(path, None, format!("it cannot be read: {error}"));
            return Ok(None);
        }
    };
    let salvaged = match salvage(file.clone(), &known) {
        Ok(salvaged) => salvaged,
        Err(kyro_snapshot::OpenError::NewerVersion { found, .. }) => {
            return Err(RepairError::NewerFormat {
                file: path.to_owned(),
                what: format!("run format {found}"),
            });
        }
        Err(error) => {
            report.note(path, Some(0), error.to_string());
            return Ok(None);
        }
    };
    let run = salvaged.run;
    if let Some(entry) = entry
        && (run.uuid() != entry.uuid.0 || run.len() as u64 != entry.entries)
    {
        report.note(path, Some(0), "it is not the run that the manifest names");
        return Ok(None);
    }
    for error in &salvaged.damage {
        report.note(path, None, error.to_string());
    }
    let damaged = run.damaged_blocks(progress);
    for block in &damaged {
        report.note(path, Some(block.position()), block.to_string());
    }
    let mut is_whole = damaged.is_empty() && salvaged.damage.is_empty();
    if is_whole && let Err(error) = run.verify(&mut |_, _| {}) {
        report.note(path, Some(error.position()), error.to_string());
        is_whole = false;
    }
    let common_offset = entry.and_then(|entry| entry.offset);
    let offsets = common_offset.map(|offset| offset..=offset).or(salvaged.offsets);
    Ok(Some(Opened { file, run, offsets, is_whole, common_offset }))
}

/// A file that lost no more than its checksums is read all the same: what is missing becomes zeros.
fn padded(file: Bytes, known: &Known) -> Bytes {
    let missing = known.bytes.unwrap_or(0).saturating_sub(file.len() as u64);
    if missing == 0 || missing > 4096 + file.len() as u64 / 2048 {
        return file;
    }
    let mut bytes = file.to_vec();
    bytes.resize(bytes.len() + missing as usize, 0);
    Bytes::from_owner(Mapping::from_bytes(bytes))
}

fn gaps(opened: &Opened) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if opened.is_whole {
        return gaps;
    }
    let run = &opened.run;
    let mut next_key = Some(0);
    let mut open: Option<Gap> = None;
    for index in 0..run.len() {
        if let Ok(key) = run.key(index) {
            if let Some(mut gap) = open.take() {
                gap.keys = *gap.keys.start()..=key.saturating_sub(1);
                gaps.push(gap);
            }
            next_key = key.checked_add(1);
            continue;
        }
        let keys = next_key.unwrap_or(u64::MAX)..=u64::MAX;
        let gap = open.get_or_insert(Gap { positions: index..index, keys, offsets: Vec::new(), unknown: 0 });
        gap.positions.end = index + 1;
        match run.offset(index) {
            Ok((offset, _)) if opened.common_offset.is_none() => gap.offsets.push(offset),
            _ => gap.unknown += 1,
        }
    }
    gaps.extend(open);
    for gap in &mut gaps {
        gap.offsets.sort_unstable();
    }
    gaps
}
