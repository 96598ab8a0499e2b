//! Interpolation search: guess by a straight line between the ends of what is left.

use crate::store::Store;

/// After so many guesses the rest is searched by halves, so that no data makes it linear.
const GUESSES: u32 = 12;
/// So few keys are searched by halves at once.
const FEW: usize = 16;

/// Interpolation search in the column.
#[derive(Debug)]
pub struct Interpolation<'a> {
    keys: &'a [u64],
}

impl<'a> Interpolation<'a> {
    /// Nothing to build.
    pub fn new(keys: &'a [u64]) -> Self {
        Self { keys }
    }

    #[inline]
    fn place(&self, key: u64) -> usize {
        let keys = self.keys;
        let (Some(&first), Some(&last)) = (keys.first(), keys.last()) else { return 0 };
        if key <= first {
            return 0;
        }
        if key > last {
            return keys.len();
        }
        // keys[low] < key <= keys[high]
        let (mut low, mut high) = (0, keys.len() - 1);
        for _ in 0..GUESSES {
            if high - low <= FEW {
                break;
            }
            let span = u128::from(keys[high] - keys[low]);
            let guess = low + (u128::from(key - keys[low]) * (high - low) as u128 / span) as usize;
            let guess = guess.clamp(low + 1, high - 1);
            if keys[guess] < key {
                low = guess;
            } else {
                high = guess;
            }
        }
        low + keys[low..=high].partition_point(|&other| other < key)
    }
}

impl Store for Interpolation<'_> {
    fn name(&self) -> String {
        "interpolation search".into()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let place = self.place(key);
        (self.keys.get(place) == Some(&key)).then_some(place)
    }

    #[inline]
    fn lower_bound(&self, key: u64) -> Option<usize> {
        Some(self.place(key))
    }

    fn index_bytes(&self) -> u64 {
        0
    }
}
