//! What one caller does: every operation there is, on the rows of the fixture.

use std::time::Duration;

use crate::{
    AgentId, ClaimId, MessageFilter, NewMessage, NewTask, Result, Task, TaskFilter, TaskStatus, Thread, ThreadFilter,
    ThreadStatus, WriteTx,
};

#[derive(Clone, Copy)]
pub(super) enum Step {
    /// A transaction that changes something.
    Write(fn(&mut WriteTx<'_>) -> Result<()>),
    /// Everything is read and compared.
    Read,
    Verify,
    Count,
}

/// Every operation there is, on the rows of the fixture.
pub(super) const WORK: &[Step] = &[
    Step::Write(|tx| tx.register_agent(&agent("bob")).map(drop)),
    Step::Write(|tx| tx.create_thread("review", "bob").map(drop)),
    Step::Write(|tx| append(tx, "a message")),
    Step::Write(|tx| append(tx, &"large ".repeat(2_000))),
    Step::Write(|tx| {
        let thread = active(tx)?.id;
        let newest = tx.thread_messages(thread, &MessageFilter::new())?.iter().map(|message| message.id).max();
        tx.append_message_at(thread, &NewMessage::new("user", "the next one"), newest).map(drop)
    }),
    Step::Read,
    Step::Write(|tx| {
        let thread = active(tx)?.id;
        tx.create_task(thread, &NewTask::new("reviewer", "with a key").key("key").priority(7).backoff_seconds(5))?;
        Ok(())
    }),
    Step::Write(|tx| {
        let thread = active(tx)?.id;
        let later = tx.now() + Duration::from_secs(60);
        tx.create_task(thread, &NewTask::new("writer", "later").not_before(later)).map(drop)
    }),
    Step::Write(claim_an_open_one),
    Step::Write(|tx| {
        let (task, claim) = claimed(tx)?;
        tx.renew_claim(task.id, claim).map(|done| assert!(done))
    }),
    Step::Write(|tx| {
        let (task, claim) = claimed(tx)?;
        tx.append_message(task.thread_id, &NewMessage::new("agent", "under a claim").under(task.id, claim)).map(drop)
    }),
    Step::Verify,
    Step::Write(|tx| {
        let (task, claim) = claimed(tx)?;
        tx.fail_task(task.id, claim, "on purpose").map(|done| assert!(done))
    }),
    Step::Write(claim_an_open_one),
    Step::Write(|tx| {
        let (task, claim) = claimed(tx)?;
        tx.complete_task(task.id, claim).map(|done| assert!(done))
    }),
    Step::Write(|tx| {
        claim_an_open_one(tx)?;
        append(tx, "and in the same transaction")
    }),
    Step::Write(|tx| {
        let (task, claim) = claimed(tx)?;
        tx.release_task(task.id, claim).map(|done| assert!(done))
    }),
    Step::Write(|tx| tx.expire_timed_out_tasks().map(|count| assert!(count < 2))),
    Step::Write(|tx| tx.claim_next(&agent("bob"), &TaskFilter::new()).map(|claim| assert!(claim.is_some()))),
    Step::Write(|tx| {
        let task = in_status(tx, TaskStatus::Open)?;
        tx.cancel_task(task.id).map(|done| assert!(done))
    }),
    Step::Count,
    Step::Write(|tx| tx.rotate_token(&agent("ada")).and_then(|_| append(tx, "a new token"))),
    Step::Write(|tx| tx.remove_agent(&agent("bob")).map(|done| assert!(done))),
    Step::Write(|tx| {
        let thread = active(tx)?.id;
        tx.finish_thread(thread, ThreadStatus::Completed, Some("done")).map(drop)
    }),
    Step::Write(|tx| tx.prune(tx.now()).map(|count| assert!(count > 1))),
    Step::Write(|tx| {
        let thread = active(tx)?.id;
        tx.delete_thread(thread).map(|done| assert!(done))
    }),
    Step::Read,
];

/// A little of it, for the scenes that are about something else.
pub(super) const A_LITTLE: &[Step] = &[Step::Read, Step::Write(|tx| tx.create_thread("review", "bob").map(drop))];

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

fn active(tx: &WriteTx<'_>) -> Result<Thread> {
    Ok(tx.threads(&ThreadFilter::new().status(ThreadStatus::Active).limit(1))?.items.remove(0))
}

pub(super) fn append(tx: &mut WriteTx<'_>, content: &str) -> Result<()> {
    let thread = active(tx)?.id;
    tx.append_message(thread, &NewMessage::new("user", content).agent(&agent("ada"))).map(drop)
}

fn in_status(tx: &WriteTx<'_>, status: TaskStatus) -> Result<Task> {
    Ok(tx.tasks(&TaskFilter::new().status(status).limit(1))?.items.remove(0))
}

fn claimed(tx: &WriteTx<'_>) -> Result<(Task, ClaimId)> {
    let task = in_status(tx, TaskStatus::Claimed)?;
    let claim = task.claim_id.unwrap();
    Ok((task, claim))
}

fn claim_an_open_one(tx: &mut WriteTx<'_>) -> Result<()> {
    let task = in_status(tx, TaskStatus::Open)?;
    tx.claim_task(task.id, &agent("bob")).map(|claim| assert!(claim.is_some()))
}
