//! The agents.
//!
//! ```text
//!   look at the oldest open tasks ◀────────────────────────────────┐
//!     │ there are some              │ there are none               │
//!     ▼                             ▼                              │
//!   claim the first, the next, …  reopen what timed out, wait ────▶│
//!     │ got one                                                    │
//!     ▼                                                            │
//!   read the thread, examine the file                              │
//!     │                                                            │
//!     ▼                                                            │
//!   complete the task and post the review, in one transaction ─────┘
//! ```

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use std::{error, fmt};

use khala::{AgentId, Claim, Error, MessageFilter, NewMessage, Store, Task, TaskId, TaskStatus, Timestamp};

use crate::board::Board;
use crate::note::{self, Note, Review};
use crate::plan::{ROLE, STEP_REVIEW, open_reviews};
use crate::{Result, counted, examine, short};

const NAMES: [&str; 8] = ["ada", "grace", "edsger", "barbara", "alan", "hedy", "donald", "radia"];

/// The one that crashes, at its second task.
const UNLUCKY: &str = "ripley";

/// How many of the thread's newest reviews an agent reads, at least.
const READ_LEAST: usize = 20;

/// How many agents race for the same task first. With many more nearly every claim would come too late.
const RIVALS: usize = 4;

/// Between two looks at a queue in which there is nothing to take.
const IDLE: Duration = Duration::from_millis(20);

/// What one agent did.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) agent: AgentId,
    pub(crate) done: u64,
    pub(crate) won: u64,
    pub(crate) lost: u64,
    /// The tasks that others were quicker to claim.
    pub(crate) lost_tasks: BTreeSet<TaskId>,
    pub(crate) turned_away: u64,
    /// How many timed-out claims it took away.
    pub(crate) reopened: u64,
    /// How often it asked something of the store, but for finding the queue empty and nothing timed out.
    pub(crate) operations: u64,
    pub(crate) crash: Option<Crash>,
}

/// How an agent died and came back.
#[derive(Debug)]
pub(crate) struct Crash {
    pub(crate) claim: Claim,
    pub(crate) file: String,
    pub(crate) came_back: Option<ComeBack>,
}

#[derive(Debug)]
pub(crate) struct ComeBack {
    /// The task as another finished it.
    pub(crate) task: Task,
    pub(crate) turned_away_at: Timestamp,
}

/// Sets all agents to work, each on a thread of its own, and waits until everything is done.
pub(crate) fn work(store: &Store, board: &Board, agents: usize) -> Result<Vec<Tally>> {
    // One alone does not crash: nobody would be there to take over.
    let is_crash_due = AtomicBool::new(agents > 1);
    let crew = names(agents).into_iter().enumerate().map(|(number, name)| {
        Ok(Agent { store, board, number, agents, is_crash_due: &is_crash_due, tally: Tally::of(AgentId::new(name)?) })
    });
    let crew = crew.collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let mut working = Vec::new();
        for agent in crew {
            let thread = thread::Builder::new().name(agent.tally.agent.to_string());
            let started = thread.spawn_scoped(scope, || agent.work()).map_err(|error| {
                // Those already at work are sent home, or this would wait for them to finish.
                board.stop();
                format!("cannot start a thread for each agent: {error}")
            });
            working.push(started?);
        }
        working.into_iter().map(|agent| agent.join().unwrap_or_else(|_| Err("an agent panicked".into()))).collect()
    })
}

fn names(agents: usize) -> Vec<String> {
    let plain = NAMES.iter().map(ToString::to_string);
    let numbered = (2..).flat_map(|round| NAMES.iter().map(move |name| format!("{name}-{round}")));
    let mut names: Vec<String> = plain.chain(numbered).take(agents).collect();
    if let [_, .., last] = names.as_mut_slice() {
        UNLUCKY.clone_into(last);
    }
    names
}

impl Tally {
    fn of(agent: AgentId) -> Self {
        Self {
            agent,
            done: 0,
            won: 0,
            lost: 0,
            lost_tasks: BTreeSet::new(),
            turned_away: 0,
            reopened: 0,
            operations: 0,
            crash: None,
        }
    }
}

