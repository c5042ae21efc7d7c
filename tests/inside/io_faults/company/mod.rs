//! Many callers, and a disk that fails: everybody returns, and is told the truth.
//!
//! In order (`in_order.rs`), so that the n-th request is about the same thing each time and every n is tried; and at
//! random (`at_random.rs`). Here is how it is judged: a writer leaves a mark in each of its transactions.

mod at_random;
mod in_order;

use std::thread::{Scope, ScopedJoinHandle};

use super::contents::Contents;
use super::{Told, bug_in_place, told};
use crate::db::{FailingDisk, Fault, Plan};
use crate::inside::campaign::words_of;
use crate::planted::with_bug;
use crate::{ClaimId, NewMessage, Result, Store, TaskId, TaskStatus, ThreadFilter, ThreadId, WriteTx};

/// What one writer did in one transaction, by the mark it left, and what it was told.
#[derive(Clone, Debug)]
struct Ended {
    mark: String,
    told: Result<(), Told>,
}

/// A claim that an agent was given, and what it was told when it completed the task.
#[derive(Clone, Debug)]
struct Claimed {
    task: TaskId,
    claim: ClaimId,
    completed: Option<Result<(), Told>>,
}

/// Where the marks are left.
fn board(store: &Store) -> ThreadId {
    store.threads(&ThreadFilter::new().limit(1)).unwrap().items[0].id
}

/// Leaves a mark in a transaction: a message, whatever else it does, and another message.
fn leave_mark(
    tx: &mut WriteTx<'_>,
    board: ThreadId,
    mark: &str,
    meanwhile: impl FnOnce(&mut WriteTx<'_>) -> Result<()>,
) -> Result<()> {
    tx.append_message(board, &NewMessage::new("before", mark))?;
    meanwhile(tx)?;
    tx.append_message(board, &NewMessage::new("after", mark)).map(drop)
}

/// What everybody was told is what the store holds.
fn is_true<'a>(
    contents: &Contents,
    ended: impl IntoIterator<Item = &'a Ended>,
    claims: &[Claimed],
) -> Result<(), String> {
    let mut of_unknown = Vec::new();
    for Ended { mark, told } in ended {
        let halves = contents.messages.iter().filter(|message| message.content == *mark).count();
        match (halves, told) {
            (2, Ok(())) | (0, Err(Told::Io | Told::Refused)) => {}
            (0 | 2, Err(Told::Unknown)) => of_unknown.push(halves),
            _ => return Err(format!("{halves} of the 2 messages of {mark}, who was told {told:?}")),
        }
    }
    // They were in one commit, for after it there is no other.
    if of_unknown.iter().any(|halves| *halves != of_unknown[0]) {
        return Err(format!("the commit that failed is there in part: {of_unknown:?}"));
    }
    for claimed in claims {
        let task = contents.tasks.iter().find(|task| task.id == claimed.task);
        let status = task.filter(|task| task.claim_id == Some(claimed.claim)).map(|task| task.status);
        let is_true = match claimed.completed {
            Some(Ok(())) => status == Some(TaskStatus::Completed),
            Some(Err(Told::Unknown)) => matches!(status, Some(TaskStatus::Claimed | TaskStatus::Completed)),
            Some(Err(Told::Io | Told::Refused)) | None => status == Some(TaskStatus::Claimed),
        };
        if !is_true {
            return Err(format!("{claimed:?}, and it stands {task:?}"));
        }
    }
    Ok(())
}

fn outcome<T>(answer: Result<T>, fault: Fault) -> Result<Result<T, Told>, String> {
    answer.map_or_else(|error| told(&error, fault).map(Err), |done| Ok(Ok(done)))
}

/// A thread with the bug that is planted here.
fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    f: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    let bug = bug_in_place();
    scope.spawn(move || with_bug(bug, f))
}

/// After a violation nobody is left to make those who wait return: the store fails for it.
fn or_ends_it<T>(disk: &FailingDisk, store: &Store, f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    f().inspect_err(|_| {
        disk.arm(Some(Plan { after: 0, only: None, fault: Fault::Eio, for_ever: true }));
        let _ = store.create_thread("the last", "ada");
    })
}

/// What a thread gave back. A panic in it is a violation.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T, String> {
    thread.join().map_err(|panic| format!("a panic: {}", words_of(panic.as_ref())))
}
