//! The locks that waiting is made of, in one place, so that a checker of schedules can put its own in theirs.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
