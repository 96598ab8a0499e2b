//! radix_spline 0.2: spline points behind a table of the top bits, over a borrowed column.

use crate::store::Store;

/// The parameters that it is tried with: error bound, bits of the table.
pub const PARAMETERS: [(u64, u64); 4] = [(16, 18), (32, 18), (32, 22), (64, 22)];

/// radix_spline over a borrowed column.
#[expect(missing_debug_implementations, reason = "the library's index has none")]
pub struct RadixSpline<'a> {
    keys: &'a [u64],
    index: radix_spline::RadixSpline<u64>,
    error: u64,
    bits: u64,
}

impl<'a> RadixSpline<'a> {
    /// Builds. Needs two keys or more, and panics on some data: the benchmark catches that.
    pub fn build(keys: &'a [u64], error: u64, bits: u64) -> Self {
        let ends = (keys.first().copied().unwrap_or(0), keys.last().copied().unwrap_or(0));
        let mut builder = radix_spline::RadixSpline::builder(ends.0, ends.1);
        builder.max_error(error).radix_bits(bits);
        builder.add_keys(keys.iter().copied());
        Self { keys, index: builder.build(), error, bits }
    }

    #[inline]
    fn place(&self, key: u64) -> usize {
        let window = self.index.find(key);
        window.start + self.keys[window].partition_point(|&other| other < key)
    }
}

impl Store for RadixSpline<'_> {
    fn name(&self) -> String {
        format!("radix_spline (error {}, {} bits)", self.error, self.bits)
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let place = self.place(key);
        (self.keys.get(place) == Some(&key)).then_some(place)
    }

    #[inline]
    fn lower_bound(&self, _key: u64) -> Option<usize> {
        None
    }

    fn index_bytes(&self) -> u64 {
        self.index.size_in_bytes() as u64
    }
}
