//! One harness for two peers: runs random operations on a store and on a peer that is obviously right, and compares
//! every answer and, after each step, everything that is stored.

use std::fmt::Debug;

use proptest::prelude::*;

use crate::db::TestDisk;
use crate::{
    AgentId, Claim, ClaimId, Error, ManualClock, Message, MessageFilter, MessageId, NewMessage, NewTask, Result, Store,
    Task, TaskId, Thread, ThreadId, Timestamp, WriteTx,
};

/// Something else that does what the store does, by simpler means.
pub(super) trait Peer {
    fn create_thread(&mut self, thread: &Thread);
    fn append_message(&mut self, message: &Message);
    fn create_task(&mut self, task: &Task);
    /// Claims the task if it is open, and says so.
    fn claim_task(&mut self, id: TaskId, agent: &AgentId, claim: ClaimId, now: Timestamp) -> bool;
    fn complete_task(&mut self, id: TaskId, claim: ClaimId, now: Timestamp) -> bool;
    fn expire_timed_out_tasks(&mut self, now: Timestamp) -> u64;
    fn open_tasks(&self, limit: usize) -> Vec<TaskId>;
    fn task(&self, id: TaskId) -> Task;
    fn thread_messages(&self, thread: ThreadId, wanted: &Wanted) -> Vec<MessageId>;
}

/// What a filter asks for, in the open: the filter itself has private fields.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) role: Option<String>,
    pub(super) step: Option<u64>,
    pub(super) after: Option<MessageId>,
    pub(super) since: Option<Timestamp>,
    pub(super) last: Option<usize>,
}

impl Wanted {
    pub(super) fn filter(&self) -> MessageFilter {
        let mut filter = MessageFilter::new();
        if let Some(role) = &self.role {
            filter = filter.role(role);
        }
        if let Some(step) = self.step {
            filter = filter.step(step);
        }
        if let Some(after) = self.after {
            filter = filter.after(after);
        }
        if let Some(since) = self.since {
            filter = filter.since(since);
        }
        if let Some(last) = self.last {
            filter = filter.last(last);
        }
        filter
    }
}

/// A step of a run. Numbers choose among what exists at that point, by remainder.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// One write transaction. With `true` its closure refuses at the end, and nothing of it must stay.
    Write(Vec<Op>, bool),
    /// Moves the clock by this many seconds, also back.
    MoveClock(i64),
    /// Closes the store and opens it again.
    Reopen,
    OpenTasks(usize),
    /// Messages of a thread: role, step, after, since (seconds back from the clock), last.
    Messages(usize, Option<u8>, Option<u64>, Option<usize>, Option<i64>, Option<usize>),
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    CreateThread,
    Append {
        thread: usize,
        role: u8,
        step: u64,
    },
    CreateTask {
        thread: usize,
        role: u8,
        timeout_seconds: u32,
    },
    Claim {
        task: usize,
        agent: u8,
    },
    /// Completes a task under any claim there ever was; an even number takes the task's own.
    Complete {
        task: usize,
        claim: usize,
    },
    Expire,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::CreateThread),
        4 => (any::<usize>(), 0_u8..3, 0_u64..3).prop_map(|(thread, role, step)| Op::Append { thread, role, step }),
        4 => (any::<usize>(), 0_u8..3, 1_u32..40)
            .prop_map(|(thread, role, timeout_seconds)| Op::CreateTask { thread, role, timeout_seconds }),
        6 => (any::<usize>(), 0_u8..3).prop_map(|(task, agent)| Op::Claim { task, agent }),
        5 => (any::<usize>(), any::<usize>()).prop_map(|(task, claim)| Op::Complete { task, claim }),
        2 => Just(Op::Expire),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let filter = (
        any::<usize>(),
        prop::option::of(0_u8..3),
        prop::option::of(0_u64..3),
        prop::option::of(any::<usize>()),
        prop::option::of(-10_i64..60),
        prop::option::of(0_usize..6),
    );
    prop_oneof![
        12 => (prop::collection::vec(op(), 1..4), prop::bool::weighted(0.1)).prop_map(|(ops, abort)| Step::Write(ops, abort)),
        4 => prop_oneof![Just(1_i64), -40_i64..40].prop_map(Step::MoveClock),
        1 => Just(Step::Reopen),
        2 => (0_usize..6).prop_map(Step::OpenTasks),
        3 => filter.prop_map(|(thread, role, step, after, since, last)| {
            Step::Messages(thread, role, step, after, since, last)
        }),
    ]
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..50)
}

