//! Conditional writes: what must hold of a key for its batch to be written.
//!
//! The committer checks, in the order of the queue, against everything committed and the earlier batches of the same
//! group. Conditions are not part of what is logged: a batch that is in the log has met its own.

use std::collections::HashMap;

use crate::batch::{Operation, Operations, PayloadError};
use crate::error::ReadError;
use crate::range_tombstones::{RangeTombstone, RangeTombstones};

/// What must hold of a key for a batch to be written; see [`Batch::put_if`](crate::Batch::put_if).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The key has no value.
    Absent,
    /// The key has a value.
    Present,
    /// The key has a value, and the put with this offset gave it.
    Offset(u64),
}

impl Condition {
    /// Whether it holds of a key whose value, if it has one, was given by the put at this offset.
    pub fn holds(self, offset: Option<u64>) -> bool {
        match self {
            Self::Absent => offset.is_none(),
            Self::Present => offset.is_some(),
            Self::Offset(_) if cfg!(mutant = "stale_offset_is_present") => offset.is_some(),
            Self::Offset(expected) => offset == Some(expected),
        }
    }
}

/// A condition that did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedPrecondition {
    /// Which operation of the batch it belongs to, counted from 0.
    pub index: usize,
    /// The key.
    pub key: u64,
    /// What had to hold.
    pub expected: Condition,
    /// The offset of the put that gave the key the value it has; `None` when it has none.
    pub found: Option<u64>,
}

/// A condition of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Precondition {
    pub(crate) index: usize,
    pub(crate) key: u64,
    pub(crate) expected: Condition,
}

/// What the batches of the group at hand make of their keys.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    offsets: HashMap<u64, Option<u64>>,
    /// Ranges deleted; a key in `offsets` has been looked at already.
    ranges: RangeTombstones,
    /// Batches of the group that are in it.
    batches: usize,
}

/// What checking a batch found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) failed: Vec<FailedPrecondition>,
    /// Whether one of them depends on a batch of the same group, which is not durable yet.
    pub(crate) on_group: bool,
}

impl GroupState {
    /// Takes in the batches behind those that it has, as first offset and payload.
    pub(crate) fn extend<'a>(
        &mut self,
        batches: impl Iterator<Item = (u64, &'a bytes::Bytes)>,
    ) -> Result<(), PayloadError> {
        for (first_offset, payload) in batches.skip(self.batches) {
            for (offset, operation) in (first_offset..).zip(Operations::new(payload.clone())?) {
                match operation? {
                    Operation::Put { key, .. } => drop(self.offsets.insert(key, Some(offset))),
                    Operation::Delete { key } => drop(self.offsets.insert(key, None)),
                    Operation::DeleteRange { from, to } => {
                        let covered = self.offsets.iter_mut().filter(|(key, _)| from <= **key && **key <= to);
                        covered.for_each(|(_, offset)| *offset = None);
                        self.ranges.push(RangeTombstone { from, to, offset });
                    }
                    Operation::Append { .. } | Operation::Switch(_) => {}
                }
            }
            self.batches += 1;
        }
        Ok(())
    }

    /// Checks conditions against this state and, for keys that the group does not touch, against `committed`.
    pub(crate) fn check(
        &self,
        conditions: &[Precondition],
        committed: impl Fn(u64) -> Result<Option<u64>, ReadError>,
    ) -> Result<Checked, ReadError> {
        let mut checked = Checked::default();
        for &Precondition { index, key, expected } in conditions {
            let deleted = || self.ranges.newest_over(key, u64::MAX).map(|_| None);
            let here = self.offsets.get(&key).copied().or_else(deleted);
            let found = match here {
                Some(offset) => offset,
                None => committed(key)?,
            };
            if !expected.holds(found) {
                checked.failed.push(FailedPrecondition { index, key, expected, found });
                checked.on_group |= here.is_some();
            }
        }
        Ok(checked)
    }

    /// The group is over.
    pub(crate) fn clear(&mut self) {
        self.offsets.clear();
        self.ranges = RangeTombstones::default();
        self.batches = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    #[test]
    fn each_condition_holds_where_it_says() {
        for (condition, none, three, four) in [
            (Condition::Absent, true, false, false),
            (Condition::Present, false, true, true),
            (Condition::Offset(3), false, true, false),
        ] {
            assert_eq!(condition.holds(None), none, "{condition:?}");
            assert_eq!(condition.holds(Some(3)), three, "{condition:?}");
            assert_eq!(condition.holds(Some(4)), four, "{condition:?}");
        }
    }

    #[test]
    fn the_group_comes_before_what_is_committed_and_is_taken_in_once() {
        let payload = |fill: &dyn Fn(&mut Batch)| {
            let mut batch = Batch::new();
            fill(&mut batch);
            batch.into_payload()
        };
        let first = payload(&|batch| {
            batch.append("e").put(1, "x").delete(2);
        });
        let second = payload(&|batch| {
            batch.put(1, "y");
        });
        let mut state = GroupState::default();
        let committed = |key| Ok((key != 1).then_some(9));
        let condition = |key| [Precondition { index: 4, key, expected: Condition::Offset(9) }];
        state.extend([(100, &first)].into_iter()).unwrap();
        state.extend([(100, &first), (103, &second)].into_iter()).unwrap();
        for (key, found, on_group) in [(1, Some(103), true), (2, None, true)] {
            let checked = state.check(&condition(key), committed).unwrap();
            let expected = Condition::Offset(9);
            assert_eq!(checked.failed, [FailedPrecondition { index: 4, key, expected, found }]);
            assert_eq!(checked.on_group, on_group);
        }
        assert!(state.check(&condition(3), committed).unwrap().failed.is_empty());
        let third = payload(&|batch| {
            batch.delete_range(1..=5).put(5, "after");
        });
        state.extend([(100, &first), (103, &second), (104, &third)].into_iter()).unwrap();
        for (key, found) in [(1, None), (3, None), (5, Some(105))] {
            let checked = state.check(&condition(key), committed).unwrap();
            assert_eq!((checked.failed[0].found, checked.on_group), (found, true), "key {key}");
        }
        assert!(state.check(&condition(6), committed).unwrap().failed.is_empty());
        state.clear();
        assert!(!state.check(&condition(1), committed).unwrap().on_group);
    }
}
