//! The whole disk: directories and files, faults, and the counter of operations.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::choice::Random;
use super::fault::{Fault, FaultKind, Kind};
use super::file::Inode;

/// What a name stands for: the index of a directory or of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir(usize),
    File(usize),
}

type Names = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Add { name: String, node: Node },
    Remove { name: String },
    Rename { from: String, to: String, node: Node },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) durable: Names,
    pub(super) live: Names,
    pub(super) changes: Vec<(u64, NameChange)>,
}

impl Directory {
    pub(super) fn change(&mut self, operation: u64, change: NameChange) {
        apply(&mut self.live, &change);
        self.changes.push((operation, change));
    }
}

pub(super) fn apply(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Add { name, node } => {
            names.insert(name.clone(), *node);
        }
        NameChange::Remove { name } => {
            names.remove(name);
        }
        NameChange::Rename { from, to, node } => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct State {
    /// The first one is the root.
    pub(super) directories: Vec<Directory>,
    pub(super) inodes: Vec<Inode>,
    pub(super) operations: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) faults_fired: u64,
    pub(super) capacity: Option<u64>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) randoms: u64,
    pub(super) history: Option<Vec<State>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            directories: vec![Directory::default()],
            inodes: Vec::new(),
            operations: 0,
            faults: Vec::new(),
            faults_fired: 0,
            capacity: None,
            locks: BTreeSet::new(),
            randoms: 0,
            history: None,
        }
    }
}

impl State {
    /// Counts an operation and says whether it fails, and how.
    pub(super) fn begin(&mut self, kind: Kind) -> Result<(), FaultKind> {
        if kind != Kind::Read && self.history.is_some() {
            let now = self.clone_without_history();
            self.history.get_or_insert_default().push(now);
        }
        let operation = self.operations;
        self.operations += 1;
        let fires = |fault: &Fault| operation >= fault.at && fault.kind.applies_to(kind);
        let Some(index) = self.faults.iter().position(fires) else { return Ok(()) };
        let fault = self.faults[index];
        if !fault.sticky && fault.kind != FaultKind::PowerCut {
            self.faults.remove(index);
        }
        self.faults_fired += 1;
        Err(fault.kind)
    }

    /// Number of the operation that is under way.
    pub(super) fn now(&self) -> u64 {
        self.operations - 1
    }

    /// Numbers for the parts of an operation that are left to chance; the same for the same run.
    pub(super) fn chance(&self) -> Random {
        Random::new(self.operations.wrapping_mul(0xD134_2543_DE82_EF95))
    }

    pub(super) fn clone_without_history(&self) -> Self {
        Self {
            directories: self.directories.clone(),
            inodes: self.inodes.clone(),
            faults: self.faults.clone(),
            locks: self.locks.clone(),
            history: None,
            ..*self
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Dir(0);
        for name in components(path)? {
            let Node::Dir(directory) = node else { return Err(not_found(path)) };
            let found = self.directories.get(directory).and_then(|directory| directory.live.get(name));
            node = *found.ok_or_else(|| not_found(path))?;
        }
        Ok(node)
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<usize> {
        match self.find(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir(_) => Err(io::Error::new(io::ErrorKind::IsADirectory, path.display().to_string())),
        }
    }

    pub(super) fn find_dir(&mut self, path: &Path) -> io::Result<&mut Directory> {
        match self.find(path)? {
            Node::Dir(directory) => self.directories.get_mut(directory).ok_or_else(|| not_found(path)),
            Node::File(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, path.display().to_string())),
        }
    }

    pub(super) fn inode(&self, inode: usize) -> io::Result<&Inode> {
        self.inodes.get(inode).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    pub(super) fn inode_mut(&mut self, inode: usize) -> io::Result<&mut Inode> {
        self.inodes.get_mut(inode).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Whether a file may grow to this length.
    pub(super) fn has_room(&self, inode: usize, len: u64) -> bool {
        let Some(capacity) = self.capacity else { return true };
        let mut used = 0;
        for directory in &self.directories {
            for node in directory.live.values() {
                if let Node::File(other) = *node
                    && let Some(file) = self.inodes.get(other)
                {
                    let len = if other == inode { len.max(file.live.len()) } else { file.live.len() };
                    used += len.next_multiple_of(4096);
                }
            }
        }
        used <= capacity || self.inodes.get(inode).is_some_and(|file| len <= file.live.len())
    }

    pub(super) fn is_synced(&self) -> bool {
        self.directories.iter().all(|directory| directory.changes.is_empty())
            && self.inodes.iter().all(Inode::is_synced)
    }

    pub(super) fn drop_caches(&mut self) {
        self.inodes.iter_mut().for_each(Inode::drop_caches);
    }

    pub(super) fn overwrite(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let inode = if let Ok(inode) = self.find_file(path) {
            inode
        } else {
            let (parent, name) = split(path)?;
            let node = Node::File(self.inodes.len());
            self.inodes.push(Inode::default());
            let directory = self.find_dir(parent)?;
            directory.durable.insert(name.to_owned(), node);
            directory.live.insert(name.to_owned(), node);
            self.inodes.len() - 1
        };
        self.inode_mut(inode)?.damage(|image| {
            image.set_len(0);
            image.write(bytes, 0);
        });
        Ok(())
    }

    pub(super) fn flip_bit(&mut self, path: &Path, bit: u64) -> io::Result<()> {
        let inode = self.find_file(path)?;
        let inode = self.inode_mut(inode)?;
        if bit / 8 >= inode.live.len() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        inode.damage(|image| {
            let mut byte = [0];
            image.read(&mut byte, bit / 8);
            image.write(&[byte[0] ^ 1 << (bit % 8)], bit / 8);
        });
        Ok(())
    }

    pub(super) fn vanish(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let directory = self.find_dir(parent)?;
        directory.durable.remove(name);
        directory.live.remove(name).map(|_| ()).ok_or_else(|| not_found(path))
    }

    pub(super) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut queue = vec![(PathBuf::from("/"), 0)];
        while let Some((path, directory)) = queue.pop() {
            let Some(directory) = self.directories.get(directory) else { continue };
            for (name, node) in &directory.live {
                match *node {
                    Node::Dir(inner) => queue.push((path.join(name), inner)),
                    Node::File(inode) => {
                        let bytes = self.inodes.get(inode).map(|inode| inode.live.to_vec());
                        files.insert(path.join(name), bytes.unwrap_or_default());
                    }
                }
            }
        }
        files
    }
}

/// The directory and the name in it.
pub(super) fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, path.display().to_string())),
    }
}

fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) if name.to_str().is_some() => names.extend(name.to_str()),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, path.display().to_string())),
        }
    }
    Ok(names)
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}
