//! Writers, readers and agents in no order, on a disk that fails at some moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::super::contents::Contents;
use super::super::{IMAGE, PATIENCE, fixture, open, refuses_everything, survives, told, within};
use super::{Claimed, Ended, board, is_true, joined, leave_mark, or_ends_it, outcome, start};
use crate::db::{FailingDisk, Fault, Plan, Request};
use crate::inside::campaign::{report, seeds, with_seed};
use crate::planted::{Bug, with_bug};
use crate::{AgentId, Error, NewMessage, NewTask, Result, Store, TaskFilter, ThreadId, ThreadStatus, WriteTx};

/// Many at once in no order, for a while or until the disk fails. Says what failed, if the random moment came.
fn at_random(mut random: fastrand::Rng) -> Result<Option<Request>, String> {
    let cache_bytes = [0, 16 << 10, 64 << 10, 1 << 20][random.usize(..4)];
    let fault = [Fault::Eio, Fault::Enospc, Fault::ShortWrite(random.usize(..))][random.usize(..3)];
    // Without a cache there are some thousands of requests.
    let after = random.u64(..if cache_bytes == 0 { 3_000 } else { 600 });
    let disk = FailingDisk::of(fixture(2));
    let store = open(&disk, cache_bytes, true).unwrap();
    let board = board(&store);
    let randoms: Vec<_> = (0..4).map(|_| random.fork()).collect();
    disk.arm(Some(Plan { after, only: None, fault, for_ever: random.bool() }));
    let is_over = AtomicBool::new(false);
    let (ended, claims, failed_at) = thread::scope(|scope| {
        let agents: Vec<_> = (0..2).map(|_| start(scope, || work_as_agent(&store, fault))).collect();
        let readers: Vec<_> = (0..2).map(|_| start(scope, || read_on(&store, &is_over, fault))).collect();
        let shared = &store;
        let writer = |(number, random)| start(scope, move || write_on(shared, board, number, random, fault));
        let writers: Vec<_> = randoms.into_iter().enumerate().map(writer).collect();
        or_ends_it(&disk, &store, || {
            let ended = writers.into_iter().map(|writer| joined(writer)?).collect::<Result<Vec<_>, _>>();
            is_over.store(true, SeqCst);
            let ended = ended?.concat();
            readers.into_iter().try_for_each(|reader| joined(reader)?)?;
            let failed_at = disk.failed_at();
            if store.failure().is_none() {
                // The agents would wait for ever, as they were told to. So it fails after all.
                disk.arm(Some(Plan { after: 0, only: None, fault: Fault::Eio, for_ever: true }));
                let _ = store.create_thread("the last", "ada");
            }
            let claims = agents.into_iter().map(|agent| joined(agent)?).collect::<Result<Vec<_>, _>>()?.concat();
            Ok((ended, claims, failed_at))
        })
    })?;
    refuses_everything(&store, fault).or_else(|_| refuses_everything(&store, Fault::Eio))?;
    drop(store);
    survives(&disk, |_, contents| is_true(&contents, &ended, &claims))?;
    Ok(failed_at)
}

/// Leaves one mark after the other, each in a transaction with something else, until the store fails.
fn write_on(
    store: &Store,
    board: ThreadId,
    writer: usize,
    mut random: fastrand::Rng,
    fault: Fault,
) -> Result<Vec<Ended>, String> {
    let mut ended = Vec::new();
    for number in 0..12 {
        let (mark, kind) = (format!("writer {writer}, {number}"), random.u8(..7));
        let left = mark.clone();
        let answer = store.write(move |tx| leave_mark(tx, board, &left, |tx| do_something(tx, board, kind, &left)));
        let told = outcome(answer, fault)?;
        ended.push(Ended { mark, told });
        if told.is_err() {
            return match store.create_thread("after a failure", "ada") {
                Err(Error::Poisoned) => Ok(ended),
                answer => Err(format!("told {told:?}, and then {answer:?}")),
            };
        }
    }
    Ok(ended)
}

fn do_something(tx: &mut WriteTx<'_>, board: ThreadId, kind: u8, name: &str) -> Result<()> {
    match kind {
        0 => {}
        1 | 2 => drop(tx.create_task(board, &NewTask::new("agent", name))?),
        3 => {
            let agent = AgentId::new(name)?;
            tx.register_agent(&agent)?;
            if let Some(claim) = tx.claim_next(&agent, &TaskFilter::new().role("reviewer"))? {
                tx.complete_task(claim.task.id, claim.id)?;
            }
        }
        4 => drop(tx.expire_timed_out_tasks()?),
        5 => {
            let thread = tx.create_thread("short", name)?;
            tx.finish_thread(thread.id, ThreadStatus::Completed, Some(name))?;
        }
        _ => drop(tx.append_message(board, &NewMessage::new("large", "large ".repeat(3_000)))?),
    }
    Ok(())
}

/// Reads everything again and again: never half a transaction.
fn read_on(store: &Store, is_over: &AtomicBool, fault: Fault) -> Result<(), String> {
    while !is_over.load(SeqCst) {
        let Ok(contents) = outcome(store.read(Contents::of), fault)? else { return Ok(()) };
        let marks = |role: &str| contents.messages.iter().filter(|message| message.role == role).count();
        if marks("before") != marks("after") {
            return Err("a reader saw half a transaction".into());
        }
    }
    Ok(())
}

/// Claims and completes until the store fails.
fn work_as_agent(store: &Store, fault: Fault) -> Result<Vec<Claimed>, String> {
    let agent = AgentId::new("agent").unwrap();
    let mut claims = Vec::new();
    // It is over when the disk fails, be it by another fault than the one that was due.
    let ended = |error: Error| told(&error, fault).or_else(|_| told(&error, Fault::Eio));
    loop {
        match store.claim_next_within(&agent, &TaskFilter::new().role("agent"), Duration::MAX) {
            Ok(claim) => {
                let claim = claim.ok_or("an agent was sent away with nothing")?;
                let completed = store.complete_task(claim.task.id, claim.id).map(|done| assert!(done));
                let completed = completed.map_or_else(|error| ended(error).map(Err), |()| Ok(Ok(())))?;
                claims.push(Claimed { task: claim.task.id, claim: claim.id, completed: Some(completed) });
            }
            Err(error) => return ended(error).map(|_| claims),
        }
    }
}

#[test]
fn in_company_a_fault_at_a_random_moment_reaches_everybody() {
    let (mut tried, mut met) = (0, BTreeMap::<Request, u64>::new());
    for seed in seeds(400) {
        tried += 1;
        let failed_at = with_seed(seed, |random| within(PATIENCE, move || at_random(random)));
        if let Some(request) = failed_at {
            *met.entry(request).or_default() += 1;
        }
    }
    report(format_args!("faults, in company: {tried} at random, 0 violations, 0 hung; the disk failed at {met:?}"));
}

#[test]
fn control_in_company_the_planted_bugs_are_seen() {
    for bug in [Bug::AnswerBeforeCommit, Bug::FaultSwallowed] {
        let is_seen = |_: &u64| {
            let random = fastrand::Rng::new();
            let said = with_bug(Some(bug), || within(PATIENCE, move || at_random(random)));
            said.is_err_and(|wrong| wrong.contains(IMAGE))
        };
        let seen = (0..80).filter(is_seen).count();
        report(format_args!("control of the faults, in company: {bug:?} was seen in {seen} of 80 random runs"));
        assert!(seen > 0, "80 runs, and nobody saw {bug:?}");
    }
}
