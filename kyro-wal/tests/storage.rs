//! The storage interface: what the operating system's files and the simulated ones must both do, and what only the
//! simulated ones can be asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use kyro_wal::storage::sim::{Fault, FaultKind};
use kyro_wal::storage::{Contents, LockError, RealStorage, SimDisk, Storage, write_atomically};

/// Every promise of the interface that both kinds can be asked.
fn conforms(storage: &dyn Storage, home: &Path) {
    let dir = home.join("dir");
    storage.create_dir(&dir).unwrap();
    storage.create_dir(&dir).unwrap();
    assert_eq!(storage.create_dir(&home.join("no/parent")).unwrap_err().kind(), ErrorKind::NotFound);
    storage.sync_dir(home).unwrap();

    let path = dir.join("a");
    assert_eq!(storage.open_file(&path).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(storage.open_read(&path).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(storage.remove(&path).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(storage.len(&path).unwrap_err().kind(), ErrorKind::NotFound);
    let file = storage.create(&path).unwrap();
    assert_eq!(storage.create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(file.is_empty().unwrap());

    file.write_at(b"at seven", 7).unwrap();
    assert_eq!(file.len().unwrap(), 15);
    let mut buffer = [0xff; 20];
    assert_eq!(file.read_at(&mut buffer, 5).unwrap(), 10, "reading stops at the end of the file");
    assert_eq!(&buffer[..12], b"\0\0at seven\xff\xff");
    assert_eq!(file.read_at(&mut buffer, 15).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, 1_000).unwrap(), 0);
    let other = storage.open_read(&path).unwrap();
    file.write_at(b"AT", 7).unwrap();
    assert_eq!(other.read_at(&mut buffer[..2], 7).unwrap(), 2);
    assert_eq!(&buffer[..2], b"AT", "handles see each other's writes");
    assert!(other.write_at(b"no", 0).is_err(), "opened for reading");

    file.zero_fill(10_000).unwrap();
    assert_eq!((file.len().unwrap(), storage.len(&path).unwrap()), (10_000, 10_000));
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 20);
    assert_eq!(buffer, [0; 20], "zeros over what was there");
    file.write_at(b"beyond", 9_990).unwrap();
    file.set_len(9_992).unwrap();
    file.set_len(10_000).unwrap();
    assert_eq!(file.read_at(&mut buffer, 9_990).unwrap(), 10);
    assert_eq!(&buffer[..10], b"be\0\0\0\0\0\0\0\0", "what was cut does not come back");
    file.sync_data().unwrap();
    file.sync_all().unwrap();

    let renamed = dir.join("b");
    storage.create(&renamed).unwrap();
    storage.rename(&path, &renamed).unwrap();
    assert_eq!(storage.list(&dir).unwrap(), ["b"]);
    assert_eq!(storage.len(&renamed).unwrap(), 10_000, "replaced");
    file.write_at(b"still", 0).unwrap();
    storage.remove(&renamed).unwrap();
    assert_eq!(other.read_at(&mut buffer[..5], 0).unwrap(), 5, "an open file outlives its name");
    assert_eq!(&buffer[..5], b"still");
    storage.sync_dir(&dir).unwrap();

    write_atomically(storage, &dir.join("c"), b"first").unwrap();
    storage.create(&dir.join("c.tmp")).unwrap();
    write_atomically(storage, &dir.join("c"), b"second").unwrap();
    assert_eq!(storage.list(&dir).unwrap(), ["c"], "no temporary file is left");
    let loaded = match storage.load(&dir.join("c")).unwrap() {
        Contents::Bytes(bytes) => bytes,
        Contents::File(file) => std::io::read_to_string(file).unwrap().into_bytes(),
    };
    assert_eq!(loaded, b"second");

    let lock = storage.lock(&dir.join("LOCK")).unwrap();
    let held = storage.lock(&dir.join("LOCK")).unwrap_err();
    assert!(matches!(held, LockError::Held { pid } if pid == Some(std::process::id())), "{held}");
    drop(lock);
    drop(storage.lock(&dir.join("LOCK")).unwrap());
    assert_ne!(storage.random().unwrap(), storage.random().unwrap());
}

#[test]
fn the_operating_system_conforms() {
    let home = tempfile::tempdir().unwrap();
    conforms(&RealStorage, home.path());
}

#[test]
fn the_simulated_disk_conforms() {
    conforms(&SimDisk::new(), Path::new("/"));
}

#[test]
fn real_files_are_private_and_really_allocated() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("dir");
    RealStorage.create_dir(&dir).unwrap();
    let file = RealStorage.create(&dir.join("file")).unwrap();
    file.zero_fill(3 << 20).unwrap();
    file.sync_all().unwrap();
    let lock = RealStorage.lock(&dir.join("LOCK")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("file")), 0o600);
    assert_eq!(mode(&dir.join("LOCK")), 0o600);
    let blocks = std::fs::metadata(dir.join("file")).unwrap().blocks();
    assert!(blocks * 512 >= 3 << 20, "written, not a hole: {blocks} blocks");
    drop(lock);
}

