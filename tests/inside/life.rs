//! The whole life of tasks and threads beside a plain model: random operations on both, every answer compared, and
//! after each step every row.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{must_fail, rules, try_property};
use crate::db::TestDisk;
use crate::planted::Bug;
use crate::{
    AgentId, Claim, ClaimId, Error, ManualClock, Message, MessageFilter, MessageId, NewMessage, NewTask, Result, Store,
    Task, TaskFilter, TaskId, TaskStatus, Thread, ThreadFilter, ThreadId, ThreadStatus, Timestamp, WriteTx,
};

/// What a task is created with. Numbers choose; few of each, so that they meet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) role: u8,
    pub(super) timeout_seconds: u32,
    pub(super) max_attempts: Option<u32>,
    pub(super) backoff_seconds: u32,
    pub(super) priority: i16,
    pub(super) delay_seconds: Option<i64>,
    pub(super) key: Option<u8>,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    CreateThread,
    CreateTask(usize, Plan),
    Claim(usize, u8),
    ClaimNext {
        agent: u8,
        role: Option<u8>,
        thread: Option<usize>,
    },
    /// Any claim there ever was.
    Settle(Settle, usize),
    Cancel(usize),
    Expire,
    Append {
        thread: usize,
        step: u64,
        under: Option<usize>,
    },
    AppendAt {
        thread: usize,
        step: u64,
        expected: Option<u64>,
    },
    Finish {
        thread: usize,
        status: u8,
        result: bool,
    },
    Delete(usize),
    Prune(i64),
    Agent(AgentOp, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum AgentOp {
    Register,
    Rotate,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Settle {
    Renew,
    Release,
    Complete,
    Fail,
}

#[derive(Clone, Debug)]
enum Step {
    Do(Op),
    MoveClock(i64),
    Reopen,
}

/// An answer of either side.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Thread(ThreadStatus),
    Task(TaskId),
    Claim(Option<TaskId>),
    Yes(bool),
    Count(u64),
    Appended,
    /// By the error's name.
    Refused(&'static str),
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        0_u8..2,
        1_u32..30,
        prop::option::of(1_u32..3),
        prop_oneof![Just(0_u32), 1_u32..20, Just(u32::MAX)],
        prop_oneof![3 => Just(0_i16), 1 => any::<i16>(), 1 => Just(i16::MIN), 1 => Just(i16::MAX), 1 => -1_i16..2],
        prop::option::weighted(0.3, -5_i64..20),
        prop::option::weighted(0.3, 0_u8..3),
    )
        .prop_map(|(role, timeout_seconds, max_attempts, backoff_seconds, priority, delay_seconds, key)| Plan {
            role,
            timeout_seconds,
            max_attempts,
            backoff_seconds,
            priority,
            delay_seconds,
            key,
        })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let settle = prop_oneof![Just(Settle::Renew), Just(Settle::Release), Just(Settle::Complete), Just(Settle::Fail)];
    let n = any::<usize>;
    prop_oneof![
        2 => Just(Op::CreateThread),
        8 => (n(), plan()).prop_map(|(thread, plan)| Op::CreateTask(thread, plan)),
        4 => (n(), 0_u8..3).prop_map(|(task, agent)| Op::Claim(task, agent)),
        8 => (0_u8..3, prop::option::of(0_u8..2), prop::option::weighted(0.2, n()))
            .prop_map(|(agent, role, thread)| Op::ClaimNext { agent, role, thread }),
        12 => (settle, n()).prop_map(|(settle, claim)| Op::Settle(settle, claim)),
        2 => n().prop_map(Op::Cancel),
        2 => Just(Op::Expire),
        2 => (n(), 0_u64..3, prop::option::of(n())).prop_map(|(thread, step, under)| Op::Append { thread, step, under }),
        2 => (n(), 0_u64..3, prop::option::of(0_u64..12))
            .prop_map(|(thread, step, expected)| Op::AppendAt { thread, step, expected }),
        1 => (n(), 0_u8..4, any::<bool>()).prop_map(|(thread, status, result)| Op::Finish { thread, status, result }),
        1 => n().prop_map(Op::Delete),
        1 => (-20_i64..20).prop_map(Op::Prune),
        2 => (prop_oneof![Just(AgentOp::Register), Just(AgentOp::Rotate), Just(AgentOp::Remove)], 0_u8..3)
            .prop_map(|(op, number)| Op::Agent(op, number)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => op().prop_map(Step::Do),
        3 => (-5_i64..15).prop_map(Step::MoveClock),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

pub(super) const STATUSES: [ThreadStatus; 4] =
    [ThreadStatus::Active, ThreadStatus::Completed, ThreadStatus::Failed, ThreadStatus::Cancelled];

pub(super) fn role(number: u8) -> String {
    format!("role-{number}")
}

pub(super) fn agent(number: u8) -> AgentId {
    AgentId::new(format!("agent-{number}")).unwrap()
}

pub(super) fn later(moment: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(moment.as_micros() + seconds * 1_000_000)
}

/// Everything, searched from end to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) threads: BTreeMap<ThreadId, Thread>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) messages: BTreeMap<MessageId, ThreadId>,
    /// The token that is good for each registered agent.
    pub(super) agents: BTreeMap<AgentId, String>,
}

pub(super) type Refusal = &'static str;

impl Model {
    fn active(&self, thread: ThreadId) -> Result<(), Refusal> {
        match self.threads.get(&thread) {
            None => Err("ThreadNotFound"),
            Some(thread) if thread.status != ThreadStatus::Active => Err("ThreadFinished"),
            Some(_) => Ok(()),
        }
    }

    fn task(&mut self, id: TaskId) -> Result<&mut Task, Refusal> {
        self.tasks.get_mut(&id).ok_or("TaskNotFound")
    }

    pub(super) fn sweep(&mut self, now: Timestamp) -> u64 {
        let mut expired = 0;
        for task in self.tasks.values_mut() {
            if task.status == TaskStatus::Claimed && task.expires_at <= Some(now) {
                expired += 1;
                rules::expire(task, now);
            }
            if task.status == TaskStatus::Scheduled && task.not_before <= Some(now) {
                task.status = TaskStatus::Open;
            }
        }
        expired
    }

    pub(super) fn next(&self, wanted_role: Option<u8>, thread: Option<ThreadId>) -> Option<TaskId> {
        self.tasks
            .values()
            .filter(|task| task.status == TaskStatus::Open)
            .filter(|task| wanted_role.is_none_or(|number| task.role == role(number)))
            .filter(|task| thread.is_none_or(|thread| task.thread_id == thread))
            .min_by_key(|task| (-i32::from(task.priority), task.created_at, task.id))
            .map(|task| task.id)
    }

    pub(super) fn settle(
        &mut self,
        settle: Settle,
        task: TaskId,
        claim: ClaimId,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        Ok(rules::settle(self.task(task)?, settle, claim, now))
    }

    pub(super) fn cancel(&mut self, id: TaskId, now: Timestamp) -> Result<bool, Refusal> {
        Ok(rules::cancel(self.task(id)?, now))
    }

    pub(super) fn finish(
        &mut self,
        id: ThreadId,
        status: ThreadStatus,
        result: Option<&str>,
        now: Timestamp,
    ) -> Result<ThreadStatus, Refusal> {
        if status == ThreadStatus::Active {
            return Err("InvalidInput");
        }
        let thread = self.threads.get_mut(&id).ok_or("ThreadNotFound")?;
        if thread.status != ThreadStatus::Active {
            let same = thread.status == status && thread.result.as_deref() == result;
            return if same { Ok(status) } else { Err("ThreadFinished") };
        }
        (thread.status, thread.updated_at, thread.result) = (status, now, result.map(Into::into));
        let tasks: Vec<_> = self.tasks.values().filter(|task| task.thread_id == id).map(|task| task.id).collect();
        for task in tasks {
            self.cancel(task, now)?;
        }
        Ok(status)
    }

    pub(super) fn is_claimable(&self, id: TaskId, now: Timestamp) -> bool {
        self.tasks.get(&id).is_some_and(|task| rules::is_claimable(task, now))
    }

    pub(super) fn claim(&mut self, id: TaskId, claim: ClaimId, agent: &AgentId, now: Timestamp) {
        rules::claim(self.tasks.get_mut(&id).unwrap(), claim, agent, now);
    }

    pub(super) fn delete(&mut self, id: ThreadId) -> bool {
        self.tasks.retain(|_, task| task.thread_id != id);
        self.messages.retain(|_, thread| *thread != id);
        self.threads.remove(&id).is_some()
    }

    fn prune(&mut self, before: Timestamp) -> u64 {
        let finished = |thread: &&Thread| thread.status != ThreadStatus::Active && thread.updated_at < before;
        let old: Vec<_> = self.threads.values().filter(finished).map(|thread| thread.id).collect();
        old.iter().filter(|id| self.delete(**id)).count() as u64
    }

    pub(super) fn newest_of(&self, thread: ThreadId) -> Option<MessageId> {
        self.messages.iter().filter(|(_, of)| **of == thread).map(|(id, _)| *id).max()
    }
}

pub(super) fn unclaim(task: &mut Task) {
    (task.claim_id, task.claimed_by, task.claimed_at, task.expires_at) = (None, None, None, None);
}

/// An operation with its numbers resolved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Call {
    CreateThread,
    CreateTask(ThreadId, Plan, Option<Timestamp>),
    Claim(TaskId, AgentId),
    ClaimNext(AgentId, Option<u8>, Option<ThreadId>),
    Settle(Settle, TaskId, ClaimId),
    Cancel(TaskId),
    Expire,
    Append(ThreadId, u64, Option<(TaskId, ClaimId)>),
    AppendAt(ThreadId, u64, Option<MessageId>),
    Finish(ThreadId, ThreadStatus, Option<String>),
    Delete(ThreadId),
    Prune(Timestamp),
    Agent(AgentOp, AgentId),
}

/// What the store made, for the model to take the ids from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Made {
    Thread(Thread),
    Task(Task),
    Claim(Claim),
    Message(Message),
    Token(String),
    Nothing,
}

/// Some are long enough to stand apart.
pub(super) fn instruction(plan: &Plan) -> String {
    "Do it. ".repeat(plan.timeout_seconds as usize * 3)
}

pub(super) fn new_task(plan: &Plan, not_before: Option<Timestamp>) -> NewTask {
    let mut task = NewTask::new(role(plan.role), instruction(plan))
        .timeout_seconds(plan.timeout_seconds)
        .backoff_seconds(plan.backoff_seconds)
        .priority(plan.priority);
    if let Some(attempts) = plan.max_attempts {
        task = task.max_attempts(attempts);
    }
    if let Some(moment) = not_before {
        task = task.not_before(moment);
    }
    if let Some(key) = plan.key {
        task = task.key(format!("key-{key}"));
    }
    task
}

/// Lets through tasks of this role and of this thread, or of any.
pub(super) fn task_filter(wanted: Option<u8>, thread: Option<ThreadId>) -> TaskFilter {
    let mut filter = TaskFilter::new();
    if let Some(wanted) = wanted {
        filter = filter.role(role(wanted));
    }
    if let Some(thread) = thread {
        filter = filter.thread(thread);
    }
    filter
}

fn ask_store(tx: &mut WriteTx<'_>, call: &Call) -> Result<(Answer, Made)> {
    let claimed = |claim: Option<Claim>| {
        (Answer::Claim(claim.as_ref().map(|claim| claim.task.id)), claim.map_or(Made::Nothing, Made::Claim))
    };
    let yes = |yes| (Answer::Yes(yes), Made::Nothing);
    Ok(match call {
        Call::CreateThread => {
            let thread = tx.create_thread("review", "ada")?;
            (Answer::Thread(thread.status), Made::Thread(thread))
        }
        Call::CreateTask(thread, plan, not_before) => {
            let task = tx.create_task(*thread, &new_task(plan, *not_before))?;
            (Answer::Task(task.id), Made::Task(task))
        }
        Call::Claim(task, agent) => claimed(tx.claim_task(*task, agent)?),
        Call::ClaimNext(agent, wanted, thread) => claimed(tx.claim_next(agent, &task_filter(*wanted, *thread))?),
        Call::Settle(Settle::Renew, task, claim) => yes(tx.renew_claim(*task, *claim)?),
        Call::Settle(Settle::Release, task, claim) => yes(tx.release_task(*task, *claim)?),
        Call::Settle(Settle::Complete, task, claim) => yes(tx.complete_task(*task, *claim)?),
        Call::Settle(Settle::Fail, task, claim) => yes(tx.fail_task(*task, *claim, "on purpose")?),
        Call::Cancel(task) => yes(tx.cancel_task(*task)?),
        Call::Expire => (Answer::Count(tx.expire_timed_out_tasks()?), Made::Nothing),
        Call::Append(thread, step, under) => {
            let mut message = NewMessage::new("user", "said").step(*step);
            if let Some((task, claim)) = under {
                message = message.under(*task, *claim);
            }
            (Answer::Appended, Made::Message(tx.append_message(*thread, &message)?))
        }
        Call::AppendAt(thread, step, expected) => {
            let message = NewMessage::new("user", "said").step(*step);
            (Answer::Appended, Made::Message(tx.append_message_at(*thread, &message, *expected)?))
        }
        Call::Finish(thread, status, result) => {
            (Answer::Thread(tx.finish_thread(*thread, *status, result.as_deref())?.status), Made::Nothing)
        }
        Call::Delete(thread) => yes(tx.delete_thread(*thread)?),
        Call::Prune(before) => (Answer::Count(tx.prune(*before)?), Made::Nothing),
        Call::Agent(AgentOp::Remove, agent) => yes(tx.remove_agent(agent)?),
        Call::Agent(op, agent) => {
            let register = *op == AgentOp::Register;
            let token = if register { tx.register_agent(agent)? } else { tx.rotate_token(agent)? };
            (Answer::Yes(true), Made::Token(token.expose().into()))
        }
    })
}

pub(super) fn refusal(error: &Error) -> Option<Refusal> {
    Some(match error {
        Error::ThreadNotFound(_) => "ThreadNotFound",
        Error::TaskNotFound(_) => "TaskNotFound",
        Error::AgentNotFound(_) => "AgentNotFound",
        Error::AgentExists(_) => "AgentExists",
        Error::ThreadFinished(_) => "ThreadFinished",
        Error::ThreadMoved { .. } => "ThreadMoved",
        Error::ClaimLost(_) => "ClaimLost",
        Error::KeyConflict { .. } => "KeyConflict",
        Error::InvalidInput { .. } => "InvalidInput",
        _ => return None,
    })
}

/// Does it in a transaction that goes on, whatever the answer; an error is one that no caller can bring about.
pub(super) fn answer_of(tx: &mut WriteTx<'_>, call: &Call) -> Result<(Answer, Made)> {
    match ask_store(tx, call) {
        // All checks come before the first write, so the transaction goes on as if nothing had been asked.
        Err(error) => refusal(&error).map(|refusal| (Answer::Refused(refusal), Made::Nothing)).ok_or(error),
        answer => answer,
    }
}

/// What there ever was to do things to.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) threads: Vec<ThreadId>,
    pub(super) tasks: Vec<TaskId>,
    pub(super) claims: Vec<(TaskId, ClaimId)>,
}

