//! The storage interface of the simulated disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{Contents, LockError, LockGuard, Storage, StorageFile};
use super::SimDisk;
use super::fault::{FaultKind, Kind};
use super::file::{Inode, What};
use super::state::{Directory, NameChange, Node, State, apply, split};

/// An open file of the simulated disk. It stays readable when its name is removed.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
    writable: bool,
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.lock_state().locks.remove(&self.path);
    }
}

impl SimDisk {
    fn file(&self, inode: usize, writable: bool) -> Box<dyn StorageFile> {
        Box::new(SimFile { disk: self.clone(), inode, writable })
    }
}

/// Counts the operation; fails it if a fault says so.
fn begin(state: &mut State, kind: Kind) -> io::Result<()> {
    state.begin(kind).map_err(FaultKind::error)
}

impl Storage for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Change)?;
        if let Ok(Node::Dir(_)) = state.find(path) {
            return Ok(());
        }
        let (parent, name) = split(path)?;
        let node = Node::Dir(state.directories.len());
        let now = state.now();
        state.find_dir(parent)?.change(now, NameChange::Add { name: name.to_owned(), node });
        state.directories.push(Directory::default());
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Change)?;
        if state.find(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, path.display().to_string()));
        }
        let (parent, name) = split(path)?;
        let inode = state.inodes.len();
        let now = state.now();
        let add = NameChange::Add { name: name.to_owned(), node: Node::File(inode) };
        state.find_dir(parent)?.change(now, add);
        state.inodes.push(Inode::default());
        Ok(self.file(inode, true))
    }

    fn open_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Read)?;
        Ok(self.file(state.find_file(path)?, true))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Read)?;
        Ok(self.file(state.find_file(path)?, false))
    }

    fn load(&self, path: &Path) -> io::Result<Contents> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Read)?;
        let inode = state.find_file(path)?;
        Ok(Contents::Bytes(state.inode(inode)?.live.to_vec()))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Read)?;
        let inode = state.find_file(path)?;
        Ok(state.inode(inode)?.live.len())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Read)?;
        Ok(state.find_dir(dir)?.live.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Change)?;
        let node = state.find(from)?;
        let (old_parent, old) = split(from)?;
        let (new_parent, new) = split(to)?;
        let now = state.now();
        if old_parent == new_parent {
            let change = NameChange::Rename { from: old.to_owned(), to: new.to_owned(), node };
            state.find_dir(old_parent)?.change(now, change);
        } else {
            state.find_dir(new_parent)?.change(now, NameChange::Add { name: new.to_owned(), node });
            state.find_dir(old_parent)?.change(now, NameChange::Remove { name: old.to_owned() });
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Change)?;
        let node = Node::File(state.find_file(from)?);
        if state.find(to).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, to.display().to_string()));
        }
        let (parent, name) = split(to)?;
        let now = state.now();
        state.find_dir(parent)?.change(now, NameChange::Add { name: name.to_owned(), node });
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Remove)?;
        if !state.find_dir(path)?.live.is_empty() {
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, path.display().to_string()));
        }
        let (parent, name) = split(path)?;
        let now = state.now();
        state.find_dir(parent)?.change(now, NameChange::Remove { name: name.to_owned() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Remove)?;
        state.find_file(path)?;
        let (parent, name) = split(path)?;
        let now = state.now();
        state.find_dir(parent)?.change(now, NameChange::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.lock_state();
        let outcome = state.begin(Kind::Sync);
        let mut chance = state.chance();
        let directory = state.find_dir(dir)?;
        match outcome {
            Ok(()) => {
                // Replayed rather than copied: a change that an earlier failed sync lost stays lost.
                for (_, change) in std::mem::take(&mut directory.changes) {
                    apply(&mut directory.durable, &change);
                }
                Ok(())
            }
            Err(FaultKind::PowerCut) => Err(FaultKind::PowerCut.error()),
            Err(fault) => {
                for (_, change) in std::mem::take(&mut directory.changes) {
                    if chance.below(2) == 0 {
                        apply(&mut directory.durable, &change);
                    }
                }
                Err(fault.error())
            }
        }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        let state = &mut *self.lock_state();
        begin(state, Kind::Read)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned() }))
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let state = &mut *self.lock_state();
        state.randoms += 1;
        let mut random = super::choice::Random::new(state.randoms);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random.next().to_le_bytes());
        bytes[8..].copy_from_slice(&random.next().to_le_bytes());
        Ok(bytes)
    }
}

impl SimFile {
    /// Counts a write and applies it, or the part of it that a fault lets through.
    fn write(&self, len: u64, end: u64, what: impl Fn(u64) -> What) -> io::Result<()> {
        let state = &mut *self.disk.lock_state();
        let outcome = state.begin(Kind::Write);
        if !self.writable {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let now = state.now();
        let stored = match outcome {
            Ok(()) if !state.has_room(self.inode, end) => return Err(FaultKind::NoSpace.error()),
            Ok(()) => len,
            Err(FaultKind::Eio | FaultKind::ShortWrite) => state.chance().below(len + 1),
            Err(_) => 0,
        };
        if stored > 0 || (len == 0 && outcome.is_ok()) {
            state.inode_mut(self.inode)?.change(now, what(stored));
        }
        outcome.map_err(FaultKind::error)
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.lock_state();
        let outcome = state.begin(Kind::Sync);
        let mut chance = state.chance();
        let inode = state.inode_mut(self.inode)?;
        match outcome {
            Ok(()) => inode.sync(),
            Err(FaultKind::PowerCut) => {}
            // Often nothing arrives, which is the worst; sometimes a part, or all.
            Err(_) => inode.fail_sync(if chance.below(2) == 0 { 0 } else { chance.next() }),
        }
        outcome.map_err(FaultKind::error)
    }
}

impl StorageFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = bytes.len() as u64;
        self.write(len, offset + len, |stored| What::Write {
            offset,
            bytes: Arc::from(&bytes[..stored as usize]),
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = &mut *self.disk.lock_state();
        begin(state, Kind::Read)?;
        Ok(state.inode(self.inode)?.live.read(buf, offset))
    }

    fn zero_fill(&self, len: u64) -> io::Result<()> {
        self.write(len, len, |stored| What::Zeros { len: stored })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.disk.lock_state();
        begin(state, Kind::Change)?;
        if !self.writable {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let now = state.now();
        if !state.has_room(self.inode, len) {
            return Err(FaultKind::NoSpace.error());
        }
        state.inode_mut(self.inode)?.change(now, What::SetLen(len));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = &mut *self.disk.lock_state();
        begin(state, Kind::Read)?;
        Ok(state.inode(self.inode)?.live.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
