//! What is to be done: a thread with a task for each file, and what earlier runs left.

use std::collections::BTreeSet;

use khala::{
    NewMessage, NewTask, ReadTx, Result, Store, Task, TaskFilter, TaskId, ThreadFilter, ThreadId, ThreadStatus,
    Timestamp,
};

use crate::counted;
use crate::folder::Listing;

/// The role of the tasks, and of the messages that settle them.
pub(crate) const ROLE: &str = "reviewer";

const WORKFLOW: &str = "review";
const INITIATOR: &str = "review example";
const STEP_REQUEST: u64 = 0;
pub(crate) const STEP_REVIEW: u64 = 1;

/// How long a claim lasts: short, because the example waits for one to time out, and long beside the milliseconds that
/// a review takes.
pub(crate) const TIMEOUT_SECONDS: u32 = 2;

/// A file that cannot be read is tried again after one second, and once more after another two.
pub(crate) const ATTEMPTS: u32 = 3;
const BACKOFF_SECONDS: u32 = 1;

/// What a run starts from.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) began_at: Timestamp,
    /// None if there was no file.
    pub(crate) thread: Option<ThreadId>,
    pub(crate) tasks: Vec<TaskId>,
    /// The unfinished tasks of earlier runs: those they had in hand open again when their claims time out.
    pub(crate) earlier: Vec<Task>,
    /// The threads that earlier runs did not finish.
    pub(crate) earlier_threads: BTreeSet<ThreadId>,
    /// How many messages the store held, of which the reviews of earlier runs are the most.
    pub(crate) messages_before: u64,
}

impl Plan {
    /// Puts the work into the store in one step: a run that is interrupted here leaves nothing.
    pub(crate) fn make(store: &Store, listing: &Listing) -> Result<Self> {
        let (files, folder) = (listing.files.clone(), listing.folder.display().to_string());
        store.write(move |tx| {
            let (began_at, earlier_threads) = (tx.now(), unfinished_threads(tx)?);
            let (earlier, tasks) = (unfinished_tasks(tx, &earlier_threads)?, Vec::new());
            let mut plan = Self { began_at, thread: None, tasks, earlier, earlier_threads, messages_before: 0 };
            if files.is_empty() {
                return Ok(plan);
            }
            let thread = tx.create_thread(WORKFLOW, INITIATOR)?.id;
            for file in &files {
                let task = NewTask::new(ROLE, file).timeout_seconds(TIMEOUT_SECONDS);
                let task = task.max_attempts(ATTEMPTS).backoff_seconds(BACKOFF_SECONDS);
                plan.tasks.push(tx.create_task(thread, &task)?.id);
            }
            let request = format!("Review {} in {folder}.", counted(files.len(), "file"));
            let request = NewMessage::new("request", request).step(STEP_REQUEST);
            plan.thread = Some(thread);
            // Message ids count from 1.
            plan.messages_before = tx.append_message(thread, &request)?.id.as_u64().saturating_sub(1);
            Ok(plan)
        })
    }

    /// The threads of this run and those it is to finish for earlier ones.
    pub(crate) fn threads(&self) -> impl Iterator<Item = ThreadId> {
        self.earlier_threads.iter().copied().chain(self.thread)
    }

    /// Every task that is to be done.
    pub(crate) fn open(&self) -> impl Iterator<Item = TaskId> {
        self.earlier.iter().map(|task| task.id).chain(self.tasks.iter().copied())
    }
}

fn unfinished_threads(tx: &ReadTx<'_>) -> Result<BTreeSet<ThreadId>> {
    let active = tx.threads(&ThreadFilter::new().status(ThreadStatus::Active).limit(usize::MAX))?.items;
    let ours = active.into_iter().filter(|thread| thread.workflow == WORKFLOW && thread.initiator == INITIATOR);
    Ok(ours.map(|thread| thread.id).collect())
}

fn unfinished_tasks(tx: &ReadTx<'_>, threads: &BTreeSet<ThreadId>) -> Result<Vec<Task>> {
    let mut unfinished = Vec::new();
    for &thread in threads {
        let tasks = tx.tasks(&TaskFilter::new().thread(thread).limit(usize::MAX))?.items;
        unfinished.extend(tasks.into_iter().filter(|task| !task.status.is_finished()));
    }
    Ok(unfinished)
}
