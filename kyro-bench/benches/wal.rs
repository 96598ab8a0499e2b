//! kyro-wal alone: making frames, writing groups, syncing them, reading them back. `TMPDIR` chooses the file system.
#![expect(clippy::expect_used, reason = "a benchmark that cannot work fails")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kyro_wal::storage::{RealStorage, Storage};
use kyro_wal::{Expected, Identity, Options, Recovery, Wal};

const UUID: [u8; 16] = *b"kyro-bench a wal";
/// Frames of a group.
const GROUP: u64 = 1_000;

fn log(dir: &Path) -> Wal {
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    storage.create_dir(dir).expect("a directory");
    Wal::create(storage, dir, Identity { uuid: UUID, epoch: 1 }, Options::default()).expect("a log")
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal");
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    for bytes in [16, 64, 1024] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut wal = log(&dir.path().join("log"));
        let payload = vec![0x5a_u8; bytes];
        group.throughput(Throughput::Elements(GROUP));
        group.bench_function(format!("group of {GROUP} × {bytes} B, written"), |bencher| {
            bencher.iter(|| {
                for _ in 0..GROUP {
                    wal.append(1, &payload).expect("appends");
                }
                wal.write_group().expect("writes")
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("1 × {bytes} B, synced"), |bencher| {
            bencher.iter(|| {
                wal.append(1, &payload).expect("appends");
                wal.write_group().expect("writes");
                wal.sync().expect("syncs");
            });
        });
    }
    group.finish();
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal replay");
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    for bytes in [64, 4096] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let mut wal = log(&path);
        let frames = (8 << 20) / bytes as u64;
        for _ in 0..frames {
            wal.append(1, &vec![0x5a_u8; bytes]).expect("appends");
        }
        wal.write_group().expect("writes");
        wal.sync().expect("syncs");
        drop(wal);
        group.throughput(Throughput::Bytes(frames * bytes as u64));
        group.bench_function(format!("8 MiB in frames of {bytes} B"), |bencher| {
            bencher.iter(|| {
                let expected = Expected { uuid: UUID, first_segment: 1, replay_from: 0, clean: None };
                let mut recovery = Recovery::open(Arc::new(RealStorage), &path, expected, Options::default())
                    .expect("opens");
                let mut read = 0;
                while recovery.next_frame().expect("whole").is_some() {
                    read += 1;
                }
                assert_eq!(read, frames, "every frame comes back");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames, replay);
criterion_main!(benches);
