//! The agents.
//!
//! ```text
//!   claim the oldest open task ── another was quicker, or there is none ──▶ wait for the next ── none, all done ──▶ home
//!     │  ▲                                                                     │
//!     ▼  │                                                                     │
//!   examine the file, read the thread ◀────────────────────────────────────────┘
//!     │  └── cannot be read: fail the task, to be tried again
//!     ▼
//!   post the review under the claim and complete the task, in one transaction, and begin again
//! ```

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use khala::{AgentId, Claim, Error, MessageFilter, NewMessage, Store, Task, TaskFilter, TaskId, TaskStatus};

use crate::board::Board;
use crate::examine::Examined;
use crate::note::{self, Note, Review};
use crate::plan::{ATTEMPTS, ROLE, STEP_REVIEW, TIMEOUT_SECONDS};
use crate::{Result, examine, printable, short};

/// The one that crashes, over its first task.
const UNLUCKY: &str = "ripley";

const NAMES: [&str; 8] = ["ada", "grace", "edsger", "barbara", "alan", "hedy", "donald", "radia"];

/// How many of the thread's newest reviews an agent reads, at least.
const READ_LEAST: usize = 20;

/// What one agent did.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) agent: AgentId,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// How often it claimed the oldest task before anybody else did.
    pub(crate) won: u64,
    /// The tasks that others were quicker to claim.
    pub(crate) lost: BTreeSet<TaskId>,
    /// How many tasks it was given in the order of the queue, at once or after a wait.
    pub(crate) given: u64,
    pub(crate) turned_away: u64,
    pub(crate) crash: Option<Crash>,
}

/// How an agent died and came back.
#[derive(Debug)]
pub(crate) struct Crash {
    pub(crate) claim: Claim,
    pub(crate) file: String,
    review: NewMessage,
    /// The task as it is when the agent comes back.
    pub(crate) came_back_to: Option<Task>,
}

/// Sets all agents to work, each on a thread of its own, and waits until everything is done. Then the one that crashed
/// comes back. If an agent fails or panics, the others do its tasks.
pub(crate) fn work(store: &Store, board: &Board, agents: usize) -> Result<Vec<Tally>> {
    let crew = names(agents).into_iter().map(|name| Ok(Agent { store, board, agents, tally: Tally::of(&name)? }));
    let crew = crew.collect::<Result<Vec<_>>>()?;
    let mut tallies = thread::scope(|scope| {
        let mut working = Vec::new();
        for agent in crew {
            let thread = thread::Builder::new().name(agent.tally.agent.to_string());
            let started = thread.spawn_scoped(scope, || agent.work());
            working.push(started.map_err(|error| format!("cannot start a thread for each agent: {error}"))?);
        }
        let ended = working.into_iter().map(|agent| agent.join().unwrap_or_else(|_| Err("an agent panicked".into())));
        ended.collect::<Result<Vec<_>>>()
    })?;
    for tally in &mut tallies {
        tally.come_back(store, board)?;
    }
    Ok(tallies)
}

/// The unlucky one begins. One alone does not crash: nobody would be there to take over.
fn names(agents: usize) -> Vec<String> {
    let unlucky = (agents > 1).then(|| UNLUCKY.to_owned());
    let plain = NAMES.iter().map(ToString::to_string);
    let numbered = (2..).flat_map(|round| NAMES.iter().map(move |name| format!("{name}-{round}")));
    unlucky.into_iter().chain(plain).chain(numbered).take(agents).collect()
}

struct Agent<'a> {
    store: &'a Store,
    board: &'a Board,
    agents: usize,
    tally: Tally,
}

