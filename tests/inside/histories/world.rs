//! The whole life once more, with indexes, so that a million operations can be replayed on it: what a store must answer,
//! and what it must hold. The rules are those of the plain model; where rows are found is this file's own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::super::life::{Plan, Refusal, Settle, instruction, role};
use super::super::rules;
use super::calls::{Answer, Next, Said, Write};
use crate::limits::EXPIRE_SLICE_TASKS;
use crate::{
    Agent, AgentId, Claim, ClaimId, Message, MessageId, Task, TaskId, TaskStatus, Thread, ThreadId, ThreadStatus,
    Timestamp,
};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct World {
    pub(super) threads: BTreeMap<ThreadId, Inside>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    /// By role, in the order they are claimed in.
    open: BTreeMap<String, BTreeSet<(Reverse<i16>, Timestamp, TaskId)>>,
    /// By when they are due.
    claimed: BTreeSet<(Timestamp, TaskId)>,
    scheduled: BTreeSet<(Timestamp, TaskId)>,
    /// In the order they are pruned in.
    finished: BTreeSet<(ThreadStatus, Timestamp, ThreadId)>,
    pub(super) agents: BTreeMap<AgentId, (Agent, String)>,
    tokens: HashMap<String, AgentId>,
    /// Every claim id and token there ever was, and the newest of the ids that rise.
    given_out: HashSet<String>,
    highest: [u8; 16],
    newest_message: u64,
}

/// A thread and what is in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Inside {
    pub(super) row: Thread,
    tasks: BTreeSet<TaskId>,
    keys: BTreeMap<String, TaskId>,
    pub(super) said: Vec<Message>,
}

/// An answer, or why there is none, or how the store's cannot be.
type Answered = Result<Answer, Wrong>;

#[derive(Debug)]
pub(super) enum Wrong {
    Refused(Refusal),
    Impossible(&'static str),
}

impl From<Refusal> for Wrong {
    fn from(name: Refusal) -> Self {
        Self::Refused(name)
    }
}

impl World {
    /// What one transaction of this call must answer at this moment. The ids of what it makes are taken from the answer
    /// that the store gave, and must be new.
    pub(super) fn write(&mut self, write: &Write, given: &Answer, now: Timestamp) -> Answered {
        match write {
            Write::CreateThread => self.create_thread(given, now),
            Write::CreateTask(thread, plan, not_before) => {
                let made = if let Answer::Task(task) = given { Some(task.id) } else { None };
                self.create_task(*thread, plan, *not_before, made, now).map(Answer::Task)
            }
            Write::CreatePair(thread, one, other) => {
                let made = if let Answer::Pair(one, other) = given { Some((one.id, other.id)) } else { None };
                let one = self.create_task(*thread, one, None, made.map(|(one, _)| one), now)?;
                let other = self.create_task(*thread, other, None, made.map(|(_, other)| other), now)?;
                Ok(Answer::Pair(one, other))
            }
            Write::Claim(id, agent) => {
                let is_claimable = rules::is_claimable(self.task(*id)?, now);
                self.claim(is_claimable.then_some(*id), agent, given, now)
            }
            Write::ClaimNext(agent, next) | Write::ClaimNextWithin(agent, next, _) => {
                self.sweep(now);
                self.claim(self.next(next), agent, given, now)
            }
            Write::Settle(how, id, claim) => {
                self.task(*id)?;
                Ok(Answer::Yes(self.change(*id, |task| rules::settle(task, *how, *claim, now))))
            }
            Write::Cancel(id) => {
                self.task(*id)?;
                Ok(Answer::Yes(self.change(*id, |task| rules::cancel(task, now))))
            }
            Write::Expire => Ok(Answer::Count(self.sweep(now))),
            Write::Append(thread, said, under) => {
                self.active(*thread)?;
                if let Some((task, claim)) = under {
                    self.held(*task, *claim)?;
                }
                self.append(*thread, said, given_message(given), now).map(Answer::Message)
            }
            Write::AppendAt(thread, said, expected) => {
                if self.active(*thread)?.said.last().map(|message| message.id) != *expected {
                    return Err("ThreadMoved".into());
                }
                self.append(*thread, said, given_message(given), now).map(Answer::Message)
            }
            Write::Turn(thread, task, claim, plan) => {
                self.check_turn(*thread, *task, *claim, plan)?;
                let said = self.append(*thread, &Said { role: plan.role, step: 0 }, given_message(given), now)?;
                self.change(*task, |task| rules::settle(task, Settle::Complete, *claim, now));
                let made = if let Answer::Turn(_, task) = given { Some(task.id) } else { None };
                Ok(Answer::Turn(said, self.create_task(*thread, plan, None, made, now)?))
            }
            Write::Finish(thread, status, result) => self.finish(*thread, *status, *result, now).map(Answer::Thread),
            Write::Delete(thread) => Ok(Answer::Yes(self.delete(*thread))),
            Write::Prune(before) => Ok(Answer::Count(self.prune_one(*before).into())),
            Write::PruneAtOnce(before) => {
                Ok(Answer::Count(std::iter::from_fn(|| self.prune_one(*before).then_some(1)).sum()))
            }
            Write::Register(id) => {
                if self.agents.contains_key(id) {
                    return Err("AgentExists".into());
                }
                self.give_token(Agent { id: id.clone(), created_at: now }, given)
            }
            Write::Rotate(id) => {
                let (agent, _) = self.agents.get(id).ok_or("AgentNotFound")?;
                self.give_token(agent.clone(), given)
            }
            Write::Remove(id) => {
                let removed = self.agents.remove(id);
                Ok(Answer::Yes(removed.map(|(_, token)| self.tokens.remove(&token)).is_some()))
            }
            Write::Spoil(_) => Ok(Answer::Spoilt),
        }
    }

