//! Claiming and settling.

use std::time::Duration;

use clap::Args;
use khala::{AgentId, Claim, ClaimId, Error, Message, NewMessage, NewTask, Store, Task, TaskFilter, TaskId, ThreadId};
use serde::Serialize;

use super::tasks::task_text;
use crate::args::Session;
use crate::output::{print, say};
use crate::place::{Check, Rests, ask};
use crate::text::{harmless, moment};
use crate::values::{self, texts};
use crate::{Answer, Result};

/// The longest rest between two looks of somebody who waits for a task.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// Claims the task whose turn it is, or the one that is named, and prints it.
#[derive(Args, Debug)]
#[command(after_help = "\
The first line is TASK CLAIM THREAD, the rest the instruction; with --json it is one line. On a terminal it is \
shown for people. If it cannot be printed, the task is given back.

If there is nothing to claim, the exit code is 3. With --wait it looks again until there is something, twice a \
second at the most; the store is closed in between, so that others can add a task. A program that keeps the \
store open waits without looking: Store::claim_next_within.

Examples:
  khala claim --role writer --agent writer-1 --wait 30s >turn || exit
  { read -r task claim thread; instruction=$(cat); } <turn")]
pub(crate) struct ClaimArgs {
    /// This task and no other.
    #[arg(conflicts_with_all = ["role", "thread", "wait"])]
    task: Option<TaskId>,

    /// Who claims; it need not be registered.
    #[arg(long, env = "KHALA_AGENT", hide_env_values = true)]
    agent: AgentId,

    /// Only a task for this role.
    #[arg(long)]
    role: Option<String>,

    /// Only a task of this thread.
    #[arg(long)]
    thread: Option<ThreadId>,

    /// How long to wait for one while there is none.
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "0s")]
    wait: Duration,
}

impl ClaimArgs {
    pub(crate) fn run(self, session: &Session) -> Result {
        let (store, claim) = match self.task {
            Some(task) => {
                let store = session.place.open()?;
                let claim = ask(&store, |store| store.claim_task(task, &self.agent))?;
                let Some(claim) = claim else {
                    let task = ask(&store, |store| store.task(task))?;
                    return Ok(Answer::No(task.map_or_else(|| "the task is gone".into(), |task| not_open(&task))));
                };
                (store, claim)
            }
            None => match self.next(session)? {
                Some(claimed) => claimed,
                None => return Ok(Answer::No(self.nothing())),
            },
        };
        // Whoever cannot be told of a claim cannot settle it.
        hand_over(session, &claim).map_err(|failure| match store.release_task(claim.task.id, claim.id) {
            Ok(_) => failure.after("The task was given back."),
            Err(error) => failure.after(format!("The task could not be given back: {error}")),
        })?;
        Ok(Answer::Yes)
    }

    /// The next task, and the store, still open.
    fn next(&self, session: &Session) -> Result<Option<(Store, Claim)>> {
        let mut filter = TaskFilter::new();
        filter = self.role.iter().fold(filter, TaskFilter::role);
        filter = self.thread.into_iter().fold(filter, TaskFilter::thread);
        let mut rests = Rests::new(self.wait, LONGEST_REST);
        let mut place = session.place.clone();
        loop {
            let store = place.patient(rests.left()).open()?;
            if let Some(claim) = ask(&store, |store| store.claim_next(&self.agent, &filter))? {
                return Ok(Some((store, claim)));
            }
            drop(store);
            // It was whole a moment ago, and others want it too.
            place.check = if place.check == Check::Auto { Check::Never } else { place.check };
            if !rests.rest() {
                return Ok(None);
            }
        }
    }

    fn nothing(&self) -> String {
        let role = self.role.as_ref().map_or_else(String::new, |role| format!(" for role {}", harmless(role)));
        let thread = self.thread.map_or_else(String::new, |thread| format!(" in thread {thread}"));
        format!("nothing to claim{role}{thread}")
    }
}

fn not_open(task: &Task) -> String {
    let holder = task.claimed_by.as_ref().map_or_else(String::new, |agent| format!(" by {}", harmless(agent.as_str())));
    format!("task {} is {}{holder}", task.id, task.status)
}

