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
//! | `tasks.rs` | what a task is, and creating one |
//! | `tasks/claims.rs` | claiming and settling |
//! | `tasks/queue.rs` | who is next, and lists |
//! | `tasks/row.rs` | how tasks are stored |

mod claims;
mod queue;
mod row;

use std::collections::BTreeMap;
use std::fmt;

pub use claims::Claim;
pub use queue::TaskFilter;
use row::BY_KEY;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::db::Row;
use crate::db::key::key;
use crate::error::{Error, Result};
use crate::id::{AgentId, ClaimId, TaskId, ThreadId};
use crate::limits;
use crate::tx::{ReadTx, WriteTx};

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

/// A task to create: what [`WriteTx::create_task`] takes.
///
/// ```
/// use khala::NewTask;
///
/// let task = NewTask::new("reviewer", "Read the last patch.").timeout_seconds(900).max_attempts(3).backoff_seconds(30);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    role: String,
    instruction: String,
    timeout_seconds: u32,
    max_attempts: Option<u32>,
    backoff_seconds: u32,
    priority: i16,
    not_before: Option<Timestamp>,
    key: Option<String>,
}

/// Role, instruction, timeout, attempts, backoff, priority.
type Description<'a> = (&'a str, &'a str, u32, Option<u32>, u32, i16);

impl NewTask {
    /// This instruction for this role: a text of up to 16 MiB, and a name of 1 to 256 bytes.
    #[must_use]
    pub fn new(role: impl Into<String>, instruction: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            instruction: instruction.into(),
            timeout_seconds: 300,
            max_attempts: None,
            backoff_seconds: 0,
            priority: 0,
            not_before: None,
            key: None,
        }
    }

    /// How long a claim of it lasts, in seconds, at least 1. 300 unless set.
    #[must_use]
    pub fn timeout_seconds(mut self, seconds: u32) -> Self {
        self.timeout_seconds = seconds;
        self
    }

    /// How often it may be claimed before it fails for good, at least 1. For ever unless set. Attempts count when a
    /// claim is made, so a crash counts; a released claim does not.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// How long it rests after [`fail_task`](WriteTx::fail_task), in seconds. It doubles with each attempt, up to a day.
    /// 0 unless set: it is open again at once.
    #[must_use]
    pub fn backoff_seconds(mut self, seconds: u32) -> Self {
        self.backoff_seconds = seconds;
        self
    }

    /// Higher comes first within its role; the oldest first within a priority. 0 unless set.
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// The earliest moment it may be claimed; until then it is scheduled. At once unless set.
    #[must_use]
    pub fn not_before(mut self, moment: Timestamp) -> Self {
        self.not_before = Some(moment);
        self
    }

    /// What makes it one of a kind in its thread, 1 to 256 bytes: creating it again gives back the task that is there,
    /// whatever has become of it. So a planner that starts again creates nothing twice.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    fn check(&self) -> Result<()> {
        limits::check_name("task role", &self.role)?;
        limits::check_text("task instruction", &self.instruction)?;
        if let Some(key) = &self.key {
            limits::check_name("task key", key)?;
        }
        if self.timeout_seconds == 0 {
            let reason = format!("is 0; a claim lasts 1 to {} seconds", u32::MAX);
            return Err(Error::InvalidInput { field: "task timeout_seconds", reason });
        }
        if self.max_attempts == Some(0) {
            let reason = format!("is 0; a task has 1 to {} attempts", u32::MAX);
            return Err(Error::InvalidInput { field: "task max_attempts", reason });
        }
        Ok(())
    }

    /// What makes two tasks with one key the same. A backoff moves `not_before`, so it says nothing about a task that was
    /// tried.
    fn description(&self) -> Description<'_> {
        (&self.role, &self.instruction, self.timeout_seconds, self.max_attempts, self.backoff_seconds, self.priority)
    }

    /// Whether this is what the task was created from.
    fn describes(&self, task: &Task) -> bool {
        let of_task: Description<'_> = (
            &task.role,
            &task.instruction,
            task.timeout_seconds,
            task.max_attempts,
            task.backoff_seconds,
            task.priority,
        );
        self.description() == of_task
    }
}

