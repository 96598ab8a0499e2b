//! Which instructions a searcher uses.

use core::fmt;

/// A family of instructions that a kernel is written for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Portable code: a branch-free binary search.
    Scalar,
    /// x86-64 with AVX2, BMI1, BMI2, LZCNT and POPCNT: four keys a comparison.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL beside what AVX2 asks: eight keys, one cache line, a comparison.
    Avx512,
    /// aarch64: two keys a comparison.
    Neon,
}

impl Level {
    /// Every level there is, whether this processor has it or not, from the slowest to the fastest.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Neon => "NEON",
        })
    }
}
