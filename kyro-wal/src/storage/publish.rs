//! Replacing a file so that a crash leaves the old one or the new one, never a mixture.

use std::io;
use std::path::{Path, PathBuf};

use super::Storage;

/// Puts `bytes` at `path` atomically and durably, replacing what was there.
///
/// Written to `path` with `.tmp` appended (a leftover of that name is removed first), synced, renamed over `path`, and
/// the directory synced. When this returns `Ok`, the new contents survive a power cut. Callers must not run it on the
/// same path from two threads at once.
///
/// # Errors
/// Whatever the storage reports. After an error the old or the new contents are there, whole; the temporary file may be
/// left behind and is removed by the next call. An error of a sync is final for what it covered: treat the new contents
/// as indeterminate.
pub fn write_atomically(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    match storage.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_all()?;
    drop(file);
    storage.rename(&temporary, path)?;
    storage.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}
