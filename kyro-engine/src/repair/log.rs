//! What of a damaged log can be believed: which frames belong to it, and which offsets are lost.
//!
//! A frame whose checksums are right is one that was written by this database in this segment: they start from the
//! database, the segment and the writer's epoch. It still is not part of the log when it lies behind the segment's end,
//! when it is left of a group that failed (it counts fewer attempts than a frame before it), or when it does not follow
//! the intact frame right before it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::report::{LostOffsets, RepairReport, Unfinished};
use super::segment::{End, Piece, Segment};
use crate::manifest::Manifest;
use crate::open::segment_path;

/// Given to the new log's start where the end of the old one is not known: more than any log gives out meanwhile.
const UNKNOWN_OFFSETS: u64 = 1 << 32;

/// What is known about the log from elsewhere.
#[derive(Debug)]
pub(super) struct Expectation<'a> {
    pub(super) wal_dir: PathBuf,
    pub(super) manifest: Option<&'a Manifest>,
    /// The offset after the largest in any run.
    pub(super) after_runs: u64,
}

/// What of a log can be believed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For each segment the places of its frames that count.
    pub(super) frames: Vec<BTreeSet<u64>>,
    /// Offsets that the frames cover, from and below; ascending.
    pub(super) covered: Vec<(u64, u64)>,
    /// Above every offset that was ever given out.
    pub(super) next_offset: u64,
}

impl Plan {
    /// The parts of `first..next` that no frame covers.
    pub(super) fn uncovered(&self, first: u64, next: u64) -> Vec<(u64, u64)> {
        let mut parts = Vec::new();
        let mut at = first;
        for &(from, below) in &self.covered {
            if from >= next {
                break;
            }
            if from > at {
                parts.push((at, from));
            }
            at = at.max(below);
        }
        if at < next {
            parts.push((at, next));
        }
        parts
    }

    /// Whether a frame covers this offset.
    pub(super) fn covers(&self, offset: u64) -> bool {
        let index = self.covered.partition_point(|&(_, below)| below <= offset);
        self.covered.get(index).is_some_and(|&(from, _)| from <= offset)
    }
}

/// Decides what of the segments, which are in order, can be believed. What is wrong and lost goes to the report.
pub(super) fn plan(segments: &[Segment], expectation: &Expectation<'_>, report: &mut RepairReport) -> Plan {
    let mut walk = Walk {
        expectation,
        report,
        plan: Plan::default(),
        expected: expectation.first_expected(),
        limit: 0,
        is_uncertain: segments.is_empty(),
    };
    for (index, segment) in segments.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| segments.get(before));
        walk.enter(segment, before);
        walk.segment(segment, segments.get(index + 1));
    }
    walk.finish(segments.last());
    walk.before_the_log(segments.first());
    walk.plan
}

impl Expectation<'_> {
    fn replay_from(&self) -> u64 {
        self.manifest.map_or(0, |manifest| manifest.wal.replay_from)
    }

    /// The first offset that the log has to have.
    fn first_expected(&self) -> u64 {
        match self.manifest.map(|manifest| &manifest.wal) {
            Some(wal) => wal.keep_from(),
            None => self.after_runs,
        }
    }

    fn clean(&self) -> Option<(u64, End)> {
        let clean = self.manifest?.clean?;
        Some((clean.segment, End { at: clean.end, next_offset: clean.next_offset }))
    }
}

struct Walk<'a> {
    expectation: &'a Expectation<'a>,
    report: &'a mut RepairReport,
    plan: Plan,
    /// The offset of the next operation, if none is lost.
    expected: u64,
    /// The largest limit of offsets that a header reserved.
    limit: u64,
    /// Whether operations may have been given offsets that nothing here tells.
    is_uncertain: bool,
}

