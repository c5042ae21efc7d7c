//! Threads: the conversations everything else hangs on.
//!
//! | table | key | value |
//! |---|---|---|
//! | `threads` | thread id | row |
//! | `threads_by_status` | (status, at, thread id) | – |
//!
//! `at` is the time that matters to a status: active → `created_at`, finished → the moment it finished.

#[cfg(feature = "json")]
mod import;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::db::key::{key, last_part, prefix};
use crate::db::{Entry, Index, Row, TableDef};
use crate::error::{Error, Result};
use crate::id::ThreadId;
use crate::limits;
use crate::page::{Cursor, Page, Paging};
use crate::tx::{ReadTx, WriteTx};

/// A conversation that tasks and messages belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Thread {
    /// Which one.
    pub id: ThreadId,
    /// What kind of work it is, in the application's words: 1 to 256 bytes.
    pub workflow: String,
    /// Where it stands.
    pub status: ThreadStatus,
    /// Who opened it, in the application's words: 1 to 256 bytes.
    pub initiator: String,
    /// What came of it, up to 16 MiB.
    pub result: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When its status or result last changed. Messages and tasks do not count.
    pub updated_at: Timestamp,
}

/// Where a thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ThreadStatus {
    /// Work goes on. Every thread begins so.
    Active,
    /// It came to its end, for good.
    Completed,
    /// It came to nothing, for good.
    Failed,
    /// It was given up, for good.
    Cancelled,
}

impl ThreadStatus {
    const ALL: [Self; 4] = [Self::Active, Self::Completed, Self::Failed, Self::Cancelled];

    /// Its name: `active`, `completed`, `failed` or `cancelled`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What stands for it in rows and keys. Never changes.
    const fn code(self) -> u8 {
        match self {
            Self::Active => 1,
            Self::Completed => 2,
            Self::Failed => 3,
            Self::Cancelled => 4,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

impl fmt::Display for ThreadStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which threads: what [`ReadTx::threads`] takes. All of them, oldest first, unless something is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThreadFilter {
    status: Option<ThreadStatus>,
    paging: Paging,
}

impl ThreadFilter {
    /// All threads, oldest first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those that stand so; finished ones in the order in which they finished.
    #[must_use]
    pub fn status(mut self, status: ThreadStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// The newest first instead of the oldest.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.paging.newest_first = true;
        self
    }

    /// How many at the most, at least 1. 100 unless set.
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        self.paging.limit = Some(count);
        self
    }

    /// Only those behind the end of a page: its [`next`](Page::next), with the rest of the filter as it was.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.paging.after = Some(cursor);
        self
    }
}

/// What is stored of a thread under its id.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored<'a> {
    created_at: Timestamp,
    updated_at: Timestamp,
    status: u8,
    workflow: &'a str,
    initiator: &'a str,
    result: Option<&'a str>,
}

const BY_STATUS: Index<Thread> = Index {
    table: TableDef::fixed_keys::<25>("threads_by_status"),
    entry: |thread| Some(Entry::key_only(key((thread.status.code(), thread.at(), thread.id)))),
};

impl Thread {
    /// The moment that orders it among the threads of its status: a finished thread does not change any more.
    fn at(&self) -> Timestamp {
        if self.status == ThreadStatus::Active { self.created_at } else { self.updated_at }
    }
}

impl Row for Thread {
    const TABLE: TableDef = TableDef::fixed::<16>("threads");
    const INDEXES: &'static [Index<Self>] = &[BY_STATUS];

    type Id = ThreadId;
    type Stored<'a> = Stored<'a>;

    fn id(&self) -> ThreadId {
        self.id
    }

    fn to_stored(&self) -> Stored<'_> {
        Stored {
            created_at: self.created_at,
            updated_at: self.updated_at,
            status: self.status.code(),
            workflow: &self.workflow,
            initiator: &self.initiator,
            result: self.result.as_deref(),
        }
    }

    fn from_stored(id: ThreadId, stored: Stored<'_>) -> Result<Self, String> {
        Ok(Self {
            id,
            workflow: stored.workflow.into(),
            status: ThreadStatus::of_code(stored.status).ok_or_else(|| format!("no status {}", stored.status))?,
            initiator: stored.initiator.into(),
            result: stored.result.map(Into::into),
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        })
    }

    fn id_of_key(key: &[u8]) -> Result<ThreadId> {
        last_part(Self::TABLE.name, key).map(ThreadId::from_bytes)
    }
}