impl Agent<'_> {
    fn work(mut self) -> Result<Tally> {
        while !self.board.is_all_finished() {
            let Some(claim) = self.claim_task()? else {
                self.note_spent()?;
                continue;
            };
            self.board.take(&claim.task);
            match examine::examine(Path::new(&claim.task.instruction)) {
                Err(unreadable) => self.fail(&claim, &unreadable.to_string())?,
                Ok(examined) => {
                    let review = self.compare(&claim, &examined)?;
                    if self.tally.agent.as_str() == UNLUCKY {
                        return self.crash(claim, &review);
                    }
                    self.settle(&claim, &review)?;
                }
            }
        }
        Ok(self.tally)
    }

    /// The oldest open task, for which all race. Who comes too late is given the next one, or waits for it.
    fn claim_task(&mut self) -> Result<Option<Claim>> {
        let agent = &self.tally.agent;
        for oldest in self.store.open_tasks(1)?.iter().filter(|task| task.role == ROLE) {
            let claim = self.store.claim_task(oldest.id, agent)?;
            if claim.is_some() {
                self.tally.won += 1;
                return Ok(claim);
            }
            self.tally.lost.insert(oldest.id);
        }
        // Whatever is opened ends the wait: a claim that timed out, or a failed task that has rested. None in a little more
        // than the time that a claim lasts is reason to look whether all is done.
        let patience = Duration::from_secs(TIMEOUT_SECONDS.into()) + Duration::from_millis(100);
        let claim = self.store.claim_next_within(agent, &TaskFilter::new().role(ROLE), patience)?;
        self.tally.given += u64::from(claim.is_some());
        Ok(claim)
    }

    /// A claim that times out at its task's last attempt ends the task with nobody there to note it.
    fn note_spent(&self) -> Result<()> {
        for id in self.board.unfinished() {
            if let Some(task) = self.store.task(id)?.filter(|task| task.status == TaskStatus::Failed) {
                let why = task.last_error.as_deref().unwrap_or_default();
                self.board.finish(&self.tally.agent, &task, &format!("failed, {}", printable(why)))?;
            }
        }
        Ok(())
    }

    /// Writes the review in the light of what the thread knows.
    fn compare(&self, claim: &Claim, examined: &Examined) -> Result<Review> {
        // Each review carries on the longest file known to it, and an agent posts at most one that does not know of
        // the review before it. So one more than there are agents never miss it.
        let newest = MessageFilter::new().role(ROLE).last(READ_LEAST.max(self.agents + 1));
        let known = self.store.thread_messages(claim.task.thread_id, &newest)?;
        let known: Vec<Note> = known.iter().filter_map(Note::of).collect();
        Ok(note::write(claim, &self.board.file_of(&claim.task), examined, &known))
    }

    fn settle(&mut self, claim: &Claim, review: &Review) -> Result<()> {
        if post(self.store, claim, self.tally.message(review))? {
            self.tally.done += 1;
            return Ok(self.board.finish(&self.tally.agent, &claim.task, &review.headline)?);
        }
        self.turn_away(claim)
    }

    fn fail(&mut self, claim: &Claim, reason: &str) -> Result<()> {
        if !self.store.fail_task(claim.task.id, claim.id, reason)? {
            return self.turn_away(claim);
        }
        let (agent, attempts, why) = (&self.tally.agent, claim.task.attempts, printable(reason));
        if attempts < ATTEMPTS {
            let file = short(&self.board.file_of(&claim.task));
            return Ok(self.board.tell(agent, &format!("cannot read {file} at attempt {attempts}: {why}"))?);
        }
        self.tally.failed += 1;
        Ok(self.board.finish(agent, &claim.task, &format!("failed, {why}"))?)
    }

    /// Too slow: the claim timed out and the task is, or will be, another's. Nothing is lost but the work.
    fn turn_away(&mut self, claim: &Claim) -> Result<()> {
        self.tally.turned_away += 1;
        let what = format!("was too slow for {}", short(&self.board.file_of(&claim.task)));
        Ok(self.board.tell(&self.tally.agent, &what)?)
    }

    /// Stops in the middle of a task as if dead, its review unposted and its claim kept.
    fn crash(mut self, claim: Claim, review: &Review) -> Result<Tally> {
        let file = self.board.file_of(&claim.task);
        self.board.tell(&self.tally.agent, &format!("crashes over {}", short(&file)))?;
        let review = self.tally.message(review);
        self.tally.crash = Some(Crash { claim, file, review, came_back_to: None });
        Ok(self.tally)
    }
}

impl Tally {
    fn of(agent: &str) -> Result<Self> {
        let (agent, lost) = (AgentId::new(agent)?, BTreeSet::new());
        Ok(Self { agent, done: 0, failed: 0, won: 0, lost, given: 0, turned_away: 0, crash: None })
    }

    fn message(&self, review: &Review) -> NewMessage {
        NewMessage::new(ROLE, &review.content).meta(&review.meta).step(STEP_REVIEW).agent(&self.agent)
    }

    /// The one that crashed goes on where it stopped: it posts the old review under the old claim. That nothing of it is
    /// in the thread is for the verdict to see.
    fn come_back(&mut self, store: &Store, board: &Board) -> Result<()> {
        let (agent, Some(crash)) = (&self.agent, &mut self.crash) else { return Ok(()) };
        let task = crash.claim.task.id;
        crash.came_back_to = store.task(task)?;
        if post(store, &crash.claim, crash.review.clone())? {
            return Err(format!("{agent} completed task {task} under a claim it had lost").into());
        }
        self.turned_away += 1;
        Ok(board.tell(agent, "comes back and is turned away")?)
    }
}

/// Posts a review and completes its task, or does neither: `false` says that the claim is no longer the task's.
fn post(store: &Store, claim: &Claim, review: NewMessage) -> Result<bool> {
    let (task, thread, claim) = (claim.task.id, claim.task.thread_id, claim.id);
    let review = review.under(task, claim);
    let posted = store.write(move |tx| {
        tx.append_message(thread, &review)?;
        tx.complete_task(task, claim)
    });
    match posted {
        Err(Error::ClaimLost(_)) => Ok(false),
        posted => Ok(posted?),
    }
}
