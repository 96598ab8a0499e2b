//! How far keys are from where the indexes predict them, from a sample.

use crate::counters::Counters;
use crate::engine::Engine;
use crate::error::ReadError;
use crate::indexed_run::IndexedRun;

/// One run's index, by a sample of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexQuality {
    /// The run's number.
    pub run: u64,
    /// Its keys.
    pub keys: u64,
    /// How many of the sampled keys are so far from the middle of their predicted window: up to each of
    /// [`IndexQuality::BOUNDS`], and in the last place farther.
    pub counts: [u64; IndexQuality::BOUNDS.len() + 1],
}

impl IndexQuality {
    /// Distances, in keys, up to which [`IndexQuality::counts`] counts.
    pub const BOUNDS: [u64; 8] = [0, 1, 2, 4, 8, 16, 32, 64];
}

impl Engine {
    /// Looks up `sample` keys of each run, evenly spread, through its index, and counts how far each is from the middle
    /// of the window predicted for it. Reads a block of the key column for each where it is not in memory.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] where a sampled key lies in a damaged block.
    pub fn index_quality(&self, sample: u64) -> Result<Vec<IndexQuality>, ReadError> {
        let view = self.shared().views.pin();
        view.runs.iter().map(|run| quality(run, sample, &self.shared().counters)).collect()
    }
}

fn quality(run: &IndexedRun, sample: u64, counters: &Counters) -> Result<IndexQuality, ReadError> {
    let keys = run.len();
    let mut found = IndexQuality { run: run.number(), keys, counts: [0; IndexQuality::BOUNDS.len() + 1] };
    let sample = sample.min(keys);
    for nth in 0..sample {
        // Sample and keys are below 2^48; the product of both need not be.
        let position = (u128::from(nth) * u128::from(keys) / u128::from(sample)) as usize;
        let distance = run.predicted(run.key(position, counters)?).abs_diff(position) as u64;
        let place = IndexQuality::BOUNDS.partition_point(|bound| *bound < distance);
        if let Some(count) = found.counts.get_mut(place) {
            *count += 1;
        }
    }
    Ok(found)
}
