//! What this binary was built from.

/// The crate's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, `unknown` when it was built outside a checkout.
pub(crate) const COMMIT: &str = env!("KYRODB_BUILD_COMMIT");
/// The compiler.
pub(crate) const RUSTC: &str = env!("KYRODB_BUILD_RUSTC");
/// Version and commit, for `--version`.
pub(crate) const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("KYRODB_BUILD_COMMIT"),
    ", ",
    env!("KYRODB_BUILD_RUSTC"),
    ")"
);
/// Cargo features that change what the server does.
pub(crate) const FEATURES: &[&str] = &[];