const ROLES: [&str; 3] = ["writer", "write", "write\0r"];
const START: i64 = 1_000;

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// An operation with its numbers resolved to what they stand for.
#[derive(Clone, Debug)]
enum Call {
    CreateThread,
    Append(ThreadId, NewMessage),
    CreateTask(ThreadId, NewTask),
    Claim(TaskId, AgentId),
    Complete(TaskId, ClaimId),
    Expire,
}

/// What the store answered.
#[derive(Debug)]
enum Answer {
    Thread(Thread),
    Message(Message),
    Task(Task),
    Claim(TaskId, AgentId, Option<Claim>),
    Completed(TaskId, ClaimId, bool),
    Expired(u64),
}

fn run_call(tx: &mut WriteTx<'_>, call: &Call) -> Result<Answer> {
    Ok(match call {
        Call::CreateThread => Answer::Thread(tx.create_thread("review", "ada")?),
        Call::Append(thread, message) => Answer::Message(tx.append_message(*thread, message)?),
        Call::CreateTask(thread, task) => Answer::Task(tx.create_task(*thread, task)?),
        Call::Claim(task, agent) => Answer::Claim(*task, agent.clone(), tx.claim_task(*task, agent)?),
        Call::Complete(task, claim) => Answer::Completed(*task, *claim, tx.complete_task(*task, *claim)?),
        Call::Expire => Answer::Expired(tx.expire_timed_out_tasks()?),
    })
}

/// The store, its peer, and what is known of both.
struct Run<P> {
    disk: TestDisk,
    clock: ManualClock,
    store: Option<Store>,
    peer: P,
    threads: Vec<ThreadId>,
    tasks: Vec<TaskId>,
    claims: Vec<(TaskId, ClaimId)>,
    newest_message: u64,
    /// The moment of the last transaction.
    now: Timestamp,
    /// The moment of the last transaction that stored something.
    stored: Timestamp,
}

/// Runs the steps on a store and on this peer. Any disagreement is an error.
pub(super) fn agree<P: Peer>(peer: P, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let clock = ManualClock::new(seconds(START));
    let disk = TestDisk::default();
    let mut run = Run {
        store: Some(open(&disk, &clock)?),
        disk,
        clock,
        peer,
        threads: vec![],
        tasks: vec![],
        claims: vec![],
        newest_message: 0,
        now: seconds(START),
        stored: seconds(START),
    };
    run.write(&[Op::CreateThread], false)?;
    for step in steps {
        match step {
            Step::Write(ops, abort) => run.write(&ops, abort)?,
            Step::MoveClock(by) => {
                run.clock.set(Timestamp::from_micros(crate::Clock::now(&run.clock).as_micros() + by * 1_000_000));
            }
            Step::Reopen => {
                run.store = None;
                run.store = Some(open(&run.disk, &run.clock)?);
                // What nobody stored, nobody remembers.
                run.now = run.stored;
            }
            Step::OpenTasks(limit) => run.compare_open_tasks(limit)?,
            Step::Messages(thread, role, step, after, since, last) => {
                let wanted = Wanted {
                    role: role.map(|role| ROLES[usize::from(role)].into()),
                    step,
                    after: after.map(|n| MessageId::from_u64(n as u64 % (run.newest_message + 2))),
                    since: since.map(|back| Timestamp::from_micros(run.now.as_micros() - back * 1_000_000)),
                    last,
                };
                run.compare_messages(run.threads[thread % run.threads.len()], &wanted)?;
            }
        }
    }
    run.compare_everything()
}

fn open(disk: &TestDisk, clock: &ManualClock) -> Result<Store, TestCaseError> {
    works(Store::builder().clock(clock.clone()).cache_bytes(1 << 20).open_on(disk.clone()))
}

fn works<T>(result: Result<T>) -> Result<T, TestCaseError> {
    result.map_err(|error| TestCaseError::fail(format!("the store failed: {error}")))
}

impl<P: Peer> Run<P> {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn write(&mut self, ops: &[Op], abort: bool) -> Result<(), TestCaseError> {
        let calls: Vec<Call> = ops.iter().filter_map(|op| self.resolve(op)).collect();
        let syncs = self.disk.syncs();
        let outcome = self.store().write(move |tx| {
            let answers = calls.iter().map(|call| run_call(tx, call)).collect::<Result<Vec<_>>>()?;
            if abort { Err(Error::aborted("on purpose")) } else { Ok((tx.now(), answers)) }
        });
        if abort {
            prop_assert!(matches!(outcome, Err(Error::Aborted { .. })), "{outcome:?}");
            return Ok(());
        }
        let (now, answers) = works(outcome)?;
        prop_assert!(now >= self.now, "time went back from {} to {now}", self.now);
        let clock = crate::Clock::now(&self.clock);
        prop_assert!(now >= clock, "stored time {now} is behind the clock's {clock}");
        self.now = now;
        if self.disk.syncs() > syncs {
            self.stored = now;
        }
        answers.into_iter().try_for_each(|answer| self.compare(answer))?;
        self.compare_open_tasks(usize::MAX)
    }

