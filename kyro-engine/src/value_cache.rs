//! Unpacked blocks of compressed values, kept within a bound, for all runs of an engine.
//!
//! A block that a read by key needed stays until others push it out: each shard goes round its blocks and drops the first
//! that was not asked for since it last came by (second chance). Walks in order keep their own last block instead.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kyro_snapshot::{Corrupt, VALUE_BLOCK_BYTES, ValueBlocks};

const SHARDS: usize = 16;

/// What a kept block takes beside its bytes: the count of references, and its places in map and queue with their spare
/// room.
const BESIDE_BYTES: usize = 160;

/// A block: the run's [`ValueCache::new_run`] and the block's number.
type Key = (u64, u64);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ValueCache {
    /// Most bytes that a shard keeps. At 0 nothing is kept.
    shard_bytes: usize,
    shards: [Mutex<Shard>; SHARDS],
    unpacked: AtomicU64,
    found: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    kept: HashMap<Key, Kept>,
    turns: VecDeque<Key>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    block: Arc<[u8]>,
    was_asked: bool,
}

/// Tells runs apart, also those of different engines.
static RUNS: AtomicU64 = AtomicU64::new(0);

impl ValueCache {
    /// Keeps at most this many bytes.
    pub(crate) fn with_bytes(bytes: u64) -> Self {
        let shard_bytes = usize::try_from(bytes).unwrap_or(usize::MAX) / SHARDS;
        // Less than one block each: nothing would stay until it is asked for again.
        let shard_bytes = if shard_bytes < cost(VALUE_BLOCK_BYTES) { 0 } else { shard_bytes };
        Self { shard_bytes, ..Self::default() }
    }

    /// A number for a run.
    pub(crate) fn new_run() -> u64 {
        RUNS.fetch_add(1, Ordering::Relaxed)
    }

    /// The blocks of one run.
    pub(crate) fn of(&self, run: u64) -> RunBlocks<'_> {
        RunBlocks { cache: self, run }
    }

    /// Memory taken, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).bytes as u64).sum()
    }

    /// Blocks that were unpacked, and blocks that were found here, for reads by key.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.unpacked.load(Ordering::Relaxed), self.found.load(Ordering::Relaxed))
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        let mixed = (key.0 ^ key.1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.shards[(mixed >> 60) as usize]
    }
}

const _: () = assert!(SHARDS == 16, "four bits choose one");

fn cost(block_bytes: usize) -> usize {
    block_bytes + BESIDE_BYTES
}

fn lock(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn keep(&mut self, key: Key, block: Arc<[u8]>, most: usize) {
        let bytes = cost(block.len());
        if bytes > most {
            return;
        }
        while self.bytes + bytes > most
            && let Some(oldest) = self.turns.pop_front()
        {
            let Entry::Occupied(mut kept) = self.kept.entry(oldest) else { continue };
            if std::mem::take(&mut kept.get_mut().was_asked) {
                self.turns.push_back(oldest);
            } else {
                self.bytes -= cost(kept.remove().block.len());
            }
        }
        // Another reader may have unpacked it meanwhile.
        if let Entry::Vacant(place) = self.kept.entry(key) {
            place.insert(Kept { block, was_asked: false });
            self.turns.push_back(key);
            self.bytes += bytes;
        }
    }
}

/// The blocks of one run, as its reads ask for them.
pub(crate) struct RunBlocks<'a> {
    cache: &'a ValueCache,
    run: u64,
}

impl ValueBlocks for RunBlocks<'_> {
    fn block(
        &mut self,
        number: u64,
        unpack: &mut dyn FnMut() -> Result<Arc<[u8]>, Corrupt>,
    ) -> Result<Arc<[u8]>, Corrupt> {
        let (cache, key) = (self.cache, (self.run, number));
        if cache.shard_bytes > 0
            && let Some(kept) = lock(cache.shard(key)).kept.get_mut(&key)
        {
            kept.was_asked = true;
            cache.found.fetch_add(1, Ordering::Relaxed);
            return Ok(Arc::clone(&kept.block));
        }
        // Not under the lock: others read on meanwhile.
        let block = unpack()?;
        cache.unpacked.fetch_add(1, Ordering::Relaxed);
        if cache.shard_bytes > 0 {
            lock(cache.shard(key)).keep(key, Arc::clone(&block), cache.shard_bytes);
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(cache: &ValueCache, run: u64, number: u64) -> (u8, bool) {
        let mut was_unpacked = false;
        let block = cache.of(run).block(number, &mut || {
            was_unpacked = true;
            Ok(vec![number as u8; VALUE_BLOCK_BYTES].into())
        });
        (block.map_or(0, |block| block[0]), was_unpacked)
    }

    #[test]
    fn it_keeps_what_is_asked_for_within_its_bound() {
        let bound = 4 << 20;
        let cache = ValueCache::with_bytes(bound);
        for round in 0..4 {
            for number in 0..2_000 {
                // A few are asked for all the time, the others come by.
                for hot in 0..8 {
                    let (byte, was_unpacked) = ask(&cache, 7, hot);
                    assert_eq!(byte, hot as u8);
                    assert!(!was_unpacked || (round, number) == (0, 0), "block {hot} was dropped");
                }
                assert_eq!(ask(&cache, 7, number + 8).0, (number + 8) as u8);
                assert!(cache.bytes() <= bound);
            }
        }
        assert!(cache.bytes() > bound / 2, "it is used");
        let (unpacked, found) = cache.counts();
        assert_eq!((unpacked, found), (8 + 4 * 2_000, 4 * 2_000 * 8 - 8));
        assert!(ask(&cache, 8, 0).1, "another run's block is another");
    }

    #[test]
    fn without_room_nothing_is_kept() {
        for bytes in [0, 1, 100_000] {
            let cache = ValueCache::with_bytes(bytes);
            assert!(ask(&cache, 1, 1).1 && ask(&cache, 1, 1).1);
            assert_eq!(cache.bytes(), 0);
        }
    }

    #[test]
    fn a_block_that_does_not_unpack_is_not_kept() {
        let cache = ValueCache::with_bytes(4 << 20);
        let damage = Corrupt::Packed { position: 1, block: 1, what: "is damaged" };
        let refused = cache.of(1).block(1, &mut || Err(damage.clone()));
        assert_eq!(refused, Err(damage));
        assert!(ask(&cache, 1, 1).1);
    }
}
