//! What a caller may say about a build. Nothing has to be said.

use crate::stats::RootKind;

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
}