impl WriteTx<'_> {
    /// Adds a task to a thread, open or scheduled, and gives it back. With a [`key`](NewTask::key) that the thread has
    /// already, it gives back the task that is there.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadNotFound`]; [`Error::ThreadFinished`]; [`Error::KeyConflict`] when a different task has the key;
    /// [`Error::InvalidInput`] or [`Error::TooLarge`] when role or key is not 1 to 256 bytes, the instruction is over
    /// 16 MiB, or timeout or attempts are 0.
    pub fn create_task(&mut self, thread: ThreadId, task: &NewTask) -> Result<Task> {
        task.check()?;
        self.require_active_thread(thread)?;
        match self.task_created_from(thread, task)? {
            Some(existing) => Ok(existing),
            None => self.put_new_task(thread, task),
        }
    }

    /// Adds tasks to a thread, in this order, and gives them back: all of them or, when one is refused, none.
    ///
    /// # Errors
    ///
    /// Those of [`create_task`](Self::create_task), and [`Error::InvalidInput`] when two of them are different and have the
    /// same key.
    pub fn create_tasks(&mut self, thread: ThreadId, tasks: &[NewTask]) -> Result<Vec<Task>> {
        tasks.iter().try_for_each(NewTask::check)?;
        self.require_active_thread(thread)?;
        let mut keys = BTreeMap::new();
        for task in tasks {
            self.task_created_from(thread, task)?;
            if let Some(key) = &task.key
                && keys.insert(key, task).is_some_and(|earlier| earlier.description() != task.description())
            {
                let reason = format!("{key:?} is that of two different tasks");
                return Err(Error::InvalidInput { field: "task key", reason });
            }
        }
        tasks.iter().map(|task| self.create_task(thread, task)).collect()
    }

    fn put_new_task(&mut self, thread: ThreadId, task: &NewTask) -> Result<Task> {
        let now = self.now();
        let is_later = task.not_before.is_some_and(|moment| moment > now);
        let task = Task {
            id: self.new_task_id()?,
            thread_id: thread,
            role: task.role.clone(),
            instruction: task.instruction.clone(),
            status: if is_later { TaskStatus::Scheduled } else { TaskStatus::Open },
            claim_id: None,
            claimed_by: None,
            claimed_at: None,
            expires_at: None,
            timeout_seconds: task.timeout_seconds,
            attempts: 0,
            max_attempts: task.max_attempts,
            backoff_seconds: task.backoff_seconds,
            priority: task.priority,
            not_before: task.not_before,
            key: task.key.clone(),
            last_error: None,
            created_at: now,
            finished_at: None,
        };
        self.put_task(&task)?;
        Ok(task)
    }
}

impl ReadTx<'_> {
    /// The task with this id, or `None`.
    ///
    /// # Errors
    ///
    /// Only what reading can meet: [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    pub fn task(&self, id: TaskId) -> Result<Option<Task>> {
        self.tables().get(&id)
    }

    /// The task that was created from this before, if it has a key that says so; an error if a different one has its key.
    fn task_created_from(&self, thread: ThreadId, task: &NewTask) -> Result<Option<Task>> {
        let Some(key) = &task.key else { return Ok(None) };
        match self.task_of_key(thread, key)? {
            Some(existing) if !task.describes(&existing) => {
                Err(Error::KeyConflict { key: key.clone(), task: existing.id })
            }
            existing => Ok(existing),
        }
    }

    fn task_of_key(&self, thread: ThreadId, text: &str) -> Result<Option<Task>> {
        let Some(id) = self.tables().value(&BY_KEY.table, &key((thread, text)))? else { return Ok(None) };
        self.indexed_task(&BY_KEY, Task::id_of_key(&id)?).map(Some)
    }

    fn require_task(&self, id: TaskId) -> Result<Task> {
        self.task(id)?.ok_or(Error::TaskNotFound(id))
    }

    /// The task an index speaks of.
    fn indexed_task(&self, index: &crate::db::Index<Task>, id: TaskId) -> Result<Task> {
        self.task(id)?.ok_or_else(|| Error::corrupt(index.table.name, format!("task {id} does not exist")))
    }
}