struct Agent<'a> {
    store: &'a Store,
    board: &'a Board,
    /// Which one, from 0, of how many.
    number: usize,
    agents: usize,
    is_crash_due: &'a AtomicBool,
    tally: Tally,
}

impl Agent<'_> {
    /// Works until all is done. If this agent fails, the others are sent home: they would wait for it.
    fn work(mut self) -> Result<Tally> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work_through()));
        if !matches!(outcome, Ok(Ok(()))) {
            self.board.stop();
        }
        outcome.unwrap_or_else(|_| Err(format!("{} panicked", self.tally.agent).into()))?;
        Ok(self.tally)
    }

    fn work_through(&mut self) -> Result<()> {
        while !self.board.is_stopped() {
            let queue = self.look()?;
            if queue.is_empty() {
                if self.board.is_all_finished() {
                    break;
                }
                self.reopen_timed_out()?;
            } else if self.must_leave_these(&queue) {
                thread::sleep(IDLE);
            } else if let Some(claim) = self.claim_first(&queue)? {
                if self.is_to_crash(&queue) {
                    return self.crash(claim);
                }
                self.review(&claim)?;
            }
        }
        Ok(())
    }

    /// The head of the queue, one task longer than there are agents: each finds one, were all others quicker.
    fn look(&mut self) -> Result<Vec<Task>> {
        let queue = open_reviews(self.store, self.agents + 1)?;
        self.tally.operations += u64::from(!queue.is_empty());
        Ok(queue)
    }

    /// Claims the first task that nobody else is quicker to claim, beginning where its rivals begin.
    fn claim_first(&mut self, queue: &[Task]) -> Result<Option<Claim>> {
        let begin = self.number / RIVALS * RIVALS % queue.len().max(1);
        for task in queue.iter().cycle().skip(begin).take(queue.len()) {
            self.tally.operations += 1;
            if let Some(claim) = self.store.claim_task(task.id, &self.tally.agent)? {
                self.tally.won += 1;
                self.board.take(task.id);
                return Ok(Some(claim));
            }
            self.tally.lost += 1;
            self.tally.lost_tasks.insert(task.id);
        }
        Ok(None)
    }

    fn reopen_timed_out(&mut self) -> Result<()> {
        let reopened = self.store.expire_timed_out_tasks()?;
        if reopened == 0 {
            thread::sleep(IDLE);
            return Ok(());
        }
        self.tally.operations += 1;
        self.tally.reopened += reopened;
        self.board.end_wait();
        Ok(self.board.tell(&self.tally.agent, &format!("reopens {} that timed out", counted(reopened, "claim")))?)
    }

    fn review(&mut self, claim: &Claim) -> Result<()> {
        let review = self.prepare(claim)?;
        self.tally.operations += 1;
        match settle(self.store, claim, self.message(&review))? {
            Settled::Completed => {
                self.tally.done += 1;
                self.board.finish(&self.tally.agent, &claim.task, &review.headline)?;
            }
            // Too slow: the claim timed out and the task is, or will be, another's. Nothing is lost but the work.
            Settled::TurnedAway(_) => {
                self.tally.turned_away += 1;
                let what = format!("was too slow for {}", short(&self.board.file_of(&claim.task)));
                self.board.tell(&self.tally.agent, &what)?;
            }
        }
        Ok(())
    }

    /// Reads what the thread knows and examines the file. This is the slow part, and stays out of any transaction.
    fn prepare(&mut self, claim: &Claim) -> Result<Review> {
        // Each review carries on the longest file known to it, and an agent posts at most one that does not know of
        // the review before it. So one more than there are agents never miss it.
        let newest = MessageFilter::new().role(ROLE).last(READ_LEAST.max(self.agents + 1));
        self.tally.operations += 1;
        let known = self.store.thread_messages(claim.task.thread_id, &newest)?;
        let known: Vec<Note> = known.iter().filter_map(Note::of).collect();
        let examined = examine::examine(Path::new(&claim.task.instruction));
        Ok(note::write(claim, &self.board.file_of(&claim.task), &examined, &known))
    }

    fn message(&self, review: &Review) -> NewMessage {
        NewMessage::new(ROLE, &review.content).meta(&review.meta).step(STEP_REVIEW).agent(&self.tally.agent)
    }
}

