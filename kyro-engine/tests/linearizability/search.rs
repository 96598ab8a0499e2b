//! Whether a history has an order that explains it: the search of Wing and Gong, with the states that were seen to lead
//! nowhere remembered.
//!
//! The state is of all keys together, so that batches, deleted ranges and reads of several keys count as one step.

use std::collections::HashSet;

pub(crate) const KEYS: usize = 3;

/// What each key holds. Every written value is written once.
pub(crate) type State = [Option<u64>; KEYS];

/// What a write makes of each key; `None` leaves it as it is.
pub(crate) type Change = [Option<Option<u64>>; KEYS];

/// What a client was told of a key's value; `None` where it cannot know whose offset it was told.
pub(crate) type Told = Option<Option<u64>>;

/// What a condition asks of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Absent,
    Present,
    Value(u64),
}

impl Expected {
    fn holds(self, found: Option<u64>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Value(value) => found == Some(value),
        }
    }
}

/// What a client asked for and, where it was told something, what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Puts, deletes, deleted ranges, batches of them.
    Write(Change),
    /// A write that was made because the condition on this key held.
    Swapped(usize, Expected, Change),
    /// A write that was not made because the condition on this key did not hold; what was there, where that is known.
    Refused(usize, Expected, Told),
    Read(usize, Option<u64>),
    /// All keys as one view sees them.
    ReadAll(State),
}

/// An operation. One without an answer happened after it was begun and before `over`, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) begun: u64,
    pub(crate) answered: Option<u64>,
    pub(crate) over: u64,
    pub(crate) action: Action,
}

/// The state after an action, if the action could be answered as it was in this one.
fn apply(state: State, action: Action) -> Option<State> {
    let changed = |change: Change| {
        let mut next = state;
        for (key, change) in next.iter_mut().zip(change) {
            *key = change.unwrap_or(*key);
        }
        next
    };
    match action {
        Action::Write(change) => Some(changed(change)),
        Action::Swapped(key, expected, change) => expected.holds(state[key]).then(|| changed(change)),
        Action::Refused(key, expected, found) => {
            let is_told = found.is_none_or(|found| found == state[key]);
            (is_told && !expected.holds(state[key])).then_some(state)
        }
        Action::Read(key, value) => (state[key] == value).then_some(state),
        Action::ReadAll(all) => (state == all).then_some(state),
    }
}

/// Whether some order of the operations, each between its beginning and its answer, explains all answers.
pub(crate) fn is_linearizable(operations: &[Operation]) -> bool {
    assert!(operations.len() <= 128, "a bit for each");
    let mut operations = operations.to_vec();
    // What is tried first is what is pushed last: mostly they happened in the order of their answers.
    operations
        .sort_unstable_by_key(|operation| std::cmp::Reverse(operation.answered.unwrap_or(operation.over)));
    let bits = |of: &dyn Fn(&Operation) -> bool| -> u128 {
        let chosen = operations.iter().enumerate().filter(|(_, operation)| of(operation));
        chosen.fold(0, |bits, (at, _)| bits | 1 << at)
    };
    let answered = bits(&|operation| operation.answered.is_some());
    // What was begun when an operation without an answer could not happen any more.
    let after: Vec<u128> = operations
        .iter()
        .map(|late| if late.answered.is_some() { 0 } else { bits(&|other| other.begun > late.over) })
        .collect();
    let mut seen = HashSet::new();
    let mut open = vec![(0_u128, State::default())];
    while let Some((done, state)) = open.pop() {
        if done & answered == answered {
            return true;
        }
        if !seen.insert((done, state)) {
            continue;
        }
        let left = || operations.iter().enumerate().filter(|(at, _)| done & (1 << at) == 0);
        // Nothing may come before an operation that was answered before it was begun.
        let first_answer = left().filter_map(|(_, operation)| operation.answered).min().unwrap_or(u64::MAX);
        for (at, operation) in left().filter(|(_, operation)| operation.begun < first_answer) {
            if done & after[at] == 0
                && let Some(next) = apply(state, operation.action)
            {
                open.push((done | 1 << at, next));
            }
        }
    }
    false
}

#[test]
fn the_search_refuses_what_no_order_explains() {
    let operation = |begun, answered: Option<u64>, action| Operation {
        begun,
        answered,
        over: answered.unwrap_or(u64::MAX),
        action,
    };
    let only = |key: usize, value| {
        let mut change = Change::default();
        change[key] = Some(value);
        change
    };
    let write = |begun, answered, value| operation(begun, answered, Action::Write(only(0, value)));
    let read = |begun, answered, value| operation(begun, Some(answered), Action::Read(0, value));
    // Stale: the new value was acknowledged before the read began.
    assert!(!is_linearizable(&[write(1, Some(2), Some(7)), read(3, 4, None)]));
    // Lost: read once, then gone.
    assert!(!is_linearizable(&[write(1, None, Some(7)), read(2, 3, Some(7)), read(4, 5, None)]));
    // Back and forth between two writes that were both over.
    assert!(!is_linearizable(&[
        write(1, Some(4), Some(1)),
        write(2, Some(3), Some(2)),
        read(5, 6, Some(1)),
        read(7, 8, Some(2)),
    ]));
    // Invented.
    assert!(!is_linearizable(&[read(1, 2, Some(9))]));
    // Under way at the cut: there or not, as long as it stays so.
    assert!(is_linearizable(&[write(1, None, Some(7)), read(2, 3, None), read(4, 5, None)]));
    assert!(is_linearizable(&[write(1, None, Some(7)), read(2, 3, None), read(4, 5, Some(7))]));
    // But not once everything was started again.
    let under_way = Operation { over: 4, ..write(1, None, Some(7)) };
    assert!(!is_linearizable(&[under_way, read(5, 6, None), read(7, 8, Some(7))]));
    assert!(is_linearizable(&[under_way, read(5, 6, Some(7)), read(7, 8, Some(7))]));
    // Overlapping, in the order that only the reads tell.
    assert!(is_linearizable(&[
        write(1, Some(6), Some(1)),
        write(2, Some(5), Some(2)),
        read(7, 8, Some(1)),
        read(3, 4, Some(2)),
    ]));
    // Two conditional writes that both found the same.
    let swapped = |begun, answered, expected, value| {
        operation(begun, Some(answered), Action::Swapped(0, expected, only(0, Some(value))))
    };
    assert!(!is_linearizable(&[swapped(1, 4, Expected::Absent, 1), swapped(2, 3, Expected::Absent, 2)]));
    assert!(is_linearizable(&[swapped(1, 4, Expected::Value(2), 1), swapped(2, 3, Expected::Absent, 2)]));
    // Refused for what was gone by then.
    let refused = |begun, answered, expected, found| {
        operation(begun, Some(answered), Action::Refused(0, expected, found))
    };
    assert!(!is_linearizable(&[write(1, Some(2), Some(7)), refused(3, 4, Expected::Present, None)]));
    assert!(!is_linearizable(&[write(1, Some(2), Some(7)), refused(3, 4, Expected::Absent, Some(Some(8))),]));
    // A range whose keys went one after the other, seen in between.
    let both = [Some(Some(1)), Some(Some(2)), None];
    let gone = [Some(None), Some(None), None];
    assert!(!is_linearizable(&[
        operation(1, Some(2), Action::Write(both)),
        operation(3, Some(6), Action::Write(gone)),
        operation(4, Some(5), Action::ReadAll([None, Some(2), None])),
    ]));
}
