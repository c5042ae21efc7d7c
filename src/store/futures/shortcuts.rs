//! Each operation as a future: one transaction, one line.

use super::AsyncStore;
use crate::agents::{Agent, Token};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{AgentId, ClaimId, MessageId, TaskId, ThreadId};
use crate::limits::EXPIRE_SLICE_TASKS;
use crate::messages::{Message, MessageFilter, NewMessage};
use crate::nested::Access;
use crate::page::Page;
#[cfg(doc)]
use crate::store::Store;
use crate::tasks::{Claim, NewTask, Task, TaskFilter};
use crate::threads::{Thread, ThreadFilter, ThreadStatus};
use crate::trace::operation;

/// The operations, one by one.
impl AsyncStore {
    /// Opens a thread. See [`Store::create_thread`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::create_thread`].
    pub async fn create_thread(&self, workflow: &str, initiator: &str) -> Result<Thread> {
        let (workflow, initiator) = (workflow.to_owned(), initiator.to_owned());
        self.write_as(operation!("create_thread"), move |tx| tx.create_thread(&workflow, &initiator)).await
    }

    /// The thread with this id, or `None`. See [`Store::thread`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::thread`].
    pub async fn thread(&self, id: ThreadId) -> Result<Option<Thread>> {
        self.on_pool(Access::Read, move |store| store.thread(id)).await
    }

    /// The threads the filter lets through, a page at a time. See [`Store::threads`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::threads`].
    pub async fn threads(&self, filter: &ThreadFilter) -> Result<Page<Thread>> {
        let filter = filter.clone();
        self.on_pool(Access::Read, move |store| store.threads(&filter)).await
    }

    /// Ends a thread for good, and cancels its unfinished tasks. See [`Store::finish_thread`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::finish_thread`].
    pub async fn finish_thread(&self, id: ThreadId, status: ThreadStatus, result: Option<&str>) -> Result<Thread> {
        let result = result.map(str::to_owned);
        self.write_as(operation!("finish_thread", thread = %id), move |tx| {
            tx.finish_thread(id, status, result.as_deref())
        })
        .await
    }

    /// Removes a thread with its messages and tasks. See [`Store::delete_thread`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::delete_thread`].
    pub async fn delete_thread(&self, id: ThreadId) -> Result<bool> {
        self.write_as(operation!("delete_thread", thread = %id), move |tx| tx.delete_thread(id)).await
    }

    /// Removes the threads that finished before this moment, and says how many. See [`Store::prune`].
    ///
    /// It commits thread by thread; a future that is dropped ends with the one at work.
    ///
    /// # Errors
    ///
    /// Those of [`Store::prune`].
    pub async fn prune(&self, before: Timestamp) -> Result<u64> {
        let mut operation = operation!("prune");
        let mut pruned = 0;
        while operation.step(self.write_in(operation.span(), move |tx| tx.prune_one(before)).await)? {
            pruned += 1;
        }
        operation.end_with_rows(Ok(pruned))
    }

    /// Appends a message to a thread. See [`Store::append_message`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::append_message`].
    pub async fn append_message(&self, thread: ThreadId, message: NewMessage) -> Result<Message> {
        self.write_as(operation!("append_message", %thread), move |tx| tx.append_message(thread, &message)).await
    }

    /// Appends messages to a thread in one step. See [`Store::append_messages`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::append_messages`].
    pub async fn append_messages(&self, thread: ThreadId, messages: Vec<NewMessage>) -> Result<Vec<Message>> {
        self.write_as(operation!("append_messages", %thread), move |tx| tx.append_messages(thread, &messages)).await
    }

    /// Appends a message only if the thread's newest one is the expected one. See [`Store::append_message_at`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::append_message_at`].
    pub async fn append_message_at(
        &self,
        thread: ThreadId,
        message: NewMessage,
        expected: Option<MessageId>,
    ) -> Result<Message> {
        self.write_as(operation!("append_message_at", %thread), move |tx| {
            tx.append_message_at(thread, &message, expected)
        })
        .await
    }

    /// The messages of a thread that match, by step. See [`Store::thread_messages`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::thread_messages`].
    pub async fn thread_messages(&self, thread: ThreadId, filter: &MessageFilter) -> Result<Vec<Message>> {
        let filter = filter.clone();
        self.on_pool(Access::Read, move |store| store.thread_messages(thread, &filter)).await
    }

    /// Adds a task to a thread. See [`Store::create_task`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::create_task`].
    pub async fn create_task(&self, thread: ThreadId, task: NewTask) -> Result<Task> {
        self.write_as(operation!("create_task", %thread), move |tx| tx.create_task(thread, &task)).await
    }

    /// Adds tasks to a thread in one step. See [`Store::create_tasks`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::create_tasks`].
    pub async fn create_tasks(&self, thread: ThreadId, tasks: Vec<NewTask>) -> Result<Vec<Task>> {
        self.write_as(operation!("create_tasks", %thread), move |tx| tx.create_tasks(thread, &tasks)).await
    }

    /// The task with this id, or `None`. See [`Store::task`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::task`].
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>> {
        self.on_pool(Access::Read, move |store| store.task(id)).await
    }

    /// The tasks the filter lets through, a page at a time. See [`Store::tasks`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::tasks`].
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<Page<Task>> {
        let filter = filter.clone();
        self.on_pool(Access::Read, move |store| store.tasks(&filter)).await
    }

    /// The open tasks of all roles, oldest first, at most `limit`. See [`Store::open_tasks`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::open_tasks`].
    pub async fn open_tasks(&self, limit: usize) -> Result<Vec<Task>> {
        self.on_pool(Access::Read, move |store| store.open_tasks(limit)).await
    }

