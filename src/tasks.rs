//! Tasks: what is to be done, and who has it in hand.
//!
//! ```text
//!   create_task
//!       │
//!       ▼    claim_task          complete_task, with the claim id
//!     open ────────────▶ claimed ────────────────────────────────▶ completed
//!       ▲                   │
//!       └───────────────────┘
//!        expire_timed_out_tasks, at claimed_at + timeout_seconds or later
//! ```
//!
//! How tasks are stored stands in `tasks/row.rs`.

mod row;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::Bound;
use std::time::Duration;

use row::BY_STATUS;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::db::Row;
use crate::db::key::{KeyRange, after_prefix, between, last_part, prefix, text_end};
use crate::error::{Error, Result};
use crate::id::{AgentId, ClaimId, TaskId, ThreadId};
use crate::limits;
use crate::planted::{Bug, planted};
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
    /// The claim it is under, or was completed under.
    pub claim_id: Option<ClaimId>,
    /// Who has it in hand, or completed it.
    pub claimed_by: Option<AgentId>,
    /// When that claim was made.
    pub claimed_at: Option<Timestamp>,
    /// How long a claim of it lasts, in seconds, at least 1.
    pub timeout_seconds: u32,
    /// When it was created, which is its place in the queue.
    pub created_at: Timestamp,
    /// When it was completed.
    pub finished_at: Option<Timestamp>,
}

impl Task {
    /// When the present claim times out.
    fn times_out_at(&self) -> Option<Timestamp> {
        self.claimed_at.map(|claimed_at| claimed_at + Duration::from_secs(self.timeout_seconds.into()))
    }

    fn claim(&mut self, claim: ClaimId, agent: &AgentId, now: Timestamp) {
        self.status = TaskStatus::Claimed;
        self.claim_id = Some(claim);
        self.claimed_by = Some(agent.clone());
        self.claimed_at = Some(now);
    }

    fn complete(&mut self, now: Timestamp) {
        self.status = TaskStatus::Completed;
        self.finished_at = Some(now);
    }

    fn reopen(&mut self) {
        self.status = TaskStatus::Open;
        self.claim_id = None;
        self.claimed_by = None;
        self.claimed_at = None;
    }
}

/// Where a task stands. The diagram on [the front page](crate) shows what moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskStatus {
    /// Nobody has it. Every task begins so.
    Open,
    /// One agent has it, under a claim.
    Claimed,
    /// It is done, for good.
    Completed,
}

impl TaskStatus {
    /// Its name: `open`, `claimed` or `completed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A task in hand: proof that one agent, and no other, may complete it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Claim {
    /// The fencing token: what [`WriteTx::complete_task`] wants to see.
    pub id: ClaimId,
    /// The task as it was claimed.
    pub task: Task,
}

impl Claim {
    /// When the claim times out: from then on [`WriteTx::expire_timed_out_tasks`] takes it away. Until that happens it
    /// holds, however late it is.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.task.times_out_at().unwrap_or(self.task.created_at)
    }
}

/// A task to create: what [`WriteTx::create_task`] takes.
///
/// ```
/// use khala::NewTask;
///
/// let task = NewTask::new("reviewer", "Read the last patch.").timeout_seconds(900);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    role: String,
    instruction: String,
    timeout_seconds: u32,
}

impl NewTask {
    /// This instruction for this role: a text of up to 16 MiB, and a name of 1 to 256 bytes.
    #[must_use]
    pub fn new(role: impl Into<String>, instruction: impl Into<String>) -> Self {
        Self { role: role.into(), instruction: instruction.into(), timeout_seconds: 300 }
    }

    /// How long a claim of it lasts, in seconds, at least 1. 300 unless set.
    #[must_use]
    pub fn timeout_seconds(mut self, seconds: u32) -> Self {
        self.timeout_seconds = seconds;
        self
    }

    fn check(&self) -> Result<()> {
        limits::check_name("task role", &self.role)?;
        limits::check_text("task instruction", &self.instruction)?;
        if self.timeout_seconds == 0 {
            let reason = format!("is 0; a claim lasts 1 to {} seconds", u32::MAX);
            return Err(Error::InvalidInput { field: "task timeout_seconds", reason });
        }
        Ok(())
    }
}

