//! Claim races on real threads, checked against the order in which they were committed.
//!
//! Every transaction of a race also appends a line to a log, which is a thread of the store itself: message ids rise in
//! commit order, so the log is the order the store claims to have worked in. Replayed on the plain model, every answer
//! in it must be the model's: then one claim was live per task at every moment, no stale claim settled anything, and
//! what had ended stayed ended, whichever two operations met.

use std::collections::HashSet;
use std::sync::Barrier;
use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::life::{Model, Settle};
use super::{must_fail, try_property};
use crate::planted::{Bug, planted, with_bug};
use crate::{
    AgentId, ClaimId, ManualClock, MessageFilter, NewMessage, NewTask, Result, Store, TaskFilter, TaskId, ThreadId,
    ThreadStatus, Timestamp, WriteTx,
};

/// What an agent does next. Numbers choose among the tasks, or among the claims this agent ever had.
#[derive(Clone, Copy, Debug)]
enum Move {
    Claim(usize),
    Settle(Settle, usize),
    Cancel(usize),
    ClaimNext,
    Finish,
    Expire,
    /// Lets this many seconds pass for everybody.
    Wait(u64),
}

/// The moves of each agent.
fn race() -> impl Strategy<Value = Vec<Vec<Move>>> {
    let settle = prop_oneof![
        4 => Just(Settle::Complete),
        2 => Just(Settle::Renew),
        1 => Just(Settle::Release),
        2 => Just(Settle::Fail),
    ];
    let choose = prop_oneof![
        20 => (0_usize..4).prop_map(Move::Claim),
        8 => Just(Move::ClaimNext),
        20 => (settle, 0_usize..8).prop_map(|(settle, claim)| Move::Settle(settle, claim)),
        2 => (0_usize..4).prop_map(Move::Cancel),
        8 => Just(Move::Expire),
        6 => (1_u64..12).prop_map(Move::Wait),
        1 => Just(Move::Finish),
    ];
    prop::collection::vec(prop::collection::vec(choose, 1..25), 2..6)
}

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    Claimed { task: TaskId, agent: AgentId, claim: Option<ClaimId> },
    ClaimedNext { agent: AgentId, claim: Option<(TaskId, ClaimId)> },
    Settled { settle: Settle, task: TaskId, claim: ClaimId, accepted: bool },
    Cancelled { task: TaskId, accepted: bool },
    Finished,
    Expired { count: u64 },
}

fn write_line(tx: &mut WriteTx<'_>, log: ThreadId, line: &Line) -> Result<()> {
    tx.append_message(log, &NewMessage::new("log", serde_json::to_string(line).unwrap())).map(drop)
}

fn claim(store: &Store, log: ThreadId, task: TaskId, agent: &AgentId) -> Result<Option<ClaimId>> {
    let agent = agent.clone();
    store.write(move |tx| {
        let claim = tx.claim_task(task, &agent)?.map(|claim| claim.id);
        write_line(tx, log, &Line::Claimed { task, agent: agent.clone(), claim })?;
        Ok(claim)
    })
}

fn claim_next(store: &Store, log: ThreadId, agent: &AgentId) -> Result<Option<(TaskId, ClaimId)>> {
    let agent = agent.clone();
    store.write(move |tx| {
        let claim = tx.claim_next(&agent, &TaskFilter::new())?.map(|claim| (claim.task.id, claim.id));
        write_line(tx, log, &Line::ClaimedNext { agent: agent.clone(), claim })?;
        Ok(claim)
    })
}

fn settle(store: &Store, log: ThreadId, settle: Settle, task: TaskId, claim: ClaimId) -> Result<()> {
    store.write(move |tx| {
        let accepted = match settle {
            Settle::Renew => tx.renew_claim(task, claim)?,
            Settle::Release => tx.release_task(task, claim)?,
            Settle::Complete => tx.complete_task(task, claim)?,
            Settle::Fail => tx.fail_task(task, claim, "on purpose")?,
        };
        write_line(tx, log, &Line::Settled { settle, task, claim, accepted })
    })
}

