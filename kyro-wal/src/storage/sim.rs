//! A simulated disk: deterministic, with a page cache that can be lost, and faults at chosen operations.
//!
//! Every file has a durable image, the image readers see, and the writes between the two in order; every directory has
//! durable names, the names readers see, and the changes between. [`SimDisk::crash`] chooses one of the disks that a
//! power cut may legally leave behind; [`SimDisk::restart`] is a process that dies while the machine goes on.
//!
//! What may be left after a power cut, for what no successful sync covers:
//! - each 512-byte sector of a write is there, or is as before, or is torn (a prefix is new), or holds garbage in those
//!   bytes that the write changed; sectors are independent of each other and of the order of writes;
//! - a file's length changed or not, independently of its data;
//! - any subset of a directory's creations, renames and removals happened; a rename is one change.
//!
//! A sync that fails leaves a part of what it covered on the platter; readers go on seeing the new bytes, and a later
//! sync that succeeds does not write the rest: the page cache believes it clean.
//!
//! Images share their pages, so a crash state costs microseconds and a few kilobytes.

mod choice;
mod crash;
mod device;
mod fault;
mod file;
mod image;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use fault::{Fault, FaultKind};

use choice::Choice;
use state::State;

/// A simulated disk. Clones share it.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use kyro_wal::storage::{SimDisk, Storage};
/// use std::path::Path;
///
/// let disk = SimDisk::new();
/// let file = disk.create(Path::new("/a"))?;
/// file.write_at(b"synced", 0)?;
/// file.sync_data()?;
/// disk.sync_dir(Path::new("/"))?;
/// file.write_at(b"not yet", 0)?;
/// let nothing_more_arrived = disk.crash(0);
/// assert_eq!(nothing_more_arrived.read(Path::new("/a"))?, b"synced");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// The disk as it was just before an operation that changed it; see [`SimDisk::take_history`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Moment {
    /// Number of the operation that came next.
    pub operation: u64,
    /// The disk before it.
    pub disk: SimDisk,
}

impl SimDisk {
    /// An empty disk, with nothing but the root directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations (calls of the storage interface, reads included) there have been. The next one has this
    /// number.
    pub fn operations(&self) -> u64 {
        self.lock_state().operations
    }

    /// Adds a fault. Several may be set; of those that apply to an operation the first one set fires.
    pub fn inject(&self, fault: Fault) {
        self.lock_state().faults.push(fault);
    }

    /// Takes all faults away, those that fired and those that did not.
    pub fn clear_faults(&self) {
        self.lock_state().faults.clear();
    }

    /// How many operations have failed because of a fault.
    pub fn faults_fired(&self) -> u64 {
        self.lock_state().faults_fired
    }

    /// Limits the sum of file lengths (rounded up to 4 KiB); writing beyond it fails with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Starts to keep the state before each operation that changes the disk.
    pub fn record_history(&self) {
        self.lock_state().history = Some(Vec::new());
    }

    /// What was kept since [`record_history`](Self::record_history), and stops keeping.
    pub fn take_history(&self) -> Vec<Moment> {
        let history = self.lock_state().history.take().unwrap_or_default();
        history
            .into_iter()
            .map(|state| Moment { operation: state.operations, disk: Self::from_state(state) })
            .collect()
    }

    /// A disk that a power cut may leave behind now. Seed 0: nothing unsynced arrived. Seed 1: all of it did. Any other
    /// seed: some of it, in one of several manners. The same seed gives the same disk.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self::from_state(crash::crash(&self.lock_state(), &mut Choice::seeded(seed)))
    }

    /// Every disk a power cut may leave behind now, where whole sectors, lengths and directory changes arrive or not, if
    /// there are at most `limit` of them; otherwise `limit` disks by seed. Says whether it is every one.
    pub fn crash_states(&self, limit: u64) -> (impl Iterator<Item = Self> + use<>, bool) {
        let state = self.lock_state().clone_without_history();
        let mut count = Choice::counting();
        crash::crash(&state, &mut count);
        let bits = count.made();
        let every = bits < 63 && 1_u64 << bits <= limit;
        let states = if every { 1 << bits } else { limit };
        let disks = (0..states).map(move |number| {
            let mut choice = if every { Choice::masked(number) } else { Choice::seeded(number) };
            Self::from_state(crash::crash(&state, &mut choice))
        });
        (disks, every)
    }

    /// The disk for the next process after this one died without a power cut: everything written is there to be read,
    /// what was not synced is still not synced, locks are free, faults are gone.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut state = self.lock_state().clone_without_history();
        state.locks.clear();
        state.faults.clear();
        Self::from_state(state)
    }

    /// Evicts clean pages from the page cache: what a failed sync had covered and not stored now reads as it is on the
    /// platter.
    pub fn drop_caches(&self) {
        self.lock_state().drop_caches();
    }

    /// Whether nothing is waiting for a sync.
    pub fn is_synced(&self) -> bool {
        self.lock_state().is_synced()
    }

    /// A file's bytes as a reader sees them. Not an operation: not counted, never fails by fault.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.lock_state();
        let inode = state.find_file(path)?;
        Ok(state.inode(inode)?.live.to_vec())
    }

    /// Replaces a file's bytes on the platter and in the cache, or makes the file: damage done from outside. Not an
    /// operation.
    ///
    /// # Errors
    /// `NotFound` when the directory is not there.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.lock_state().overwrite(path, bytes)
    }

    /// Inverts one bit of a file, on the platter and in the cache. Not an operation.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` when the file is shorter.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        self.lock_state().flip_bit(path, bit)
    }

    /// Takes a file away, from the platter and the cache. Not an operation.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn vanish(&self, path: &Path) -> io::Result<()> {
        self.lock_state().vanish(path)
    }

    /// A copy that shares nothing with this disk but unchanged pages: for trying several damages from one state.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_state(self.lock_state().clone_without_history())
    }

    /// Every file and its bytes, as a reader sees them.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock_state().contents()
    }

    fn from_state(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
