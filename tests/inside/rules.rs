//! What each operation makes of one task, and which messages a filter lets through, in plain words: the rules that the
//! models share, whatever they keep their rows in.

use std::time::Duration;

use super::harness::Wanted;
use super::life::{Plan, Settle, later, role, unclaim};
use crate::{AgentId, ClaimId, Message, Task, TaskStatus, Timestamp};

/// Whether a task was created from this.
pub(super) fn describes(plan: &Plan, task: &Task) -> bool {
    task.role == role(plan.role)
        && task.timeout_seconds == plan.timeout_seconds
        && task.max_attempts == plan.max_attempts
        && task.backoff_seconds == plan.backoff_seconds
        && task.priority == plan.priority
}

pub(super) fn is_claimable(task: &Task, now: Timestamp) -> bool {
    let time_has_come = task.status == TaskStatus::Scheduled && task.not_before <= Some(now);
    task.status == TaskStatus::Open || time_has_come
}

pub(super) fn claim(task: &mut Task, claim: ClaimId, agent: &AgentId, now: Timestamp) {
    task.status = TaskStatus::Claimed;
    task.claim_id = Some(claim);
    task.claimed_by = Some(agent.clone());
    task.claimed_at = Some(now);
    task.expires_at = Some(now + Duration::from_secs(task.timeout_seconds.into()));
    task.attempts += 1;
}

/// A claim that has timed out is taken away.
pub(super) fn expire(task: &mut Task, now: Timestamp) {
    if task.max_attempts.is_some_and(|most| task.attempts >= most) {
        task.status = TaskStatus::Failed;
        task.last_error = Some("the claim timed out".into());
        task.expires_at = None;
        task.finished_at = Some(now);
    } else {
        unclaim(task);
        task.status = TaskStatus::Open;
    }
}

pub(super) fn settle(task: &mut Task, settle: Settle, claim: ClaimId, now: Timestamp) -> bool {
    let same = task.claim_id == Some(claim);
    if !same || task.status != TaskStatus::Claimed {
        let again = match settle {
            Settle::Complete => task.status == TaskStatus::Completed,
            Settle::Fail => task.status == TaskStatus::Failed,
            Settle::Renew | Settle::Release => false,
        };
        return same && again;
    }
    match settle {
        Settle::Renew => {
            let renewed = later(now, task.timeout_seconds.into());
            task.expires_at = task.expires_at.max(Some(renewed));
        }
        Settle::Release => {
            task.attempts -= 1;
            unclaim(task);
            task.status = TaskStatus::Open;
        }
        Settle::Complete => {
            task.status = TaskStatus::Completed;
            task.expires_at = None;
            task.finished_at = Some(now);
        }
        Settle::Fail => {
            task.last_error = Some("on purpose".into());
            if task.max_attempts == Some(task.attempts) {
                task.status = TaskStatus::Failed;
                task.expires_at = None;
                task.finished_at = Some(now);
            } else {
                unclaim(task);
                task.status = TaskStatus::Open;
                if task.backoff_seconds > 0 {
                    let doubled = f64::from(task.backoff_seconds) * 2_f64.powi(task.attempts as i32 - 1);
                    task.status = TaskStatus::Scheduled;
                    task.not_before = Some(later(now, doubled.min(86_400.0) as i64));
                }
            }
        }
    }
    true
}

pub(super) fn cancel(task: &mut Task, now: Timestamp) -> bool {
    if !task.status.is_finished() {
        unclaim(task);
        task.status = TaskStatus::Cancelled;
        task.finished_at = Some(now);
    }
    task.status == TaskStatus::Cancelled
}

/// Those of a thread's messages that are wanted, in the order they are given back in.
pub(super) fn wanted<'a>(of_thread: impl Iterator<Item = &'a Message>, wanted: &Wanted) -> Vec<&'a Message> {
    let mut found: Vec<_> = of_thread
        .filter(|message| wanted.role.as_ref().is_none_or(|role| *role == message.role))
        .filter(|message| wanted.step.is_none_or(|step| step == message.step))
        .filter(|message| wanted.after.is_none_or(|after| after < message.id))
        .filter(|message| wanted.since.is_none_or(|since| since <= message.created_at))
        .collect();
    found.sort_by_key(|message| (message.step, message.id));
    let surplus = found.len().saturating_sub(wanted.last.unwrap_or(usize::MAX));
    found.split_off(surplus)
}
