//! Claiming and settling. The diagram stands in `tasks.rs`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::queue::TaskFilter;
use super::row::{BY_STATUS, Instruction, TaskRow};
use super::{Task, TaskStatus};
use crate::clock::Timestamp;
use crate::db::Row;
use crate::db::key::between;
use crate::error::{Error, Result};
use crate::id::{AgentId, ClaimId, TaskId, ThreadId};
use crate::limits::{self, BACKOFF_MAX_SECONDS, EXPIRE_SLICE_TASKS};
use crate::planted::{Bug, planted};
use crate::tx::{Opened, WriteTx};

/// A task in hand: proof that one agent, and no other, may settle it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Claim {
    /// The fencing token: what every settling operation wants to see.
    pub id: ClaimId,
    /// The task as it was claimed.
    pub task: Task,
}

impl Claim {
    /// When the claim times out unless it is renewed: from then on it can be taken away. Until that happens it holds,
    /// however late it is.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.task.expires_at.unwrap_or(self.task.created_at)
    }
}

/// What moves a task. Every rule about claims is one of these.
impl Task {
    fn is_claimable(&self, now: Timestamp) -> bool {
        match self.status {
            TaskStatus::Open => true,
            TaskStatus::Scheduled => self.not_before.is_none_or(|moment| moment <= now),
            _ => planted(Bug::ClaimWithoutCheck),
        }
    }

    fn is_held_under(&self, claim: ClaimId) -> bool {
        self.status == TaskStatus::Claimed && (self.claim_id == Some(claim) || planted(Bug::CompleteWithoutCheck))
    }

    fn claim(&mut self, claim: ClaimId, agent: &AgentId, now: Timestamp) {
        self.status = TaskStatus::Claimed;
        self.claim_id = Some(claim);
        self.claimed_by = Some(agent.clone());
        self.claimed_at = Some(now);
        self.expires_at = Some(now + self.timeout());
        self.attempts = self.attempts.saturating_add(1);
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.into())
    }

    fn is_spent(&self) -> bool {
        self.max_attempts.is_some_and(|most| self.attempts >= most)
    }

    /// Ends it for good. Under whose claim that was stays with it.
    fn finish(&mut self, status: TaskStatus, now: Timestamp) {
        self.status = status;
        self.expires_at = None;
        self.finished_at = Some(now);
    }

    fn lose_claim(&mut self) {
        self.claim_id = None;
        self.claimed_by = None;
        self.claimed_at = None;
        self.expires_at = None;
    }

    fn reopen(&mut self) {
        self.lose_claim();
        self.status = TaskStatus::Open;
    }

    /// Takes a timed-out claim away.
    fn expire(&mut self, now: Timestamp) {
        if self.is_spent() {
            self.last_error = Some("the claim timed out".into());
            self.finish(TaskStatus::Failed, now);
        } else {
            self.reopen();
        }
    }

    fn fail(&mut self, reason: &str, now: Timestamp) {
        self.last_error = Some(reason.into());
        if self.is_spent() {
            return self.finish(TaskStatus::Failed, now);
        }
        self.reopen();
        if self.backoff_seconds > 0 {
            self.status = TaskStatus::Scheduled;
            self.not_before = Some(now + self.backoff());
        }
    }

    /// How long it rests after this attempt: doubled with each, at most a day. The rule is that of most job queues.
    fn backoff(&self) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(32);
        let seconds = u64::from(self.backoff_seconds) << doublings;
        Duration::from_secs(seconds.min(BACKOFF_MAX_SECONDS))
    }
}

