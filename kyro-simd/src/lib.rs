//! kyro-simd