impl Known {
    /// The operation with its numbers resolved at this moment; `None` where there is nothing yet to do it to.
    pub(super) fn resolve(
        &self,
        op: &Op,
        now: Timestamp,
        newest_of: impl FnOnce(ThreadId) -> Option<MessageId>,
    ) -> Option<Call> {
        let thread = |n: usize| self.threads.get(n % self.threads.len().max(1)).copied();
        let task = |n: usize| self.tasks.get(n % self.tasks.len().max(1)).copied();
        let claim = |n: usize| self.claims.get(n % self.claims.len().max(1)).copied();
        Some(match *op {
            Op::CreateThread => Call::CreateThread,
            Op::CreateTask(n, ref plan) => {
                Call::CreateTask(thread(n)?, plan.clone(), plan.delay_seconds.map(|delay| later(now, delay)))
            }
            Op::Claim(n, number) => Call::Claim(task(n)?, agent(number)),
            Op::ClaimNext { agent: number, role, thread: of } => {
                Call::ClaimNext(agent(number), role, of.and_then(thread))
            }
            Op::Settle(settle, n) => {
                let (task, claim) = claim(n)?;
                Call::Settle(settle, task, claim)
            }
            Op::Cancel(n) => Call::Cancel(task(n)?),
            Op::Expire => Call::Expire,
            Op::Append { thread: n, step, under } => Call::Append(thread(n)?, step, under.and_then(claim)),
            Op::AppendAt { thread: n, step, expected } => {
                let of = thread(n)?;
                // As often as not the right one.
                let guess = expected.map(MessageId::from_u64).filter(|id| id.as_u64() % 2 == 1);
                Call::AppendAt(of, step, guess.or_else(|| newest_of(of)))
            }
            Op::Finish { thread: n, status, result } => {
                Call::Finish(thread(n)?, STATUSES[usize::from(status)], result.then(|| "done".into()))
            }
            Op::Delete(n) => Call::Delete(thread(n)?),
            Op::Prune(ago) => Call::Prune(later(now, -ago)),
            Op::Agent(op, number) => Call::Agent(op, agent(number)),
        })
    }