impl Walk<'_> {
    /// What is missing before a segment.
    fn enter(&mut self, segment: &Segment, before: Option<&Segment>) {
        let Some(facts) = &segment.facts else {
            // Its first frame tells what is missing.
            return;
        };
        self.limit = self.limit.max(facts.offset_limit);
        let named = segment.predecessor();
        let is_next = match (before, named) {
            (Some(before), Some((number, _))) => before.number == number,
            (None, named) => {
                let oldest = self.expectation.manifest.and_then(|manifest| manifest.wal.first_segment);
                named.is_none() || oldest.is_some_and(|oldest| segment.number <= oldest)
            }
            _ => false,
        };
        if !is_next && let Some((number, end)) = named {
            let file = segment_path(&self.expectation.wal_dir, number);
            let why = if self.expectation.manifest.is_none() && before.is_none() {
                "no run and no log segment that is there holds them: a run or a segment may be missing"
            } else {
                self.report.note(file.clone(), None, "it is missing");
                "the segment is missing"
            };
            self.lose(self.expected, Some(end.next_offset), &file, why);
        }
        self.expected = facts.first_offset;
    }

    fn segment(&mut self, segment: &Segment, after: Option<&Segment>) {
        let is_last = after.is_none();
        let pinned = after.and_then(Segment::predecessor).filter(|(number, _)| *number == segment.number);
        let closed = self.expectation.clean().filter(|(number, _)| *number == segment.number);
        let end = pinned.or(closed).map(|(_, end)| end).or(segment.footer());
        let mut frames = BTreeSet::new();
        let mut attempt = 0;
        // Whether bytes that are no frame came since the last frame that was looked at. A segment without its header
        // begins with some.
        let mut gap: Option<(u64, &'static str)> =
            segment.facts.is_none().then_some((0, "the header is damaged"));
        let mut skipping = false;
        for (index, piece) in segment.pieces.iter().enumerate() {
            let frame = match *piece {
                Piece::Gap { from, to, damage } => {
                    let rest = &segment.pieces[index + 1..];
                    if end.is_some_and(|end| from >= end.at) || is_blank(damage, rest) && end.is_none() {
                        break;
                    }
                    if is_last && end.is_none() && !is_vouched_for(from, rest) {
                        self.leave_out(segment, from, to, rest);
                        break;
                    }
                    let what = damage.unwrap_or("there are zeros where frames were");
                    self.report.note(&*segment.path, Some(from), what);
                    gap = Some((from, what));
                    continue;
                }
                Piece::Frame(frame) => frame,
            };
            if end.is_some_and(|end| frame.at >= end.at) {
                break;
            }
            skipping = (skipping && frame.follows) || (!frame.follows && gap.is_none());
            let next = frame.first_offset.saturating_add(frame.count.into());
            if skipping || frame.attempt < attempt || frame.first_offset < self.covered_below() {
                continue;
            }
            if let Some((from, what)) = gap.take() {
                let why = format!("at byte {from}: {what}");
                self.lose(self.expected, Some(frame.first_offset), &segment.path, &why);
            }
            attempt = frame.attempt;
            self.expected = self.expected.max(next);
            if frame.count > 0 {
                frames.insert(frame.at);
                self.cover(frame.first_offset, next);
            }
        }
        self.plan.frames.push(frames);
        self.leave(segment, end, is_last, gap);
    }

    /// What is missing at the end of a segment.
    fn leave(
        &mut self,
        segment: &Segment,
        end: Option<End>,
        is_last: bool,
        gap: Option<(u64, &'static str)>,
    ) {
        if let Some(end) = end {
            let why = gap.map_or("its last frames are missing".to_owned(), |(from, what)| {
                format!("at byte {from}: {what}")
            });
            self.lose(self.expected, Some(end.next_offset), &segment.path, &why);
            self.expected = self.expected.max(end.next_offset);
        } else if segment.is_cut() {
            let bytes = segment.facts.as_ref().map_or(0, |facts| facts.bytes);
            self.report.note(&*segment.path, Some(bytes), "the file was cut short");
            if is_last {
                self.lose(self.expected, None, &segment.path, "the file was cut short");
            }
        } else if is_last && segment.facts.is_none() {
            self.is_uncertain = true;
            if segment.pieces.iter().all(|piece| matches!(piece, Piece::Gap { .. })) {
                self.lose(self.expected, None, &segment.path, "no frame of it can be read");
            }
        }
    }

    /// What is missing after the last segment.
    fn finish(&mut self, last: Option<&Segment>) {
        let clean = self.expectation.clean();
        let begun = self.expectation.manifest.is_none_or(|manifest| manifest.wal.first_segment.is_some());
        let missing = match (last, clean) {
            (None, _) => begun.then_some(1),
            (Some(last), Some((number, _))) => (number > last.number).then_some(number),
            (Some(last), None) => last.footer().is_some().then_some(last.number + 1),
        };
        if let Some(number) = missing {
            let number = clean.map_or(number, |(number, _)| number);
            let file = segment_path(&self.expectation.wal_dir, number);
            self.report.note(file.clone(), None, "it is missing");
            let next = clean.map(|(_, end)| end.next_offset);
            self.is_uncertain |= next.is_none();
            self.lose(self.expected, next, &file, "the segment is missing");
        }
        let known = self.expected.max(self.expectation.after_runs).max(self.expectation.replay_from());
        self.plan.next_offset = match clean {
            Some((_, end)) => known.max(end.next_offset),
            None => known.max(self.limit).saturating_add(if self.is_uncertain { UNKNOWN_OFFSETS } else { 0 }),
        };
    }

    /// Without a manifest nothing says whether the log began earlier.
    fn before_the_log(&mut self, first: Option<&Segment>) {
        if self.expectation.manifest.is_some() {
            return;
        }
        let after_runs = self.expectation.after_runs;
        let covered = self.plan.covered.first().map(|&(from, _)| from);
        let begin = match first.map(|segment| segment.facts.as_ref()) {
            Some(Some(facts)) if facts.predecessor.is_none() => 0,
            Some(Some(facts)) => facts.first_offset,
            Some(None) | None => covered.unwrap_or(after_runs),
        };
        let begin = begin.min(after_runs);
        if begin > 0 {
            self.report.lost_offsets.push(LostOffsets {
                first: 0,
                last: Some(begin - 1),
                file: self.expectation.wal_dir.clone(),
                why: "no log segment that is there holds them: they were let go after a flush, or segments are missing"
                    .to_owned(),
                in_runs: true,
            });
        }
    }

    /// An unfinished write at the end of the log.
    fn leave_out(&mut self, segment: &Segment, from: u64, to: u64, rest: &[Piece]) {
        let end = rest.iter().rev().find_map(|piece| match *piece {
            Piece::Frame(frame) => Some(frame.at + 48 + u64::from(frame.length).next_multiple_of(8)),
            Piece::Gap { to, damage: Some(_), .. } => Some(to),
            Piece::Gap { damage: None, .. } => None,
        });
        self.report.unfinished.push(Unfinished {
            file: segment.path.clone(),
            at: from,
            bytes: end.unwrap_or(to).saturating_sub(from),
            first_offset: Some(self.expected),
        });
        // Offsets behind it may have been given out: the header's limit stands for them.
        self.is_uncertain |= segment.facts.is_none();
    }

    /// The offset after the last one that a frame covers.
    fn covered_below(&self) -> u64 {
        self.plan.covered.last().map_or(0, |&(_, below)| below)
    }

    fn cover(&mut self, first: u64, next: u64) {
        match self.plan.covered.last_mut() {
            Some((_, below)) if *below == first => *below = next,
            _ => self.plan.covered.push((first, next)),
        }
    }

    /// Records that `first..next` is lost, apart by whether the runs have the outcome.
    fn lose(&mut self, first: u64, next: Option<u64>, file: &Path, why: &str) {
        let replay_from = self.expectation.replay_from();
        let mut add = |first: u64, next: Option<u64>, in_runs| {
            if next.is_none_or(|next| first < next) {
                let last = next.map(|next| next - 1);
                let (file, why) = (file.to_owned(), why.to_owned());
                self.report.lost_offsets.push(LostOffsets { first, last, file, why, in_runs });
            }
        };
        if first < replay_from {
            add(first, Some(next.unwrap_or(replay_from).min(replay_from)), true);
        }
        add(first.max(replay_from), next, false);
    }
}

/// Whether what follows is nothing: zeros to the end.
fn is_blank(damage: Option<&str>, rest: &[Piece]) -> bool {
    damage.is_none() && rest.iter().all(|piece| matches!(piece, Piece::Gap { damage: None, .. }))
}

/// Whether a later frame knew that the bytes here had been synced: then they are damaged, and not torn.
fn is_vouched_for(from: u64, rest: &[Piece]) -> bool {
    rest.iter().any(|piece| matches!(piece, Piece::Frame(frame) if frame.watermark > from))
}
