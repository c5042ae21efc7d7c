//! The raw disk: what one durable operation costs when nothing else has to be done.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};

use crate::ids::Id;
use crate::peer::{Answer, Counts, NewMessage, NewTask, Peer, Request, Seen, Which};

const PAGE_BYTES: usize = 4_096;

/// How many pages are written in turn, so that threads that come together write different ones.
const PAGES: u64 = 1_024;

pub(crate) struct Disk {
    file: File,
    next: AtomicU64,
}

impl Disk {
    pub(crate) const SET_UP: &str =
        "4 KiB written in place and `fdatasync`, for each operation and by each thread for itself";

    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("pages");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let disk = Self { file, next: AtomicU64::new(0) };
        // In place: the blocks are there before anything is measured.
        (0..PAGES).try_for_each(|_| disk.write())?;
        disk.file.sync_all()?;
        Ok(disk)
    }

    fn write(&self) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let page = [number.to_le_bytes()[0]; PAGE_BYTES];
        Ok(self.file.write_all_at(&page, number % PAGES * u64::try_from(PAGE_BYTES)?)?)
    }

    fn write_durably(&self) -> Result<()> {
        self.write()?;
        Ok(self.file.sync_data()?)
    }
}

/// Every operation that writes is one write and one sync; nothing can be read.
impl Peer for Disk {
    fn create_task(&self, _: Id, _: NewTask) -> Result<Id> {
        self.write_durably().map(|()| Id::default())
    }

    fn append(&self, _: Id, _: NewMessage) -> Result<u64> {
        self.write_durably().map(|()| 0)
    }

    fn claim(&self, task: Id, _: &Arc<str>) -> Result<Option<Id>> {
        self.write_durably().map(|()| Some(task))
    }

    fn complete(&self, _: Id, _: Id) -> Result<bool> {
        self.write_durably().map(|()| true)
    }

    fn expire(&self) -> Result<u64> {
        bail!("the raw disk has nothing that could time out")
    }

    fn write_together(&self, requests: Vec<Request>) -> Result<Vec<Answer>> {
        Ok(vec![Answer::Created(Id::default()); requests.len()])
    }

    fn open_tasks(&self, _: usize) -> Result<Seen> {
        bail!("the raw disk has nothing to read")
    }

    fn messages(&self, _: Id, _: Which) -> Result<Seen> {
        bail!("the raw disk has nothing to read")
    }

    fn counts(&self) -> Result<Counts> {
        bail!("the raw disk has nothing to count")
    }
}
