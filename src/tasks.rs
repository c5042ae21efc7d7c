//! Tasks: what is to be done, and who has it in hand.
//!
//! ```text
//!                        create_task
//!           not_before set │   │ not set
//!                          ▼   ▼
//!          ┌───────── scheduled    open ◀───────────────────────────┐
//!          │                │       ▲ │                             │
//!          │                └───────┘ │ claim_task, claim_next      │
//!          │          at not_before   │ (spends an attempt)         │
//!          │                          ▼                             │
//!          │                        claimed ── renew_claim ──▶ claimed, for longer
//!          │                          │
//!          │   release_task ──────────┼──▶ open, the attempt given back
//!          │   fail_task ─────────────┼──▶ open; scheduled if it has a backoff; failed if attempts are spent
//!          │   its timeout, when ─────┼──▶ open; failed if attempts are spent
//!          │     somebody sweeps      │
//!          │   complete_task ─────────┼──▶ completed
//!          ▼                          ▼
//!      cancelled ◀── cancel_task, finish_thread: from open, scheduled and claimed
//! ```
//!
//! Completed, failed and cancelled are for good. Whoever settles a claim presents its id, and it is checked in the
//! transaction that reads the task.
//!
//! | file | is about |
//! |---|---|
//! | `tasks.rs` | what a task is, and loading one |
//! | `tasks/create.rs` | creating them |
//! | `tasks/claims.rs` | claiming and settling |
//! | `tasks/import.rs` | taking in those of another store |
//! | `tasks/queue.rs` | who is next, and lists |
//! | `tasks/row.rs` | how tasks are stored |

mod claims;
mod create;
#[cfg(feature = "json")]
mod import;
mod queue;
mod row;

use std::fmt;
use std::ops::Bound;

pub use claims::Claim;
pub use create::NewTask;
pub use queue::TaskFilter;
pub(crate) use row::{Instruction, TaskRow};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::db::{Row, TableDef, verify_rows};
use crate::error::{Error, Result};
use crate::id::{AgentId, ClaimId, TaskId, ThreadId};
use crate::tx::ReadTx;

/// Something to be done in a thread, by whoever plays a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Task {
    /// Which one; later tasks have higher ids.
    pub id: TaskId,
    /// Where it belongs.
    pub thread_id: ThreadId,
    /// Who is to do it, in the application's words: 1 to 256 bytes. Each role is a queue.
    pub role: String,
    /// What is to be done, up to 16 MiB.
    pub instruction: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// The claim it is under, or was completed or failed under.
    pub claim_id: Option<ClaimId>,
    /// Whose claim that is.
    pub claimed_by: Option<AgentId>,
    /// When that claim was made.
    pub claimed_at: Option<Timestamp>,
    /// When the present claim times out.
    pub expires_at: Option<Timestamp>,
    /// How long a claim of it lasts, in seconds, at least 1.
    pub timeout_seconds: u32,
    /// How often it was claimed, not counting claims that were released.
    pub attempts: u32,
    /// How often it may be claimed before it fails for good; without it, for ever.
    pub max_attempts: Option<u32>,
    /// How long it rests after its first failure, in seconds; twice as long after each further one, at most a day.
    pub backoff_seconds: u32,
    /// Higher comes first.
    pub priority: i16,
    /// The earliest moment it may be claimed.
    pub not_before: Option<Timestamp>,
    /// What makes it one of a kind in its thread.
    pub key: Option<String>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was created, which is its place in the queue.
    pub created_at: Timestamp,
    /// When it was completed, failed or cancelled.
    pub finished_at: Option<Timestamp>,
}

/// Where a task stands. The diagram on [the front page](crate) shows what moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskStatus {
    /// Nobody has it, and whoever plays its role may claim it.
    Open,
    /// Nobody may claim it yet: its time has not come.
    Scheduled,
    /// One agent has it, under a claim.
    Claimed,
    /// It is done, for good.
    Completed,
    /// Its attempts are spent, for good.
    Failed,
    /// It is not wanted any more, for good.
    Cancelled,
}

impl TaskStatus {
    /// Its name: `open`, `scheduled`, `claimed`, `completed`, `failed` or `cancelled`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Scheduled => "scheduled",
            Self::Claimed => "claimed",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it is for good: completed, failed or cancelled.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl ReadTx<'_> {
    /// The task with this id, or `None`.
    ///
    /// # Errors
    ///
    /// Only what reading can meet: [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    pub fn task(&self, id: TaskId) -> Result<Option<Task>> {
        self.tables().get(&id)?.map(|row| self.whole_task(row)).transpose()
    }

    /// The task of this row with its instruction, wherever that stands.
    pub(crate) fn whole_task(&self, row: TaskRow) -> Result<Task> {
        let TaskRow { mut task, is_instruction_apart } = row;
        if is_instruction_apart {
            let instruction = self.tables().get::<Instruction>(&task.id)?;
            task.instruction = instruction.ok_or_else(|| missing(Instruction::TABLE, task.id))?.text;
        }
        Ok(task)
    }

    /// What moves of a task.
    fn require_task(&self, id: TaskId) -> Result<TaskRow> {
        self.tables().get(&id)?.ok_or(Error::TaskNotFound(id))
    }

    /// What moves of the task this table speaks of.
    fn listed_row(&self, table: TableDef, id: TaskId) -> Result<TaskRow> {
        self.tables().get(&id)?.ok_or_else(|| missing(table, id))
    }

    /// The task this table speaks of.
    fn listed_task(&self, table: TableDef, id: TaskId) -> Result<Task> {
        self.whole_task(self.listed_row(table, id)?)
    }

    /// How many bytes the tasks take.
    pub(crate) fn measure_tasks(&self) -> Result<u64> {
        Ok(self.tables().bytes_in_use::<TaskRow>()? + self.tables().bytes_in_use::<Instruction>()?)
    }

    pub(crate) fn verify_tasks(&self) -> Result<()> {
        verify_rows::<TaskRow>(self.tables())?;
        verify_rows::<Instruction>(self.tables())?;
        let mut apart = 0;
        for row in self.tables().rows::<TaskRow>(&(Bound::Unbounded, Bound::Unbounded))? {
            let row = row?;
            if row.is_instruction_apart {
                apart += 1;
                self.whole_task(row)?;
            }
        }
        let stored = self.tables().len(&Instruction::TABLE)?;
        if stored != apart {
            return Err(Error::corrupt(
                Instruction::TABLE.name,
                format!("it has {stored}, and the tasks have {apart}"),
            ));
        }
        Ok(())
    }
}

fn missing(table: TableDef, task: TaskId) -> Error {
    Error::corrupt(table.name, format!("task {task} does not exist"))
}
