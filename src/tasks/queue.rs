//! Who is next, and what is open.
//!
//! Open tasks stand in `tasks_by_status` under (role, priority, `created_at`, task id): a queue for each role and priority.
//! One look at the head of a queue is one look at its oldest task, however long it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;

use super::row::{BY_STATUS, BY_THREAD, TaskRow, order_of};
use super::{Task, TaskStatus, missing};
use crate::clock::Timestamp;
use crate::db::key::{KeyRange, after_prefix, between, key, last_part, prefix, text_end};
use crate::db::{Neighbours, Row};
use crate::error::{Error, Result};
use crate::id::{AgentId, TaskId, ThreadId};
use crate::page::{Cursor, Page, Paging};
use crate::tx::{Opened, ReadTx};

/// Which tasks: what [`ReadTx::tasks`] and [`WriteTx::claim_next`](crate::WriteTx::claim_next) take. All of them, oldest
/// first, unless something is set; what is set combines. Claiming looks at role and thread, and refuses the rest.
///
/// ```
/// use khala::{TaskFilter, TaskStatus};
///
/// let for_reviewers = TaskFilter::new().role("reviewer");
/// let newest_failures = TaskFilter::new().status(TaskStatus::Failed).newest_first().limit(20);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFilter {
    role: Option<String>,
    thread: Option<ThreadId>,
    status: Option<TaskStatus>,
    holder: Option<AgentId>,
    paging: Paging,
}

impl TaskFilter {
    /// All tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those for this role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// Only those of this thread.
    #[must_use]
    pub fn thread(mut self, thread: ThreadId) -> Self {
        self.thread = Some(thread);
        self
    }

    /// Only those that stand so.
    #[must_use]
    pub fn status(mut self, status: TaskStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Only those this agent has in hand: claimed ones, unless a status is set as well.
    #[must_use]
    pub fn holder(mut self, agent: &AgentId) -> Self {
        self.holder = Some(agent.clone());
        self
    }

    /// The newest first instead of the oldest.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.paging.newest_first = true;
        self
    }

    /// How many at the most, at least 1. 100 unless set.
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        self.paging.limit = Some(count);
        self
    }

    /// Only those behind the end of a page: its [`next`](Page::next), with the rest of the filter as it was.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.paging.after = Some(cursor);
        self
    }

    /// The status asked for, in so many words or not.
    fn wanted_status(&self) -> Option<TaskStatus> {
        self.status.or(self.holder.as_ref().map(|_| TaskStatus::Claimed))
    }

    fn matches(&self, task: &Task) -> bool {
        self.role.as_ref().is_none_or(|role| *role == task.role)
            && self.thread.is_none_or(|thread| thread == task.thread_id)
            && self.wanted_status().is_none_or(|status| status == task.status)
            && self.holder.as_ref().is_none_or(|holder| Some(holder) == task.claimed_by.as_ref())
    }

    /// An error if it asks for more than claiming looks at.
    pub(super) fn check_for_claiming(&self) -> Result<()> {
        if self.status.is_some() || self.holder.is_some() || self.paging != Paging::default() {
            let reason = "asks for more than a role and a thread, which is all that claiming looks at".into();
            return Err(Error::InvalidInput { field: "task filter", reason });
        }
        Ok(())
    }
}

impl TaskFilter {
    /// Whether a task that was opened is one of those it is about.
    pub(crate) fn lets_through(&self, opened: &Opened) -> bool {
        self.role.as_ref().is_none_or(|role| *role == opened.role)
            && self.thread.is_none_or(|thread| thread == opened.thread)
    }
}

/// The place of an open task among those of all roles: (priority, `created_at`, task id).
type Place = [u8; 26];

/// The same without the priority.
type Age = [u8; 24];