    /// Takes in what the store made.
    pub(super) fn learn(&mut self, made: &Made) {
        match made {
            Made::Thread(thread) => self.threads.push(thread.id),
            Made::Task(task) if !self.tasks.contains(&task.id) => self.tasks.push(task.id),
            Made::Claim(claim) => self.claims.push((claim.task.id, claim.id)),
            _ => {}
        }
    }
}

/// What was done so far: what a store must have come to.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) model: Model,
    pub(super) known: Known,
    /// Every token there ever was.
    pub(super) tokens: Vec<String>,
}

struct Run {
    disk: TestDisk,
    clock: ManualClock,
    store: Option<Store>,
    history: History,
    now: Timestamp,
}

fn open(disk: &TestDisk, clock: &ManualClock) -> Store {
    Store::builder().clock(clock.clone()).cache_bytes(1 << 20).open_on(disk.clone()).unwrap()
}

fn agree(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let now = Timestamp::from_micros(1_000_000_000);
    let (disk, clock) = (TestDisk::default(), ManualClock::new(now));
    let store = Some(open(&disk, &clock));
    let mut run = Run { disk, clock, store, history: History::default(), now };
    run.step(&Op::CreateThread)?;
    for step in steps {
        match step {
            Step::Do(op) => run.step(&op)?,
            Step::MoveClock(by) => run.clock.set(later(crate::Clock::now(&run.clock), by)),
            Step::Reopen => {
                run.store = None;
                run.store = Some(open(&run.disk, &run.clock));
            }
        }
    }
    run.store().verify().map_err(|error| TestCaseError::fail(error.to_string()))
}

