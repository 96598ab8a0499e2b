//! From a running disk to what a power cut leaves of it.

use super::choice::Choice;
use super::state::{Directory, State, apply};

/// What is on the platter when the power comes back.
pub(super) fn crash(state: &State, choice: &mut Choice) -> State {
    let (first, last) = span(state);
    choice.set_span(first, last);
    State {
        directories: state.directories.iter().map(|directory| crashed(directory, choice)).collect(),
        inodes: state.inodes.iter().map(|inode| inode.crashed(choice)).collect(),
        capacity: state.capacity,
        randoms: state.randoms,
        ..State::default()
    }
}

/// Each change of a name arrived or did not; in order, so that no name comes back that a kept change removed.
fn crashed(directory: &Directory, choice: &mut Choice) -> Directory {
    let mut durable = directory.durable.clone();
    for (operation, change) in &directory.changes {
        if choice.arrives(*operation) {
            apply(&mut durable, change);
        }
    }
    Directory { live: durable.clone(), durable, changes: Vec::new() }
}

fn span(state: &State) -> (u64, u64) {
    let names = state
        .directories
        .iter()
        .filter_map(|directory| Some((directory.changes.first()?.0, directory.changes.last()?.0)));
    let data = state.inodes.iter().filter_map(super::file::Inode::span);
    names.chain(data).fold((state.operations, 0), |(first, last), (from, to)| (first.min(from), last.max(to)))
}
