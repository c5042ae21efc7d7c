//! The check against the store: was every task done, and done once?

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use khala::{MessageFilter, ReadTx, Store, TaskId, TaskStatus, ThreadId};

use crate::note::Note;
use crate::plan::{Plan, ROLE};
use crate::{Result, counted};

/// More complaints than this are not told one by one.
const TOLD_MOST: usize = 5;

/// What the store says of the tasks of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) tasks: usize,
    /// How many threads those are in.
    pub(crate) threads: usize,
    /// Completed tasks with one review, posted under the claim that completed the task.
    pub(crate) done_once: usize,
    /// Tasks with more than one review.
    pub(crate) done_twice: usize,
    /// Tasks without a review, or that are not completed.
    pub(crate) not_done: usize,
    /// The reviews, in the order of their tasks.
    pub(crate) notes: Vec<Note>,
    complaints: Vec<String>,
}

impl Verdict {
    /// Asks the store, in one snapshot, about the tasks of the plan and all others that were finished.
    pub(crate) fn on(store: &Store, plan: &Plan, finished: &[TaskId]) -> khala::Result<Self> {
        let tasks: BTreeSet<TaskId> = plan.open().chain(finished.iter().copied()).collect();
        store.read(|tx| {
            let mut verdict = Self { tasks: tasks.len(), ..Self::default() };
            let mut reviews = Reviews::default();
            for &id in &tasks {
                verdict.examine(tx, id, &mut reviews)?;
            }
            if let Some(thread) = plan.thread {
                verdict.examine_strays(&tasks, reviews.of(tx, thread)?);
            }
            verdict.threads = reviews.0.len();
            Ok(verdict)
        })
    }

    /// A task is done once if it is completed, has one review, and that was posted under the claim that completed it.
    fn examine(&mut self, tx: &ReadTx<'_>, id: TaskId, reviews: &mut Reviews) -> khala::Result<()> {
        let task = tx.task(id)?.ok_or(khala::Error::TaskNotFound(id))?;
        let own = reviews.of(tx, task.thread_id)?.get(&id.to_string()).map(Vec::as_slice).unwrap_or_default();
        if task.status != TaskStatus::Completed {
            self.not_done += 1;
            self.complaints.push(format!("task {id} is {}", task.status));
        }
        match own {
            [] => {
                self.not_done += usize::from(task.status == TaskStatus::Completed);
                self.complaints.push(format!("task {id} has no review"));
            }
            [(note, by)] => {
                let claim = task.claim_id.map(|claim| claim.to_string());
                let holder = task.claimed_by.map(|agent| agent.to_string());
                if claim.as_deref() != Some(note.text("claim")) || holder.as_ref() != Some(by) {
                    self.complaints.push(format!("the review of task {id} is not from who completed it"));
                } else if task.status == TaskStatus::Completed {
                    self.done_once += 1;
                }
                self.notes.push(note.clone());
            }
            several => {
                self.done_twice += 1;
                self.complaints.push(format!("task {id} has {} reviews", several.len()));
            }
        }
        Ok(())
    }

    /// A review in the run's own thread belongs to one of its tasks.
    fn examine_strays(&mut self, tasks: &BTreeSet<TaskId>, reviews: &ByTask) {
        let known: BTreeSet<String> = tasks.iter().map(ToString::to_string).collect();
        let strays = reviews.keys().filter(|task| !known.contains(*task));
        self.complaints.extend(strays.map(|task| format!("there is a review of {task}, which is no task of this run")));
    }

    pub(crate) fn as_result(&self) -> Result<()> {
        if self.complaints.is_empty() {
            return Ok(());
        }
        let told: Vec<_> = self.complaints.iter().take(TOLD_MOST).map(String::as_str).collect();
        Err(format!("the store does not agree, {}: {}", counted(self.complaints.len(), "complaint"), told.join("; "))
            .into())
    }
}

/// The reviews of a thread by the task they name, each with who posted it.
type ByTask = BTreeMap<String, Vec<(Note, String)>>;

/// The reviews of the threads asked about so far: each thread is read once.
#[derive(Default)]
struct Reviews(BTreeMap<ThreadId, ByTask>);

impl Reviews {
    fn of(&mut self, tx: &ReadTx<'_>, thread: ThreadId) -> khala::Result<&ByTask> {
        let by_task = match self.0.entry(thread) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(unknown) => unknown.insert(ByTask::new()),
        };
        for message in tx.thread_messages(thread, &MessageFilter::new().role(ROLE))? {
            if let Some(note) = Note::of(&message) {
                let by = message.agent_id.map(|agent| agent.to_string()).unwrap_or_default();
                by_task.entry(note.text("task").to_owned()).or_default().push((note, by));
            }
        }
        Ok(by_task)
    }
}
