//! Space on disk, and bytes written.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that the files below `dir` take on the disk.
pub(crate) fn on_disk(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Stores remove files at any time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // Blocks of 512 bytes, whatever the file system's are.
        bytes += if metadata.is_dir() { on_disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Removes a directory and all below it, if it is there.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Bytes that this process has had written to disks so far; what it overwrote in the page cache before it was written
/// counts once. `None` where the system does not say.
pub(crate) fn written() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = io.lines().find(|line| line.starts_with("write_bytes:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_with_those_below() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        std::fs::write(dir.path().join("below/file"), vec![1; 100_000]).unwrap();
        std::fs::write(dir.path().join("file"), vec![1; 50_000]).unwrap();
        rustix::fs::sync();
        let bytes = on_disk(dir.path()).unwrap();
        assert!((150_000..400_000).contains(&bytes), "{bytes}");
    }
}
