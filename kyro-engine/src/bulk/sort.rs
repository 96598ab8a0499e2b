//! Sorting records that may not fit into memory: sorted parts in temporary run files, merged at the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kyro_snapshot::Value;

use crate::error::MaintenanceError;
use crate::run_files::{Task, VersionRef, load_run, temporary_path};
use crate::run_writer::RunWriter;
use crate::shared::Shared;

use super::{BulkError, Duplicates};

/// One record in memory: its value is in the arena.
#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    offset: u64,
    at: u64,
    len: u32,
}

/// Takes records in any order and gives them back sorted, each key with all its versions beside each other.
pub(super) struct Sorter {
    shared: Arc<Shared>,
    memory_bytes: u64,
    duplicates: Duplicates,
    slots: Vec<Slot>,
    arena: Vec<u8>,
    /// Sorted parts, oldest first.
    parts: Vec<std::path::PathBuf>,
}

impl Sorter {
    pub(super) fn new(shared: Arc<Shared>, memory_bytes: u64, duplicates: Duplicates) -> Self {
        Self { shared, memory_bytes, duplicates, slots: Vec::new(), arena: Vec::new(), parts: Vec::new() }
    }

    /// Takes a run that was written so far as the first sorted part.
    pub(super) fn adopt(&mut self, run: RunWriter) -> Result<(), BulkError> {
        let path = run.finish(false)?;
        let number = self.shared.next_run.fetch_add(1, Ordering::Relaxed);
        let part = temporary_path(&self.shared, number);
        self.shared.storage.rename(&path, &part).map_err(|source| {
            BulkError::Write(MaintenanceError::Io { doing: "rename", path: path.clone(), source })
        })?;
        self.parts.push(part);
        Ok(())
    }

    /// Sorted parts in files.
    pub(super) fn spills(&self) -> u64 {
        self.parts.len() as u64
    }

    pub(super) fn push(&mut self, key: u64, offset: u64, value: &[u8]) -> Result<(), BulkError> {
        // Growing holds a vector twice for a moment: half of the budget each, and so a third of it in use.
        let bytes = self.slots.len() * size_of::<Slot>() + self.arena.len() + value.len();
        if bytes as u64 > self.memory_bytes / 3 && !self.slots.is_empty() {
            self.spill()?;
        }
        let at = self.arena.len() as u64;
        self.arena.extend_from_slice(value);
        self.slots.push(Slot { key, offset, at, len: value.len() as u32 });
        Ok(())
    }

    fn sort(&mut self) {
        self.slots.sort_unstable_by_key(|slot| (slot.key, slot.offset));
    }

    /// Writes what is in memory as a sorted part. Older versions of a key go here already.
    fn spill(&mut self) -> Result<(), BulkError> {
        self.sort();
        let number = self.shared.next_run.fetch_add(1, Ordering::Relaxed);
        let mut run = RunWriter::create(&self.shared, Task::Bulk, temporary_path(&self.shared, number))?;
        for (index, slot) in self.slots.iter().enumerate() {
            if self.slots.get(index + 1).is_some_and(|next| next.key == slot.key) {
                if self.duplicates == Duplicates::Refuse {
                    return Err(BulkError::Duplicate { key: slot.key });
                }
                continue;
            }
            run.push(slot.key, &version(&self.arena, slot))?;
        }
        self.parts.push(run.finish(false)?);
        self.slots.clear();
        self.arena.clear();
        Ok(())
    }

    /// Gives every key once, with its newest version.
    pub(super) fn merge(
        mut self,
        mut give: impl FnMut(u64, &VersionRef<'_>) -> Result<(), MaintenanceError>,
    ) -> Result<(), BulkError> {
        self.sort();
        let mut runs = Vec::new();
        for path in &self.parts {
            let loaded = load_run(&*self.shared.storage, path);
            let (_, run) = loaded.map_err(BulkError::Open)?;
            runs.push((path, run));
        }
        let damaged = |path: &std::path::Path, damage: &kyro_snapshot::Corrupt| {
            BulkError::Write(MaintenanceError::Unverified {
                file: path.to_owned(),
                reason: damage.to_string(),
            })
        };
        let mut parts: Vec<_> = runs.iter().map(|(_, run)| run.iter()).collect();
        let mut memory = self.slots.iter().peekable();
        let mut heads = Vec::with_capacity(parts.len());
        // The smallest key first; of equal keys the newest part, and what is in memory is the newest of all.
        let mut waiting = BinaryHeap::with_capacity(parts.len() + 1);
        for (index, part) in parts.iter_mut().enumerate() {
            let head = part.next().transpose().map_err(|damage| damaged(runs[index].0, &damage))?;
            waiting.extend(head.as_ref().map(|head| (Reverse(head.key), index)));
            heads.push(head);
        }
        let in_memory = parts.len();
        waiting.extend(memory.peek().map(|slot| (Reverse(slot.key), in_memory)));
        let refuses = self.duplicates == Duplicates::Refuse;
        let mut given = None;
        while let Some((Reverse(key), index)) = waiting.pop() {
            let again = given == Some(key);
            given = Some(key);
            if again && refuses {
                return Err(BulkError::Duplicate { key });
            }
            if index == in_memory {
                let mut newest = memory.next();
                while let Some(newer) = memory.next_if(|next| next.key == key) {
                    if refuses {
                        return Err(BulkError::Duplicate { key });
                    }
                    newest = Some(newer);
                }
                if let Some(slot) = newest.filter(|_| !again) {
                    give(key, &version(&self.arena, slot))?;
                }
                waiting.extend(memory.peek().map(|slot| (Reverse(slot.key), in_memory)));
            } else {
                if let Some(head) = heads[index].take().filter(|_| !again) {
                    give(key, &VersionRef { offset: head.offset, value: head.value })?;
                }
                let next = parts[index].next().transpose();
                let next = next.map_err(|damage| damaged(runs[index].0, &damage))?;
                waiting.extend(next.as_ref().map(|head| (Reverse(head.key), index)));
                heads[index] = next;
            }
        }
        Ok(())
    }
}

impl Drop for Sorter {
    fn drop(&mut self) {
        for part in &self.parts {
            self.shared.storage.remove(part).ok();
        }
    }
}

fn version<'a>(arena: &'a [u8], slot: &Slot) -> VersionRef<'a> {
    let at = slot.at as usize;
    let value = arena.get(at..at + slot.len as usize);
    VersionRef { offset: slot.offset, value: value.map(Value::InFile) }
}