fn cancel(store: &Store, log: ThreadId, task: TaskId) -> Result<()> {
    store.write(move |tx| {
        let accepted = tx.cancel_task(task)?;
        write_line(tx, log, &Line::Cancelled { task, accepted })
    })
}

fn finish(store: &Store, log: ThreadId, thread: ThreadId) -> Result<()> {
    store.write(move |tx| {
        tx.finish_thread(thread, ThreadStatus::Completed, None)?;
        write_line(tx, log, &Line::Finished)
    })
}

fn expire(store: &Store, log: ThreadId) -> Result<()> {
    store.write(move |tx| {
        let count = tx.expire_timed_out_tasks()?;
        write_line(tx, log, &Line::Expired { count })
    })
}

/// Runs a race and checks it. Every task times out after 10 seconds of the clock that the agents push, and may be claimed
/// six times.
fn is_fair(moves: &[Vec<Move>]) -> Result<(), TestCaseError> {
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
    let thread = store.create_thread("race", "test").unwrap().id;
    let log = store.create_thread("log", "test").unwrap().id;
    let new_task =
        || store.create_task(thread, NewTask::new("runner", "Run.").timeout_seconds(10).max_attempts(6)).unwrap();
    let tasks: Vec<_> = (0..4).map(|_| new_task()).collect();

    let bug =
        [Bug::ClaimWithoutCheck, Bug::CompleteWithoutCheck, Bug::ExpireEarly].into_iter().find(|bug| planted(*bug));
    let start = Barrier::new(moves.len());
    let failed = std::thread::scope(|scope| {
        let run = |(number, moves): (usize, &Vec<Move>)| {
            let (store, clock, tasks, start, moves) = (&store, &clock, &tasks, &start, moves.clone());
            scope.spawn(move || {
                start.wait();
                with_bug(bug, || run_agent(store, clock, log, tasks, number, &moves))
            })
        };
        let agents: Vec<_> = moves.iter().enumerate().map(run).collect();
        agents.into_iter().find_map(|agent| agent.join().unwrap().err())
    });
    prop_assert!(failed.is_none(), "an operation failed: {:?}", failed);
    replay(&store, log, tasks)
}

fn run_agent(
    store: &Store,
    clock: &ManualClock,
    log: ThreadId,
    tasks: &[crate::Task],
    number: usize,
    moves: &[Move],
) -> Result<()> {
    let me = AgentId::new(format!("agent-{number}"))?;
    let mut claims = Vec::new();
    for step in moves {
        match *step {
            Move::Claim(n) => {
                let task = tasks[n % tasks.len()].id;
                claims.extend(claim(store, log, task, &me)?.map(|claim| (task, claim)));
            }
            Move::ClaimNext => claims.extend(claim_next(store, log, &me)?),
            Move::Settle(how, n) => {
                // Also under old claims: that is what a late agent does.
                if let Some((task, claim)) = claims.get(n % claims.len().max(1)) {
                    settle(store, log, how, *task, *claim)?;
                }
            }
            Move::Cancel(n) => cancel(store, log, tasks[n % tasks.len()].id)?,
            Move::Finish => finish(store, log, tasks[0].thread_id)?,
            Move::Expire => expire(store, log)?,
            Move::Wait(seconds) => clock.advance(Duration::from_secs(seconds)),
        }
    }
    Ok(())
}

