//! The medium as a power cut at a point of its record may leave it.

use crate::recorder::{Event, Record};
use crate::workload::Random;

/// The unit in which a cut divides a write.
const SECTOR: usize = 512;

/// The file system's first block is written whole: ext4 does not mount with half a superblock, whatever is on it.
const SUPERBLOCK_END: usize = 4096;

/// Everything before the last flush before `position`; of the later writes before it, by `manner`: none, all, any
/// sectors, or any whole writes.
pub(crate) fn after(record: &Record, position: usize, manner: u64) -> Vec<u8> {
    let events = &record.events[..position.min(record.events.len())];
    let flushed = events.iter().rposition(|event| matches!(event, Event::Flush)).map_or(0, |at| at + 1);
    let mut random = Random(manner);
    let kind = random.below(8);
    let share = 1 + random.below(15);
    let mut image = record.base.clone();
    for (at, event) in events.iter().enumerate() {
        let Event::Write { offset, bytes } = event else { continue };
        let whole = at < flushed || kind == 0 || (kind >= 5 && random.below(16) < share);
        let whole = whole || (*offset < SUPERBLOCK_END && random.below(2) == 0);
        let unit = if *offset < SUPERBLOCK_END { bytes.len() } else { SECTOR };
        for (index, sector) in bytes.chunks(unit.max(1)).enumerate() {
            if whole || ((2..5).contains(&kind) && random.below(16) < share) {
                let from = offset + index * unit;
                image[from..from + sector.len()].copy_from_slice(sector);
            }
        }
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_was_flushed_is_there_and_the_rest_comes_and_goes() {
        let write = |offset, byte| Event::Write { offset, bytes: Arc::from(vec![byte; 1024]) };
        let events = vec![write(8192, 1), Event::Flush, write(9216, 2), write(0, 4), write(8192, 3)];
        let record = Record { base: vec![0; 12_288], events };
        let mut seen = std::collections::BTreeSet::new();
        for manner in 0..400 {
            let image = after(&record, 4, manner);
            assert_eq!(image[8192..9216], [1; 1024], "flushed");
            assert_eq!(image[10_240..], [0; 2048], "never written");
            assert_eq!(image[0], image[1023], "half a superblock");
            seen.insert([image[9216], image[9728]]);
            assert_eq!(after(&record, 1, manner)[9216..], [0; 3072]);
        }
        assert_eq!(seen.len(), 4, "none, each and both sectors: {seen:?}");
    }
}