    /// Whether a turn is refused, and by what, of which some comes after it has written.
    pub(super) fn check_turn(
        &self,
        thread: ThreadId,
        task: TaskId,
        claim: ClaimId,
        plan: &Plan,
    ) -> Result<(), Refusal> {
        self.active(thread)?;
        self.held(task, claim)?;
        self.task_of_key(thread, plan).map(drop)
    }

    fn active(&self, thread: ThreadId) -> Result<&Inside, Refusal> {
        let inside = self.threads.get(&thread).ok_or("ThreadNotFound")?;
        if inside.row.status == ThreadStatus::Active { Ok(inside) } else { Err("ThreadFinished") }
    }

    fn task(&self, id: TaskId) -> Result<&Task, Refusal> {
        self.tasks.get(&id).ok_or("TaskNotFound")
    }

    fn held(&self, id: TaskId, claim: ClaimId) -> Result<(), Refusal> {
        let task = self.task(id)?;
        let is_held = task.status == TaskStatus::Claimed && task.claim_id == Some(claim);
        if is_held { Ok(()) } else { Err("ClaimLost") }
    }

    fn task_of_key(&self, thread: ThreadId, plan: &Plan) -> Result<Option<&Task>, Refusal> {
        let Some(key) = plan.key else { return Ok(None) };
        let existing = self.threads.get(&thread).and_then(|inside| inside.keys.get(&format!("key-{key}")));
        let Some(existing) = existing.and_then(|id| self.tasks.get(id)) else { return Ok(None) };
        if rules::describes(plan, existing) { Ok(Some(existing)) } else { Err("KeyConflict") }
    }

    /// Where the indexes have a task.
    fn index(&mut self, task: &Task, is_there: bool) {
        fn keep<T: Ord>(set: &mut BTreeSet<T>, entry: T, is_there: bool) {
            if is_there {
                set.insert(entry)
            } else {
                set.remove(&entry)
            };
        }
        match (task.status, task.expires_at, task.not_before) {
            (TaskStatus::Open, ..) => {
                let queue = self.open.entry(task.role.clone()).or_default();
                keep(queue, (Reverse(task.priority), task.created_at, task.id), is_there);
            }
            (TaskStatus::Claimed, Some(at), _) => keep(&mut self.claimed, (at, task.id), is_there),
            (TaskStatus::Scheduled, _, Some(at)) => keep(&mut self.scheduled, (at, task.id), is_there),
            _ => {}
        }
    }

