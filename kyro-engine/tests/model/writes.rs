//! Writes: batches in flight together, conditions, single calls, and cuts while batches are on their way.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use kyro_engine::{Batch, Commit, Condition, Event, WriteError, WriteOptions};

use crate::content::{Planned, event_of, told};
use crate::machine::Machine;
use crate::workload::{KEYS, Op, Random};

fn a_key(random: &mut Random) -> u64 {
    KEYS[random.below(KEYS.len() as u64) as usize]
}

impl Machine {
    /// A value that no other write has, now and then empty or of many sectors.
    fn a_value(&mut self, random: &mut Random) -> Vec<u8> {
        self.model.batches += 1;
        let mut value = self.model.batches.to_le_bytes().to_vec();
        match random.below(10) {
            0 => value.clear(),
            1 => value.resize(1000 + random.below(4000) as usize, random.next() as u8),
            _ => value.resize(8 + random.below(72) as usize, random.next() as u8),
        }
        value
    }

    /// One that holds about as often as not.
    fn a_condition(&self, key: u64, random: &mut Random) -> Condition {
        let now = self.model.content.get(&key).map(|(offset, _)| *offset);
        match (random.below(4), now) {
            (0, _) => Condition::Absent,
            (1, _) => Condition::Present,
            (2, Some(offset)) => Condition::Offset(offset),
            _ => Condition::Offset(random.below(self.model.next_offset() + 1)),
        }
    }

    fn plan(&mut self, random: &mut Random) -> Planned {
        let mut planned = Planned::default();
        let is_conditional = random.below(3) == 0;
        for index in 0..=random.below(4) as usize {
            let key = a_key(random);
            let op = match random.below(11) {
                10 => {
                    let other = a_key(random);
                    // Also a range the wrong way round, which holds no key.
                    if random.below(8) == 0 {
                        Op::DeleteRange(key, other)
                    } else {
                        Op::DeleteRange(key.min(other), key.max(other))
                    }
                }
                0..=6 => Op::Put(key, self.a_value(random)),
                7..=8 => Op::Delete(key),
                _ => Op::Append(self.a_value(random)),
            };
            if is_conditional && matches!(op, Op::Put(..) | Op::Delete(_)) && random.below(2) == 0 {
                planned.conditions.insert(index, self.a_condition(key, random));
            }
            planned.ops.push(op);
        }
        planned
    }

    fn submit(&self, planned: &Planned, random: &mut Random) -> Commit {
        let mut batch = Batch::new();
        for (index, op) in planned.ops.iter().enumerate() {
            match (op, planned.conditions.get(&index)) {
                (Op::Put(key, value), None) => batch.put(*key, value),
                (Op::Put(key, value), Some(condition)) => batch.put_if(*key, value, *condition),
                (Op::Delete(key), None) => batch.delete(*key),
                (Op::Delete(key), Some(condition)) => batch.delete_if(*key, *condition),
                (Op::Append(payload), _) => batch.append(payload),
                (Op::DeleteRange(from, to), _) => batch.delete_range(*from..=*to),
            };
        }
        let mut options = WriteOptions::new();
        (options.sync, options.wait) = (random.below(2) == 0, random.below(2) == 0);
        self.engine.write_with(batch, options).expect("room in the queue")
    }

    /// What a batch came to must be what the model says; the offset that comes next is known.
    fn settle(&mut self, planned: &Planned, commit: Commit, next: &mut u64) {
        let failed = self.model.failed(planned);
        match commit.wait() {
            Ok(committed) if failed.is_empty() => {
                let last = *next + planned.ops.len() as u64 - 1;
                assert_eq!((committed.first_offset, committed.last_offset), (*next, last));
                self.model.commit(committed.first_offset, &planned.ops);
                *next = last + 1;
            }
            Err(WriteError::PreconditionFailed { failed: said }) => assert_eq!(told(&said), failed),
            other => panic!("{other:?}, but the conditions that fail are {failed:?}"),
        }
    }

