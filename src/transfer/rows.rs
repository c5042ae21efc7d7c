//! Each table's columns, in order: a row as a line, and a line as a row.
//!
//! The columns of the original come first, in its order, and then what this store has beside them. All are always written,
//! null where there is nothing. When they are read, those that the original does not have can be missing:
//!
//! | column of a task | is, if it is missing or null |
//! |---|---|
//! | `status` | `open` |
//! | `timeout_seconds` | 300 |
//! | `expires_at` | if it is claimed: `claimed_at` and `timeout_seconds` |
//! | `finished_at` | if it is completed or failed: `claimed_at`, the last that is known of it |
//! | `attempts` | 1 if it is or was claimed, else 0 |
//! | `max_attempts`, `not_before`, `key`, `last_error` | nothing |
//! | `backoff_seconds`, `priority` | 0 |

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::columns::{Columns, of_column, required};
use crate::agents::{Agent, Registration};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{AgentId, ClaimId, MessageId, TaskId, ThreadId};
use crate::messages::Message;
use crate::tasks::{Task, TaskStatus};
use crate::threads::{Thread, ThreadStatus};

/// A table of rows that can be exported and imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Table {
    /// Who may come in by token.
    Agents,
    /// Conversations.
    Threads,
    /// What was said in them.
    Messages,
    /// What is to be done in them.
    Tasks,
}

impl Table {
    /// All of them, in the order in which they are exported.
    pub const ALL: [Self; 4] = [Self::Agents, Self::Threads, Self::Messages, Self::Tasks];

    /// Its name: `agents`, `threads`, `messages` or `tasks`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Threads => "threads",
            Self::Messages => "messages",
            Self::Tasks => "tasks",
        }
    }

    /// The table of this name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.as_str() == name)
    }

    /// Its columns, for whom one of his is not among them.
    pub(super) const fn columns(self) -> &'static str {
        match self {
            Self::Agents => "id, token_hash, created_at",
            Self::Threads => "id, workflow, status, initiator, result, created_at, updated_at",
            Self::Messages => "id, thread_id, role, content, meta, step, agent_id, created_at",
            Self::Tasks => {
                "id, thread_id, role, instruction, status, claim_id, claimed_by, claimed_at, timeout_seconds, created_at, \
                 expires_at, finished_at, attempts, max_attempts, backoff_seconds, priority, not_before, key, last_error"
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A row of one of the tables.
pub(super) trait Line: Sized {
    /// The row as it is written.
    fn to_line(&self) -> impl Serialize;

    /// The row that these columns describe.
    fn of_columns(columns: &mut Columns<'_>) -> Result<Self>;
}

impl Line for Registration {
    fn to_line(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct AgentLine<'a> {
            table: Table,
            id: &'a AgentId,
            token_hash: String,
            created_at: Timestamp,
        }
        let agent = self.agent();
        AgentLine {
            table: Table::Agents,
            id: &agent.id,
            token_hash: self.token_hash_text(),
            created_at: agent.created_at,
        }
    }

    fn of_columns(columns: &mut Columns<'_>) -> Result<Self> {
        let id = required("agents.id", columns.id("agents.id")?)?;
        let token_hash = required("agents.token_hash", columns.text("agents.token_hash")?)?;
        let created_at = required("agents.created_at", columns.moment("agents.created_at")?)?;
        Ok(Self::new(Agent { id, created_at }, Self::token_hash_of(&token_hash)?))
    }
}

impl Line for Thread {
    fn to_line(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct ThreadLine<'a> {
            table: Table,
            id: ThreadId,
            workflow: &'a str,
            status: ThreadStatus,
            initiator: &'a str,
            result: Option<&'a str>,
            created_at: Timestamp,
            updated_at: Timestamp,
        }
        ThreadLine {
            table: Table::Threads,
            id: self.id,
            workflow: &self.workflow,
            status: self.status,
            initiator: &self.initiator,
            result: self.result.as_deref(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    fn of_columns(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: required("threads.id", columns.id("threads.id")?)?,
            workflow: required("threads.workflow", columns.text("threads.workflow")?)?,
            status: {
                let name = required("threads.status", columns.text("threads.status")?)?;
                let status = ThreadStatus::of_name(&name);
                status.ok_or_else(|| no_status("threads.status", &name, "active, completed, failed and cancelled"))?
            },
            initiator: required("threads.initiator", columns.text("threads.initiator")?)?,
            result: columns.text("threads.result")?,
            created_at: required("threads.created_at", columns.moment("threads.created_at")?)?,
            updated_at: required("threads.updated_at", columns.moment("threads.updated_at")?)?,
        })
    }
}

impl Line for Message {
    fn to_line(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct MessageLine<'a> {
            table: Table,
            id: u64,
            thread_id: ThreadId,
            role: &'a str,
            content: &'a str,
            meta: Option<&'a str>,
            step: u64,
            agent_id: Option<&'a AgentId>,
            created_at: Timestamp,
        }
        MessageLine {
            table: Table::Messages,
            id: self.id.as_u64(),
            thread_id: self.thread_id,
            role: &self.role,
            content: &self.content,
            meta: self.meta.as_deref(),
            step: self.step,
            agent_id: self.agent_id.as_ref(),
            created_at: self.created_at,
        }
    }

    fn of_columns(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: MessageId::from_u64(required("messages.id", columns.number("messages.id")?)?),
            thread_id: required("messages.thread_id", columns.id("messages.thread_id")?)?,
            role: required("messages.role", columns.text("messages.role")?)?,
            content: required("messages.content", columns.text("messages.content")?)?,
            meta: columns.text("messages.meta")?,
            step: required("messages.step", columns.number("messages.step")?)?,
            agent_id: columns.id("messages.agent_id")?,
            created_at: required("messages.created_at", columns.moment("messages.created_at")?)?,
        })
    }
}

