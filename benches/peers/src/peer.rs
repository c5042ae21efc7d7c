//! What a peer is: the operations of a coordination store, whatever it stands on.
//!
//! ```text
//!   Peer ──┬── khala   on its public API
//!          ├── disk    one write and one sync for each operation, and nothing else
//!          └── Rival<Engine>   writers one by one, or sharing transactions by the scheme of khala's own queue
//!                    └── SQLite; LMDB, fjall and redb through the tables and operations of `kv`
//! ```
//!
//! To add a peer, implement [`Engine`] or [`Peer`] in a file of its own in `peers/` and name it in [`PeerName`].

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::ids::Id;
use crate::peers::disk::Disk;
use crate::peers::fjall::Fjall;
use crate::peers::khala::Khala;
use crate::peers::lmdb::Lmdb;
use crate::peers::redb::Redb;
use crate::peers::sqlite::Sqlite;
use crate::rival::{GROUPED, Rival};

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PeerName {
    /// This library
    Khala,
    /// The original's SQL in SQLite, writers sharing transactions
    SqliteGrouped,
    /// The original's SQL in SQLite behind a mutex
    Sqlite,
    /// LMDB, writers sharing transactions
    Lmdb,
    /// fjall, writers sharing transactions
    Fjall,
    /// redb, one transaction for each operation
    Redb,
    /// The raw disk: a write of 4 KiB in place and a sync for each operation
    Disk,
}

impl PeerName {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Khala => "khala",
            Self::SqliteGrouped => "SQLite, grouped",
            Self::Sqlite => "SQLite, mutex",
            Self::Lmdb => "LMDB, grouped",
            Self::Fjall => "fjall, grouped",
            Self::Redb => "redb, alone",
            Self::Disk => "raw disk",
        }
    }

    /// How it is set up, as the report says it.
    pub(crate) fn set_up(self) -> String {
        match self {
            Self::Khala => Khala::SET_UP.to_owned(),
            Self::SqliteGrouped => format!("{}; {GROUPED}; readers on connections of their own", Sqlite::set_up()),
            Self::Sqlite => format!("{}; one connection behind a mutex, each operation by itself", Sqlite::set_up()),
            Self::Lmdb => format!("{}; {GROUPED}", Lmdb::set_up()),
            Self::Fjall => format!("{}; {GROUPED}", Fjall::SET_UP),
            Self::Redb => format!("{}; each operation a transaction of its own", Redb::SET_UP),
            Self::Disk => Disk::SET_UP.to_owned(),
        }
    }

    /// Whether it keeps anything: the raw disk only writes.
    pub(crate) fn is_store(self) -> bool {
        self != Self::Disk
    }

    /// Opens it in this folder, or creates it there.
    pub(crate) fn open(self, folder: &Path, clock: &Clock, check: Check) -> Result<Box<dyn Peer>> {
        std::fs::create_dir_all(folder)?;
        let clock = clock.clone();
        Ok(match self {
            Self::Khala => Box::new(Khala::open(folder, clock, check)?),
            Self::SqliteGrouped => Box::new(Rival::grouped(Sqlite::with_readers(folder, clock.clone())?, clock)?),
            Self::Sqlite => Box::new(Rival::alone(Sqlite::on_one_connection(folder, clock.clone())?, clock)?),
            Self::Lmdb => Box::new(Rival::grouped(Lmdb::open(folder, clock.clone())?, clock)?),
            Self::Fjall => Box::new(Rival::grouped(Fjall::open(folder, clock.clone())?, clock)?),
            Self::Redb => Box::new(Rival::alone(Redb::open(folder, clock.clone())?, clock)?),
            Self::Disk => Box::new(Disk::open(folder)?),
        })
    }
}

/// Whether khala checks every page of the file when it opens one. The others have no such thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Check {
    On,
    Off,
}

