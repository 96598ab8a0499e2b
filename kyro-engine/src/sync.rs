//! The primitives of the commit queue, the commits and the visible offset: the standard library's, or, under
//! `cfg(shuttle)`, those of a scheduler that tries their interleavings (`cargo xtask schedules`).

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
