//! What the disk itself can do under the same file system: small durable writes in four ways, and long transfers.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Bytes of a durable write: the least that a disk writes for any.
pub const BLOCK: usize = 4096;
/// Bytes of one call in a long transfer.
const CHUNK: usize = 1 << 20;
/// Bytes preallocated for durable writes: as many as a segment of the log has. When they are used up, writing begins again
/// at the start, which is no different for a file of written blocks.
const PREALLOCATED: u64 = 16 << 20;
/// Bytes of unwritten space: more than a run can write.
const UNWRITTEN: u64 = 1 << 30;
/// `O_DIRECT` wants memory and offsets that are multiples of the disk's block.
const ALIGNMENT: usize = 4096;

/// A way to make 4 KiB durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Written behind the end of the file, then fdatasync.
    Append,
    /// Into written zeros, then fdatasync: what kyro-wal does.
    ZeroFilled,
    /// Into space that was allocated and never written (`fallocate`), then fdatasync.
    Unwritten,
    /// Into written zeros, with `O_DIRECT|O_DSYNC`.
    Direct,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Append, Self::ZeroFilled, Self::Unwritten, Self::Direct];

    /// The name in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::Append => "append + fdatasync",
            Self::ZeroFilled => "into written zeros + fdatasync",
            Self::Unwritten => "into fallocated unwritten space + fdatasync",
            Self::Direct => "into written zeros with O_DIRECT and O_DSYNC",
        }
    }
}

/// What the processor does while the one writing thread waits for the disk.
///
/// On a virtual machine a sleeping processor may take many times longer to notice that the disk has answered than the disk
/// takes to answer. One thread alone lets it sleep; many writers keep it awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Processor {
    /// Nothing.
    MaySleep,
    /// Another thread computes all the time.
    KeptAwake,
}

impl Processor {
    /// Both.
    pub const ALL: [Self; 2] = [Self::MaySleep, Self::KeptAwake];

    /// What is added to a name in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::MaySleep => "",
            Self::KeptAwake => ", processor kept awake",
        }
    }
}

/// A long transfer, in calls of 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transfer {
    /// Into a new file through the page cache, with an fdatasync at the end, which is timed too.
    WriteSynced,
    /// Over written blocks with `O_DIRECT`, with an fdatasync at the end, which is timed too.
    WriteDirect,
    /// Through the page cache, which holds nothing of the file.
    Read,
    /// With `O_DIRECT`.
    ReadDirect,
}

impl Transfer {
    /// All of them, in the order in which they need each other.
    pub const ALL: [Self; 4] = [Self::WriteSynced, Self::WriteDirect, Self::Read, Self::ReadDirect];

    /// The name in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::WriteSynced => "write, buffered, synced",
            Self::WriteDirect => "write, O_DIRECT",
            Self::Read => "read, buffered, cold",
            Self::ReadDirect => "read, O_DIRECT",
        }
    }
}

/// How many 4 KiB writes a second `method` makes durable in a new file in `dir`, one after the other for `length`, while the
/// processor otherwise does what `processor` says.
///
/// # Errors
/// What the operating system says; a file system may not know `O_DIRECT` or `fallocate`.
pub fn durable_writes(dir: &Path, method: Method, processor: Processor, length: Duration) -> io::Result<f64> {
    let scratch = Scratch::new(dir, "durable");
    let room = match method {
        Method::Append => u64::MAX,
        Method::ZeroFilled | Method::Direct => {
            let file = scratch.create()?;
            let zeros = vec![0; CHUNK];
            for at in (0..PREALLOCATED).step_by(CHUNK) {
                file.write_all_at(&zeros, at)?;
            }
            rustix::fs::fsync(&file)?;
            PREALLOCATED
        }
        Method::Unwritten => {
            let file = scratch.create()?;
            allocate(&file, UNWRITTEN)?;
            rustix::fs::fsync(&file)?;
            UNWRITTEN
        }
    };
    let file = match method {
        Method::Append => scratch.create()?,
        Method::Direct => scratch.open(Direct::Durable)?,
        Method::ZeroFilled | Method::Unwritten => scratch.open(Direct::No)?,
    };
    let write = || -> io::Result<f64> {
        let block = Aligned::new(BLOCK);
        let started = Instant::now();
        let mut writes = 0_u64;
        while writes == 0 || started.elapsed() < length {
            let at = writes * BLOCK as u64;
            if method == Method::Unwritten && at == room {
                break;
            }
            file.write_all_at(block.bytes(), at % room)?;
            if method != Method::Direct {
                rustix::fs::fdatasync(&file)?;
            }
            writes += 1;
        }
        Ok(writes as f64 / started.elapsed().as_secs_f64())
    };
    match processor {
        Processor::MaySleep => write(),
        Processor::KeptAwake => {
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
                let rate = write();
                done.store(true, Ordering::Relaxed);
                rate
            })
        }
    }
}