impl Run {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let history = &self.history;
        let newest_of = |thread| history.model.newest_of(thread);
        let Some(call) = history.known.resolve(op, self.now, newest_of) else { return Ok(()) };
        let asked = call.clone();
        let outcome = self.store().write(move |tx| Ok((tx.now(), answer_of(tx, &asked)?)));
        let (now, (answer, made)) = outcome.map_err(|error| TestCaseError::fail(format!("{call:?}: {error}")))?;
        self.now = now;
        let expected = self.history.answer(&call, &made, now);
        prop_assert_eq!(answer, expected, "{:?} at {}", call, now);
        self.history.compare_rows(self.store(), &call)
    }
}

impl History {
    /// What the store must answer to this call at this moment, having made this.
    pub(super) fn answer(&mut self, call: &Call, made: &Made, now: Timestamp) -> Answer {
        let answer = self.ask_model(call, made, now).unwrap_or_else(Answer::Refused);
        self.known.learn(made);
        answer
    }

    fn ask_model(&mut self, call: &Call, made: &Made, now: Timestamp) -> Result<Answer, Refusal> {
        let model = &mut self.model;
        match call {
            Call::CreateThread => {
                let Made::Thread(thread) = made else { return Err("a thread was expected") };
                if (thread.workflow.as_str(), thread.initiator.as_str()) != ("review", "ada") {
                    return Err("the thread that was asked for was expected");
                }
                model.threads.insert(thread.id, thread.clone());
                Ok(Answer::Thread(ThreadStatus::Active))
            }
            Call::CreateTask(thread, plan, not_before) => {
                model.active(*thread)?;
                let key = plan.key.map(|key| format!("key-{key}"));
                let existing =
                    model.tasks.values().find(|task| task.thread_id == *thread && key.is_some() && task.key == key);
                if let Some(existing) = existing {
                    return if rules::describes(plan, existing) {
                        Ok(Answer::Task(existing.id))
                    } else {
                        Err("KeyConflict")
                    };
                }
                let Made::Task(task) = made else { return Err("a task was expected") };
                let is_as_planned = rules::describes(plan, task) && task.instruction == instruction(plan);
                if !is_as_planned || task.thread_id != *thread {
                    return Err("the task that was asked for was expected");
                }
                let scheduled = not_before.is_some_and(|moment| moment > now);
                let status = if scheduled { TaskStatus::Scheduled } else { TaskStatus::Open };
                // Its id is the store's; the rest is compared with the row below.
                let mut expected = task.clone();
                (expected.status, expected.not_before, expected.key) = (status, *not_before, key);
                (expected.attempts, expected.created_at, expected.finished_at) = (0, now, None);
                unclaim(&mut expected);
                model.tasks.insert(task.id, expected);
                Ok(Answer::Task(task.id))
            }
            Call::Claim(id, agent) => {
                model.task(*id)?;
                let claimable = model.is_claimable(*id, now);
                self.claim(claimable.then_some(*id), agent, made, now)
            }
            Call::ClaimNext(agent, role, thread) => {
                model.sweep(now);
                let next = model.next(*role, *thread);
                self.claim(next, agent, made, now)
            }
            Call::Settle(settle, task, claim) => model.settle(*settle, *task, *claim, now).map(Answer::Yes),
            Call::Cancel(task) => model.cancel(*task, now).map(Answer::Yes),
            Call::Expire => Ok(Answer::Count(model.sweep(now))),
            Call::Append(thread, _, under) => {
                model.active(*thread)?;
                if let Some((task, claim)) = under {
                    let task = model.task(*task)?;
                    if task.status != TaskStatus::Claimed || task.claim_id != Some(*claim) {
                        return Err("ClaimLost");
                    }
                }
                self.append(*thread, made)
            }
            Call::AppendAt(thread, _, expected) => {
                model.active(*thread)?;
                if model.newest_of(*thread) != *expected {
                    return Err("ThreadMoved");
                }
                self.append(*thread, made)
            }
            Call::Finish(thread, status, result) => {
                model.finish(*thread, *status, result.as_deref(), now).map(Answer::Thread)
            }
            Call::Delete(thread) => Ok(Answer::Yes(model.delete(*thread))),
            Call::Prune(before) => Ok(Answer::Count(model.prune(*before))),
            Call::Agent(AgentOp::Remove, agent) => Ok(Answer::Yes(model.agents.remove(agent).is_some())),
            Call::Agent(op, agent) => {
                match (op, model.agents.contains_key(agent)) {
                    (AgentOp::Register, true) => return Err("AgentExists"),
                    (AgentOp::Rotate, false) => return Err("AgentNotFound"),
                    _ => {}
                }
                let Made::Token(token) = made else { return Err("a token was expected") };
                self.tokens.push(token.clone());
                model.agents.insert(agent.clone(), token.clone());
                Ok(Answer::Yes(true))
            }
        }
    }

