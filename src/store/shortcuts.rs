//! Each operation as a method of the store: one transaction, one line.

use super::Store;
use crate::agents::{Agent, Token};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{AgentId, ClaimId, MessageId, TaskId, ThreadId};
use crate::limits::EXPIRE_SLICE_TASKS;
use crate::messages::{Message, MessageFilter, NewMessage};
use crate::page::Page;
use crate::tasks::{Claim, NewTask, Task, TaskFilter};
use crate::threads::{Thread, ThreadFilter, ThreadStatus};
use crate::trace::operation;
#[cfg(doc)]
use crate::tx::{ReadTx, WriteTx};

/// The operations, one by one.
impl Store {
    /// Opens a thread. See [`WriteTx::create_thread`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::create_thread`] and of [`write`](Self::write).
    pub fn create_thread(&self, workflow: &str, initiator: &str) -> Result<Thread> {
        let (workflow, initiator) = (workflow.to_owned(), initiator.to_owned());
        self.write_as(operation!("create_thread"), move |tx| tx.create_thread(&workflow, &initiator))
    }

    /// The thread with this id, or `None`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn thread(&self, id: ThreadId) -> Result<Option<Thread>> {
        self.read_as(operation!("thread", thread = %id), |tx| tx.thread(id))
    }

    /// The threads the filter lets through, a page at a time. See [`ReadTx::threads`].
    ///
    /// # Errors
    ///
    /// Those of [`ReadTx::threads`] and of [`read`](Self::read).
    pub fn threads(&self, filter: &ThreadFilter) -> Result<Page<Thread>> {
        self.read_as(operation!("threads"), |tx| tx.threads(filter))
    }

    /// Ends a thread for good, and cancels its unfinished tasks. See [`WriteTx::finish_thread`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::finish_thread`] and of [`write`](Self::write).
    pub fn finish_thread(&self, id: ThreadId, status: ThreadStatus, result: Option<&str>) -> Result<Thread> {
        let result = result.map(str::to_owned);
        self.write_as(operation!("finish_thread", thread = %id), move |tx| {
            tx.finish_thread(id, status, result.as_deref())
        })
    }

    /// Removes a thread with its messages and tasks. See [`WriteTx::delete_thread`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::delete_thread`] and of [`write`](Self::write).
    pub fn delete_thread(&self, id: ThreadId) -> Result<bool> {
        self.write_as(operation!("delete_thread", thread = %id), move |tx| tx.delete_thread(id))
    }

    /// Removes the threads that finished before this moment, and says how many. See [`WriteTx::prune`].
    ///
    /// It commits thread by thread, so that others get their turn. After an error those already removed stay removed.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub fn prune(&self, before: Timestamp) -> Result<u64> {
        let mut operation = operation!("prune");
        let mut pruned = 0;
        while operation.step(self.write_in(operation.span(), move |tx| tx.prune_one(before)))? {
            pruned += 1;
        }
        operation.end_with_rows(Ok(pruned))
    }

    /// Appends a message to a thread. See [`WriteTx::append_message`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::append_message`] and of [`write`](Self::write).
    pub fn append_message(&self, thread: ThreadId, message: NewMessage) -> Result<Message> {
        self.write_as(operation!("append_message", %thread), move |tx| tx.append_message(thread, &message))
    }

    /// Appends messages to a thread in one step. See [`WriteTx::append_messages`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::append_messages`] and of [`write`](Self::write).
    pub fn append_messages(&self, thread: ThreadId, messages: Vec<NewMessage>) -> Result<Vec<Message>> {
        self.write_as(operation!("append_messages", %thread), move |tx| tx.append_messages(thread, &messages))
    }

    /// Appends a message only if the thread's newest one is the expected one. See [`WriteTx::append_message_at`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::append_message_at`] and of [`write`](Self::write).
    pub fn append_message_at(
        &self,
        thread: ThreadId,
        message: NewMessage,
        expected: Option<MessageId>,
    ) -> Result<Message> {
        self.write_as(operation!("append_message_at", %thread), move |tx| {
            tx.append_message_at(thread, &message, expected)
        })
    }

    /// The messages of a thread that match, by step. See [`ReadTx::thread_messages`].
    ///
    /// # Errors
    ///
    /// Those of [`ReadTx::thread_messages`] and of [`read`](Self::read).
    pub fn thread_messages(&self, thread: ThreadId, filter: &MessageFilter) -> Result<Vec<Message>> {
        self.read_as(operation!("thread_messages", %thread), |tx| tx.thread_messages(thread, filter))
    }

    /// Adds a task to a thread. See [`WriteTx::create_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::create_task`] and of [`write`](Self::write).
    pub fn create_task(&self, thread: ThreadId, task: NewTask) -> Result<Task> {
        self.write_as(operation!("create_task", %thread), move |tx| tx.create_task(thread, &task))
    }

    /// Adds tasks to a thread in one step. See [`WriteTx::create_tasks`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::create_tasks`] and of [`write`](Self::write).
    pub fn create_tasks(&self, thread: ThreadId, tasks: Vec<NewTask>) -> Result<Vec<Task>> {
        self.write_as(operation!("create_tasks", %thread), move |tx| tx.create_tasks(thread, &tasks))
    }

    /// The task with this id, or `None`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn task(&self, id: TaskId) -> Result<Option<Task>> {
        self.read_as(operation!("task", task = %id), |tx| tx.task(id))
    }

    /// The tasks the filter lets through, a page at a time. See [`ReadTx::tasks`].
    ///
    /// # Errors
    ///
    /// Those of [`ReadTx::tasks`] and of [`read`](Self::read).
    pub fn tasks(&self, filter: &TaskFilter) -> Result<Page<Task>> {
        self.read_as(operation!("tasks"), |tx| tx.tasks(filter))
    }

    /// The open tasks of all roles, oldest first, at most `limit`. See [`ReadTx::open_tasks`].
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn open_tasks(&self, limit: usize) -> Result<Vec<Task>> {
        self.read_as(operation!("open_tasks"), |tx| tx.open_tasks(limit))
    }

    /// Claims an open task; `None` says that somebody else was first. See [`WriteTx::claim_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::claim_task`] and of [`write`](Self::write).
    pub fn claim_task(&self, id: TaskId, agent: &AgentId) -> Result<Option<Claim>> {
        let agent = agent.clone();
        self.write_as(operation!("claim_task", task = %id, %agent), move |tx| tx.claim_task(id, &agent))
    }

    /// Claims the task whose turn it is. See [`WriteTx::claim_next`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::claim_next`] and of [`write`](Self::write).
    pub fn claim_next(&self, agent: &AgentId, filter: &TaskFilter) -> Result<Option<Claim>> {
        let (agent, filter) = (agent.clone(), filter.clone());
        self.write_as(operation!("claim_next", %agent), move |tx| tx.claim_next(&agent, &filter))
    }

    /// Makes a claim last its full time from now. See [`WriteTx::renew_claim`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::renew_claim`] and of [`write`](Self::write).
    pub fn renew_claim(&self, id: TaskId, claim: ClaimId) -> Result<bool> {
        self.write_as(operation!("renew_claim", task = %id), move |tx| tx.renew_claim(id, claim))
    }

    /// Gives a task back, the attempt not counted. See [`WriteTx::release_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::release_task`] and of [`write`](Self::write).
    pub fn release_task(&self, id: TaskId, claim: ClaimId) -> Result<bool> {
        self.write_as(operation!("release_task", task = %id), move |tx| tx.release_task(id, claim))
    }

    /// Completes a task under a claim; `false` says that the claim is no longer the task's. See
    /// [`WriteTx::complete_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::complete_task`] and of [`write`](Self::write).
    pub fn complete_task(&self, id: TaskId, claim: ClaimId) -> Result<bool> {
        self.write_as(operation!("complete_task", task = %id), move |tx| tx.complete_task(id, claim))
    }

    /// Ends an attempt that went wrong; the task is tried again while attempts remain. See [`WriteTx::fail_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::fail_task`] and of [`write`](Self::write).
    pub fn fail_task(&self, id: TaskId, claim: ClaimId, reason: &str) -> Result<bool> {
        let reason = reason.to_owned();
        self.write_as(operation!("fail_task", task = %id), move |tx| tx.fail_task(id, claim, &reason))
    }

    /// Ends a task that is not wanted any more. See [`WriteTx::cancel_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::cancel_task`] and of [`write`](Self::write).
    pub fn cancel_task(&self, id: TaskId) -> Result<bool> {
        self.write_as(operation!("cancel_task", task = %id), move |tx| tx.cancel_task(id))
    }

    /// Takes away every claim that has timed out, and says how many. See [`WriteTx::expire_timed_out_tasks`].
    ///
    /// It commits a thousand at a time, so that others get their turn. After an error those already taken away stay so;
    /// call it again.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub fn expire_timed_out_tasks(&self) -> Result<u64> {
        let mut operation = operation!("expire_timed_out_tasks");
        let mut expired = 0;
        loop {
            let swept = operation.step(self.write_in(operation.span(), |tx| tx.sweep(EXPIRE_SLICE_TASKS)))?;
            expired += u64::try_from(swept.expired).unwrap_or(u64::MAX);
            if swept.is_all {
                return operation.end_with_rows(Ok(expired));
            }
        }
    }

    /// Registers an agent and gives back its token. See [`WriteTx::register_agent`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::register_agent`] and of [`write`](Self::write).
    pub fn register_agent(&self, id: &AgentId) -> Result<Token> {
        let id = id.clone();
        self.write_as(operation!("register_agent", agent = %id), move |tx| tx.register_agent(&id))
    }

    /// Gives a registered agent a new token. See [`WriteTx::rotate_token`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::rotate_token`] and of [`write`](Self::write).
    pub fn rotate_token(&self, id: &AgentId) -> Result<Token> {
        let id = id.clone();
        self.write_as(operation!("rotate_token", agent = %id), move |tx| tx.rotate_token(&id))
    }

    /// Removes an agent's registration, and with it its token. See [`WriteTx::remove_agent`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::remove_agent`] and of [`write`](Self::write).
    pub fn remove_agent(&self, id: &AgentId) -> Result<bool> {
        let id = id.clone();
        self.write_as(operation!("remove_agent", agent = %id), move |tx| tx.remove_agent(&id))
    }

    /// The agent whose token this is, or `None`. See [`ReadTx::authenticate`].
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn authenticate(&self, token: &str) -> Result<Option<Agent>> {
        self.read_as(operation!("authenticate"), |tx| tx.authenticate(token))
    }

    /// The registered agents by name. See [`ReadTx::agents`].
    ///
    /// # Errors
    ///
    /// Those of [`ReadTx::agents`] and of [`read`](Self::read).
    pub fn agents(&self, after: Option<&AgentId>, limit: usize) -> Result<Vec<Agent>> {
        self.read_as(operation!("agents"), |tx| tx.agents(after, limit))
    }

    /// The registered agent of this name, or `None`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn agent(&self, id: &AgentId) -> Result<Option<Agent>> {
        self.read_as(operation!("agent", agent = %id), |tx| tx.agent(id))
    }
}