#[test]
fn unsynced_bytes_and_names_may_go_and_synced_ones_stay() {
    let disk = SimDisk::new();
    let path = Path::new("/file");
    let file = disk.create(path).unwrap();
    file.write_at(&[1; 2048], 0).unwrap();
    file.sync_all().unwrap();
    assert!(disk.crash(0).read(path).is_err(), "a synced file without its name");
    disk.sync_dir(Path::new("/")).unwrap();
    assert!(disk.is_synced());
    file.write_at(&[2; 1024], 512).unwrap();
    let (mut old, mut new, mut mixed) = (0, 0, 0);
    for seed in 0..500 {
        let bytes = disk.crash(seed).read(path).unwrap();
        assert!(bytes.len() == 2048 && bytes[..512] == [1; 512] && bytes[1536..] == [1; 512]);
        match &bytes[512..1536] {
            middle if middle.iter().all(|&byte| byte == 1) => old += 1,
            middle if middle.iter().all(|&byte| byte == 2) => new += 1,
            _ => mixed += 1,
        }
    }
    assert!(old > 20 && new > 20 && mixed > 100, "{old} {new} {mixed}");
    let (states, every) = disk.crash_states(100);
    assert!(every);
    let states: Vec<Vec<u8>> = states.map(|disk| disk.read(path).unwrap()).collect();
    assert_eq!(states.len(), 4, "two sectors, each there or not");
    assert!(states.iter().enumerate().all(|(index, one)| !states[index + 1..].contains(one)));
}

#[test]
fn a_failed_sync_shows_what_the_platter_lacks() {
    let mut lost = 0;
    for lead in 0..40 {
        let disk = SimDisk::new();
        let path = Path::new("/file");
        let file = disk.create(path).unwrap();
        file.write_at(&[1; 512], 0).unwrap();
        file.sync_all().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        for _ in 0..lead {
            disk.len(path).unwrap();
        }
        file.write_at(&[2; 512], 0).unwrap();
        disk.inject(Fault { at: 0, kind: FaultKind::SyncError, sticky: false });
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        file.sync_data().unwrap();
        assert_eq!(disk.read(path).unwrap(), [2; 512], "the page cache");
        let platter = disk.crash(1).read(path).unwrap();
        lost += u32::from(platter == [1; 512]);
        disk.drop_caches();
        assert_eq!(disk.read(path).unwrap(), platter, "read again from the platter");
        file.write_at(&[3; 512], 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.crash(0).read(path).unwrap(), [3; 512], "new writes are stored");
    }
    assert!(lost > 15, "{lost}");
}

#[test]
fn faults_fire_where_they_apply_and_space_runs_out_and_comes_back() {
    let disk = SimDisk::new();
    let file = disk.create(Path::new("/file")).unwrap();
    disk.inject(Fault { at: disk.operations(), kind: FaultKind::NoSpace, sticky: false });
    assert_eq!(disk.len(Path::new("/file")).unwrap(), 0, "reading needs no space");
    file.sync_data().unwrap();
    assert_eq!(file.write_at(&[1; 100], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 0);
    file.write_at(&[1; 100], 0).unwrap();
    disk.inject(Fault { at: 0, kind: FaultKind::Eio, sticky: true });
    assert!(file.len().is_err() && file.sync_all().is_err() && file.len().is_err());
    disk.clear_faults();
    disk.inject(Fault { at: 0, kind: FaultKind::PowerCut, sticky: false });
    assert!(file.len().is_err() && file.len().is_err(), "no power is no power");
    disk.clear_faults();
    assert_eq!(disk.faults_fired(), 6);
    disk.set_capacity(Some(8192));
    file.zero_fill(8192).unwrap();
    let other = disk.create(Path::new("/other")).unwrap();
    assert_eq!(other.write_at(&[1], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(&[1; 8192], 0).unwrap();
    disk.remove(Path::new("/file")).unwrap();
    other.write_at(&[1], 0).unwrap();
}

#[test]
fn an_atomic_write_leaves_the_old_or_the_new() {
    let disk = SimDisk::new();
    let path = Path::new("/manifest");
    write_atomically(&disk, path, &[1; 3000]).unwrap();
    disk.record_history();
    write_atomically(&disk, path, &[2; 5000]).unwrap();
    let done = disk.operations();
    let mut states = 0;
    for moment in disk.take_history() {
        for seed in 0..200 {
            let bytes = moment.disk.crash(seed).read(path).unwrap();
            assert!(bytes == [1; 3000] || bytes == [2; 5000], "operation {}", moment.operation);
            states += 1;
        }
    }
    assert!(states > 800 && disk.operations() == done);
    assert_eq!(disk.crash(0).read(path).unwrap(), [2; 5000]);
}
