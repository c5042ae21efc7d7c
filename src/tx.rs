//! What an operation stands on: a snapshot to read from, or a transaction to write in.
//!
//! The operations themselves are in the nouns' files, one `impl` block each. How a caller's closure gets its transaction and
//! the caller its answer is in `tx/call.rs`; in `tx/submitted.rs` for callers without a thread to wait in.

mod call;
#[cfg(feature = "tokio")]
mod submitted;

pub(crate) use call::run;
#[cfg(feature = "json")]
pub(crate) use call::run_alone;
#[cfg(feature = "tokio")]
pub(crate) use submitted::{Ending, submit};

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::clock::Timestamp;
#[cfg(feature = "json")]
use crate::db::moment_of_ulid;
use crate::db::{Batch, Counters, Row, Tables, fresh_ulid};
#[cfg(feature = "json")]
use crate::error::Error;
use crate::error::Result;
use crate::id::{ClaimId, MessageId, TaskId, ThreadId};
#[cfg(feature = "json")]
use crate::limits::IMPORT_AHEAD_MAX_SECONDS;

/// A consistent view: the last durable commit in [`Store::read`](crate::Store::read), or the transaction so far in
/// [`Store::write`](crate::Store::write), whose [`WriteTx`] reads through this.
pub struct ReadTx<'t> {
    tables: Tables<'t>,
    now: Timestamp,
}

impl<'t> ReadTx<'t> {
    /// A view of these tables at this moment.
    pub(crate) fn new(tables: Tables<'t>, now: Timestamp) -> Self {
        Self { tables, now }
    }

    /// The moment of this transaction in stored time, which never goes back. What only reads goes by the clock and by the
    /// last write: see [`Clock`](crate::Clock).
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn tables(&self) -> &Tables<'t> {
        &self.tables
    }
}

impl fmt::Debug for ReadTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTx").finish_non_exhaustive()
    }
}

/// Several operations in one atomic step, handed to the closure of [`Store::write`](crate::Store::write).
///
/// It reads what it wrote. All of its operations happen at one moment, [`now`](ReadTx::now).
pub struct WriteTx<'t> {
    read: ReadTx<'t>,
    counters: Counters,
    news: News,
}

/// What those who wait for a task want to know of a transaction, once it is committed.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The tasks it left open, oldest first.
    pub(crate) opened: BTreeMap<TaskId, Opened>,
    /// How far off the first of what it wrote is that will be due: a claim that times out, a scheduled task.
    pub(crate) due_in: Option<Duration>,
    /// Whether it left more tasks open than are worth being told one by one.
    pub(crate) many_opened: bool,
}

/// How many opened tasks are told one by one. Beyond that everybody who waits is told to look.
const MOST_TOLD: usize = 1_000;

/// A task that was opened, and what decides who can take it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opened {
    pub(crate) task: TaskId,
    pub(crate) thread: ThreadId,
    pub(crate) role: String,
}

impl<'t> WriteTx<'t> {
    /// Stores a row, and its index entries with it.
    pub(crate) fn put<R: Row>(&mut self, row: &R) -> Result<()> {
        self.read.tables.put(row)
    }

    /// Tells those who wait, once this transaction is committed.
    pub(crate) fn tell_opened(&mut self, opened: Opened) {
        if self.news.opened.len() < MOST_TOLD {
            self.news.opened.insert(opened.task, opened);
        } else {
            self.news.many_opened = true;
        }
    }

    /// Takes back what was told of a task that is not open after all.
    pub(crate) fn tell_not_open(&mut self, task: TaskId) {
        self.news.opened.remove(&task);
    }

    /// Tells those who wait when something will be due, once this transaction is committed.
    pub(crate) fn tell_due(&mut self, moment: Timestamp) {
        let due_in = moment.duration_since(self.now());
        self.news.due_in = self.news.due_in.into_iter().chain([due_in]).min();
    }

    /// Removes a row, and its index entries with it. Whether there was one.
    pub(crate) fn remove<R: Row>(&mut self, id: &R::Id) -> Result<bool> {
        self.read.tables.remove::<R>(id)
    }

    pub(crate) fn new_thread_id(&mut self) -> Result<ThreadId> {
        self.counters.next_ulid(self.read.now).map(ThreadId::from_bytes)
    }

    pub(crate) fn new_task_id(&mut self) -> Result<TaskId> {
        self.counters.next_ulid(self.read.now).map(TaskId::from_bytes)
    }

    pub(crate) fn new_message_id(&mut self) -> Result<MessageId> {
        self.counters.next_message_id().map(MessageId::from_u64)
    }

    pub(crate) fn new_claim_id(&self) -> Result<ClaimId> {
        fresh_ulid(self.read.now).map(ClaimId::from_bytes)
    }

    fn over(batch: Batch<'t>) -> Self {
        let Batch { tables, counters, now } = batch;
        Self { read: ReadTx::new(tables, now), counters, news: News::default() }
    }

    fn into_batch(self) -> (Batch<'t>, News) {
        let ReadTx { tables, now } = self.read;
        (Batch { tables, counters: self.counters, now }, self.news)
    }
}

/// What became of a row that came with its id.
#[cfg(feature = "json")]
pub(crate) enum Landed<R> {
    /// It is in the store now.
    Added,
    /// This one was there under its id.
    There(R),
}

/// Rows that bring their ids and times with them: what is given out after them lies behind them.
#[cfg(feature = "json")]
impl WriteTx<'_> {
    pub(crate) fn count_message(&mut self, id: u64) {
        self.counters.count_message(id);
    }

    /// An error if the id is of a moment too far ahead.
    pub(crate) fn count_ulid(&mut self, field: &'static str, id: [u8; 16]) -> Result<()> {
        self.check_is_near(field, "an id of ", moment_of_ulid(id))?;
        self.counters.count_ulid(id);
        Ok(())
    }

    /// An error if the moment is too far ahead.
    pub(crate) fn count_moment(&mut self, field: &'static str, moment: Timestamp) -> Result<()> {
        self.check_is_near(field, "", moment)?;
        self.counters.count_moment(moment);
        Ok(())
    }

    pub(crate) fn count_disorder(&mut self, disorder: Duration) {
        self.counters.count_disorder(disorder);
    }

    fn check_is_near(&self, field: &'static str, what: &str, moment: Timestamp) -> Result<()> {
        let latest = self.now() + Duration::from_secs(IMPORT_AHEAD_MAX_SECONDS);
        if moment <= latest {
            return Ok(());
        }
        let reason = format!("is {what}{moment}; the store's clock says {}, and a day more is the most", self.now());
        Err(Error::InvalidInput { field, reason })
    }
}

impl<'t> Deref for WriteTx<'t> {
    type Target = ReadTx<'t>;

    fn deref(&self) -> &ReadTx<'t> {
        &self.read
    }
}

impl fmt::Debug for WriteTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTx").field("now", &self.read.now).finish_non_exhaustive()
    }
}
