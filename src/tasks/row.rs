//! How tasks are stored.
//!
//! | table | key | value |
//! |---|---|---|
//! | `tasks` | task id | row |
//! | `instructions` | task id | an instruction of more than 256 bytes |
//! | `tasks_by_status` | (status, role, order, at, task id) | – |
//! | `tasks_by_thread` | (thread id, task id) | – |
//! | `tasks_by_key` | (thread id, key) | task id |
//!
//! `at` is the time that matters to a status: open → `created_at`, scheduled → `not_before`, claimed → the moment the claim
//! times out, finished → the moment it finished. `role` and `order`, the priority turned round so that the highest comes
//! first, stand there for open tasks and are empty and 0 for the others: each role and priority is a queue.
//!
//! A row is written anew whenever its task moves, and with it the page it is on. An instruction never changes, so a long
//! one stands apart: rows stay small, many share a page, and a batch of claims writes few. A short one is not worth the
//! second look-up.

use serde::{Deserialize, Serialize};

use super::{Task, TaskStatus};
use crate::clock::Timestamp;
use crate::db::key::{key, last_part};
use crate::db::{Entry, Index, Row, TableDef};
use crate::error::Result;
use crate::id::{AgentId, ClaimId, TaskId, ThreadId};

/// The longest instruction that stands in its task's row, in bytes. Of rows without one, some 30 share a page.
const INLINE_MAX_BYTES: usize = 256;

/// A task as its row has it: all of it, but for an instruction that stands apart.
#[derive(Debug, PartialEq)]
pub(crate) struct TaskRow {
    /// What moves. Read from the store, its instruction is empty if that stands apart.
    pub(crate) task: Task,
    pub(super) is_instruction_apart: bool,
}

impl TaskRow {
    /// The row of a new task.
    pub(crate) fn of(task: Task) -> Self {
        Self { is_instruction_apart: task.instruction.len() > INLINE_MAX_BYTES, task }
    }
}

/// An instruction that stands apart from its task's row.
#[derive(Debug, PartialEq)]
pub(crate) struct Instruction {
    pub(crate) task: TaskId,
    pub(crate) text: String,
}

impl Row for Instruction {
    const TABLE: TableDef = TableDef::fixed::<16>("instructions");
    const INDEXES: &'static [Index<Self>] = &[];

    type Id = TaskId;
    type Stored<'a> = &'a str;

    fn id(&self) -> TaskId {
        self.task
    }

    fn to_stored(&self) -> &str {
        &self.text
    }

    fn from_stored(task: TaskId, text: &str) -> Result<Self, String> {
        Ok(Self { task, text: text.into() })
    }

    fn id_of_key(key: &[u8]) -> Result<TaskId> {
        last_part(Self::TABLE.name, key).map(TaskId::from_bytes)
    }
}

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
    /// `None` if it stands apart.
    instruction: Option<&'a str>,
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

    pub(super) fn is_instruction_apart(&self) -> bool {
        self.instruction.is_none()
    }
}

pub(super) const BY_STATUS: Index<TaskRow> = Index {
    table: TableDef::variable_keys("tasks_by_status"),
    entry: |TaskRow { task, .. }| {
        let is_open = task.status == TaskStatus::Open;
        let (role, order) = if is_open { (task.role.as_str(), order_of(task.priority)) } else { ("", 0) };
        Some(Entry::key_only(key((task.status.code(), role, order, task.at(), task.id))))
    },
};

pub(super) const BY_THREAD: Index<TaskRow> = Index {
    table: TableDef::fixed_keys::<32>("tasks_by_thread"),
    entry: |TaskRow { task, .. }| Some(Entry::key_only(key((task.thread_id, task.id)))),
};

pub(super) const BY_KEY: Index<TaskRow> = Index {
    table: TableDef::variable("tasks_by_key"),
    entry: |TaskRow { task, .. }| {
        let text = task.key.as_deref()?;
        Some(Entry { key: key((task.thread_id, text)), value: key(task.id) })
    },
};

/// A priority as it stands in a key: the highest first.
pub(super) fn order_of(priority: i16) -> u16 {
    !priority.cast_unsigned() ^ 0x8000
}

impl Row for TaskRow {
    const TABLE: TableDef = TableDef::fixed::<16>("tasks");
    const INDEXES: &'static [Index<Self>] = &[BY_STATUS, BY_THREAD, BY_KEY];
    const FORMAT_VERSION: u8 = 3;

    type Id = TaskId;
    type Stored<'a> = Stored<'a>;

    fn id(&self) -> TaskId {
        self.task.id
    }

    fn to_stored(&self) -> Stored<'_> {
        let task = &self.task;
        Stored {
            thread_id: task.thread_id,
            created_at: task.created_at,
            status: task.status.code(),
            priority: task.priority,
            timeout_seconds: task.timeout_seconds,
            attempts: task.attempts,
            max_attempts: task.max_attempts,
            backoff_seconds: task.backoff_seconds,
            claim_id: task.claim_id,
            claimed_at: task.claimed_at,
            claimed_by: task.claimed_by.as_ref().map(AgentId::as_str),
            expires_at: task.expires_at,
            not_before: task.not_before,
            finished_at: task.finished_at,
            role: &task.role,
            key: task.key.as_deref(),
            last_error: task.last_error.as_deref(),
            instruction: (!self.is_instruction_apart).then_some(&task.instruction),
        }
    }

    fn from_stored(id: TaskId, stored: Stored<'_>) -> Result<Self, String> {
        let status = TaskStatus::of_code(stored.status).ok_or_else(|| format!("no status {}", stored.status))?;
        let task = Task {
            id,
            thread_id: stored.thread_id,
            role: stored.role.into(),
            instruction: stored.instruction.unwrap_or_default().into(),
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
        if !task.is_consistent() {
            return Err(format!("it cannot be {status} as it is: {task:?}"));
        }
        Ok(Self { task, is_instruction_apart: stored.instruction.is_none() })
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