    /// Changes a task that is there.
    fn change<T>(&mut self, id: TaskId, change: impl FnOnce(&mut Task) -> T) -> T {
        let mut task = self.tasks.remove(&id).unwrap();
        self.index(&task, false);
        let changed = change(&mut task);
        self.index(&task, true);
        self.tasks.insert(id, task);
        changed
    }

    /// A slice of what is due.
    fn sweep(&mut self, now: Timestamp) -> u64 {
        let due = |set: &BTreeSet<(Timestamp, TaskId)>| -> Vec<TaskId> {
            set.iter().take_while(|(at, _)| *at <= now).take(EXPIRE_SLICE_TASKS).map(|(_, id)| *id).collect()
        };
        let expired = due(&self.claimed);
        for id in &expired {
            self.change(*id, |task| rules::expire(task, now));
        }
        for id in due(&self.scheduled) {
            self.change(id, |task| task.status = TaskStatus::Open);
        }
        expired.len() as u64
    }

    fn next(&self, next: &Next) -> Option<TaskId> {
        if let Some(thread) = next.thread {
            let tasks = self.threads.get(&thread)?.tasks.iter().map(|id| &self.tasks[id]);
            let open = tasks.filter(|task| task.status == TaskStatus::Open);
            let wanted = open.filter(|task| next.role.is_none_or(|number| task.role == role(number)));
            return wanted.map(|task| (Reverse(task.priority), task.created_at, task.id)).min().map(|(.., id)| id);
        }
        let queues = self.open.iter().filter(|(name, _)| next.role.is_none_or(|number| **name == role(number)));
        queues.filter_map(|(_, queue)| queue.first()).min().map(|(.., id)| *id)
    }

    fn claim(&mut self, id: Option<TaskId>, agent: &AgentId, given: &Answer, now: Timestamp) -> Answered {
        let Some(id) = id else { return Ok(Answer::Claim(None)) };
        let Answer::Claim(Some(claim)) = given else { return Err(Wrong::Impossible("there is a task to claim")) };
        if !self.given_out.insert(claim.id.to_string()) {
            return Err(Wrong::Impossible("a claim id is given out twice"));
        }
        let claim = claim.id;
        self.change(id, |task| rules::claim(task, claim, agent, now));
        Ok(Answer::Claim(Some(Claim { id: claim, task: self.tasks[&id].clone() })))
    }

    /// Thread and task ids rise together.
    fn rises(&mut self, id: [u8; 16]) -> Result<(), Wrong> {
        if id <= self.highest {
            return Err(Wrong::Impossible("an id is not above those before it"));
        }
        self.highest = id;
        Ok(())
    }

    fn create_thread(&mut self, given: &Answer, now: Timestamp) -> Answered {
        let Answer::Thread(Thread { id, .. }) = *given else { return Err(Wrong::Impossible("a thread is made")) };
        self.rises(id.to_bytes())?;
        let (workflow, initiator) = ("history".into(), "test".into());
        let (created_at, updated_at, status) = (now, now, ThreadStatus::Active);
        let row = Thread { id, workflow, status, initiator, result: None, created_at, updated_at };
        let inside = Inside { row: row.clone(), tasks: BTreeSet::new(), keys: BTreeMap::new(), said: Vec::new() };
        self.threads.insert(id, inside);
        Ok(Answer::Thread(row))
    }

