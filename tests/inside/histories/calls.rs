//! What the threads of a history ask of the store, and what it answers: every operation there is, by the method that an
//! application would call.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::super::harness::Wanted;
use super::super::life::{Plan, Refusal, Settle, new_task, refusal, role};
use crate::{
    Agent, AgentId, Claim, ClaimId, Error, Message, MessageId, NewMessage, Result, Store, Task, TaskFilter, TaskId,
    TaskStatus, Thread, ThreadFilter, ThreadId, ThreadStatus, Timestamp,
};

/// A call that writes, in one transaction unless it says otherwise.
#[derive(Clone, Debug)]
pub(super) enum Write {
    CreateThread,
    CreateTask(ThreadId, Plan, Option<Timestamp>),
    CreatePair(ThreadId, Plan, Plan),
    Claim(TaskId, AgentId),
    ClaimNext(AgentId, Next),
    /// Each of its tries is a transaction.
    ClaimNextWithin(AgentId, Next, Duration),
    Settle(Settle, TaskId, ClaimId),
    Cancel(TaskId),
    /// In slices.
    Expire,
    Append(ThreadId, Said, Option<(TaskId, ClaimId)>),
    AppendAt(ThreadId, Said, Option<MessageId>),
    /// A turn as an agent does it: what it has to say, its task completed, and a task for the next one.
    Turn(ThreadId, TaskId, ClaimId, Plan),
    Finish(ThreadId, ThreadStatus, Option<&'static str>),
    Delete(ThreadId),
    /// A thread at a time.
    Prune(Timestamp),
    PruneAtOnce(Timestamp),
    Register(AgentId),
    Rotate(AgentId),
    Remove(AgentId),
    /// Writes and then refuses, or panics: its batch is rolled back, and the others in it run again.
    Spoil(Spoilt),
}

/// Which task is next.
#[derive(Clone, Debug, Default)]
pub(super) struct Next {
    pub(super) role: Option<u8>,
    pub(super) thread: Option<ThreadId>,
}

#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) role: u8,
    pub(super) step: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Spoilt {
    Refuses,
    Panics,
}

/// A call that reads one snapshot.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Task(TaskId),
    Thread(ThreadId),
    OpenTasks(usize),
    Tasks(Listed),
    Threads(Option<ThreadStatus>, bool, usize),
    Messages(ThreadId, Wanted),
    Agents(usize),
    Agent(AgentId),
    Authenticate(String),
    Stats,
}

/// What a list of tasks asks for.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) role: Option<u8>,
    pub(super) thread: Option<ThreadId>,
    pub(super) status: Option<TaskStatus>,
    pub(super) holder: Option<AgentId>,
    pub(super) newest_first: bool,
    pub(super) limit: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Thread(Thread),
    Task(Task),
    Pair(Task, Task),
    Claim(Option<Claim>),
    Yes(bool),
    Count(u64),
    Message(Message),
    Turn(Message, Task),
    Token(String),
    Spoilt,
    FoundTask(Option<Task>),
    FoundThread(Option<Thread>),
    FoundAgent(Option<Agent>),
    Tasks(Vec<Task>),
    Threads(Vec<Thread>),
    Messages(Vec<Message>),
    Agents(Vec<Agent>),
    /// Agents, messages, tasks and threads by status, and since when the oldest open task is.
    Counts(u64, u64, Vec<u64>, Vec<u64>, Option<Timestamp>),
    /// By the error's name.
    Refused(Refusal),
    /// What no answer can be.
    Failed(String),
}

impl Next {
    pub(super) fn filter(&self) -> TaskFilter {
        let filter = self.role.map_or_else(TaskFilter::new, |number| TaskFilter::new().role(role(number)));
        self.thread.map_or(filter.clone(), |thread| filter.thread(thread))
    }

    /// A task that this is about.
    pub(super) fn one_task(&self) -> Plan {
        let (timeout_seconds, max_attempts, backoff_seconds, priority) = (30, None, 0, 0);
        let (role, delay_seconds, key) = (self.role.unwrap_or(0), None, None);
        Plan { role, timeout_seconds, max_attempts, backoff_seconds, priority, delay_seconds, key }
    }
}

impl Said {
    pub(super) fn message(&self) -> NewMessage {
        NewMessage::new(role(self.role), "said").step(self.step)
    }
}

impl Listed {
    fn filter(&self) -> TaskFilter {
        let mut filter = Next { role: self.role, thread: self.thread }.filter().limit(self.limit);
        if let Some(status) = self.status {
            filter = filter.status(status);
        }
        if let Some(holder) = &self.holder {
            filter = filter.holder(holder);
        }
        if self.newest_first { filter.newest_first() } else { filter }
    }
}

fn answered<T>(result: Result<T>, answer: impl FnOnce(T) -> Answer) -> Answer {
    match result {
        Ok(given) => answer(given),
        Err(error) => refusal(&error).map_or_else(|| Answer::Failed(error.to_string()), Answer::Refused),
    }
}

impl Write {
    /// Whether it can take several transactions, between which others come.
    pub(super) fn is_in_parts(&self) -> bool {
        matches!(self, Self::ClaimNextWithin(..) | Self::Expire | Self::Prune(_))
    }

