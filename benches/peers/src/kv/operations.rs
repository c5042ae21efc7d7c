//! The operations, written once over [`Read`] and [`Write`]. Each checks everything before its first write.

use std::ops::ControlFlow;

use anyhow::{Context, Result};

use super::rows::{ACTIVE, Counters, Message, StoredMessage, StoredTask, StoredThread, Task, decode, encode, status};
use super::{Order, Read, Table, Write, key, last_id};
use crate::ids::{self, Id};
use crate::peer::{Answer, Counts, NewMessage, NewTask, Request, Seen, Which};

const COUNTERS: &[u8; 8] = b"counters";

/// What a batch came to.
pub(crate) struct Batch {
    pub(crate) answers: Vec<Answer>,
    /// Whether there is anything to commit.
    pub(crate) wrote: bool,
}

pub(crate) fn load_counters(tables: &impl Read) -> Result<Counters> {
    Ok(tables.get(Table::Meta, COUNTERS, |bytes| decode(bytes))?.unwrap_or_default())
}

/// Runs all of these on one transaction, with the counters written once.
pub(crate) fn apply_all(
    tables: &mut impl Write,
    counters: &mut Counters,
    now: i64,
    requests: &[Request],
) -> Result<Batch> {
    let before = counters.clone();
    let answers = requests.iter().map(|request| apply(tables, counters, now, request)).collect::<Result<Vec<_>>>()?;
    if *counters != before {
        tables.put(Table::Meta, COUNTERS, &encode(counters)?)?;
    }
    let wrote = answers.iter().any(|answer| {
        !matches!(answer, Answer::Refused | Answer::Claimed(None) | Answer::Completed(false) | Answer::Expired(0))
    });
    Ok(Batch { answers, wrote })
}

fn apply(tables: &mut impl Write, counters: &mut Counters, now: i64, request: &Request) -> Result<Answer> {
    match request {
        Request::CreateThread => create_thread(tables, counters, now),
        Request::CreateTask { thread, task } => create_task(tables, counters, now, *thread, task),
        Request::Append { thread, message } => append(tables, counters, now, *thread, message),
        Request::Claim { task, agent, claim } => {
            let claimed = change_task(tables, *task, |task| {
                if task.status != status::OPEN {
                    return Ok(None);
                }
                Changed::to(&StoredTask {
                    status: status::CLAIMED,
                    claim_id: Some(*claim),
                    claimed_by: Some(agent),
                    claimed_at: Some(now),
                    expires_at: Some(now + i64::from(task.timeout_seconds) * 1_000_000),
                    attempts: task.attempts + 1,
                    ..task
                })
            })?;
            Ok(claimed.map_or(Answer::Refused, |changed| Answer::Claimed(changed.then_some(*claim))))
        }
        Request::Complete { task, claim } => {
            let mut was_completed = false;
            let completed = change_task(tables, *task, |task| {
                let is_ours = task.claim_id == Some(*claim);
                was_completed = is_ours && task.status == status::COMPLETED;
                if !is_ours || task.status != status::CLAIMED {
                    return Ok(None);
                }
                Changed::to(&StoredTask { status: status::COMPLETED, expires_at: None, finished_at: Some(now), ..task })
            })?;
            Ok(completed.map_or(Answer::Refused, |changed| Answer::Completed(changed || was_completed)))
        }
        Request::Expire => expire(tables, now),
    }
}

fn create_thread(tables: &mut impl Write, counters: &mut Counters, now: i64) -> Result<Answer> {
    let id = ids::next(&mut counters.last_id, now)?;
    let thread = StoredThread {
        created_at: now,
        updated_at: now,
        status: ACTIVE,
        workflow: "review",
        initiator: "bench",
        result: None,
    };
    tables.put(Table::Threads, &id, &encode(&thread)?)?;
    Ok(Answer::Created(id))
}

fn create_task(
    tables: &mut impl Write,
    counters: &mut Counters,
    now: i64,
    thread: Id,
    new: &NewTask,
) -> Result<Answer> {
    if !is_active(tables, thread)? {
        return Ok(Answer::Refused);
    }
    let id = ids::next(&mut counters.last_id, now)?;
    let task = StoredTask {
        thread_id: thread,
        created_at: now,
        status: status::OPEN,
        priority: 0,
        timeout_seconds: new.timeout_seconds,
        attempts: 0,
        max_attempts: None,
        backoff_seconds: 0,
        claim_id: None,
        claimed_at: None,
        claimed_by: None,
        expires_at: None,
        not_before: None,
        finished_at: None,
        role: new.role,
        key: None,
        last_error: None,
        instruction: &new.instruction,
    };
    tables.put(Table::Tasks, &id, &encode(&task)?)?;
    tables.put(Table::TasksByStatus, &status_key(task.status, task.at(), id), &[])?;
    tables.put(Table::TasksByThread, &key::<32>(&[&thread, &id]), &[])?;
    Ok(Answer::Created(id))
}

fn append(tables: &mut impl Write, counters: &mut Counters, now: i64, thread: Id, new: &NewMessage) -> Result<Answer> {
    if !is_active(tables, thread)? {
        return Ok(Answer::Refused);
    }
    let id = counters.next_message;
    counters.next_message += 1;
    let message = StoredMessage {
        thread_id: thread,
        created_at: now,
        step: new.step,
        role: new.role,
        agent_id: Some(&new.agent),
        content: &new.content,
        meta: None,
    };
    tables.put(Table::Messages, &id.to_be_bytes(), &encode(&message)?)?;
    let step_key = key::<32>(&[&thread, &new.step.to_be_bytes(), &id.to_be_bytes()]);
    tables.put(Table::MessagesByStep, &step_key, &[])?;
    Ok(Answer::Appended(id))
}

