//! The waiters and the line of writers once more, on locks whose scheduler is the checker's.

pub(crate) mod time;

pub(crate) mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};

    pub(crate) use super::time::{Condvar, Instant};

    /// As the standard library's, as far as it is used, of the checker's parts: it has none of its own.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        is_set: Mutex<bool>,
        bell: Condvar,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self { value: std::sync::OnceLock::new(), is_set: Mutex::new(false), bell: Condvar::new() }
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            let mut is_set = self.is_set.lock().unwrap();
            self.value.set(value)?;
            *is_set = true;
            self.bell.notify_all();
            Ok(())
        }

        pub(crate) fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
            if self.value.get().is_none() {
                let _ = self.set(f());
            }
            self.wait()
        }

        pub(crate) fn wait(&self) -> &T {
            let mut is_set = self.is_set.lock().unwrap();
            while !*is_set {
                is_set = self.bell.wait(is_set).unwrap();
            }
            self.value.get().unwrap()
        }
    }
}

#[allow(dead_code, clippy::duplicate_mod, reason = "the same code on other locks, of which the checks use a part")]
#[path = "../../../src/waiters.rs"]
pub(crate) mod waiters;

#[allow(dead_code, clippy::duplicate_mod, reason = "the same code on other locks, of which the checks use a part")]
#[path = "../../../src/db/queue.rs"]
pub(crate) mod queue;