impl WriteTx<'_> {
    /// Adds a task to a thread, open, and gives it back.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadNotFound`]; [`Error::InvalidInput`] or [`Error::TooLarge`] when the role is not 1 to 256 bytes,
    /// the instruction is over 16 MiB, or the timeout is 0.
    pub fn create_task(&mut self, thread: ThreadId, task: &NewTask) -> Result<Task> {
        task.check()?;
        self.require_thread(thread)?;
        let task = Task {
            id: self.new_task_id()?,
            thread_id: thread,
            role: task.role.clone(),
            instruction: task.instruction.clone(),
            status: TaskStatus::Open,
            claim_id: None,
            claimed_by: None,
            claimed_at: None,
            timeout_seconds: task.timeout_seconds,
            created_at: self.now(),
            finished_at: None,
        };
        self.put(&task)?;
        Ok(task)
    }

    /// Claims an open task for an agent, which need not be registered. Of any number of callers exactly one gets the
    /// claim; `None` says that somebody else was first or the task is finished.
    ///
    /// # Errors
    ///
    /// [`Error::TaskNotFound`].
    pub fn claim_task(&mut self, id: TaskId, agent: &AgentId) -> Result<Option<Claim>> {
        let mut task = self.require_task(id)?;
        if task.status != TaskStatus::Open && !planted(Bug::ClaimWithoutCheck) {
            return Ok(None);
        }
        let claim = self.new_claim_id()?;
        task.claim(claim, agent, self.now());
        self.put(&task)?;
        Ok(Some(Claim { id: claim, task }))
    }

    /// Completes a task under a claim. `true` says that the task is completed under this claim, also when the same call
    /// was made before. `false` says that the claim is no longer the task's: it timed out and the task was reopened, and
    /// perhaps claimed by somebody else since. Nothing changed then.
    ///
    /// A completion that comes after the timeout is accepted as long as nobody has reopened the task.
    ///
    /// Repeating this call is safe; repeating a transaction that does more is not: after
    /// [`Error::CommitUnknown`] look at the [`task`](ReadTx::task) first, or what stands beside the completion, such as a
    /// message, may be there twice.
    ///
    /// # Errors
    ///
    /// [`Error::TaskNotFound`].
    pub fn complete_task(&mut self, id: TaskId, claim: ClaimId) -> Result<bool> {
        let mut task = self.require_task(id)?;
        if task.claim_id != Some(claim) && !(planted(Bug::CompleteWithoutCheck) && task.claim_id.is_some()) {
            return Ok(false);
        }
        if task.status == TaskStatus::Claimed {
            task.complete(self.now());
            self.put(&task)?;
        }
        Ok(true)
    }

    /// Reopens every claimed task whose claim has timed out, `claimed_at + timeout_seconds` being now or before, and says
    /// how many. They keep their place in the queue and lose claim id, holder and claim time.
    ///
    /// The cost grows with the number reopened, not with the number claimed. This form does it all in one transaction;
    /// [`Store::expire_timed_out_tasks`](crate::Store::expire_timed_out_tasks) lets others in between.
    ///
    /// # Errors
    ///
    /// Only what any write can meet: [`Error::Io`], [`Error::Corrupt`].
    pub fn expire_timed_out_tasks(&mut self) -> Result<u64> {
        let reopened = self.expire_at_most(usize::MAX)?;
        Ok(u64::try_from(reopened).unwrap_or(u64::MAX))
    }

    /// Reopens a task whatever its claim says, for a test of a write that fails half-way.
    #[cfg(test)]
    pub(crate) fn reopen_for_test(&mut self, id: TaskId) -> Result<()> {
        let mut task = self.require_task(id)?;
        task.reopen();
        self.put(&task)
    }

    /// Reopens the `most` tasks whose claims timed out first, or as many as there are.
    pub(crate) fn expire_at_most(&mut self, most: usize) -> Result<usize> {
        let early = Duration::from_secs(u64::from(planted(Bug::ExpireEarly)));
        let due = between(&(TaskStatus::Claimed.code(), ""), Timestamp::MIN, self.now() + early);
        let ids = self.tables().keys(&BY_STATUS.table, &due)?.take(most).map(|key| Task::id_of_key(&key?));
        let ids = ids.collect::<Result<Vec<_>>>()?;
        for &id in &ids {
            let mut task = self.indexed_task(id)?;
            task.reopen();
            self.put(&task)?;
        }
        Ok(ids.len())
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

    /// The open tasks of all roles, oldest first, at most `limit` of them.
    ///
    /// The cost grows with the number given back and with the number of roles that have open tasks.
    ///
    /// # Errors
    ///
    /// Only what reading can meet: [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    pub fn open_tasks(&self, limit: usize) -> Result<Vec<Task>> {
        let mut queues = Vec::new();
        for queue in self.open_queues()? {
            queues.push(self.tables().keys(&BY_STATUS.table, &queue)?);
        }
        // The heads of the queues, the oldest on top: its place (at, task id), and which queue it heads.
        let mut heads = BinaryHeap::new();
        for (number, queue) in queues.iter_mut().enumerate() {
            heads.extend(next_place(queue)?.map(|place| Reverse((place, number))));
        }
        let mut oldest = Vec::new();
        while oldest.len() < limit
            && let Some(Reverse((place, number))) = heads.pop()
        {
            oldest.push(self.indexed_task(Task::id_of_key(&place)?)?);
            if let Some(queue) = queues.get_mut(number) {
                heads.extend(next_place(queue)?.map(|place| Reverse((place, number))));
            }
        }
        Ok(oldest)
    }

    /// The key range of each role's open tasks.
    fn open_queues(&self) -> Result<Vec<KeyRange>> {
        let (mut from, to) = prefix(TaskStatus::Open.code());
        let mut queues = Vec::new();
        loop {
            let first = self.tables().keys(&BY_STATUS.table, &(from, to.clone()))?.next();
            let Some(first) = first.transpose()? else { return Ok(queues) };
            // The status, and the role up to its end.
            let role_end = first.get(1..).and_then(text_end).map(|end| end + 1);
            let queue = role_end.and_then(|end| first.get(..end));
            let queue = queue.ok_or_else(|| Error::corrupt(BY_STATUS.table.name, "a key has no role"))?;
            let behind = after_prefix(queue);
            queues.push((Bound::Included(queue.to_vec()), behind.clone()));
            from = match behind {
                Bound::Excluded(behind) => Bound::Included(behind),
                other => other,
            };
        }
    }

    fn require_task(&self, id: TaskId) -> Result<Task> {
        self.task(id)?.ok_or(Error::TaskNotFound(id))
    }

    /// The task an index speaks of.
    fn indexed_task(&self, id: TaskId) -> Result<Task> {
        let task = self.task(id)?;
        task.ok_or_else(|| Error::corrupt(BY_STATUS.table.name, format!("task {id} does not exist")))
    }
}

/// The place of the next open task of a queue: the part (at, task id) of its key.
fn next_place(queue: &mut impl Iterator<Item = Result<Vec<u8>>>) -> Result<Option<[u8; 24]>> {
    queue.next().map(|key| last_part(BY_STATUS.table.name, &key?)).transpose()
}
