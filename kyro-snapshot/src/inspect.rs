//! The facts of a run file, field by field, as they are on disk.