/// The rehearsal of a crash.
impl Agent<'_> {
    fn is_unlucky(&self) -> bool {
        self.tally.agent.as_str() == UNLUCKY && self.is_crash_due.load(Ordering::Relaxed)
    }

    /// At its second task, or at the first if there may be no second.
    fn is_to_crash(&self, queue: &[Task]) -> bool {
        self.is_unlucky() && (self.tally.done > 0 || queue.len() <= self.agents)
    }

    /// The last tasks are kept for the one that is to crash, or it might find none to crash with.
    fn must_leave_these(&self, queue: &[Task]) -> bool {
        self.is_crash_due.load(Ordering::Relaxed) && !self.is_unlucky() && queue.len() <= self.agents
    }

    /// Stops in the middle of a task as if dead, its review unposted and its claim kept. It comes back when another has
    /// done the task, and goes on where it stopped.
    fn crash(&mut self, claim: Claim) -> Result<()> {
        let review = self.prepare(&claim)?;
        let file = self.board.file_of(&claim.task);
        self.board.tell(&self.tally.agent, &format!("crashes over {}", short(&file)))?;
        self.is_crash_due.store(false, Ordering::Relaxed);
        let came_back = match self.wait_for_another(claim.task.id)? {
            Some(task) => Some(ComeBack { task, turned_away_at: self.come_back(&claim, &review)? }),
            None => None,
        };
        self.tally.crash = Some(Crash { claim, file, came_back });
        Ok(())
    }

    /// The task as another finished it; none if all are sent home before.
    fn wait_for_another(&self, task: TaskId) -> Result<Option<Task>> {
        while !self.board.is_stopped() {
            let task = self.store.task(task)?.filter(|task| task.status == TaskStatus::Completed);
            if task.is_some() {
                return Ok(task);
            }
            thread::sleep(IDLE);
        }
        Ok(None)
    }

    /// Posts the old review under the old claim, and makes sure that nothing of it is there.
    fn come_back(&mut self, claim: &Claim, review: &Review) -> Result<Timestamp> {
        let agent = &self.tally.agent;
        let Settled::TurnedAway(at) = settle(self.store, claim, self.message(review))? else {
            return Err(format!("{agent} completed task {} under a claim it had lost", claim.task.id).into());
        };
        let since = MessageFilter::new().since(claim.task.claimed_at.unwrap_or(claim.task.created_at));
        let said = self.store.thread_messages(claim.task.thread_id, &since)?;
        if said.iter().any(|message| message.meta.as_ref() == Some(&review.meta)) {
            return Err(format!("{agent} was turned away from task {}, and its review is there", claim.task.id).into());
        }
        self.tally.turned_away += 1;
        self.board.tell(agent, "comes back and is turned away")?;
        Ok(at)
    }
}

enum Settled {
    Completed,
    TurnedAway(Timestamp),
}

/// Why the closure below refuses, and when.
#[derive(Debug)]
struct NotTheirs(Timestamp);

impl fmt::Display for NotTheirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the claim was no longer the task's at {}", self.0)
    }
}

impl error::Error for NotTheirs {}

/// Completes the task under this claim and posts the message, or does neither.
///
/// The check comes first: a refusal before anything is written costs those who share the commit nothing. After
/// `CommitUnknown` this may not simply be repeated: completing a second time under the same claim succeeds as well, and
/// a second message would follow.
fn settle(store: &Store, claim: &Claim, message: NewMessage) -> Result<Settled> {
    let (task, thread, claim) = (claim.task.id, claim.task.thread_id, claim.id);
    let settled = store.write(move |tx| {
        if !tx.complete_task(task, claim)? {
            return Err(Error::aborted(NotTheirs(tx.now())));
        }
        tx.append_message(thread, &message)
    });
    match settled {
        Ok(_) => Ok(Settled::Completed),
        Err(Error::Aborted { source }) => match source.downcast::<NotTheirs>() {
            Ok(refusal) => Ok(Settled::TurnedAway(refusal.0)),
            Err(other) => Err(other),
        },
        Err(error) => Err(error.into()),
    }
}