/// Replays the log on the model.
fn replay(store: &Store, log: ThreadId, tasks: Vec<crate::Task>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let thread = store.thread(tasks[0].thread_id).unwrap().unwrap();
    model.threads.insert(thread.id, crate::Thread { status: ThreadStatus::Active, ..thread });
    model.tasks.extend(tasks.iter().map(|task| (task.id, task.clone())));
    let mut given_out = HashSet::new();
    for message in store.thread_messages(log, &MessageFilter::new()).unwrap() {
        let now = message.created_at;
        match serde_json::from_str(&message.content).unwrap() {
            Line::Claimed { task, agent, claim } => {
                let claimable = model.is_claimable(task, now);
                prop_assert_eq!(claimable, claim.is_some(), "{:?}", message);
                if let Some(claim) = claim {
                    prop_assert!(given_out.insert(claim), "a claim id was given out twice");
                    model.claim(task, claim, &agent, now);
                }
            }
            Line::ClaimedNext { agent, claim } => {
                model.sweep(now);
                prop_assert_eq!(model.next(None, None), claim.map(|(task, _)| task), "{:?}", message);
                if let Some((task, claim)) = claim {
                    prop_assert!(given_out.insert(claim), "a claim id was given out twice");
                    model.claim(task, claim, &agent, now);
                }
            }
            Line::Settled { settle, task, claim, accepted } => {
                prop_assert_eq!(model.settle(settle, task, claim, now), Ok(accepted), "{:?}", message);
            }
            Line::Cancelled { task, accepted } => {
                prop_assert_eq!(model.cancel(task, now), Ok(accepted), "{:?}", message);
            }
            Line::Finished => {
                let finished = model.finish(thread.id, ThreadStatus::Completed, None, now);
                prop_assert_eq!(finished, Ok(ThreadStatus::Completed));
            }
            Line::Expired { count } => prop_assert_eq!(model.sweep(now), count, "{:?}", message),
        }
    }
    for task in tasks {
        prop_assert_eq!(store.task(task.id).unwrap(), model.tasks.get(&task.id).cloned());
    }
    store.verify().map_err(|error| TestCaseError::fail(error.to_string()))
}

#[test]
fn one_claim_is_live_per_task_and_no_stale_claim_settles_anything() {
    try_property(300, &race(), |moves| is_fair(&moves)).unwrap();
}

#[test]
fn control_the_race_sees_a_claim_without_a_check() {
    must_fail(Bug::ClaimWithoutCheck, &race(), |moves| is_fair(&moves));
}

#[test]
fn control_the_race_sees_a_completion_without_a_check() {
    must_fail(Bug::CompleteWithoutCheck, &race(), |moves| is_fair(&moves));
}

#[test]
fn control_the_race_sees_an_early_expiry() {
    must_fail(Bug::ExpireEarly, &race(), |moves| is_fair(&moves));
}

/// Everybody wants everything: the claims must be dealt out without remainder and without a double.
#[test]
fn every_task_of_an_open_list_is_claimed_by_exactly_one_of_32_threads() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("race.khala")).unwrap();
    let thread = store.create_thread("race", "test").unwrap().id;
    store
        .write(move |tx| (0..500).try_for_each(|_| tx.create_task(thread, &NewTask::new("runner", "Run.")).map(drop)))
        .unwrap();
    let open = store.open_tasks(usize::MAX).unwrap();
    let claimed: Vec<Vec<TaskId>> = std::thread::scope(|scope| {
        let run = |number: usize| {
            let (store, open) = (&store, &open);
            scope.spawn(move || {
                let me = AgentId::new(format!("agent-{number}")).unwrap();
                // Each begins elsewhere and goes through all of it.
                let from = number * open.len() / 32;
                let round = open.iter().cycle().skip(from).take(open.len());
                round.filter(|task| store.claim_task(task.id, &me).unwrap().is_some()).map(|task| task.id).collect()
            })
        };
        let agents: Vec<_> = (0..32).map(run).collect();
        agents.into_iter().map(|agent| agent.join().unwrap()).collect()
    });
    let mut all = claimed.concat();
    all.sort_unstable();
    assert_eq!(all, open.iter().map(|task| task.id).collect::<Vec<_>>());
    store.verify().unwrap();
}
