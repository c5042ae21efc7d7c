//! A backend that holds back every change until the file is known to be ours.
//!
//! The engine repairs a file while it opens it, before anyone can ask whose file it is and of which version. Through
//! this backend it repairs in memory: `release` then carries the changes out, in their order and with their syncs, so
//! that a crash in the middle leaves what a crash of the engine itself could leave. A file that is refused stays as it
//! was, to the byte.
//!
//! A file that was not closed is written back first: every byte that the engine read of it, as it was read. It can be
//! that a sync failed before the file was left alone, and after that an operating system may show what it has not
//! written, take it for written, and never write it. The engine would build on it, and a power cut would take it away
//! from under everything that was acknowledged since. (Rebello et al., "Can applications recover from fsync failures?",
//! 2020, watch that happen to databases.) The engine checks such a file from end to end before it goes on, so what it
//! read is all that it will rely on; or it goes on from a checkpoint, whose pages a sync that succeeded has written.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{BackendError, StorageBackend};

use super::file;
use super::watched::locks_of;
use crate::planted::{Bug, planted};

/// The most bytes that are written back at once, if they were not read at once.
const WRITE_BACK_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Held(Arc<Shared>);

struct Shared {
    inner: Box<dyn StorageBackend>,
    /// What is held back; `None` once it was carried out.
    held: RwLock<Option<Changes>>,
}

struct Changes {
    log: Vec<Change>,
    len: u64,
    /// What was read, from where to where, of a file that was not closed.
    read: Option<Mutex<BTreeMap<u64, u64>>>,
}

enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
    Sync,
}

impl Held {
    pub(super) fn new(inner: impl StorageBackend) -> io::Result<Self> {
        let len = inner.len()?;
        let mut header = [0; file::HEADER_BYTES];
        let was_closed = len < length(&header) || {
            inner.read(0, &mut header)?;
            file::was_closed(&header)
        };
        let read = (!was_closed).then(Mutex::default);
        let held = Changes { log: Vec::new(), len, read };
        Ok(Self(Arc::new(Shared { inner: Box::new(inner), held: RwLock::new(Some(held)) })))
    }

    /// A backend that holds nothing back, for a file that is ours from its first byte.
    pub(super) fn released(inner: impl StorageBackend) -> Self {
        Self(Arc::new(Shared { inner: Box::new(inner), held: RwLock::new(None) }))
    }

    /// Whether the file was closed by whoever had it last. Asked before the release.
    pub(super) fn was_closed(&self) -> bool {
        let held = self.0.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_none_or(|changes| changes.read.is_none())
    }

    /// Carries out what was held back; from here on every change goes through at once.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = held.as_ref()
            && !planted(Bug::NotWrittenBack)
        {
            changes.write_back(self.0.inner.as_ref())?;
        }
        for change in held.iter().flat_map(|changes| &changes.log) {
            match change {
                Change::Write { offset, bytes } => self.0.inner.write(*offset, bytes)?,
                Change::SetLen(len) => self.0.inner.set_len(*len)?,
                Change::Sync => self.0.inner.sync_data()?,
            }
        }
        *held = None;
        Ok(())
    }

    /// Lets `hold` keep the change if changes are held, and `pass` make it if not.
    fn change(
        &self,
        hold: impl FnOnce(&mut Changes),
        pass: impl FnOnce(&dyn StorageBackend) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.0.held.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            return pass(self.0.inner.as_ref());
        }
        if let Some(changes) = self.0.held.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            hold(changes);
            return Ok(());
        }
        pass(self.0.inner.as_ref())
    }
}

impl Changes {
    /// The bytes at `offset` as they would be had the changes been made.
    fn read(&self, inner: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(length(out)).is_none_or(|end| end > self.len) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(read) = &self.read {
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            let end = read.entry(offset).or_default();
            *end = (*end).max(offset.saturating_add(length(out)));
        }
        out.fill(0);
        let there = inner.len()?.saturating_sub(offset);
        let (stored, _) = out.split_at_mut(out.len().min(usize::try_from(there).unwrap_or(usize::MAX)));
        if !stored.is_empty() {
            inner.read(offset, stored)?;
        }
        for change in &self.log {
            match change {
                Change::Write { offset: at, bytes } => lay_over(out, offset, bytes, *at),
                Change::SetLen(len) => {
                    let kept = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
                    out.split_at_mut(kept).1.fill(0);
                }
                Change::Sync => {}
            }
        }
        Ok(())
    }