    fn claim(&mut self, id: Option<TaskId>, agent: &AgentId, made: &Made, now: Timestamp) -> Result<Answer, Refusal> {
        if let (Some(id), Made::Claim(claim)) = (id, made) {
            if self.known.claims.iter().any(|(_, earlier)| *earlier == claim.id) {
                return Err("a claim id was given out twice");
            }
            self.model.claim(id, claim.id, agent, now);
        }
        Ok(Answer::Claim(id))
    }

    fn append(&mut self, thread: ThreadId, made: &Made) -> Result<Answer, Refusal> {
        let Made::Message(message) = made else { return Err("a message was expected") };
        self.model.messages.insert(message.id, thread);
        Ok(Answer::Appended)
    }

    /// Every row of the store is the model's, and the other way round.
    pub(super) fn compare_rows(&self, store: &Store, call: &dyn Debug) -> Result<(), TestCaseError> {
        for id in &self.known.tasks {
            prop_assert_eq!(store.task(*id).unwrap(), self.model.tasks.get(id).cloned(), "after {:?}", call);
        }
        for id in &self.known.threads {
            let thread = self.model.threads.get(id);
            prop_assert_eq!(store.thread(*id).unwrap(), thread.cloned(), "after {:?}", call);
            if thread.is_some() {
                let said = store.thread_messages(*id, &MessageFilter::new()).unwrap();
                let mut said: Vec<_> = said.iter().map(|message| message.id).collect();
                said.sort_unstable();
                let expected: Vec<_> =
                    self.model.messages.iter().filter(|(_, of)| *of == id).map(|(id, _)| *id).collect();
                prop_assert_eq!(said, expected, "after {:?}", call);
            }
        }
        let open: Vec<_> = store.open_tasks(usize::MAX).unwrap().iter().map(|task| task.id).collect();
        let mut expected: Vec<_> = self.model.tasks.values().filter(|task| task.status == TaskStatus::Open).collect();
        expected.sort_by_key(|task| (task.created_at, task.id));
        let expected: Vec<_> = expected.iter().map(|task| task.id).collect();
        prop_assert_eq!(open, expected, "open after {:?}", call);
        self.compare_lists(store, call)
    }

