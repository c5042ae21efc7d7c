//! What reading the world must give.

use std::cmp::Reverse;

use super::super::life::role;
use super::super::rules;
use super::calls::{Answer, Listed, Read};
use super::world::World;
use crate::{Task, TaskStatus, Thread, ThreadStatus, Timestamp};

impl World {
    pub(super) fn read(&self, read: &Read) -> Answer {
        match read {
            Read::Task(id) => Answer::FoundTask(self.tasks.get(id).cloned()),
            Read::Thread(id) => Answer::FoundThread(self.threads.get(id).map(|inside| inside.row.clone())),
            Read::OpenTasks(limit) => {
                let mut open: Vec<_> = self.open_tasks().collect();
                open.sort_by_key(|task| (task.created_at, task.id));
                Answer::Tasks(open.into_iter().take(*limit).cloned().collect())
            }
            Read::Tasks(listed) => Answer::Tasks(self.list(listed)),
            Read::Threads(status, newest_first, limit) => Answer::Threads(self.threads(*status, *newest_first, *limit)),
            Read::Messages(thread, wanted) => match self.threads.get(thread) {
                None => Answer::Refused("ThreadNotFound"),
                Some(inside) => {
                    Answer::Messages(rules::wanted(inside.said.iter(), wanted).into_iter().cloned().collect())
                }
            },
            Read::Agents(limit) => {
                Answer::Agents(self.agents.values().take(*limit).map(|(agent, _)| agent.clone()).collect())
            }
            Read::Agent(id) => Answer::FoundAgent(self.agents.get(id).map(|(agent, _)| agent.clone())),
            Read::Authenticate(token) => {
                let holder = self.agents.values().find(|(_, good)| good == token);
                Answer::FoundAgent(holder.map(|(agent, _)| agent.clone()))
            }
            Read::Stats => self.counts(),
        }
    }

    fn open_tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(|task| task.status == TaskStatus::Open)
    }

    fn list(&self, listed: &Listed) -> Vec<Task> {
        let status = listed.status.or(listed.holder.as_ref().map(|_| TaskStatus::Claimed));
        let mut found: Vec<_> = self
            .tasks
            .values()
            .filter(|task| listed.thread.is_none_or(|thread| thread == task.thread_id))
            .filter(|task| listed.role.is_none_or(|number| task.role == role(number)))
            .filter(|task| status.is_none_or(|status| status == task.status))
            .filter(|task| listed.holder.as_ref().is_none_or(|holder| Some(holder) == task.claimed_by.as_ref()))
            .collect();
        match (listed.thread, status) {
            (None, Some(TaskStatus::Open)) => {
                found.sort_by_key(|task| (task.role.clone(), Reverse(task.priority), task.created_at, task.id));
            }
            (None, Some(_)) => found.sort_by_key(|task| (when(task), task.id)),
            // Ids rise as tasks are created.
            _ => {}
        }
        if listed.newest_first {
            found.reverse();
        }
        found.into_iter().take(listed.limit).cloned().collect()
    }

    fn threads(&self, status: Option<ThreadStatus>, newest_first: bool, limit: usize) -> Vec<Thread> {
        let rows = self.threads.values().map(|inside| &inside.row);
        let mut found: Vec<_> = rows.filter(|row| status.is_none_or(|status| status == row.status)).collect();
        if status.is_some() {
            found.sort_by_key(|row| (row.updated_at, row.id));
        }
        if newest_first {
            found.reverse();
        }
        found.into_iter().take(limit).cloned().collect()
    }

    fn counts(&self) -> Answer {
        use {TaskStatus as Of, ThreadStatus as At};
        let all = [Of::Open, Of::Scheduled, Of::Claimed, Of::Completed, Of::Failed, Of::Cancelled];
        let tasks = all.map(|status| self.tasks.values().filter(|task| task.status == status).count() as u64);
        let all = [At::Active, At::Completed, At::Failed, At::Cancelled];
        let of = |status| self.threads.values().filter(|inside| inside.row.status == status).count() as u64;
        let said = self.threads.values().map(|inside| inside.said.len() as u64).sum();
        let oldest = self.open_tasks().map(|task| task.created_at).min();
        Answer::Counts(self.agents.len() as u64, said, tasks.to_vec(), all.map(of).to_vec(), oldest)
    }
}

/// The time that matters to a task that is not open.
fn when(task: &Task) -> Option<Timestamp> {
    match task.status {
        TaskStatus::Claimed => task.expires_at,
        TaskStatus::Scheduled => task.not_before,
        _ => task.finished_at,
    }
}
