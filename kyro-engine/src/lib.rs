//! kyro-engine
