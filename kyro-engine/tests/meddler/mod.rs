//! A storage in whose chosen operations a test can meddle: fail them, or do something in the middle of them.
#![allow(dead_code, reason = "each test uses its part")]

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kyro_engine::storage::{Contents, LockError, LockGuard, Storage, StorageFile};

/// An operation that can be meddled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    OpenRead,
    Remove,
    Write,
}

/// What is to happen instead of the operation.
pub(crate) enum Act {
    /// It fails and does nothing.
    Fail(io::Error),
    /// It panics, as a bug would.
    Panic,
    /// It is done, then this runs, then it fails.
    DoThenFail(Box<dyn FnOnce() + Send>, io::Error),
}

/// What a file that is loaded whole holds instead.
type Lie = Arc<dyn Fn(&Path, Vec<u8>) -> Vec<u8> + Send + Sync>;

type Rule = Arc<dyn Fn(Op, &Path) -> Option<Act> + Send + Sync>;

/// The storage; clones share the rule.
#[derive(Clone)]
pub(crate) struct Meddler {
    inner: Arc<dyn Storage>,
    rule: Arc<Mutex<Option<Rule>>>,
    lie: Arc<Mutex<Option<Lie>>>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
}

impl fmt::Debug for Meddler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meddler")
    }
}

/// An error as the operating system gives it.
pub(crate) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

pub(crate) const EIO: i32 = 5;
pub(crate) const EMFILE: i32 = 24;
pub(crate) const ENOSPC: i32 = 28;

impl Meddler {
    pub(crate) fn new(inner: impl Storage) -> Self {
        Self {
            inner: Arc::new(inner),
            rule: Arc::default(),
            lie: Arc::default(),
            open: Arc::default(),
            most_open: Arc::default(),
        }
    }

    /// From now on this decides for every operation, on its path.
    pub(crate) fn set(&self, rule: impl Fn(Op, &Path) -> Option<Act> + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Some(Arc::new(rule));
    }

    /// From now on files that are loaded whole hold what this makes of their bytes.
    pub(crate) fn set_lie(&self, lie: impl Fn(&Path, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) {
        *self.lie.lock().unwrap() = Some(Arc::new(lie));
    }

    /// The most files that were open at once.
    pub(crate) fn most_open(&self) -> usize {
        self.most_open.load(Ordering::SeqCst)
    }

    pub(crate) fn clear(&self) {
        *self.rule.lock().unwrap() = None;
    }

    fn run<T>(&self, op: Op, path: &Path, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let rule = self.rule.lock().unwrap().clone();
        match rule.and_then(|rule| rule(op, path)) {
            None => operation(),
            Some(Act::Fail(error)) => Err(error),
            Some(Act::Panic) => panic!("a bug on {}", path.display()),
            Some(Act::DoThenFail(then, error)) => {
                operation()?;
                then();
                Err(error)
            }
        }
    }

    fn file(&self, path: &Path, file: Box<dyn StorageFile>) -> Box<dyn StorageFile> {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        Box::new(MeddlerFile { meddler: self.clone(), path: path.to_owned(), file })
    }
}

impl Storage for Meddler {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.run(Op::Create, path, || self.inner.create(path)).map(|file| self.file(path, file))
    }
    fn open_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.inner.open_file(path).map(|file| self.file(path, file))
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.run(Op::OpenRead, path, || self.inner.open_read(path)).map(|file| self.file(path, file))
    }
    fn load(&self, path: &Path) -> io::Result<Contents> {
        let lie = self.lie.lock().unwrap().clone();
        match (self.inner.load(path)?, lie) {
            (Contents::Bytes(bytes), Some(lie)) => Ok(Contents::Bytes(lie(path, bytes))),
            (contents, _) => Ok(contents),
        }
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        self.inner.len(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(Op::Remove, path, || self.inner.remove(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.inner.lock(path)
    }
    fn random(&self) -> io::Result<[u8; 16]> {
        self.inner.random()
    }
}

#[derive(Debug)]
struct MeddlerFile {
    meddler: Meddler,
    path: PathBuf,
    file: Box<dyn StorageFile>,
}

impl Drop for MeddlerFile {
    fn drop(&mut self) {
        self.meddler.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl StorageFile for MeddlerFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.meddler.run(Op::Write, &self.path, || self.file.write_at(bytes, offset))
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn zero_fill(&self, len: u64) -> io::Result<()> {
        self.file.zero_fill(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
