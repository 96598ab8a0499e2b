//! The medium as a power cut at a point of its record may leave it.

use crate::recorder::{Event, Record};
use crate::workload::Random;

/// The unit in which a cut divides a write.
const SECTOR: usize = 512;

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
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            if whole || ((2..5).contains(&kind) && random.below(16) < share) {
                let from = offset + index * SECTOR;
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
        let events = vec![write(0, 1), Event::Flush, write(1024, 2), write(0, 3)];
        let record = Record { base: vec![0; 4096], events };
        let mut seen = std::collections::BTreeSet::new();
        for manner in 0..400 {
            let image = after(&record, 3, manner);
            assert_eq!(image[..1024], [1; 1024], "flushed");
            assert_eq!(image[2048..], [0; 2048], "never written");
            seen.insert([image[1024], image[1536]]);
            assert_eq!(after(&record, 1, manner)[2048..], [0; 2048]);
        }
        assert_eq!(seen.len(), 4, "none, each and both sectors: {seen:?}");
    }
}
