//! A disk for tests that writes down, in order, everything it is asked to change.
//!
//! From the list a test works out what the disk would hold had the power gone at any moment of it, as often and in as
//! many ways as it likes: one run of a store yields thousands of images.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What a failed sync says.
pub(crate) const FAILED_SYNC: &str = "the disk cannot be synced";

/// What was asked of a disk.
#[derive(Clone, PartialEq)]
pub(crate) enum Event {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen(u64),
    Sync,
    /// A sync that said that it failed. What was written before it can still be read, and may be taken for written: no
    /// later sync has to write it. That is what Linux does, as PostgreSQL learned in 2018 (`fsyncgate`).
    FailedSync,
}

/// Its clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What is read: every change, whether durable or not.
    content: Vec<u8>,
    events: Vec<Event>,
    /// How many syncs are left before one fails.
    syncs_before_failure: Option<u64>,
}

impl CrashDisk {
    /// A disk with this content, all of it durable.
    pub(crate) fn of(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { content, ..State::default() })))
    }

    /// The content as it is.
    pub(crate) fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    /// Does what another disk was asked to do.
    pub(crate) fn do_again(&self, events: &[Event]) {
        for event in events {
            match event {
                Event::Write { offset, bytes } => self.write(*offset, bytes).unwrap(),
                Event::SetLen(len) => self.set_len(*len).unwrap(),
                Event::Sync | Event::FailedSync => {}
            }
        }
    }

    /// How many events there were.
    pub(crate) fn events(&self) -> usize {
        self.state().events.len()
    }

    /// The events so far; they are the disk's no more.
    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }

    /// Lets so many syncs succeed and the one behind them fail.
    pub(crate) fn fail_a_sync_after(&self, syncs: u64) {
        self.state().syncs_before_failure = Some(syncs);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for CrashDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content.len().try_into().unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let stored = state.content.get(range(offset, out.len())).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(stored);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.content.resize(len.try_into().unwrap(), 0);
        state.events.push(Event::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        let fails = state.syncs_before_failure == Some(0);
        state.syncs_before_failure = state.syncs_before_failure.and_then(|syncs| syncs.checked_sub(1));
        if fails {
            state.events.push(Event::FailedSync);
            return Err(io::Error::other(FAILED_SYNC));
        }
        state.events.push(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        // The engine sets the length before it writes; a write beyond it is a mistake.
        let stored = state.content.get_mut(range(offset, data.len())).ok_or(ErrorKind::UnexpectedEof)?;
        stored.copy_from_slice(data);
        state.events.push(Event::Write { offset, bytes: data.to_vec() });
        Ok(())
    }
}

fn range(offset: u64, len: usize) -> std::ops::Range<usize> {
    let from = usize::try_from(offset).unwrap();
    from..from + len
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("len", &self.content.len()).field("events", &self.events).finish_non_exhaustive()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { offset, bytes } => write!(f, "write of {} bytes at {offset}", bytes.len()),
            Self::SetLen(len) => write!(f, "length set to {len}"),
            Self::Sync => f.write_str("sync"),
            Self::FailedSync => f.write_str("failed sync"),
        }
    }
}
