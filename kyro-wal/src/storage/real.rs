//! The operating system's files.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{Contents, LockError, LockGuard, Storage, StorageFile};

/// How many zeros one write of [`StorageFile::zero_fill`] carries.
const ZEROS: usize = 1 << 20;

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealStorage;

#[derive(Debug)]
struct RealFile(File);

/// Dropping the file releases the lock.
#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "held for its lock")] File);

impl LockGuard for RealLock {}

impl Storage for RealStorage {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(RealFile(File::open(path)?)))
    }

    fn load(&self, path: &Path) -> io::Result<Contents> {
        Ok(Contents::File(File::open(path)?))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the lint sends everyone to")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the lint sends everyone to")]
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        // The standard library asks the kernel to copy (copy_file_range) where it can.
        let mut from = File::open(from)?;
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        let space = rustix::fs::statvfs(dir)?;
        Ok(Some(space.f_bavail.saturating_mul(space.f_frsize)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the lint sends everyone to")]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Ten digits and a newline; a longer file is not ours, and then nobody is named.
                let read = (&file).take(16).read_to_string(&mut text);
                let pid = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { pid });
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Box::new(RealLock(file)))
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

impl StorageFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn zero_fill(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS.min(usize::try_from(len).unwrap_or(ZEROS))];
        let mut at = 0;
        while at < len {
            let part = (len - at).min(zeros.len() as u64);
            self.0.write_all_at(&zeros[..part as usize], at)?;
            at += part;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the lint sends everyone to")]
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door the lint sends everyone to")]
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
