//! kyro-snapshot