    pub(crate) fn burst(&mut self, random: &mut Random) {
        let before = self.engine.next_offset();
        let mut next = before;
        let mut visible = self.engine.visible_after(before);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut visible).poll(&mut context), Poll::Pending);
        let planned: Vec<_> = (0..=random.below(3)).map(|_| self.plan(random)).collect();
        let commits: Vec<_> = planned.iter().map(|planned| self.submit(planned, random)).collect();
        for (planned, commit) in planned.iter().zip(commits) {
            self.settle(planned, commit, &mut next);
        }
        assert_eq!(self.engine.next_offset(), next, "visible once acknowledged");
        let told = Pin::new(&mut visible).poll(&mut context);
        assert_eq!(told, if next > before { Poll::Ready(next) } else { Poll::Pending });
    }

    pub(crate) fn single(&mut self, random: &mut Random) {
        let next = self.engine.next_offset();
        let (key, value) = (a_key(random), self.a_value(random));
        let condition = self.a_condition(key, random);
        let engine = &self.engine;
        let mut planned = Planned::default();
        let (op, result) = match random.below(6) {
            0 => (Op::Put(key, value.clone()), engine.put(key, &value)),
            1 => (Op::Delete(key), engine.delete(key)),
            2 => (Op::Append(value.clone()), engine.append(&value)),
            3 => {
                let other = a_key(random);
                let (from, to) = (key.min(other), key.max(other));
                (Op::DeleteRange(from, to), engine.delete_range(from..=to))
            }
            4 => {
                planned.conditions.insert(0, condition);
                (Op::Put(key, value.clone()), engine.put_if(key, &value, condition))
            }
            _ => {
                planned.conditions.insert(0, condition);
                (Op::Delete(key), engine.delete_if(key, condition))
            }
        };
        planned.ops.push(op);
        let failed = self.model.failed(&planned);
        match result {
            Ok(offset) if failed.is_empty() => {
                assert_eq!(offset, next);
                self.model.commit(offset, &planned.ops);
            }
            Err(WriteError::PreconditionFailed { failed: said }) => assert_eq!(told(&said), failed),
            other => panic!("{other:?}, but the conditions that fail are {failed:?}"),
        }
    }

    /// Batches are on their way, the first ones acknowledged perhaps, when the process or the power goes. Afterwards the
    /// log says how many are there: each whole, none without the ones before it, and all that were acknowledged.
    pub(crate) fn cut_in_flight(&mut self, random: &mut Random) {
        let mut next = self.engine.next_offset();
        let planned: Vec<_> = (0..=random.below(4)).map(|_| self.plan(random)).collect();
        let commits: Vec<_> = planned.iter().map(|planned| self.submit(planned, random)).collect();
        let acknowledged = random.below(planned.len() as u64 + 1) as usize;
        for (planned, commit) in planned.iter().zip(commits).take(acknowledged) {
            self.settle(planned, commit, &mut next);
        }
        let disk = if random.below(2) == 0 { self.disk.restart() } else { self.disk.crash(random.next()) };
        self.start(disk);

        let replay = self.engine.replay(self.model.next_offset().max(self.engine.oldest_offset()), None);
        let mut found: VecDeque<Event> =
            replay.expect("history is there").map(|event| event.expect("history reads")).collect();
        for planned in &planned[acknowledged..] {
            if !self.model.failed(planned).is_empty() {
                continue;
            }
            let Some(first_offset) = found.front().map(|event| event.offset) else { break };
            assert!(first_offset >= self.model.next_offset(), "an offset twice");
            for (op, offset) in planned.ops.iter().zip(first_offset..) {
                let event = found.pop_front().expect("a batch is there whole or not at all");
                assert_eq!((event.offset, event.op), (offset, event_of(op)));
            }
            self.model.commit(first_offset, &planned.ops);
        }
        assert!(found.is_empty(), "operations that nobody wrote: {found:?}");
    }
}
