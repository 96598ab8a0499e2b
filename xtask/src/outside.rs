//! A crate outside the workspace that uses two of ours by path, and gets nothing but what those declare.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use crate::tree;

/// What a stranger writes: an index over a column of theirs, and a log of events.
const PROGRAM: &str = r#"
use kyro_rmi::{BuildOptions, Rmi};
use kyro_wal::storage::{RealStorage, Storage};
use kyro_wal::{Expected, Identity, Options, Recovery, Wal};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys: Vec<u64> = (0..100_000).map(|key| key * key).collect();
    let index = Rmi::build(&keys, &BuildOptions::default())?;
    assert_eq!(index.find(&keys, 81), Some(9));
    assert_eq!(index.find(&keys, 82), None);

    let dir = std::path::PathBuf::from(std::env::args().nth(1).ok_or("a directory is needed")?).join("log");
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    storage.create_dir(&dir)?;
    let identity = Identity { uuid: *b"a log of another", epoch: 1 };
    let mut wal = Wal::create(Arc::clone(&storage), &dir, identity, Options::default())?;
    wal.append(1, b"an event")?;
    wal.write_group()?;
    wal.sync()?;
    drop(wal);
    let expected = Expected { uuid: identity.uuid, first_segment: 1, replay_from: 0, clean: None };
    let mut recovery = Recovery::open(storage, &dir, expected, Options::default())?;
    let frame = recovery.next_frame()?.ok_or("the event is lost")?;
    assert_eq!(frame.payload, b"an event");
    println!("both work");
    Ok(())
}
"#;

/// Makes the stranger's crate in `dir`.
fn write(dir: &Path) -> io::Result<()> {
    let root = tree::root();
    let manifest = format!(
        "[package]\nname = \"stranger\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\nkyro-rmi = {{ path = {:?} }}\nkyro-wal = {{ path = {:?} }}\n\n[workspace]\n",
        root.join("kyro-rmi"),
        root.join("kyro-wal")
    );
    fs::create_dir_all(dir.join("src"))?;
    fs::write(dir.join("Cargo.toml"), manifest)?;
    fs::write(dir.join("src/main.rs"), PROGRAM)?;
    // The same versions as here, so that nothing is downloaded for it.
    fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock"))?;
    Ok(())
}

/// The names of the packages in a Cargo.lock.
fn locked(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn two_crates_work_outside_the_workspace_with_their_own_dependencies_alone() {
        let dir = std::env::temp_dir().join(format!("xtask-stranger-{}", std::process::id()));
        write(&dir).unwrap();
        // A directory of its own, kept between runs: what it builds is not what the workspace builds.
        let target = tree::root().join("target/outside");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(&dir)
            .env("CARGO_TARGET_DIR", &target)
            .args(["run", "--quiet", "--"])
            .arg(&dir)
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("both work"), "{out}\n{err}");

        // Cargo has thrown out of the lock what nothing here needs.
        let names = locked(&fs::read_to_string(dir.join("Cargo.lock")).unwrap());
        for own in ["stranger", "kyro-rmi", "kyro-wal", "kyro-simd", "crc32fast"] {
            assert!(names.contains(own), "{own} in {names:?}");
        }
        for foreign in
            ["kyro-engine", "kyro-snapshot", "kyro-http", "tokio", "hyper", "serde", "insta", "proptest"]
        {
            assert!(!names.contains(foreign), "{foreign} in {names:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
