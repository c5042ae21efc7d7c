//! The store beside a plain model in memory: vectors, searched from end to end.

use std::time::Duration;

use super::harness::{Peer, Wanted, agree, steps};
use super::{must_fail, rules, try_property};
use crate::planted::Bug;
use crate::{AgentId, ClaimId, Message, MessageId, Task, TaskId, TaskStatus, Thread, ThreadId, Timestamp};

#[derive(Default)]
pub(super) struct Model {
    tasks: Vec<Task>,
    messages: Vec<Message>,
}

impl Model {
    fn task_mut(&mut self, id: TaskId) -> &mut Task {
        self.tasks.iter_mut().find(|task| task.id == id).unwrap()
    }
}

impl Peer for Model {
    fn create_thread(&mut self, _: &Thread) {}

    fn append_message(&mut self, message: &Message) {
        self.messages.push(message.clone());
    }

    fn create_task(&mut self, task: &Task) {
        self.tasks.push(task.clone());
    }

    fn claim_task(&mut self, id: TaskId, agent: &AgentId, claim: ClaimId, now: Timestamp) -> bool {
        let task = self.task_mut(id);
        let open = task.status == TaskStatus::Open;
        if open {
            rules::claim(task, claim, agent, now);
        }
        open
    }

    fn complete_task(&mut self, id: TaskId, claim: ClaimId, now: Timestamp) -> bool {
        let task = self.task_mut(id);
        if task.claim_id != Some(claim) {
            return false;
        }
        if task.status == TaskStatus::Claimed {
            task.expires_at = None;
            task.status = TaskStatus::Completed;
            task.finished_at = Some(now);
        }
        true
    }

    fn expire_timed_out_tasks(&mut self, now: Timestamp) -> u64 {
        let mut reopened = 0;
        for task in &mut self.tasks {
            let due = task.claimed_at.is_some_and(|at| at + Duration::from_secs(task.timeout_seconds.into()) <= now);
            if task.status == TaskStatus::Claimed && due {
                task.status = TaskStatus::Open;
                (task.claim_id, task.claimed_by, task.claimed_at, task.expires_at) = (None, None, None, None);
                reopened += 1;
            }
        }
        reopened
    }

    fn open_tasks(&self, limit: usize) -> Vec<TaskId> {
        let mut open: Vec<_> = self.tasks.iter().filter(|task| task.status == TaskStatus::Open).collect();
        open.sort_by_key(|task| (task.created_at, task.id));
        open.iter().map(|task| task.id).take(limit).collect()
    }

    fn task(&self, id: TaskId) -> Task {
        self.tasks.iter().find(|task| task.id == id).unwrap().clone()
    }

    fn thread_messages(&self, thread: ThreadId, wanted: &Wanted) -> Vec<MessageId> {
        let of_thread = self.messages.iter().filter(|message| message.thread_id == thread);
        rules::wanted(of_thread, wanted).iter().map(|message| message.id).collect()
    }
}

#[test]
fn the_store_agrees_with_a_plain_model_also_when_reopened() {
    try_property(200, &steps(), |steps| agree(Model::default(), steps)).unwrap();
}

#[test]
fn control_the_model_sees_a_claim_without_a_check() {
    must_fail(Bug::ClaimWithoutCheck, &steps(), |steps| agree(Model::default(), steps));
}

#[test]
fn control_the_model_sees_a_completion_without_a_check() {
    must_fail(Bug::CompleteWithoutCheck, &steps(), |steps| agree(Model::default(), steps));
}

#[test]
fn control_the_model_sees_an_early_expiry() {
    must_fail(Bug::ExpireEarly, &steps(), |steps| agree(Model::default(), steps));
}

#[test]
fn control_the_model_sees_an_index_that_drifts() {
    must_fail(Bug::StaleIndexEntryKept, &steps(), |steps| agree(Model::default(), steps));
}

#[test]
fn control_the_model_sees_time_going_back() {
    must_fail(Bug::TimeFollowsClock, &steps(), |steps| agree(Model::default(), steps));
}