impl Line for Task {
    fn to_line(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct TaskLine<'a> {
            table: Table,
            id: TaskId,
            thread_id: ThreadId,
            role: &'a str,
            instruction: &'a str,
            status: TaskStatus,
            claim_id: Option<ClaimId>,
            claimed_by: Option<&'a AgentId>,
            claimed_at: Option<Timestamp>,
            timeout_seconds: u32,
            created_at: Timestamp,
            expires_at: Option<Timestamp>,
            finished_at: Option<Timestamp>,
            attempts: u32,
            max_attempts: Option<u32>,
            backoff_seconds: u32,
            priority: i16,
            not_before: Option<Timestamp>,
            key: Option<&'a str>,
            last_error: Option<&'a str>,
        }
        TaskLine {
            table: Table::Tasks,
            id: self.id,
            thread_id: self.thread_id,
            role: &self.role,
            instruction: &self.instruction,
            status: self.status,
            claim_id: self.claim_id,
            claimed_by: self.claimed_by.as_ref(),
            claimed_at: self.claimed_at,
            timeout_seconds: self.timeout_seconds,
            created_at: self.created_at,
            expires_at: self.expires_at,
            finished_at: self.finished_at,
            attempts: self.attempts,
            max_attempts: self.max_attempts,
            backoff_seconds: self.backoff_seconds,
            priority: self.priority,
            not_before: self.not_before,
            key: self.key.as_deref(),
            last_error: self.last_error.as_deref(),
        }
    }

    fn of_columns(columns: &mut Columns<'_>) -> Result<Self> {
        let status = match columns.text("tasks.status")? {
            None => TaskStatus::Open,
            Some(name) => TaskStatus::of_name(&name).ok_or_else(|| {
                no_status("tasks.status", &name, "open, scheduled, claimed, completed, failed and cancelled")
            })?,
        };
        let timeout_seconds = columns.number("tasks.timeout_seconds")?.unwrap_or(300);
        let claimed_at = columns.moment("tasks.claimed_at")?;
        let times_out = claimed_at.map(|moment| moment + Duration::from_secs(timeout_seconds.into()));
        let ended = claimed_at.filter(|_| status.is_finished() && status.has_claim());
        Ok(Self {
            id: required("tasks.id", columns.id("tasks.id")?)?,
            thread_id: required("tasks.thread_id", columns.id("tasks.thread_id")?)?,
            role: required("tasks.role", columns.text("tasks.role")?)?,
            instruction: required("tasks.instruction", columns.text("tasks.instruction")?)?,
            status,
            claim_id: columns.id("tasks.claim_id")?,
            claimed_by: columns.id("tasks.claimed_by")?,
            claimed_at,
            expires_at: columns.moment("tasks.expires_at")?.or(times_out.filter(|_| status == TaskStatus::Claimed)),
            timeout_seconds,
            attempts: columns.number("tasks.attempts")?.unwrap_or(status.has_claim().into()),
            max_attempts: columns.number("tasks.max_attempts")?,
            backoff_seconds: columns.number("tasks.backoff_seconds")?.unwrap_or(0),
            priority: columns.number("tasks.priority")?.unwrap_or(0),
            not_before: columns.moment("tasks.not_before")?,
            key: columns.text("tasks.key")?,
            last_error: columns.text("tasks.last_error")?,
            created_at: required("tasks.created_at", columns.moment("tasks.created_at")?)?,
            finished_at: columns.moment("tasks.finished_at")?.or(ended),
        })
    }
}

fn no_status(column: &'static str, name: &str, known: &str) -> Error {
    let reason = format!("is {}; there are {known}", crate::id::shown(name));
    of_column(column, Error::InvalidInput { field: column, reason })
}
