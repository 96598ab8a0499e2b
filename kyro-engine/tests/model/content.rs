//! The model: what the database must hold, as maps.

use std::collections::BTreeMap;

use kyro_engine::{Condition, EventOp, FailedPrecondition, VersionId};

use crate::workload::Op;

/// Key to offset and value.
pub(crate) type Content = BTreeMap<u64, (u64, Vec<u8>)>;

/// A batch before it is handed over: operations, and conditions by the index of theirs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Planned {
    pub(crate) ops: Vec<Op>,
    pub(crate) conditions: BTreeMap<usize, Condition>,
}

/// A version of the content that is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    pub(crate) label: String,
    pub(crate) since: u64,
    /// As it was left; of no meaning while the version is current.
    pub(crate) content: Content,
}

/// Everything the database must say.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) content: Content,
    /// Every operation by its offset.
    pub(crate) history: BTreeMap<u64, EventOp>,
    pub(crate) versions: BTreeMap<u64, Kept>,
    pub(crate) current: u64,
    /// No version below this may come again.
    pub(crate) next_version: u64,
    /// Batches planned so far, so that no value is written twice.
    pub(crate) batches: u64,
    /// Operations that were acknowledged.
    pub(crate) operations: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            content: Content::new(),
            history: BTreeMap::new(),
            versions: BTreeMap::from([(0, Kept::default())]),
            current: 0,
            next_version: 1,
            batches: 0,
            operations: 0,
        }
    }
}

impl Model {
    /// One past the last operation.
    pub(crate) fn next_offset(&self) -> u64 {
        self.history.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }

    /// The conditions of a batch that do not hold now, as the engine is to tell of them.
    pub(crate) fn failed(&self, planned: &Planned) -> Vec<(usize, u64, Condition, Option<u64>)> {
        let found = |key| self.content.get(&key).map(|(offset, _)| *offset);
        let all = planned.conditions.iter().map(|(&index, &condition)| {
            let (Op::Put(key, _) | Op::Delete(key)) = planned.ops[index] else { unreachable!("no key") };
            (index, key, condition, found(key))
        });
        all.filter(|(_, _, condition, found)| !holds(*condition, *found)).collect()
    }

    /// A batch was committed at this offset.
    pub(crate) fn commit(&mut self, first_offset: u64, ops: &[Op]) {
        for (op, offset) in ops.iter().zip(first_offset..) {
            match op {
                Op::Put(key, value) => drop(self.content.insert(*key, (offset, value.clone()))),
                Op::Delete(key) => drop(self.content.remove(key)),
                Op::DeleteRange(from, to) => self.content.retain(|key, _| key < from || to < key),
                Op::Append(_) => {}
            }
            self.history.insert(offset, event_of(op));
            self.operations += 1;
        }
    }

    /// Another version became the content, with `content`.
    pub(crate) fn switch(&mut self, offset: u64, version: u64, label: &str, content: Content) {
        let left = std::mem::replace(&mut self.content, content);
        self.versions.entry(self.current).or_default().content = left;
        let now = self.versions.entry(version).or_default();
        (now.label, now.since) = (label.to_owned(), offset);
        self.current = version;
        let event = EventOp::Version { id: VersionId(version), label: label.to_owned() };
        self.history.insert(offset, event);
        self.operations += 1;
    }

    /// A data set went on top of the content.
    pub(crate) fn layer(&mut self, offset: u64, label: &str, set: Content) {
        self.content.extend(set);
        self.history.insert(offset, EventOp::Layer { label: label.to_owned() });
        self.operations += 1;
    }
}

/// What a condition means, in the model's words and not in the engine's.
fn holds(condition: Condition, offset: Option<u64>) -> bool {
    match (condition, offset) {
        (Condition::Absent, found) => found.is_none(),
        (Condition::Present, found) => found.is_some(),
        (Condition::Offset(_), None) => false,
        (Condition::Offset(expected), Some(found)) => expected == found,
    }
}

/// How the log tells of an operation.
pub(crate) fn event_of(op: &Op) -> EventOp {
    match op {
        Op::Put(key, value) => EventOp::Put { key: *key, value: value.clone().into() },
        Op::Delete(key) => EventOp::Delete { key: *key },
        Op::DeleteRange(from, to) => EventOp::DeleteRange { from: *from, to: *to },
        Op::Append(payload) => EventOp::Append { payload: payload.clone().into() },
    }
}

/// What the engine told of failed conditions, in the model's words.
pub(crate) fn told(failed: &[FailedPrecondition]) -> Vec<(usize, u64, Condition, Option<u64>)> {
    failed.iter().map(|one| (one.index, one.key, one.expected, one.found)).collect()
}