    pub(super) fn ask(&self, store: &Store) -> Answer {
        match self.clone() {
            Self::CreateThread => answered(store.create_thread("history", "test"), Answer::Thread),
            Self::CreateTask(thread, plan, not_before) => {
                answered(store.create_task(thread, new_task(&plan, not_before)), Answer::Task)
            }
            Self::CreatePair(thread, one, other) => {
                let pair = store.write(move |tx| {
                    let first = tx.create_task(thread, &new_task(&one, None))?;
                    Ok((first, tx.create_task(thread, &new_task(&other, None))?))
                });
                answered(pair, |(one, other)| Answer::Pair(one, other))
            }
            Self::Claim(task, agent) => answered(store.claim_task(task, &agent), Answer::Claim),
            Self::ClaimNext(agent, next) => answered(store.claim_next(&agent, &next.filter()), Answer::Claim),
            Self::ClaimNextWithin(agent, next, patience) => {
                answered(store.claim_next_within(&agent, &next.filter(), patience), Answer::Claim)
            }
            Self::Settle(Settle::Renew, task, claim) => answered(store.renew_claim(task, claim), Answer::Yes),
            Self::Settle(Settle::Release, task, claim) => answered(store.release_task(task, claim), Answer::Yes),
            Self::Settle(Settle::Complete, task, claim) => answered(store.complete_task(task, claim), Answer::Yes),
            Self::Settle(Settle::Fail, task, claim) => {
                answered(store.fail_task(task, claim, "on purpose"), Answer::Yes)
            }
            Self::Cancel(task) => answered(store.cancel_task(task), Answer::Yes),
            Self::Expire => answered(store.expire_timed_out_tasks(), Answer::Count),
            Self::Append(thread, said, under) => {
                let message = said.message();
                let message = if let Some((task, claim)) = under { message.under(task, claim) } else { message };
                answered(store.append_message(thread, message), Answer::Message)
            }
            Self::AppendAt(thread, said, expected) => {
                answered(store.append_message_at(thread, said.message(), expected), Answer::Message)
            }
            Self::Turn(thread, task, claim, plan) => {
                let turn = store.write(move |tx| {
                    let said = Said { role: plan.role, step: 0 }.message().under(task, claim);
                    let said = tx.append_message(thread, &said)?;
                    if !tx.complete_task(task, claim)? {
                        return Err(Error::aborted("a claim that held a moment ago does not hold"));
                    }
                    Ok((said, tx.create_task(thread, &new_task(&plan, None))?))
                });
                answered(turn, |(said, next)| Answer::Turn(said, next))
            }
            Self::Finish(thread, status, result) => {
                answered(store.finish_thread(thread, status, result), Answer::Thread)
            }
            Self::Delete(thread) => answered(store.delete_thread(thread), Answer::Yes),
            Self::Prune(before) => answered(store.prune(before), Answer::Count),
            Self::PruneAtOnce(before) => answered(store.write(move |tx| tx.prune(before)), Answer::Count),
            Self::Register(agent) => {
                answered(store.register_agent(&agent), |token| Answer::Token(token.expose().into()))
            }
            Self::Rotate(agent) => answered(store.rotate_token(&agent), |token| Answer::Token(token.expose().into())),
            Self::Remove(agent) => answered(store.remove_agent(&agent), Answer::Yes),
            Self::Spoil(how) => spoil(store, how),
        }
    }
}

fn spoil(store: &Store, how: Spoilt) -> Answer {
    const REASON: &str = "on purpose";
    let spoilt = catch_unwind(AssertUnwindSafe(|| {
        store.write(move |tx| {
            tx.create_thread("spoilt", "test")?;
            match how {
                Spoilt::Refuses => Err::<(), _>(Error::aborted(REASON)),
                // Not by `panic!`, which would print.
                Spoilt::Panics => resume_unwind(Box::new(REASON)),
            }
        })
    }));
    match (how, spoilt) {
        (Spoilt::Refuses, Ok(Err(Error::Aborted { source }))) if source.to_string() == REASON => Answer::Spoilt,
        (Spoilt::Panics, Err(panic)) if panic.downcast_ref() == Some(&REASON) => Answer::Spoilt,
        (_, other) => Answer::Failed(format!("{how:?} gave {other:?}")),
    }
}

impl Read {
    pub(super) fn ask(&self, store: &Store) -> Answer {
        match self {
            Self::Task(id) => answered(store.task(*id), Answer::FoundTask),
            Self::Thread(id) => answered(store.thread(*id), Answer::FoundThread),
            Self::OpenTasks(limit) => answered(store.open_tasks(*limit), Answer::Tasks),
            Self::Tasks(listed) => answered(store.tasks(&listed.filter()), |page| Answer::Tasks(page.items)),
            Self::Threads(status, newest_first, limit) => {
                let filter = ThreadFilter::new().limit(*limit);
                let filter = status.map_or(filter.clone(), |status| filter.status(status));
                let filter = if *newest_first { filter.newest_first() } else { filter };
                answered(store.threads(&filter), |page| Answer::Threads(page.items))
            }
            Self::Messages(thread, wanted) => {
                answered(store.thread_messages(*thread, &wanted.filter()), Answer::Messages)
            }
            Self::Agents(limit) => answered(store.agents(None, *limit), Answer::Agents),
            Self::Agent(id) => answered(store.agent(id), Answer::FoundAgent),
            Self::Authenticate(token) => answered(store.authenticate(token), Answer::FoundAgent),
            Self::Stats => answered(store.stats(), |stats| {
                let (tasks, threads) = (stats.tasks.into_values().collect(), stats.threads.into_values().collect());
                Answer::Counts(stats.agents, stats.messages, tasks, threads, stats.oldest_open)
            }),
        }
    }
}
