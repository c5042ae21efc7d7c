//! A disk for tests: it lives in memory and counts what is written to it.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

const PAGE_BYTES: u64 = 4096;

/// Up to this length a disk keeps a copy of what is durable.
const SMALL_BYTES: u64 = 32 * 1024 * 1024;

#[derive(Clone, Debug, Default)]
pub(crate) struct TestDisk(Arc<State>);

#[derive(Debug, Default)]
struct State {
    pages_written: AtomicU64,
    /// Those written since the last sync, by number: the next sync writes each of them once.
    unsynced: Mutex<HashSet<u64>>,
    syncs: AtomicU64,
    content: InMemoryBackend,
    /// What the last successful sync made durable.
    durable: Mutex<Vec<u8>>,
}

impl TestDisk {
    /// A disk with this content.
    pub(crate) fn of(content: &[u8]) -> Self {
        let disk = Self::default();
        disk.0.content.set_len(content.len().try_into().unwrap()).unwrap();
        disk.0.content.write(0, content).unwrap();
        disk.0.durable.lock().unwrap().extend_from_slice(content);
        disk
    }

    /// How many pages were written since the disk was made. A write of less than a page counts as one, and so do several to
    /// one page before the sync that carries them out.
    pub(crate) fn pages_written(&self) -> u64 {
        self.0.pages_written.load(SeqCst)
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.syncs.load(SeqCst)
    }

    /// What a power cut would leave now: the content at the last sync. Kept only for small disks.
    pub(crate) fn durable(&self) -> Vec<u8> {
        self.0.durable.lock().unwrap().clone()
    }

    /// The content as it is.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.0.content.len().unwrap().try_into().unwrap()];
        self.0.content.read(0, &mut bytes).unwrap();
        bytes
    }
}

impl StorageBackend for TestDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.content.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.content.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.content.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.unsynced.lock().unwrap().clear();
        self.0.syncs.fetch_add(1, SeqCst);
        if self.len()? <= SMALL_BYTES {
            *self.0.durable.lock().unwrap() = self.content();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut unsynced = self.0.unsynced.lock().unwrap();
        let pages = offset / PAGE_BYTES..(offset + u64::try_from(data.len()).unwrap()).div_ceil(PAGE_BYTES);
        let written = pages.filter(|page| unsynced.insert(*page)).count();
        self.0.pages_written.fetch_add(written.try_into().unwrap(), SeqCst);
        self.0.content.write(offset, data)
    }
}