/// A message to append.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    pub(crate) role: &'static str,
    pub(crate) content: String,
    pub(crate) step: u64,
    pub(crate) agent: Arc<str>,
}

/// A task to create.
#[derive(Clone, Debug)]
pub(crate) struct NewTask {
    pub(crate) role: &'static str,
    pub(crate) instruction: String,
    pub(crate) timeout_seconds: u32,
}

/// An operation that writes.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    CreateThread,
    CreateTask {
        thread: Id,
        task: NewTask,
    },
    Append {
        thread: Id,
        message: NewMessage,
    },
    /// The claim's id comes with it, for engines that do not make their own.
    Claim {
        task: Id,
        agent: Arc<str>,
        claim: Id,
    },
    Complete {
        task: Id,
        claim: Id,
    },
    Expire,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    Created(Id),
    Appended(u64),
    /// `None`: somebody else was first.
    Claimed(Option<Id>),
    /// Whether the task is completed under this claim.
    Completed(bool),
    Expired(u64),
    /// It is for a thread or a task that does not exist or has ended.
    Refused,
}

/// Which messages of a thread to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Which {
    All,
    Last(usize),
    Step(u64),
}

/// What a read gave: so many rows, each one decoded and owned, with so many bytes of text in them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) rows: usize,
    pub(crate) text_bytes: usize,
}

impl Seen {
    /// Of rows that have been made, so that nobody can leave out making them.
    pub(crate) fn of<T>(rows: &[T], text: impl Fn(&T) -> &str) -> Self {
        let rows = std::hint::black_box(rows);
        Self { rows: rows.len(), text_bytes: rows.iter().map(|row| text(row).len()).sum() }
    }
}

/// How much is in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) open: u64,
    pub(crate) claimed: u64,
    pub(crate) completed: u64,
}

/// A store to measure. Whatever writes is durable when it returns.
pub(crate) trait Peer: Send + Sync {
    fn create_task(&self, thread: Id, task: NewTask) -> Result<Id>;
    fn append(&self, thread: Id, message: NewMessage) -> Result<u64>;
    /// The claim, or `None` if somebody else has the task.
    fn claim(&self, task: Id, agent: &Arc<str>) -> Result<Option<Id>>;
    /// Whether the task is completed under this claim.
    fn complete(&self, task: Id, claim: Id) -> Result<bool>;
    /// How many timed-out claims were taken away.
    fn expire(&self) -> Result<u64>;
    /// All of these in one transaction: for loading.
    fn write_together(&self, requests: Vec<Request>) -> Result<Vec<Answer>>;
    /// The oldest open tasks.
    fn open_tasks(&self, limit: usize) -> Result<Seen>;
    fn messages(&self, thread: Id, which: Which) -> Result<Seen>;
    fn counts(&self) -> Result<Counts>;

    /// Makes the next opening quick, whatever happens until then. `false`: it has no such thing.
    fn checkpoint(&self) -> Result<bool> {
        Ok(false)
    }

    /// Waits until it does nothing more in the background that would disturb the others.
    fn settle(&self) {}
}

/// What a peer stands on: one durable transaction at a time, and reads beside it.
pub(crate) trait Engine: Send + Sync {
    /// What one writer hands to the next.
    type Turn: Send;

    fn first_turn(&self) -> Result<Self::Turn>;
    /// Runs all of these in one transaction and makes it durable.
    fn write(&self, turn: &mut Self::Turn, requests: &[Request]) -> Result<Vec<Answer>>;
    fn open_tasks(&self, limit: usize) -> Result<Seen>;
    fn messages(&self, thread: Id, which: Which) -> Result<Seen>;
    fn counts(&self) -> Result<Counts>;

    fn checkpoint(&self) -> Result<bool> {
        Ok(false)
    }

    fn settle(&self) {}
}

/// An answer that does not fit its question.
pub(crate) fn unexpected<T>(answer: Answer) -> Result<T> {
    bail!("the answer was {answer:?}")
}