    /// Claims an open task; `None` says that somebody else was first. See [`Store::claim_task`].
    ///
    /// A claim whose future was dropped is given back.
    ///
    /// # Errors
    ///
    /// Those of [`Store::claim_task`].
    pub async fn claim_task(&self, id: TaskId, agent: &AgentId) -> Result<Option<Claim>> {
        let agent = agent.clone();
        self.claim_as(operation!("claim_task", task = %id, %agent), move |tx| tx.claim_task(id, &agent)).await
    }

    /// Claims the task whose turn it is. See [`Store::claim_next`].
    ///
    /// A claim whose future was dropped is given back.
    ///
    /// # Errors
    ///
    /// Those of [`Store::claim_next`].
    pub async fn claim_next(&self, agent: &AgentId, filter: &TaskFilter) -> Result<Option<Claim>> {
        let (agent, filter) = (agent.clone(), filter.clone());
        self.claim_as(operation!("claim_next", %agent), move |tx| tx.claim_next(&agent, &filter)).await
    }

    /// Makes a claim last its full time from now. See [`Store::renew_claim`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::renew_claim`].
    pub async fn renew_claim(&self, id: TaskId, claim: ClaimId) -> Result<bool> {
        self.write_as(operation!("renew_claim", task = %id), move |tx| tx.renew_claim(id, claim)).await
    }

    /// Gives a task back, the attempt not counted. See [`Store::release_task`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::release_task`].
    pub async fn release_task(&self, id: TaskId, claim: ClaimId) -> Result<bool> {
        self.write_as(operation!("release_task", task = %id), move |tx| tx.release_task(id, claim)).await
    }

    /// Completes a task under a claim; `false` says that the claim is no longer the task's. See [`Store::complete_task`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::complete_task`].
    pub async fn complete_task(&self, id: TaskId, claim: ClaimId) -> Result<bool> {
        self.write_as(operation!("complete_task", task = %id), move |tx| tx.complete_task(id, claim)).await
    }

    /// Ends an attempt that went wrong; the task is tried again while attempts remain. See [`Store::fail_task`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::fail_task`].
    pub async fn fail_task(&self, id: TaskId, claim: ClaimId, reason: &str) -> Result<bool> {
        let reason = reason.to_owned();
        self.write_as(operation!("fail_task", task = %id), move |tx| tx.fail_task(id, claim, &reason)).await
    }

    /// Ends a task that is not wanted any more. See [`Store::cancel_task`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::cancel_task`].
    pub async fn cancel_task(&self, id: TaskId) -> Result<bool> {
        self.write_as(operation!("cancel_task", task = %id), move |tx| tx.cancel_task(id)).await
    }

    /// Takes away every claim that has timed out, and says how many. See [`Store::expire_timed_out_tasks`].
    ///
    /// It commits a thousand at a time; a future that is dropped ends with those at work.
    ///
    /// # Errors
    ///
    /// Those of [`Store::expire_timed_out_tasks`].
    pub async fn expire_timed_out_tasks(&self) -> Result<u64> {
        let mut operation = operation!("expire_timed_out_tasks");
        let mut expired = 0;
        loop {
            let swept = operation.step(self.write_in(operation.span(), |tx| tx.sweep(EXPIRE_SLICE_TASKS)).await)?;
            expired += u64::try_from(swept.expired).unwrap_or(u64::MAX);
            if swept.is_all {
                return operation.end_with_rows(Ok(expired));
            }
        }
    }

    /// Registers an agent and gives back its token. See [`Store::register_agent`].
    ///
    /// The token of a future that was dropped is known to nobody: [rotate](Self::rotate_token) it.
    ///
    /// # Errors
    ///
    /// Those of [`Store::register_agent`].
    pub async fn register_agent(&self, id: &AgentId) -> Result<Token> {
        let id = id.clone();
        self.write_as(operation!("register_agent", agent = %id), move |tx| tx.register_agent(&id)).await
    }

    /// Gives a registered agent a new token. See [`Store::rotate_token`].
    ///
    /// The token of a future that was dropped is known to nobody: [rotate](Self::rotate_token) it.
    ///
    /// # Errors
    ///
    /// Those of [`Store::rotate_token`].
    pub async fn rotate_token(&self, id: &AgentId) -> Result<Token> {
        let id = id.clone();
        self.write_as(operation!("rotate_token", agent = %id), move |tx| tx.rotate_token(&id)).await
    }

    /// Removes an agent's registration, and with it its token. See [`Store::remove_agent`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::remove_agent`].
    pub async fn remove_agent(&self, id: &AgentId) -> Result<bool> {
        let id = id.clone();
        self.write_as(operation!("remove_agent", agent = %id), move |tx| tx.remove_agent(&id)).await
    }

    /// The agent whose token this is, or `None`. See [`Store::authenticate`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::authenticate`].
    pub async fn authenticate(&self, token: &str) -> Result<Option<Agent>> {
        let token = token.to_owned();
        self.on_pool(Access::Read, move |store| store.authenticate(&token)).await
    }

    /// The registered agents by name. See [`Store::agents`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::agents`].
    pub async fn agents(&self, after: Option<&AgentId>, limit: usize) -> Result<Vec<Agent>> {
        let after = after.cloned();
        self.on_pool(Access::Read, move |store| store.agents(after.as_ref(), limit)).await
    }

    /// The registered agent of this name, or `None`. See [`Store::agent`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::agent`].
    pub async fn agent(&self, id: &AgentId) -> Result<Option<Agent>> {
        let id = id.clone();
        self.on_pool(Access::Read, move |store| store.agent(&id)).await
    }
}
