//! How tasks are stored.
//!
//! | table | key | value |
//! |---|---|---|
//! | `tasks` | task id | row |
//! | `tasks_by_status` | (status, role, order, at, task id) | – |
//! | `tasks_by_thread` | (thread id, task id) | – |
//! | `tasks_by_key` | (thread id, key) | task id |
//!
//! `at` is the time that matters to a status: open → `created_at`, scheduled → `not_before`, claimed → the moment the claim
//! times out, finished → the moment it finished. `role` and `order`, the priority turned round so that the highest comes
//! first, stand there for open tasks and are empty and 0 for the others: each role and priority is a queue.

use serde::{Deserialize, Serialize};

use super::{Task, TaskStatus};
use crate::clock::Timestamp;
use crate::db::key::{key, last_part};
use crate::db::{Entry, Index, Row, TableDef};
use crate::error::Result;
use crate::id::{AgentId, ClaimId, TaskId, ThreadId};

/// What is stored of a task under its id.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored<'a> {
    thread_id: ThreadId,
    created_at: Timestamp,
    status: u8,
    priority: i16,
    timeout_seconds: u32,
    attempts: u32,
    max_attempts: Option<u32>,
    backoff_seconds: u32,
    claim_id: Option<ClaimId>,
    claimed_at: Option<Timestamp>,
    claimed_by: Option<&'a str>,
    expires_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    role: &'a str,
    key: Option<&'a str>,
    last_error: Option<&'a str>,
    instruction: &'a str,
}

/// What a walk looks at before it copies anything.
impl Stored<'_> {
    pub(super) fn is_open(&self) -> bool {
        self.status == TaskStatus::Open.code()
    }

    pub(super) fn role(&self) -> &str {
        self.role
    }

    pub(super) fn priority(&self) -> i16 {
        self.priority
    }

    pub(super) fn created_at(&self) -> Timestamp {
        self.created_at
    }
}

pub(super) const BY_STATUS: Index<Task> = Index {
    table: TableDef::variable_keys("tasks_by_status"),
    entry: |task| {
        let is_open = task.status == TaskStatus::Open;
        let (role, order) = if is_open { (task.role.as_str(), order_of(task.priority)) } else { ("", 0) };
        Some(Entry::key_only(key((task.status.code(), role, order, task.at(), task.id))))
    },
};

pub(super) const BY_THREAD: Index<Task> = Index {
    table: TableDef::fixed_keys::<32>("tasks_by_thread"),
    entry: |task| Some(Entry::key_only(key((task.thread_id, task.id)))),
};

pub(super) const BY_KEY: Index<Task> = Index {
    table: TableDef::variable("tasks_by_key"),
    entry: |task| {
        let text = task.key.as_deref()?;
        Some(Entry { key: key((task.thread_id, text)), value: key(task.id) })
    },
};

/// A priority as it stands in a key: the highest first.
pub(super) fn order_of(priority: i16) -> u16 {
    !priority.cast_unsigned() ^ 0x8000
}

impl Row for Task {
    const TABLE: TableDef = TableDef::fixed::<16>("tasks");
    const INDEXES: &'static [Index<Self>] = &[BY_STATUS, BY_THREAD, BY_KEY];
    const FORMAT_VERSION: u8 = 2;

    type Id = TaskId;
    type Stored<'a> = Stored<'a>;

    fn id(&self) -> TaskId {
        self.id
    }

    fn to_stored(&self) -> Stored<'_> {
        Stored {
            thread_id: self.thread_id,
            created_at: self.created_at,
            status: self.status.code(),
            priority: self.priority,
            timeout_seconds: self.timeout_seconds,
            attempts: self.attempts,
            max_attempts: self.max_attempts,
            backoff_seconds: self.backoff_seconds,
            claim_id: self.claim_id,
            claimed_at: self.claimed_at,
            claimed_by: self.claimed_by.as_ref().map(AgentId::as_str),
            expires_at: self.expires_at,
            not_before: self.not_before,
            finished_at: self.finished_at,
            role: &self.role,
            key: self.key.as_deref(),
            last_error: self.last_error.as_deref(),
            instruction: &self.instruction,
        }
    }

    fn from_stored(id: TaskId, stored: Stored<'_>) -> Result<Self, String> {
        let status = TaskStatus::of_code(stored.status).ok_or_else(|| format!("no status {}", stored.status))?;
        let task = Self {
            id,
            thread_id: stored.thread_id,
            role: stored.role.into(),
            instruction: stored.instruction.into(),
            status,
            claim_id: stored.claim_id,
            claimed_by: stored.claimed_by.map(AgentId::new).transpose().map_err(|error| error.to_string())?,
            claimed_at: stored.claimed_at,
            expires_at: stored.expires_at,
            timeout_seconds: stored.timeout_seconds,
            attempts: stored.attempts,
            max_attempts: stored.max_attempts,
            backoff_seconds: stored.backoff_seconds,
            priority: stored.priority,
            not_before: stored.not_before,
            key: stored.key.map(Into::into),
            last_error: stored.last_error.map(Into::into),
            created_at: stored.created_at,
            finished_at: stored.finished_at,
        };
        if task.is_consistent() { Ok(task) } else { Err(format!("it cannot be {status} as it is: {task:?}")) }
    }

    fn id_of_key(key: &[u8]) -> Result<TaskId> {
        last_part(Self::TABLE.name, key).map(TaskId::from_bytes)
    }
}

impl Task {
    /// Whether it has what a task of its status has.
    fn is_consistent(&self) -> bool {
        let claim = (self.claim_id.is_some(), self.claimed_at.is_some(), self.claimed_by.is_some());
        let claim_fits = match self.status {
            TaskStatus::Open | TaskStatus::Scheduled | TaskStatus::Cancelled => claim == (false, false, false),
            TaskStatus::Claimed | TaskStatus::Completed | TaskStatus::Failed => claim == (true, true, true),
        };
        claim_fits
            && self.expires_at.is_some() == (self.status == TaskStatus::Claimed)
            && self.finished_at.is_some() == self.status.is_finished()
            && (self.status != TaskStatus::Scheduled || self.not_before.is_some())
    }

    /// The moment that orders it among the tasks of its status.
    pub(super) fn at(&self) -> Timestamp {
        let at = match self.status {
            TaskStatus::Open => None,
            TaskStatus::Scheduled => self.not_before,
            TaskStatus::Claimed => self.expires_at,
            TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled => self.finished_at,
        };
        at.unwrap_or(self.created_at)
    }
}

impl TaskStatus {
    pub(super) const ALL: [Self; 6] =
        [Self::Open, Self::Scheduled, Self::Claimed, Self::Completed, Self::Failed, Self::Cancelled];

    /// What stands for it in rows and keys. Never changes.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Claimed => 2,
            Self::Completed => 3,
            Self::Scheduled => 4,
            Self::Failed => 5,
            Self::Cancelled => 6,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}
