//! The waiters once more, on locks whose scheduler is the checker's.

pub(crate) mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
}

#[allow(dead_code, clippy::duplicate_mod, reason = "the same code on other locks, of which the checks use a part")]
#[path = "../../../src/waiters.rs"]
pub(crate) mod waiters;