impl ReadTx<'_> {
    /// The open tasks of all roles and priorities, oldest first, at most `limit` of them. A scheduled task is open when
    /// its time has come and somebody has claimed or swept since.
    ///
    /// The cost grows with the number given back and with the number of roles, and priorities within them, that have
    /// open tasks.
    ///
    /// # Errors
    ///
    /// Only what reading can meet: [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    pub fn open_tasks(&self, limit: usize) -> Result<Vec<Task>> {
        let mut queues = Vec::new();
        for queue in self.open_queues(std::mem::size_of::<u16>())? {
            queues.push(self.tables().keys(&BY_STATUS.table, &queue)?);
        }
        // The heads of the queues, the oldest on top, and which queue each of them heads.
        let mut heads = BinaryHeap::new();
        for (number, queue) in queues.iter_mut().enumerate() {
            heads.extend(next_age(queue)?.map(|age| Reverse((age, number))));
        }
        let mut rows = Neighbours::forwards(self.tables());
        let mut oldest = Vec::new();
        while oldest.len() < limit
            && let Some(Reverse((age, number))) = heads.pop()
        {
            let id = TaskRow::id_of_key(&age)?;
            let row = rows.get(&id)?.ok_or_else(|| missing(BY_STATUS.table, id))?;
            oldest.push(self.whole_task(row)?);
            if let Some(queue) = queues.get_mut(number) {
                heads.extend(next_age(queue)?.map(|age| Reverse((age, number))));
            }
        }
        Ok(oldest)
    }

    /// The tasks the filter lets through, a page at a time.
    ///
    /// | what is set | the order | looks at |
    /// |---|---|---|
    /// | thread | creation | the thread's tasks |
    /// | status open | by role, in each whose turn it is | open tasks, of the role if it is set |
    /// | another status, or holder | the time that matters: due, finished | tasks of that status |
    /// | none of these | creation | all tasks |
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a limit of 0 or a cursor of another list.
    pub fn tasks(&self, filter: &TaskFilter) -> Result<Page<Task>> {
        let (table, range) = match (filter.thread, filter.wanted_status(), &filter.role) {
            (Some(thread), ..) => (BY_THREAD.table, prefix(thread)),
            (None, Some(TaskStatus::Open), Some(role)) => {
                (BY_STATUS.table, prefix((TaskStatus::Open.code(), role.as_str())))
            }
            (None, Some(status), _) => (BY_STATUS.table, prefix(status.code())),
            (None, None, _) => (TaskRow::TABLE, (Bound::Unbounded, Bound::Unbounded)),
        };
        self.page(&table, range, &filter.paging, |key| {
            let id = TaskRow::id_of_key(key)?;
            let row = self.listed_row(table, id)?;
            if filter.matches(&row.task) { self.whole_task(row).map(Some) } else { Ok(None) }
        })
    }

    /// How many tasks stand how.
    pub(crate) fn count_tasks(&self) -> Result<BTreeMap<TaskStatus, u64>> {
        let count = |status: TaskStatus| Ok((status, self.tables().count(&BY_STATUS.table, &prefix(status.code()))?));
        TaskStatus::ALL.into_iter().map(count).collect()
    }

    /// How many claims have timed out at this moment and have not been taken away.
    pub(crate) fn count_due_claims(&self, now: Timestamp) -> Result<u64> {
        self.tables().count(&BY_STATUS.table, &between(&(TaskStatus::Claimed.code(), "", 0_u16), Timestamp::MIN, now))
    }

    /// The open task whose turn it is.
    pub(super) fn next_open_task(&self, filter: &TaskFilter) -> Result<Option<TaskRow>> {
        let next = match (filter.thread, &filter.role) {
            (Some(thread), role) => self.next_of_thread(thread, role.as_deref())?,
            (None, Some(role)) => self.head(&prefix((TaskStatus::Open.code(), role.as_str())))?,
            (None, None) => {
                let mut first = None;
                for queue in self.open_queues(0)? {
                    first = first.into_iter().chain(self.head(&queue)?).min();
                }
                first
            }
        };
        next.map(|place| self.listed_row(BY_STATUS.table, TaskRow::id_of_key(&place)?)).transpose()
    }

    /// The next moment at which a claim times out or a scheduled task's time comes.
    pub(crate) fn next_due(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        for status in [TaskStatus::Claimed, TaskStatus::Scheduled] {
            let Some(first) = self.tables().keys(&BY_STATUS.table, &prefix(status.code()))?.next() else { continue };
            let due = self.listed_row(BY_STATUS.table, TaskRow::id_of_key(&first?)?)?.task.at();
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        Ok(next)
    }

    fn head(&self, queue: &KeyRange) -> Result<Option<Place>> {
        let first = self.tables().keys(&BY_STATUS.table, queue)?.next();
        first.map(|key| last_part(BY_STATUS.table.name, &key?)).transpose()
    }

    /// The first place among a thread's open tasks, in a walk through all of its tasks.
    fn next_of_thread(&self, thread: ThreadId, role: Option<&str>) -> Result<Option<Place>> {
        let mut first: Option<Place> = None;
        for key_of_task in self.tables().keys(&BY_THREAD.table, &prefix(thread))? {
            let id = TaskRow::id_of_key(&key_of_task?)?;
            let place = self.tables().get_with::<TaskRow, _>(&id, |stored| {
                let is_next = stored.is_open() && role.is_none_or(|role| role == stored.role());
                is_next.then(|| key((order_of(stored.priority()), stored.created_at(), id)))
            })?;
            let place = place.ok_or_else(|| missing(BY_THREAD.table, id))?;
            let place = place.map(|place| last_part(BY_THREAD.table.name, &place)).transpose()?;
            first = first.into_iter().chain(place).min();
        }
        Ok(first)
    }

    /// The key ranges of the open tasks that share a role and the `further` bytes behind it.
    fn open_queues(&self, further: usize) -> Result<Vec<KeyRange>> {
        let (mut from, to) = prefix(TaskStatus::Open.code());
        let mut queues = Vec::new();
        loop {
            let first = self.tables().keys(&BY_STATUS.table, &(from, to.clone()))?.next();
            let Some(first) = first.transpose()? else { return Ok(queues) };
            // The status, the role up to its end, and what else makes a queue.
            let end = first.get(1..).and_then(text_end).map(|end| 1 + end + further);
            let queue = end.and_then(|end| first.get(..end));
            let queue = queue.ok_or_else(|| Error::corrupt(BY_STATUS.table.name, "a key has no role"))?;
            let behind = after_prefix(queue);
            queues.push((Bound::Included(queue.to_vec()), behind.clone()));
            from = match behind {
                Bound::Excluded(behind) => Bound::Included(behind),
                other => other,
            };
        }
    }

    /// The unfinished tasks of a thread.
    pub(crate) fn unfinished_tasks(&self, thread: ThreadId) -> Result<Vec<TaskId>> {
        let mut unfinished = Vec::new();
        for id in self.task_ids(thread)? {
            if !self.listed_row(BY_THREAD.table, id)?.task.status.is_finished() {
                unfinished.push(id);
            }
        }
        Ok(unfinished)
    }

    /// The tasks of a thread, oldest first.
    pub(crate) fn task_ids(&self, thread: ThreadId) -> Result<Vec<TaskId>> {
        self.tables().keys(&BY_THREAD.table, &prefix(thread))?.map(|key| TaskRow::id_of_key(&key?)).collect()
    }
}

/// The age of the next open task of a queue.
fn next_age(queue: &mut impl Iterator<Item = Result<Vec<u8>>>) -> Result<Option<Age>> {
    queue.next().map(|key| last_part(BY_STATUS.table.name, &key?)).transpose()
}
