//! Threads: the conversations everything else hangs on.
//!
//! | table | key | value |
//! |---|---|---|
//! | `threads` | thread id | row |
//! | `threads_by_status` | (status, created_at, thread id) | – |

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::db::key::{key, last_part};
use crate::db::{Entry, Index, Row, TableDef};
use crate::error::{Error, Result};
use crate::id::ThreadId;
use crate::limits;
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
}

impl ThreadStatus {
    /// Its name: `active`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
        }
    }

    /// What stands for it in rows and keys. Never changes.
    const fn code(self) -> u8 {
        match self {
            Self::Active => 1,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        [Self::Active].into_iter().find(|status| status.code() == code)
    }
}

impl fmt::Display for ThreadStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
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

impl Row for Thread {
    const TABLE: TableDef = TableDef::fixed::<16>("threads");
    const INDEXES: &'static [Index<Self>] = &[Index {
        table: TableDef::fixed_keys::<25>("threads_by_status"),
        entry: |thread| Entry::key_only(key((thread.status.code(), thread.created_at, thread.id))),
    }];

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

    /// An error unless there is a thread with this id.
    pub(crate) fn require_thread(&self, id: ThreadId) -> Result<()> {
        if self.tables().contains::<Thread>(&id)? { Ok(()) } else { Err(Error::ThreadNotFound(id)) }
    }
}