    /// Writes what was read as it is, so that the next sync has to write it whatever became of the last one.
    fn write_back(&self, inner: &dyn StorageBackend) -> io::Result<()> {
        let Some(read) = &self.read else { return Ok(()) };
        let len = inner.len()?;
        inner.set_len(len)?;
        let mut bytes = Vec::new();
        let mut copy = |from: u64, to: u64| {
            bytes.resize(usize::try_from(to - from).map_err(io::Error::other)?, 0);
            inner.read(from, &mut bytes)?;
            inner.write(from, &bytes)
        };
        let mut piece = 0..0;
        for (&from, &to) in &*read.lock().unwrap_or_else(PoisonError::into_inner) {
            let to = to.min(len);
            if from <= piece.end && to.saturating_sub(piece.start) <= WRITE_BACK_BYTES {
                piece.end = piece.end.max(to);
                continue;
            }
            copy(piece.start, piece.end)?;
            piece = from.min(to)..to;
        }
        copy(piece.start, piece.end)?;
        inner.sync_data()
    }
}

/// Copies what `bytes`, which begin at `at`, share with `out`, which begins at `offset`.
fn lay_over(out: &mut [u8], offset: u64, bytes: &[u8], at: u64) {
    let skip_out = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
    let skip_bytes = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
    if let (Some(out), Some(bytes)) = (out.get_mut(skip_out..), bytes.get(skip_bytes..)) {
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = *from;
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        match &*self.0.held.read().unwrap_or_else(PoisonError::into_inner) {
            Some(changes) => Ok(changes.len),
            None => self.0.inner.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.0.held.read().unwrap_or_else(PoisonError::into_inner) {
            Some(changes) => changes.read(self.0.inner.as_ref(), offset, out),
            None => self.0.inner.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(
            |held| {
                held.len = len;
                held.log.push(Change::SetLen(len));
            },
            |inner| inner.set_len(len),
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|held| held.log.push(Change::Sync), StorageBackend::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(
            |held| {
                held.len = held.len.max(offset.saturating_add(length(data)));
                held.log.push(Change::Write { offset, bytes: data.to_vec() });
            },
            |inner| inner.write(offset, data),
        )
    }

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }

    locks_of!(self => self.0.inner);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Sync,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..200, prop::collection::vec(1_u8.., 1..60)).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            1 => (0_u64..300).prop_map(Step::SetLen),
            1 => Just(Step::Sync),
        ]
    }

    fn content(backend: &dyn StorageBackend) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(backend.len().unwrap()).unwrap()];
        backend.read(0, &mut bytes).unwrap();
        bytes
    }

    fn filled() -> InMemoryBackend {
        let backend = InMemoryBackend::new();
        backend.set_len(100).unwrap();
        backend.write(0, &[7; 100]).unwrap();
        backend
    }

    proptest! {
        #[test]
        fn held_changes_read_as_if_made_and_are_made_on_release(steps in prop::collection::vec(step(), 0..20)) {
            let plain = filled();
            let held = Held::new(filled()).unwrap();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        // The engine sets the length before it writes past the end, as the trait asks.
                        let end = at + length(&bytes);
                        let backends: [&dyn StorageBackend; 2] = [&plain, &held];
                        for backend in backends {
                            if backend.len().unwrap() < end {
                                backend.set_len(end).unwrap();
                            }
                            backend.write(at, &bytes).unwrap();
                        }
                    }
                    Step::SetLen(len) => {
                        plain.set_len(len).unwrap();
                        held.set_len(len).unwrap();
                    }
                    Step::Sync => held.sync_data().unwrap(),
                }
                prop_assert_eq!(content(&held), content(&plain));
                prop_assert_eq!(content(held.0.inner.as_ref()), vec![7; 100], "nothing is made before the release");
            }
            held.release().unwrap();
            prop_assert_eq!(content(held.0.inner.as_ref()), content(&plain));
            held.write(0, &[9]).ok();
            prop_assert_eq!(content(&held), content(held.0.inner.as_ref()));
        }
    }

    #[test]
    fn a_read_past_the_end_is_an_error() {
        let held = Held::new(filled()).unwrap();
        assert!(held.read(90, &mut [0; 11]).is_err());
        assert!(held.read(u64::MAX, &mut [0; 2]).is_err());
    }
}
