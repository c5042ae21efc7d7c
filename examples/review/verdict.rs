//! The check against the store: was every task done, and done once?

use std::collections::BTreeMap;

use khala::{MessageFilter, ReadTx, Store, Task, TaskFilter, TaskStatus, ThreadId};

use crate::note::Note;
use crate::plan::{Plan, ROLE};
use crate::{Result, counted, printable, short};

/// More complaints than this are not told one by one.
const TOLD_MOST: usize = 5;

/// What the store says of the tasks of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) tasks: usize,
    /// Completed tasks with one review, posted under the claim that completed the task.
    pub(crate) done_once: usize,
    /// Tasks with more than one review.
    pub(crate) done_twice: usize,
    /// Tasks that are neither completed, with a review, nor failed.
    pub(crate) not_done: usize,
    pub(crate) threads: Vec<Reviewed>,
    complaints: Vec<String>,
}

/// What came of a thread.
#[derive(Debug)]
pub(crate) struct Reviewed {
    pub(crate) id: ThreadId,
    /// The reviews, in the order of their tasks.
    pub(crate) notes: Vec<Note>,
    /// The files whose tasks failed, and why.
    pub(crate) failed: Vec<String>,
}

/// A review, and who posted it.
type Posted = (Note, String);

impl Verdict {
    /// Asks the store, in one snapshot, about all tasks of the plan's threads.
    pub(crate) fn on(store: &Store, plan: &Plan) -> khala::Result<Self> {
        store.read(|tx| {
            let mut verdict = Self::default();
            plan.threads().try_for_each(|thread| verdict.examine_thread(tx, thread))?;
            Ok(verdict)
        })
    }

    fn examine_thread(&mut self, tx: &ReadTx<'_>, id: ThreadId) -> khala::Result<()> {
        let mut reviews: BTreeMap<String, Vec<Posted>> = BTreeMap::new();
        for message in tx.thread_messages(id, &MessageFilter::new())? {
            if let Some(note) = Note::of(&message).filter(|_| message.role == ROLE) {
                let by = message.agent_id.map(|agent| agent.to_string()).unwrap_or_default();
                reviews.entry(note.text("task").to_owned()).or_default().push((note, by));
            }
        }
        let mut reviewed = Reviewed { id, notes: Vec::new(), failed: Vec::new() };
        for task in tx.tasks(&TaskFilter::new().thread(id).limit(usize::MAX))?.items {
            let own = reviews.remove(&task.id.to_string()).unwrap_or_default();
            self.examine_task(task, &own, &mut reviewed);
        }
        let strays = reviews.keys().map(|task| format!("there is a review of {task}, which is no task of its thread"));
        self.complaints.extend(strays);
        self.threads.push(reviewed);
        Ok(())
    }

    /// A task is done once if it is completed, has one review, and that was posted under the claim that completed it.
    fn examine_task(&mut self, task: Task, reviews: &[Posted], reviewed: &mut Reviewed) {
        let id = task.id;
        let claim = task.claim_id.map(|claim| claim.to_string()).unwrap_or_default();
        let holder = task.claimed_by.map(|agent| agent.to_string()).unwrap_or_default();
        self.tasks += 1;
        match (task.status, reviews) {
            (_, [_, _, ..]) => {
                self.done_twice += 1;
                self.complaints.push(format!("task {id} has {} reviews", reviews.len()));
            }
            (TaskStatus::Completed, [(note, by)]) if note.text("claim") == claim && *by == holder => {
                self.done_once += 1;
            }
            (TaskStatus::Completed, [_]) => {
                self.complaints.push(format!("the review of task {id} is not from who completed it"));
            }
            (TaskStatus::Failed, []) => {
                let why = printable(&task.last_error.unwrap_or_default());
                reviewed.failed.push(format!("{} ({why})", short(&task.instruction)));
            }
            (status, _) => {
                self.not_done += 1;
                self.complaints.push(format!("task {id} is {status}, with {}", counted(reviews.len(), "review")));
            }
        }
        reviewed.notes.extend(reviews.iter().map(|(note, _)| note.clone()));
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
