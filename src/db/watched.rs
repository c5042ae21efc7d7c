//! A backend that says what the operating system refused, and keeps it for those whom the engine does not tell.

use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use super::fault::Failure;
use crate::error::Error;
use crate::planted::{Bug, planted};

/// The locks of a backend that stands before another one are the other one's.
macro_rules! locks_of {
    ($self:ident => $inner:expr) => {
        fn try_lock_range(&$self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            $inner.try_lock_range(start, end)
        }

        fn try_lock_shared_range(&$self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            $inner.try_lock_shared_range(start, end)
        }

        fn lock_range(&$self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            $inner.lock_range(start, end)
        }

        fn lock_shared_range(&$self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            $inner.lock_shared_range(start, end)
        }

        fn unlock_range(&$self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            $inner.unlock_range(start, end)
        }

        fn query_lock_range(&$self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            $inner.query_lock_range(start, end)
        }
    };
}
pub(super) use locks_of;

#[derive(Debug)]
pub(super) struct Watched<B> {
    inner: B,
    /// Named in what is said.
    path: PathBuf,
    failure: Arc<Failure>,
}

impl<B> Watched<B> {
    pub(super) fn new(inner: B, path: PathBuf, failure: Arc<Failure>) -> Self {
        Self { inner, path, failure }
    }

    /// The result with its error in our words, which travels through the engine inside the operating system's.
    fn told<T>(&self, action: &'static str, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|source| {
            let kind = source.kind();
            let error = Error::Io { action, path: Some(self.path.clone()), source };
            self.failure.keep_refusal(&error);
            io::Error::new(kind, error)
        })
    }
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        self.told("measure the store", self.inner.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.told("read the store", self.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.told("change the size of the store", self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        if planted(Bug::SyncSkipped) {
            return Ok(());
        }
        self.told("sync the store", self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.told("write to the store", self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.told("close the store", self.inner.close())
    }

    locks_of!(self => self.inner);
}