    fn create_task(
        &mut self,
        thread_id: ThreadId,
        plan: &Plan,
        not_before: Option<Timestamp>,
        made: Option<TaskId>,
        now: Timestamp,
    ) -> Result<Task, Wrong> {
        self.active(thread_id)?;
        if let Some(existing) = self.task_of_key(thread_id, plan)? {
            return Ok(existing.clone());
        }
        let id = made.ok_or(Wrong::Impossible("a task is made"))?;
        self.rises(id.to_bytes())?;
        let is_later = not_before.is_some_and(|moment| moment > now);
        let task = Task {
            id,
            thread_id,
            role: role(plan.role),
            instruction: instruction(plan),
            status: if is_later { TaskStatus::Scheduled } else { TaskStatus::Open },
            claim_id: None,
            claimed_by: None,
            claimed_at: None,
            expires_at: None,
            timeout_seconds: plan.timeout_seconds,
            attempts: 0,
            max_attempts: plan.max_attempts,
            backoff_seconds: plan.backoff_seconds,
            priority: plan.priority,
            not_before,
            key: plan.key.map(|key| format!("key-{key}")),
            last_error: None,
            created_at: now,
            finished_at: None,
        };
        self.index(&task, true);
        let inside = self.threads.get_mut(&thread_id).unwrap();
        inside.tasks.insert(id);
        inside.keys.extend(task.key.clone().map(|key| (key, id)));
        self.tasks.insert(id, task.clone());
        Ok(task)
    }

    /// Message ids are counted: none is left out.
    fn append(
        &mut self,
        thread_id: ThreadId,
        said: &Said,
        made: Option<MessageId>,
        now: Timestamp,
    ) -> Result<Message, Wrong> {
        let id = made.ok_or(Wrong::Impossible("a message is made"))?;
        if id.as_u64() != self.newest_message + 1 {
            return Err(Wrong::Impossible("a message id is not the next"));
        }
        self.newest_message += 1;
        let (role, content, step) = (role(said.role), "said".into(), said.step);
        let message = Message { id, thread_id, role, content, meta: None, step, agent_id: None, created_at: now };
        self.threads.get_mut(&thread_id).unwrap().said.push(message.clone());
        Ok(message)
    }

    fn finish(
        &mut self,
        id: ThreadId,
        status: ThreadStatus,
        result: Option<&str>,
        now: Timestamp,
    ) -> Result<Thread, Wrong> {
        if status == ThreadStatus::Active {
            return Err("InvalidInput".into());
        }
        let inside = self.threads.get_mut(&id).ok_or("ThreadNotFound")?;
        let row = &mut inside.row;
        if row.status != ThreadStatus::Active {
            let same = row.status == status && row.result.as_deref() == result;
            return if same { Ok(row.clone()) } else { Err("ThreadFinished".into()) };
        }
        (row.status, row.updated_at, row.result) = (status, now, result.map(Into::into));
        let (row, tasks) = (row.clone(), inside.tasks.clone());
        self.finished.insert((status, now, id));
        for task in tasks {
            self.change(task, |task| rules::cancel(task, now));
        }
        Ok(row)
    }

    fn delete(&mut self, id: ThreadId) -> bool {
        let Some(inside) = self.threads.remove(&id) else { return false };
        self.finished.remove(&(inside.row.status, inside.row.updated_at, id));
        for task in inside.tasks {
            let task = self.tasks.remove(&task).unwrap();
            self.index(&task, false);
        }
        true
    }

    fn prune_one(&mut self, before: Timestamp) -> bool {
        let mut old = self.finished.iter().filter(|(_, updated_at, _)| *updated_at < before);
        old.next().copied().is_some_and(|(.., id)| self.delete(id))
    }

    fn give_token(&mut self, agent: Agent, given: &Answer) -> Answered {
        let Answer::Token(token) = given else { return Err(Wrong::Impossible("a token is made")) };
        if !self.given_out.insert(token.clone()) {
            return Err(Wrong::Impossible("a token is given out twice"));
        }
        self.tokens.insert(token.clone(), agent.id.clone());
        if let Some((_, old)) = self.agents.insert(agent.id.clone(), (agent, token.clone())) {
            self.tokens.remove(&old);
        }
        Ok(given.clone())
    }
}

fn given_message(given: &Answer) -> Option<MessageId> {
    match given {
        Answer::Message(message) | Answer::Turn(message, _) => Some(message.id),
        _ => None,
    }
}