fn hand_over(session: &Session, claim: &Claim) -> Result<()> {
    let task = &claim.task;
    if session.output.is_for_a_terminal() {
        let until = moment(claim.expires_at());
        session.output.text(&task_text(task))?;
        say(&format!("Until {until}, then: khala complete {} {}", task.id, claim.id));
        return Ok(());
    }
    if session.output.json {
        return session.output.one(claim, |_| String::new());
    }
    // A program reads it, so it comes as it is.
    let text = format!("{} {} {}\n{}\n", task.id, claim.id, task.thread_id, task.instruction);
    print(text.as_bytes())
}

/// A task and the claim that is shown for it.
#[derive(Args, Clone, Copy, Debug)]
struct Held {
    /// Which task.
    task: TaskId,

    /// The claim it is under, as `khala claim` printed it.
    claim: ClaimId,
}

impl Held {
    /// The task after `settle`, which says whether the claim held.
    fn settle(
        self,
        session: &Session,
        settle: impl Fn(&mut khala::WriteTx<'_>) -> khala::Result<bool> + Send + 'static,
    ) -> Result<Task> {
        session.place.with(|store| {
            store.write(move |tx| {
                if !settle(tx)? {
                    return Err(Error::ClaimLost(self.task));
                }
                tx.task(self.task)?.ok_or(Error::TaskNotFound(self.task))
            })
        })
    }
}

const AFTER_HELP_CLAIM: &str = "If the claim no longer holds, nothing is changed and the exit code is 3.\n\n";

/// Makes a claim last its task's whole timeout from now, and prints until when.
#[derive(Args, Debug)]
#[command(after_help = format!("{AFTER_HELP_CLAIM}Example: khala renew $task $claim"))]
pub(crate) struct Renew {
    #[command(flatten)]
    held: Held,
}

impl Renew {
    pub(crate) fn run(self, session: &Session) -> Result {
        let Held { task, claim } = self.held;
        let task = self.held.settle(session, move |tx| tx.renew_claim(task, claim))?;
        session.output.one(&task, |task| format!("{}\n", moment(task.expires_at.unwrap_or(task.created_at))))?;
        Ok(Answer::Yes)
    }
}

/// Completes a task; with it, in one step, appends the answer and adds the next task.
#[derive(Args, Debug)]
#[command(after_help = format!("{AFTER_HELP_CLAIM}\
All of it happens, or nothing does. The same again after it was done changes nothing and succeeds, so it is safe \
to repeat. With --next the new task's id is printed.

Examples:
  khala complete $task $claim
  write-notes | khala complete $task $claim --say - --next-role reviewer --next 'Review the draft.'"))]
pub(crate) struct Complete {
    #[command(flatten)]
    held: Held,

    /// The answer, appended to the task's thread; - is all of the standard input, as it is.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    say: Option<String>,

    /// In which role it is said; the task's, unless set.
    #[arg(long, requires = "say")]
    role: Option<String>,

    /// Who says it; the claim's holder, unless set.
    #[arg(long, requires = "say")]
    agent: Option<AgentId>,

    /// What is kept beside it, often JSON; - is the standard input.
    #[arg(long, value_name = "TEXT", requires = "say", allow_hyphen_values = true)]
    meta: Option<String>,

    /// Which step of the workflow it belongs to.
    #[arg(long, requires = "say", default_value_t = 0)]
    step: u64,

    /// The instruction of a next task in the same thread; - is the standard input.
    #[arg(long, value_name = "INSTRUCTION", requires = "next_role", allow_hyphen_values = true)]
    next: Option<String>,

    /// The role it is for.
    #[arg(long, value_name = "ROLE", requires = "next")]
    next_role: Option<String>,

