//! Loop devices and mounts, undone when they are dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command; an error carries what it said.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A block device over a file.
pub(crate) struct Loop(Option<PathBuf>);

impl Loop {
    pub(crate) fn attach(file: &Path) -> Result<Self, String> {
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(file))?;
        Ok(Self(Some(PathBuf::from(device))))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    pub(crate) fn detach(mut self) -> Result<(), String> {
        let Some(device) = self.0.take() else { return Ok(()) };
        run(Command::new("losetup").arg("--detach").arg(device)).map(drop)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Some(device) = self.0.take() {
            run(Command::new("losetup").arg("--detach").arg(device)).ok();
        }
    }
}

/// A mounted file system.
pub(crate) struct Mount(Option<PathBuf>);

impl Mount {
    pub(crate) fn new(device: &Path, dir: &Path, fs: &str) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        run(Command::new("mount").args(["-t", fs]).arg(device).arg(dir))?;
        Ok(Self(Some(dir.to_owned())))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Engine threads may hold a file for a moment after its last handle is gone: tried for two seconds.
    pub(crate) fn unmount(mut self) -> Result<(), String> {
        let Some(dir) = self.0.take() else { return Ok(()) };
        let mut last = String::new();
        for _ in 0..200 {
            match run(Command::new("umount").arg(&dir)) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Err(last)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take() {
            run(Command::new("umount").args(["--lazy"]).arg(dir)).ok();
        }
    }
}