/// Takes away every claim that has timed out.
fn expire(tables: &mut impl Write, now: i64) -> Result<Answer> {
    let first = [status::CLAIMED];
    let last = key::<9>(&[&[status::CLAIMED], &time_key(now)]);
    let (from, to) = Table::TasksByStatus.bounds(&first, &last);
    let mut due = Vec::new();
    tables.keys(Table::TasksByStatus, &from, &to, Order::Rising, |key| {
        due.push(last_id(key));
        ControlFlow::Continue(())
    })?;
    for &id in &due {
        change_task(tables, id, |task| {
            Changed::to(&StoredTask {
                status: status::OPEN,
                claim_id: None,
                claimed_by: None,
                claimed_at: None,
                expires_at: None,
                ..task
            })
        })?;
    }
    Ok(Answer::Expired(u64::try_from(due.len())?))
}

/// A task as it is to be stored.
struct Changed {
    row: Vec<u8>,
    status: u8,
    at: i64,
}

impl Changed {
    fn to(task: &StoredTask<'_>) -> Result<Option<Self>> {
        Ok(Some(Self { row: encode(task)?, status: task.status, at: task.at() }))
    }
}

/// Stores what `change` makes of a task, if anything, and brings its index up to date. Whether there was a change;
/// `None` if there is no such task.
fn change_task(
    tables: &mut impl Write,
    id: Id,
    change: impl FnOnce(StoredTask<'_>) -> Result<Option<Changed>>,
) -> Result<Option<bool>> {
    let task = tables.get(Table::Tasks, &id, |bytes| {
        let task: StoredTask<'_> = decode(bytes)?;
        let old = status_key(task.status, task.at(), id);
        Ok((old, change(task)?))
    })?;
    let Some((old, changed)) = task else { return Ok(None) };
    let Some(Changed { row, status, at }) = changed else { return Ok(Some(false)) };
    tables.put(Table::Tasks, &id, &row)?;
    tables.remove(Table::TasksByStatus, &old)?;
    tables.put(Table::TasksByStatus, &status_key(status, at, id), &[])?;
    Ok(Some(true))
}

fn is_active(tables: &impl Read, thread: Id) -> Result<bool> {
    let active =
        tables.get(Table::Threads, &thread, |bytes| Ok(decode::<StoredThread<'_>>(bytes)?.status == ACTIVE))?;
    Ok(active == Some(true))
}

pub(crate) fn open_tasks(tables: &impl Read, limit: usize) -> Result<Seen> {
    let mut ids = Vec::new();
    let (from, to) = Table::TasksByStatus.bounds(&[status::OPEN], &[status::OPEN]);
    tables.keys(Table::TasksByStatus, &from, &to, Order::Rising, |key| {
        ids.push(last_id(key));
        if ids.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut tasks = Vec::with_capacity(ids.len());
    for id in ids {
        let task = tables.get(Table::Tasks, &id, |bytes| Ok(Task::from_stored(id, &decode(bytes)?)))?;
        tasks.push(task.context("the task of an index entry exists")?);
    }
    Ok(Seen::of(&tasks, |task| &task.instruction))
}

pub(crate) fn messages(tables: &impl Read, thread: Id, which: Which) -> Result<Seen> {
    let (prefix, order, limit) = match which {
        Which::All => (thread.to_vec(), Order::Rising, usize::MAX),
        Which::Last(count) => (thread.to_vec(), Order::Falling, count),
        Which::Step(step) => ([thread.as_slice(), &step.to_be_bytes()].concat(), Order::Rising, usize::MAX),
    };
    let (from, to) = Table::MessagesByStep.bounds(&prefix, &prefix);
    let mut ids = Vec::new();
    tables.keys(Table::MessagesByStep, &from, &to, order, |key| {
        ids.push(key.last_chunk().copied().map_or(0, u64::from_be_bytes));
        if ids.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if order == Order::Falling {
        ids.reverse();
    }
    let mut messages = Vec::with_capacity(ids.len());
    for id in ids {
        let message =
            tables.get(Table::Messages, &id.to_be_bytes(), |bytes| Ok(Message::from_stored(id, &decode(bytes)?)))?;
        messages.push(message.context("the message of an index entry exists")?);
    }
    Ok(Seen::of(&messages, |message| &message.content))
}

pub(crate) fn counts(tables: &impl Read) -> Result<Counts> {
    let tasks = |status: u8| {
        let (from, to) = Table::TasksByStatus.bounds(&[status], &[status]);
        let mut count = 0;
        tables.keys(Table::TasksByStatus, &from, &to, Order::Rising, |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok::<_, anyhow::Error>(count)
    };
    Ok(Counts {
        messages: tables.len(Table::Messages)?,
        open: tasks(status::OPEN)?,
        claimed: tasks(status::CLAIMED)?,
        completed: tasks(status::COMPLETED)?,
    })
}

fn status_key(status: u8, at: i64, id: Id) -> [u8; 25] {
    key(&[&[status], &time_key(at), &id])
}

/// A moment whose bytes sort as it does.
fn time_key(micros: i64) -> [u8; 8] {
    (micros ^ i64::MIN).to_be_bytes()
}
