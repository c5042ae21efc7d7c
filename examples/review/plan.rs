//! What is to be done: a thread with a task for each file, and what earlier runs left.

use std::collections::BTreeSet;

use khala::{NewMessage, NewTask, ReadTx, Result, Store, Task, TaskId, ThreadId, Timestamp};

use crate::counted;
use crate::folder::Listing;

const WORKFLOW: &str = "review";
const INITIATOR: &str = "review example";

/// The role of the tasks, and of the messages that settle them.
pub(crate) const ROLE: &str = "reviewer";

const STEP_REQUEST: u64 = 0;
pub(crate) const STEP_REVIEW: u64 = 1;
pub(crate) const STEP_SUMMARY: u64 = 2;

/// How long a claim lasts: short, because the example waits for one to time out, and long beside the milliseconds that
/// a review takes.
const TIMEOUT_SECONDS: u32 = 2;

/// More open tasks of earlier runs than this are not counted; they are worked off all the same.
const EARLIER_MOST: usize = 100_000;

/// What a run starts from.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) began_at: Timestamp,
    /// None if there was no file.
    pub(crate) thread: Option<ThreadId>,
    pub(crate) tasks: Vec<TaskId>,
    /// Open tasks of earlier runs.
    pub(crate) earlier: Vec<Task>,
    /// How many claims of earlier runs had timed out.
    pub(crate) timed_out: u64,
    /// How many messages the store held, of which the reviews of earlier runs are the most.
    pub(crate) messages_before: u64,
}

impl Plan {
    /// Puts the work into the store in one step: a run that is interrupted here leaves nothing.
    pub(crate) fn make(store: &Store, listing: &Listing) -> Result<Self> {
        // The store is open here alone, so whoever holds a claim in it is dead.
        let timed_out = store.expire_timed_out_tasks()?;
        let earlier = open_reviews(store, EARLIER_MOST)?;
        let (files, folder) = (listing.files.clone(), listing.folder.display().to_string());
        store.write(move |tx| {
            let (began_at, earlier) = (tx.now(), earlier.clone());
            let mut plan = Self { began_at, thread: None, tasks: Vec::new(), earlier, timed_out, messages_before: 0 };
            if files.is_empty() {
                return Ok(plan);
            }
            let thread = tx.create_thread(WORKFLOW, INITIATOR)?.id;
            let request = format!("Review {} in {folder}.", counted(files.len(), "file"));
            let request = tx.append_message(thread, &NewMessage::new("request", request).step(STEP_REQUEST))?;
            for file in &files {
                let task = NewTask::new(ROLE, file).timeout_seconds(TIMEOUT_SECONDS);
                plan.tasks.push(tx.create_task(thread, &task)?.id);
            }
            plan.thread = Some(thread);
            // Message ids count from 1.
            plan.messages_before = request.id.as_u64().saturating_sub(1);
            Ok(plan)
        })
    }

    pub(crate) fn earlier_threads(&self) -> usize {
        self.earlier.iter().map(|task| task.thread_id).collect::<BTreeSet<_>>().len()
    }

    /// Every task that is known to be open at the start.
    pub(crate) fn open(&self) -> impl Iterator<Item = TaskId> {
        self.earlier.iter().map(|task| task.id).chain(self.tasks.iter().copied())
    }
}

/// The oldest open tasks that are reviews of this example, at most `most`. Another program may keep tasks of its own in
/// the store; they are left alone.
pub(crate) fn open_reviews(store: &Store, most: usize) -> Result<Vec<Task>> {
    let mut limit = most;
    loop {
        let (seen, mut reviews) = store.read(|tx| {
            let open = tx.open_tasks(limit)?;
            let seen = open.len();
            let mut reviews = Vec::new();
            for task in open {
                if is_review(tx, &task)? {
                    reviews.push(task);
                }
            }
            Ok((seen, reviews))
        })?;
        if reviews.len() >= most || seen < limit {
            reviews.truncate(most);
            return Ok(reviews);
        }
        // Tasks of others stand before ours: look further.
        limit = limit.saturating_mul(2);
    }
}

fn is_review(tx: &ReadTx<'_>, task: &Task) -> Result<bool> {
    Ok(task.role == ROLE && tx.thread(task.thread_id)?.is_some_and(|thread| thread.initiator == INITIATOR))
}
