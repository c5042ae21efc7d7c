//! How much is in a store.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::agents::Registration;
use crate::clock::Timestamp;
use crate::db::Row;
use crate::error::{Error, Result};
use crate::messages::Message;
use crate::tasks::{TaskRow, TaskStatus};
use crate::threads::{Thread, ThreadStatus};
use crate::transfer::RowCounts;
use crate::tx::ReadTx;

/// How much is in a store, and how much room it takes. Counting looks at each thread and task, so it takes time in
/// proportion to their number: a second or so for a million.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Registered agents.
    pub agents: u64,
    /// Threads, by how they stand; every status is there.
    pub threads: BTreeMap<ThreadStatus, u64>,
    /// Messages of all threads.
    pub messages: u64,
    /// Tasks, by how they stand; every status is there.
    pub tasks: BTreeMap<TaskStatus, u64>,
    /// When the open task that has waited longest was created.
    pub oldest_open: Option<Timestamp>,
    /// Claims that have timed out and that nobody has taken away yet.
    pub claims_due: u64,
    /// What the rows and their indexes take, in bytes.
    pub bytes_in_use: u64,
    /// What the file takes on the disk, in bytes. `None` in memory and inside a transaction.
    pub bytes_on_disk: Option<u64>,
}

impl ReadTx<'_> {
    /// How many rows there are.
    pub(crate) fn count_rows(&self) -> Result<RowCounts> {
        Ok(RowCounts {
            agents: self.tables().len(&Registration::TABLE)?,
            threads: self.tables().len(&Thread::TABLE)?,
            messages: self.tables().len(&Message::TABLE)?,
            tasks: self.tables().len(&TaskRow::TABLE)?,
        })
    }

    /// How much is in the store. See [`Stats`].
    ///
    /// # Errors
    ///
    /// Only what reading can meet.
    pub fn stats(&self) -> Result<Stats> {
        let (agents, agent_bytes) = self.measure_agents()?;
        let tables = self.tables();
        let bytes =
            [agent_bytes, tables.bytes_in_use::<Thread>()?, tables.bytes_in_use::<Message>()?, self.measure_tasks()?];
        Ok(Stats {
            agents,
            threads: self.count_threads()?,
            messages: self.count_messages()?,
            tasks: self.count_tasks()?,
            oldest_open: self.open_tasks(1)?.first().map(|task| task.created_at),
            claims_due: self.count_due_claims(self.now())?,
            bytes_in_use: bytes.iter().sum(),
            bytes_on_disk: None,
        })
    }
}

/// What a file takes on its disk, which can be much less than its length: it has holes.
pub(crate) fn bytes_on_disk(file: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(file).map_err(|source| Error::Io {
        action: "measure the store",
        path: Some(file.into()),
        source,
    })?;
    #[cfg(unix)]
    let bytes = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    #[cfg(not(unix))]
    let bytes = metadata.len();
    Ok(bytes)
}