    /// What lists and counts say is what the model has.
    fn compare_lists(&self, store: &Store, call: &dyn Debug) -> Result<(), TestCaseError> {
        let model = &self.model;
        let stats = store.stats().unwrap();
        let counted = (stats.agents, stats.messages, stats.tasks.values().sum(), stats.threads.values().sum());
        let expected = (model.agents.len(), model.messages.len(), model.tasks.len(), model.threads.len());
        prop_assert_eq!(counted, (expected.0 as u64, expected.1 as u64, expected.2 as u64, expected.3 as u64));
        for (status, count) in stats.tasks {
            let listed = store.tasks(&TaskFilter::new().status(status).limit(usize::MAX)).unwrap().items;
            let mut listed: Vec<_> = listed.iter().map(|task| task.id).collect();
            listed.sort_unstable();
            let expected = model.tasks.values().filter(|task| task.status == status).map(|task| task.id);
            prop_assert_eq!(&listed, &expected.collect::<Vec<_>>(), "{} after {:?}", status, call);
            prop_assert_eq!(listed.len() as u64, count);
        }
        for (status, count) in stats.threads {
            let listed = store.threads(&ThreadFilter::new().status(status).limit(usize::MAX)).unwrap().items;
            let expected = model.threads.values().filter(|thread| thread.status == status).count();
            prop_assert_eq!((listed.len(), count), (expected, expected as u64), "{} after {:?}", status, call);
            prop_assert!(listed.iter().all(|thread| thread.status == status));
        }
        let agents: Vec<_> = store.agents(None, usize::MAX).unwrap().into_iter().map(|agent| agent.id).collect();
        prop_assert_eq!(agents, model.agents.keys().cloned().collect::<Vec<_>>(), "after {:?}", call);
        for token in &self.tokens {
            let let_in = store.authenticate(token).unwrap().map(|agent| agent.id);
            let expected = model.agents.iter().find(|(_, good)| *good == token).map(|(agent, _)| agent.clone());
            prop_assert_eq!(let_in, expected, "a token after {:?}", call);
        }
        Ok(())
    }
}

#[test]
fn the_life_of_tasks_and_threads_agrees_with_a_plain_model() {
    try_property(300, &steps(), agree).unwrap();
}

#[test]
fn control_the_life_sees_a_claim_without_a_check() {
    must_fail(Bug::ClaimWithoutCheck, &steps(), agree);
}

#[test]
fn control_the_life_sees_settling_without_a_check() {
    must_fail(Bug::CompleteWithoutCheck, &steps(), agree);
}

#[test]
fn control_the_life_sees_an_early_expiry() {
    must_fail(Bug::ExpireEarly, &steps(), agree);
}

#[test]
fn control_the_life_sees_an_index_that_drifts() {
    must_fail(Bug::StaleIndexEntryKept, &steps(), agree);
}
