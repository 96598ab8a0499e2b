//! What a caller may say about a build. Nothing has to be said.

use crate::stats::RootKind;
use core::num::NonZeroUsize;

/// How to build an index. The defaults fit every data set: what depends on the data is chosen from the data.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// The window in keys: 16, 24, 32, 40, 48, 56 or 64. `None` (the default) chooses from the data.
    ///
    /// A smaller window touches fewer cache lines a lookup and makes the index larger.
    pub window: Option<usize>,
    /// The kind of root. `None` (the default) chooses from the data; fix it only to compare.
    ///
    /// Separators have windows of 32 keys, whatever [`window`](Self::window) says.
    pub root: Option<RootKind>,
    /// On how many threads the keys are verified: at most one for a million of them. `None` (the default) takes as many
    /// as the system says there are processors for; training, and everything without the feature `std`, is on the
    /// caller's thread.
    ///
    /// The bytes of the index do not depend on it.
    pub threads: Option<NonZeroUsize>,
}

impl BuildOptions {
    /// How many threads that is.
    pub(crate) fn threads(&self) -> usize {
        #[cfg(feature = "std")]
        let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        #[cfg(not(feature = "std"))]
        let processors = || 1;
        self.threads.map_or_else(processors, NonZeroUsize::get)
    }
}