/// The bytes a second of every transfer of a file of `bytes` in `dir`, or why there is none.
pub fn transfers(dir: &Path, bytes: u64) -> BTreeMap<Transfer, Result<f64, String>> {
    let scratch = Scratch::new(dir, "transfer");
    let chunk = Aligned::new(CHUNK);
    Transfer::ALL
        .into_iter()
        .map(|transfer| (transfer, one(&scratch, transfer, bytes, chunk.clone()).map_err(|e| e.to_string())))
        .collect()
}

fn one(scratch: &Scratch, transfer: Transfer, bytes: u64, mut chunk: Aligned) -> io::Result<f64> {
    let file = match transfer {
        Transfer::WriteSynced => scratch.create()?,
        Transfer::Read => {
            let file = scratch.open(Direct::No)?;
            forget_cached(&file)?;
            file
        }
        Transfer::WriteDirect | Transfer::ReadDirect => scratch.open(Direct::Yes)?,
    };
    let started = Instant::now();
    for at in (0..bytes).step_by(CHUNK) {
        match transfer {
            Transfer::WriteSynced | Transfer::WriteDirect => file.write_all_at(chunk.bytes(), at)?,
            Transfer::Read | Transfer::ReadDirect => file.read_exact_at(chunk.bytes_mut(), at)?,
        }
    }
    if matches!(transfer, Transfer::WriteSynced | Transfer::WriteDirect) {
        rustix::fs::fdatasync(&file)?;
    }
    let moved = bytes.next_multiple_of(CHUNK as u64);
    Ok(moved as f64 / started.elapsed().as_secs_f64())
}

/// Asks the system to drop what it holds of `file` in its page cache; only what is on the disk already is dropped.
///
/// # Errors
/// What the operating system says, and that it knows no such request.
#[cfg(target_os = "linux")]
pub fn forget_cached(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// As on Linux, but refused.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn forget_cached(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has the system write everything that waits in its page cache for the file system of `dir`, and waits for that.
///
/// # Errors
/// What the operating system says.
pub fn write_out(dir: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(dir)?)?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    Ok(())
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a file is opened past the page cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direct {
    No,
    Yes,
    /// And every write waits for the disk.
    Durable,
}

#[cfg(target_os = "linux")]
fn open_direct(options: &mut OpenOptions, direct: Direct) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    let flags = match direct {
        Direct::No => OFlags::empty(),
        Direct::Yes => OFlags::DIRECT,
        Direct::Durable => OFlags::DIRECT | OFlags::DSYNC,
    };
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    options.custom_flags(flags);
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &mut OpenOptions, direct: Direct) -> io::Result<()> {
    if direct == Direct::No { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// A file that goes away with its user.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path, name: &str) -> Self {
        Self(dir.join(format!("raw-{name}")))
    }

    fn create(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&self.0)
    }

    fn open(&self, direct: Direct) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        open_direct(&mut options, direct)?;
        options.open(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It lies in a directory that is removed as a whole.
        std::fs::remove_file(&self.0).ok();
    }
}

/// Bytes that begin at a multiple of [`ALIGNMENT`], none of them zero.
#[derive(Clone, Debug)]
struct Aligned {
    memory: Vec<u8>,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        Self { memory: vec![0xA5; len + ALIGNMENT], len }
    }

    /// A clone lies elsewhere: so where the bytes begin is found anew.
    fn start(&self) -> usize {
        self.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT)
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start()..][..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.memory[start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned() {
        let mut aligned = Aligned::new(BLOCK);
        assert_eq!(aligned.bytes().as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(aligned.clone().bytes_mut().as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(aligned.bytes_mut(), [0xA5; BLOCK]);
    }

    #[test]
    fn every_method_writes_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for method in Method::ALL {
            for processor in Processor::ALL {
                match durable_writes(dir.path(), method, processor, Duration::ZERO) {
                    Ok(rate) => assert!(rate > 0.0, "{method:?}"),
                    // Only these need what a file system may not have.
                    Err(_) => assert!(matches!(method, Method::Unwritten | Method::Direct), "{method:?}"),
                }
            }
        }
        let rates = transfers(dir.path(), 3 << 20);
        assert!(rates[&Transfer::WriteSynced].as_ref().is_ok_and(|&rate| rate > 0.0), "{rates:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
