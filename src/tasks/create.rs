//! Creating tasks: what can be asked for, and the key by which a task is created once.

use std::collections::BTreeMap;

use super::row::{BY_KEY, Instruction, TaskRow};
use super::{Task, TaskStatus};
use crate::clock::Timestamp;
use crate::db::Row;
use crate::db::key::key;
use crate::error::{Error, Result};
use crate::id::ThreadId;
use crate::limits;
use crate::tx::{ReadTx, WriteTx};

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
        limits::check_at_least_1("task timeout_seconds", "a claim lasts", self.timeout_seconds, "seconds")?;
        self.max_attempts
            .map_or(Ok(()), |most| limits::check_at_least_1("task max_attempts", "a task has", most, "attempts"))
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
        let row = TaskRow::of(task);
        self.put_instruction(&row)?;
        self.put_task(&row)?;
        Ok(row.task)
    }

    /// Stores a new task's instruction, if it stands apart.
    pub(super) fn put_instruction(&mut self, row: &TaskRow) -> Result<()> {
        if row.is_instruction_apart {
            self.put(&Instruction { task: row.task.id, text: row.task.instruction.clone() })?;
        }
        Ok(())
    }
}

impl ReadTx<'_> {
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
        self.listed_task(BY_KEY.table, TaskRow::id_of_key(&id)?).map(Some)
    }
}