    /// `None` where there is nothing yet to do it to.
    fn resolve(&self, op: &Op) -> Option<Call> {
        let thread = |n: usize| self.threads[n % self.threads.len()];
        let task = |n: usize| (!self.tasks.is_empty()).then(|| self.tasks[n % self.tasks.len()]);
        Some(match *op {
            Op::CreateThread => Call::CreateThread,
            Op::Append { thread: n, role, step } => {
                Call::Append(thread(n), NewMessage::new(ROLES[usize::from(role)], format!("{n}")).step(step))
            }
            Op::CreateTask { thread: n, role, timeout_seconds } => {
                let task = NewTask::new(ROLES[usize::from(role)], format!("{n}")).timeout_seconds(timeout_seconds);
                Call::CreateTask(thread(n), task)
            }
            Op::Claim { task: n, agent } => Call::Claim(task(n)?, AgentId::new(format!("agent-{agent}")).unwrap()),
            Op::Complete { task: n, claim } => {
                let (of, claim) = *self.claims.get(claim % self.claims.len().max(1))?;
                Call::Complete(if n % 2 == 0 { of } else { task(n)? }, claim)
            }
            Op::Expire => Call::Expire,
        })
    }

    fn compare(&mut self, answer: Answer) -> Result<(), TestCaseError> {
        let now = self.now;
        match answer {
            Answer::Thread(thread) => {
                prop_assert!(self.threads.iter().all(|earlier| *earlier < thread.id), "ids rise");
                prop_assert_eq!(thread.created_at, now);
                self.peer.create_thread(&thread);
                self.threads.push(thread.id);
            }
            Answer::Message(message) => {
                prop_assert_eq!(message.id.as_u64(), self.newest_message + 1, "ids are counted");
                prop_assert_eq!(message.created_at, now);
                self.newest_message += 1;
                self.peer.append_message(&message);
            }
            Answer::Task(task) => {
                prop_assert!(self.tasks.iter().all(|earlier| *earlier < task.id), "ids rise");
                prop_assert_eq!(task.created_at, now);
                self.peer.create_task(&task);
                self.tasks.push(task.id);
            }
            Answer::Claim(task, agent, claim) => {
                let fresh = "00000000000000000000000000".parse().unwrap();
                let id = claim.as_ref().map_or(fresh, |claim| claim.id);
                prop_assert!(self.claims.iter().all(|(_, earlier)| *earlier != id), "a claim id was given out twice");
                let expected = self.peer.claim_task(task, &agent, id, now);
                prop_assert_eq!(claim.is_some(), expected, "claim of {}", task);
                if let Some(claim) = claim {
                    prop_assert_eq!(&claim.task, &self.peer.task(task));
                    self.claims.push((task, claim.id));
                }
            }
            Answer::Completed(task, claim, completed) => {
                let expected = self.peer.complete_task(task, claim, now);
                prop_assert_eq!(completed, expected, "completion of {} under {}", task, claim);
            }
            Answer::Expired(count) => {
                prop_assert_eq!(count, self.peer.expire_timed_out_tasks(now), "expired at {}", now);
            }
        }
        Ok(())
    }

    fn compare_open_tasks(&self, limit: usize) -> Result<(), TestCaseError> {
        let open: Vec<TaskId> = works(self.store().open_tasks(limit))?.iter().map(|task| task.id).collect();
        prop_assert_eq!(open, self.peer.open_tasks(limit), "open tasks, at most {}", limit);
        Ok(())
    }

    fn compare_messages(&self, thread: ThreadId, wanted: &Wanted) -> Result<(), TestCaseError> {
        let found = works(self.store().thread_messages(thread, &wanted.filter()))?;
        let ids: Vec<MessageId> = found.iter().map(|message| message.id).collect();
        prop_assert_eq!(ids, self.peer.thread_messages(thread, wanted), "messages of {} that are {:?}", thread, wanted);
        Ok(())
    }

    fn compare_everything(&self) -> Result<(), TestCaseError> {
        works(self.store().verify())?;
        for &id in &self.tasks {
            prop_assert_eq!(works(self.store().task(id))?, Some(self.peer.task(id)));
        }
        for &id in &self.threads {
            self.compare_messages(id, &Wanted::default())?;
        }
        Ok(())
    }
}