impl WriteTx<'_> {
    /// Opens a thread and gives it back.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] or [`Error::TooLarge`] when `workflow` or `initiator` is not 1 to 256 bytes.
    pub fn create_thread(&mut self, workflow: &str, initiator: &str) -> Result<Thread> {
        limits::check_name("workflow", workflow)?;
        limits::check_name("initiator", initiator)?;
        let now = self.now();
        let thread = Thread {
            id: self.new_thread_id()?,
            workflow: workflow.into(),
            status: ThreadStatus::Active,
            initiator: initiator.into(),
            result: None,
            created_at: now,
            updated_at: now,
        };
        self.put(&thread)?;
        Ok(thread)
    }

    /// Ends a thread for good, completed, failed or cancelled, with what came of it, and gives it back. Its unfinished
    /// tasks are cancelled in the same step; from then on messages and tasks are refused. Ending it the same way again
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadNotFound`]; [`Error::ThreadFinished`] when it ended in another way before; [`Error::InvalidInput`] for
    /// the status `active`; [`Error::TooLarge`] for a result over 16 MiB.
    pub fn finish_thread(&mut self, id: ThreadId, status: ThreadStatus, result: Option<&str>) -> Result<Thread> {
        limits::check_text("result", result.unwrap_or_default())?;
        if status == ThreadStatus::Active {
            let reason = "is active; a thread ends completed, failed or cancelled".into();
            return Err(Error::InvalidInput { field: "thread status", reason });
        }
        let mut thread = self.thread(id)?.ok_or(Error::ThreadNotFound(id))?;
        if thread.status != ThreadStatus::Active {
            let same = thread.status == status && thread.result.as_deref() == result;
            return if same { Ok(thread) } else { Err(Error::ThreadFinished(id)) };
        }
        for task in self.unfinished_tasks(id)? {
            self.cancel_task(task)?;
        }
        thread.status = status;
        thread.result = result.map(Into::into);
        thread.updated_at = self.now();
        self.put(&thread)?;
        Ok(thread)
    }

    /// Removes a thread with its messages and tasks, finished or not. Whether there was one. Their ids are not given out
    /// again; whoever holds one of the tasks is told that it does not exist.
    ///
    /// # Errors
    ///
    /// Only what any write can meet: [`Error::Io`], [`Error::Corrupt`].
    pub fn delete_thread(&mut self, id: ThreadId) -> Result<bool> {
        self.remove_messages(id)?;
        self.remove_tasks(id)?;
        self.remove::<Thread>(&id)
    }

    /// Removes the threads that finished before this moment, with their messages and tasks, and says how many.
    ///
    /// This form does it all in one transaction; [`Store::prune`](crate::Store::prune) goes thread by thread, so that
    /// others get their turn.
    ///
    /// # Errors
    ///
    /// Only what any write can meet: [`Error::Io`], [`Error::Corrupt`].
    pub fn prune(&mut self, before: Timestamp) -> Result<u64> {
        let mut pruned = 0;
        while self.prune_one(before)? {
            pruned += 1;
        }
        Ok(pruned)
    }

    /// Removes one thread that finished before this moment, if there is one.
    pub(crate) fn prune_one(&mut self, before: Timestamp) -> Result<bool> {
        for status in ThreadStatus::ALL.into_iter().filter(|status| *status != ThreadStatus::Active) {
            let (from, _) = prefix(status.code());
            let finished = (from, Bound::Excluded(key((status.code(), before))));
            let oldest = self.tables().keys(&BY_STATUS.table, &finished)?.next();
            if let Some(key) = oldest.transpose()? {
                return self.delete_thread(Thread::id_of_key(&key)?);
            }
        }
        Ok(false)
    }
}

impl ReadTx<'_> {
    /// The thread with this id, or `None`.
    ///
    /// # Errors
    ///
    /// Only what reading can meet: [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    pub fn thread(&self, id: ThreadId) -> Result<Option<Thread>> {
        self.tables().get(&id)
    }

    /// The threads the filter lets through, a page at a time.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a limit of 0 or a cursor of another list.
    pub fn threads(&self, filter: &ThreadFilter) -> Result<Page<Thread>> {
        let (table, range) = match filter.status {
            Some(status) => (BY_STATUS.table, prefix(status.code())),
            None => (Thread::TABLE, (Bound::Unbounded, Bound::Unbounded)),
        };
        self.page(&table, range, &filter.paging, |key| {
            let id = Thread::id_of_key(key)?;
            let thread = self.thread(id)?;
            thread.map(Some).ok_or_else(|| Error::corrupt(table.name, format!("thread {id} does not exist")))
        })
    }

    /// How many threads stand how.
    pub(crate) fn count_threads(&self) -> Result<BTreeMap<ThreadStatus, u64>> {
        let count = |status: ThreadStatus| Ok((status, self.tables().count(&BY_STATUS.table, &prefix(status.code()))?));
        ThreadStatus::ALL.into_iter().map(count).collect()
    }

    /// An error unless there is a thread with this id and work goes on in it.
    pub(crate) fn require_active_thread(&self, id: ThreadId) -> Result<()> {
        match self.tables().get_with::<Thread, _>(&id, |stored| stored.status == ThreadStatus::Active.code())? {
            Some(true) => Ok(()),
            Some(false) => Err(Error::ThreadFinished(id)),
            None => Err(Error::ThreadNotFound(id)),
        }
    }

    /// An error unless there is a thread with this id.
    pub(crate) fn require_thread(&self, id: ThreadId) -> Result<()> {
        if self.tables().contains::<Thread>(&id)? { Ok(()) } else { Err(Error::ThreadNotFound(id)) }
    }
}
