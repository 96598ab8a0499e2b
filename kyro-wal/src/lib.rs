//! kyro-wal
