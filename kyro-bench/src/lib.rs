//! kyro-bench
