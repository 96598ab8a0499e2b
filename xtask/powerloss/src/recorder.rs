//! A file whose every write and flush is recorded, served through FUSE: the medium of a block device.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
};

/// What reached the medium, in order.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write {
        offset: usize,
        bytes: Arc<[u8]>,
    },
    /// Everything before it is on the medium for good.
    Flush,
}

/// A medium as it was at first, and all that happened to it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) base: Vec<u8>,
    pub(crate) events: Vec<Event>,
}

#[derive(Debug)]
struct Medium {
    now: Vec<u8>,
    record: Record,
}

type Shared = Arc<Mutex<Medium>>;

/// The mounted file.
pub(crate) struct Recorder {
    medium: Shared,
    dir: PathBuf,
    session: Option<BackgroundSession>,
}

const NAME: &str = "disk";
const DIRECTORY: u64 = 1;
const FILE: u64 = 2;
const TTL: Duration = Duration::from_secs(3600);

impl Recorder {
    pub(crate) fn mount(dir: &Path, base: Vec<u8>) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let medium = Medium { now: base.clone(), record: Record { base, events: Vec::new() } };
        let medium = Arc::new(Mutex::new(medium));
        let options = [MountOption::FSName("kyro-powerloss".to_owned())];
        let session = fuser::spawn_mount2(File(Arc::clone(&medium)), dir, &options)?;
        Ok(Self { medium, dir: dir.to_owned(), session: Some(session) })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// How many events there have been.
    pub(crate) fn position(&self) -> u64 {
        lock(&self.medium).record.events.len() as u64
    }

    pub(crate) fn finish(mut self) -> Record {
        drop(self.session.take());
        let medium = &mut *lock(&self.medium);
        Record {
            base: std::mem::take(&mut medium.record.base),
            events: std::mem::take(&mut medium.record.events),
        }
    }
}

fn lock(medium: &Shared) -> std::sync::MutexGuard<'_, Medium> {
    medium.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with the one file.
struct File(Shared);

impl File {
    fn attributes(&self, inode: u64) -> FileAttr {
        let size = if inode == FILE { lock(&self.0).now.len() as u64 } else { 0 };
        let (kind, perm) =
            if inode == FILE { (FileType::RegularFile, 0o600) } else { (FileType::Directory, 0o700) };
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for File {
    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        if parent == DIRECTORY && name == NAME {
            reply.entry(&TTL, &self.attributes(FILE), 0);
        } else {
            reply.error(libc::ENOENT);
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(inode));
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<u64>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        // A device does not change its size.
        match size {
            Some(_) => reply.error(libc::EPERM),
            None => reply.attr(&TTL, &self.attributes(inode)),
        }
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        reply.opened(0, 0);
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        // A descriptor is closed: not a flush of the medium.
        reply.ok();
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let medium = lock(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(medium.now.len());
        let until = from.saturating_add(size as usize).min(medium.now.len());
        reply.data(&medium.now[from..until]);
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let medium = &mut *lock(&self.0);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(place) = offset.checked_add(data.len()).and_then(|end| medium.now.get_mut(offset..end))
        else {
            return reply.error(libc::ENOSPC);
        };
        place.copy_from_slice(data);
        medium.record.events.push(Event::Write { offset, bytes: Arc::from(data) });
        reply.written(data.len() as u32);
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        lock(&self.0).record.events.push(Event::Flush);
        reply.ok();
    }
}