    /// What makes it one of a kind in its thread.
    #[arg(long, value_name = "KEY", requires = "next")]
    next_key: Option<String>,
}

/// What a turn came to.
#[derive(Serialize)]
struct Turn {
    task: Task,
    message: Option<Message>,
    next: Option<Task>,
}

impl Complete {
    pub(crate) fn run(self, session: &Session) -> Result {
        let Held { task, claim } = self.held;
        let [answer, meta, instruction] = texts([self.say.as_deref(), self.meta.as_deref(), self.next.as_deref()])?;
        let next = instruction
            .zip(self.next_role)
            .map(|(instruction, role)| self.next_key.into_iter().fold(NewTask::new(role, instruction), NewTask::key));
        let (role, agent, step) = (self.role, self.agent, self.step);
        let turn = session.place.with(|store| {
            store.write(move |tx| {
                let before = tx.task(task)?.ok_or(Error::TaskNotFound(task))?;
                if before.status == khala::TaskStatus::Completed && before.claim_id == Some(claim) {
                    return Ok(Turn { task: before, message: None, next: None });
                }
                let message = answer.as_ref().map(|answer| {
                    let role = role.as_ref().unwrap_or(&before.role);
                    let mut message = NewMessage::new(role, answer).step(step).under(task, claim);
                    message = meta.iter().fold(message, NewMessage::meta);
                    agent.as_ref().or(before.claimed_by.as_ref()).into_iter().fold(message, NewMessage::agent)
                });
                let message = message.map(|message| tx.append_message(before.thread_id, &message)).transpose()?;
                if !tx.complete_task(task, claim)? {
                    return Err(Error::ClaimLost(task));
                }
                let next = next.as_ref().map(|next| tx.create_task(before.thread_id, next)).transpose()?;
                let after = tx.task(task)?.ok_or(Error::TaskNotFound(task))?;
                Ok(Turn { task: after, message, next })
            })
        })?;
        session
            .output
            .one(&turn, |turn| turn.next.as_ref().map_or_else(String::new, |next| format!("{}\n", next.id)))?;
        Ok(Answer::Yes)
    }
}

/// Ends an attempt that went wrong, and prints what became of the task: open, scheduled or failed.
#[derive(Args, Debug)]
#[command(after_help = format!("{AFTER_HELP_CLAIM}Example: khala fail $task $claim 'The model refused.'"))]
pub(crate) struct Fail {
    #[command(flatten)]
    held: Held,

    /// Why; - is the standard input.
    #[arg(allow_hyphen_values = true)]
    reason: String,
}

impl Fail {
    pub(crate) fn run(self, session: &Session) -> Result {
        let Held { task, claim } = self.held;
        let [reason] = texts([Some(&self.reason)])?;
        let reason = reason.unwrap_or_default();
        let task = self.held.settle(session, move |tx| tx.fail_task(task, claim, &reason))?;
        session.output.one(&task, |task| format!("{}\n", task.status))?;
        Ok(Answer::Yes)
    }
}

/// Gives a task back, in its old place and the attempt not counted.
#[derive(Args, Debug)]
#[command(after_help = format!("{AFTER_HELP_CLAIM}Example: khala release $task $claim"))]
pub(crate) struct Release {
    #[command(flatten)]
    held: Held,
}

impl Release {
    pub(crate) fn run(self, session: &Session) -> Result {
        let Held { task, claim } = self.held;
        let task = self.held.settle(session, move |tx| tx.release_task(task, claim))?;
        session.output.one(&task, |_| String::new())?;
        Ok(Answer::Yes)
    }
}

/// Ends a task that is not wanted any more, whoever has it.
#[derive(Args, Debug)]
#[command(after_help = "\
If it was completed or failed already, the exit code is 3.

Example: khala cancel $task")]
pub(crate) struct Cancel {
    /// Which task.
    task: TaskId,
}

impl Cancel {
    pub(crate) fn run(self, session: &Session) -> Result {
        let id = self.task;
        let (is_cancelled, task) = session.place.with(|store| {
            store.write(move |tx| Ok((tx.cancel_task(id)?, tx.task(id)?.ok_or(Error::TaskNotFound(id))?)))
        })?;
        if !is_cancelled {
            return Ok(Answer::No(not_open(&task)));
        }
        session.output.one(&task, |_| String::new())?;
        Ok(Answer::Yes)
    }
}