impl WriteTx<'_> {
    /// Claims an open task for an agent, which need not be registered. Of any number of callers exactly one gets the
    /// claim; `None` says that somebody else was first, its time has not come, or it is finished.
    ///
    /// # Errors
    ///
    /// [`Error::TaskNotFound`].
    pub fn claim_task(&mut self, id: TaskId, agent: &AgentId) -> Result<Option<Claim>> {
        let row = self.require_task(id)?;
        if !row.task.is_claimable(self.now()) {
            return Ok(None);
        }
        self.claim(row, agent).map(Some)
    }

    /// Claims the task whose turn it is: of those the filter lets through, the highest priority first, within it the
    /// oldest. `None` says that there is none.
    ///
    /// With a role it looks at the head of one queue, however long that is; without, at the head of each role's; with a
    /// thread, at every task the thread has, finished ones included.
    ///
    /// It first takes away claims that have timed out and opens scheduled tasks whose time has come, up to 1,000 of each,
    /// so that nothing depends on somebody calling [`expire_timed_out_tasks`](Self::expire_timed_out_tasks).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a filter that asks for more than role and thread.
    pub fn claim_next(&mut self, agent: &AgentId, filter: &TaskFilter) -> Result<Option<Claim>> {
        filter.check_for_claiming()?;
        self.sweep(EXPIRE_SLICE_TASKS)?;
        match self.next_open_task(filter)? {
            Some(row) => self.claim(row, agent).map(Some),
            None => Ok(None),
        }
    }

    fn claim(&mut self, mut row: TaskRow, agent: &AgentId) -> Result<Claim> {
        let id = self.new_claim_id()?;
        row.task.claim(id, agent, self.now());
        if !planted(Bug::GrantNotStored) {
            self.put_task(&row)?;
        }
        Ok(Claim { id, task: self.whole_task(row)? })
    }

    /// Makes a claim last its task's `timeout_seconds` from now. `false` says that the claim is no longer the task's.
    /// It never shortens a claim, and writes nothing if the claim lasts as long already.
    ///
    /// # Errors
    ///
    /// [`Error::TaskNotFound`].
    pub fn renew_claim(&mut self, id: TaskId, claim: ClaimId) -> Result<bool> {
        let mut row = self.require_task(id)?;
        let task = &mut row.task;
        if !task.is_held_under(claim) {
            return Ok(false);
        }
        let renewed = Some(self.now() + task.timeout());
        if task.expires_at < renewed {
            task.expires_at = renewed;
            self.put_task(&row)?;
        }
        Ok(true)
    }

    /// Gives a task back: it is open again, in its old place, and the attempt is not counted. `false` says that the claim
    /// is no longer the task's.
    ///
    /// # Errors
    ///
    /// [`Error::TaskNotFound`].
    pub fn release_task(&mut self, id: TaskId, claim: ClaimId) -> Result<bool> {
        let mut row = self.require_task(id)?;
        let task = &mut row.task;
        if !task.is_held_under(claim) {
            return Ok(false);
        }
        task.attempts = task.attempts.saturating_sub(1);
        task.reopen();
        self.put_task(&row)?;
        Ok(true)
    }

    /// Completes a task under a claim. `true` says that the task is completed under this claim, also when the same call
    /// was made before. `false` says that the claim is no longer the task's: it timed out and was taken away, or the task
    /// was cancelled. Nothing changed then.
    ///
    /// A completion that comes after the timeout is accepted as long as nobody has taken the claim away.
    ///
    /// Repeating this call is safe; repeating a transaction that does more is not: after
    /// [`Error::CommitUnknown`] look at the [`task`](crate::ReadTx::task) first, or append with
    /// [`NewMessage::under`](crate::NewMessage::under), which refuses a second time.
    ///
    /// # Errors
    ///
    /// [`Error::TaskNotFound`].
    pub fn complete_task(&mut self, id: TaskId, claim: ClaimId) -> Result<bool> {
        let mut row = self.require_task(id)?;
        let task = &mut row.task;
        if !task.is_held_under(claim) {
            return Ok(task.status == TaskStatus::Completed && task.claim_id == Some(claim));
        }
        task.finish(TaskStatus::Completed, self.now());
        self.put_task(&row)?;
        Ok(true)
    }

    /// Ends an attempt that went wrong, and keeps the reason as the task's `last_error`. While attempts remain the task is
    /// open again, after its backoff if it has one; else it is failed, for good. `false` says that the claim is no
    /// longer the task's.
    ///
    /// # Errors
    ///
    /// [`Error::TaskNotFound`]; [`Error::TooLarge`] for a reason over 16 MiB.
    pub fn fail_task(&mut self, id: TaskId, claim: ClaimId, reason: &str) -> Result<bool> {
        limits::check_text("reason", reason)?;
        let mut row = self.require_task(id)?;
        let task = &mut row.task;
        if !task.is_held_under(claim) {
            return Ok(task.status == TaskStatus::Failed && task.claim_id == Some(claim));
        }
        task.fail(reason, self.now());
        self.put_task(&row)?;
        Ok(true)
    }

    /// Ends a task that is not wanted any more. A holder learns it when it renews, completes or fails the task. `true`
    /// says that the task is cancelled, also when it was before; `false` that it was completed or failed already.
    ///
    /// # Errors
    ///
    /// [`Error::TaskNotFound`].
    pub fn cancel_task(&mut self, id: TaskId) -> Result<bool> {
        let mut row = self.require_task(id)?;
        let task = &mut row.task;
        if task.status.is_finished() {
            return Ok(task.status == TaskStatus::Cancelled);
        }
        task.lose_claim();
        task.finish(TaskStatus::Cancelled, self.now());
        self.put_task(&row)?;
        Ok(true)
    }

    /// Stores a task, and tells those who wait for one what concerns them.
    pub(super) fn put_task(&mut self, row: &TaskRow) -> Result<()> {
        let task = &row.task;
        if task.status == TaskStatus::Open {
            self.tell_opened(Opened { task: task.id, thread: task.thread_id, role: task.role.clone() });
        } else {
            self.tell_not_open(task.id);
        }
        if matches!(task.status, TaskStatus::Claimed | TaskStatus::Scheduled) {
            self.tell_due(task.at());
        }
        self.put(row)
    }

    /// Removes all tasks of a thread.
    pub(crate) fn remove_tasks(&mut self, thread: ThreadId) -> Result<()> {
        for id in self.task_ids(thread)? {
            if self.tables().get_with::<TaskRow, _>(&id, |stored| stored.is_instruction_apart())? == Some(true) {
                self.remove::<Instruction>(&id)?;
            }
            self.remove::<TaskRow>(&id)?;
        }
        Ok(())
    }

    /// An error unless this claim holds.
    pub(crate) fn require_claim(&self, id: TaskId, claim: ClaimId) -> Result<()> {
        let row = self.require_task(id)?;
        if row.task.is_held_under(claim) { Ok(()) } else { Err(Error::ClaimLost(id)) }
    }

    /// Takes away every claim that has timed out, its `expires_at` being now or before, and says how many. Those tasks are
    /// open again in their old place, without claim id, holder and claim time; or failed if their attempts are spent.
    /// Scheduled tasks whose time has come are opened as well, and not counted.
    ///
    /// The cost grows with the number of tasks that are due, not with the number claimed. This form does it all in one
    /// transaction; [`Store::expire_timed_out_tasks`](crate::Store::expire_timed_out_tasks) lets others in between.
    ///
    /// # Errors
    ///
    /// Only what any write can meet: [`Error::Io`], [`Error::Corrupt`].
    pub fn expire_timed_out_tasks(&mut self) -> Result<u64> {
        let swept = self.sweep(usize::MAX)?;
        Ok(u64::try_from(swept.expired).unwrap_or(u64::MAX))
    }

    /// Takes away the `most` claims that timed out first and opens the `most` scheduled tasks whose time came first, or as
    /// many as there are.
    pub(crate) fn sweep(&mut self, most: usize) -> Result<Swept> {
        let now = self.now();
        let expired = self.each_due(TaskStatus::Claimed, most, |task| task.expire(now))?;
        let opened = self.each_due(TaskStatus::Scheduled, most, Task::reopen)?;
        Ok(Swept { expired, is_all: expired < most && opened < most })
    }

    /// Changes the tasks of this status whose time is now or before, at most so many, and says how many.
    fn each_due(&mut self, status: TaskStatus, most: usize, change: impl Fn(&mut Task)) -> Result<usize> {
        let early = Duration::from_secs(u64::from(planted(Bug::ExpireEarly)));
        let due = between(&(status.code(), "", 0_u16), Timestamp::MIN, self.now() + early);
        let ids = self.tables().keys(&BY_STATUS.table, &due)?.take(most).map(|key| TaskRow::id_of_key(&key?));
        let ids = ids.collect::<Result<Vec<_>>>()?;
        for &id in &ids {
            let mut row = self.listed_row(BY_STATUS.table, id)?;
            change(&mut row.task);
            self.put_task(&row)?;
        }
        Ok(ids.len())
    }

    /// Reopens a task whatever its claim says, for a test of a write that fails half-way.
    #[cfg(test)]
    pub(crate) fn reopen_for_test(&mut self, id: TaskId) -> Result<()> {
        let mut row = self.require_task(id)?;
        row.task.reopen();
        self.put_task(&row)
    }
}

/// What a sweep came to.
pub(crate) struct Swept {
    /// How many claims it took away.
    pub(crate) expired: usize,
    /// Whether nothing more was due.
    pub(crate) is_all: bool,
}
