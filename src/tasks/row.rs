//! How tasks are stored.
//!
//! | table | key | value |
//! |---|---|---|
//! | `tasks` | task id | row |
//! | `tasks_by_status` | (status, role, at, task id) | – |
//! | `tasks_by_thread` | (thread id, task id) | – |
//!
//! `at` is the time that matters to a status: open → `created_at`, claimed → the moment the claim times out, completed
//! → the moment it was completed. `role` stands there for open tasks and is empty for the others: each role is a queue,
//! and `open_tasks` merges their heads.

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
    timeout_seconds: u32,
    claim_id: Option<ClaimId>,
    claimed_at: Option<Timestamp>,
    claimed_by: Option<&'a str>,
    finished_at: Option<Timestamp>,
    role: &'a str,
    instruction: &'a str,
}

pub(super) const BY_STATUS: Index<Task> = Index {
    table: TableDef::variable_keys("tasks_by_status"),
    entry: |task| {
        let role = if task.status == TaskStatus::Open { task.role.as_str() } else { "" };
        Entry::key_only(key((task.status.code(), role, task.at(), task.id)))
    },
};

const BY_THREAD: Index<Task> = Index {
    table: TableDef::fixed_keys::<32>("tasks_by_thread"),
    entry: |task| Entry::key_only(key((task.thread_id, task.id))),
};

impl Row for Task {
    const TABLE: TableDef = TableDef::fixed::<16>("tasks");
    const INDEXES: &'static [Index<Self>] = &[BY_STATUS, BY_THREAD];

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
            timeout_seconds: self.timeout_seconds,
            claim_id: self.claim_id,
            claimed_at: self.claimed_at,
            claimed_by: self.claimed_by.as_ref().map(AgentId::as_str),
            finished_at: self.finished_at,
            role: &self.role,
            instruction: &self.instruction,
        }
    }

    fn from_stored(id: TaskId, stored: Stored<'_>) -> Result<Self, String> {
        let status = TaskStatus::of_code(stored.status).ok_or_else(|| format!("no status {}", stored.status))?;
        let claim = (stored.claim_id.is_some(), stored.claimed_at.is_some(), stored.claimed_by.is_some());
        let is_claimed = status != TaskStatus::Open;
        if claim != (is_claimed, is_claimed, is_claimed) {
            return Err(format!("{status}, with claim id, time and holder {claim:?}"));
        }
        if (status == TaskStatus::Completed) != stored.finished_at.is_some() {
            return Err(format!("{status}, finished at {:?}", stored.finished_at));
        }
        Ok(Self {
            id,
            thread_id: stored.thread_id,
            role: stored.role.into(),
            instruction: stored.instruction.into(),
            status,
            claim_id: stored.claim_id,
            claimed_by: stored.claimed_by.map(AgentId::new).transpose().map_err(|error| error.to_string())?,
            claimed_at: stored.claimed_at,
            timeout_seconds: stored.timeout_seconds,
            created_at: stored.created_at,
            finished_at: stored.finished_at,
        })
    }

    fn id_of_key(key: &[u8]) -> Result<TaskId> {
        last_part(Self::TABLE.name, key).map(TaskId::from_bytes)
    }
}

impl Task {
    /// The moment that orders it among the tasks of its status.
    fn at(&self) -> Timestamp {
        let at = match self.status {
            TaskStatus::Open => None,
            TaskStatus::Claimed => self.times_out_at(),
            TaskStatus::Completed => self.finished_at,
        };
        at.unwrap_or(self.created_at)
    }
}

impl TaskStatus {
    const ALL: [Self; 3] = [Self::Open, Self::Claimed, Self::Completed];

    /// What stands for it in rows and keys. Never changes.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Claimed => 2,
            Self::Completed => 3,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}
