//! A simulated disk (stub).
