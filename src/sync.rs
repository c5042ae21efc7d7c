//! The locks that waiting is made of, and the clock it sleeps by, in one place, so that a checker of schedules can put its
//! own in theirs.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
pub(crate) use std::time::Instant;
