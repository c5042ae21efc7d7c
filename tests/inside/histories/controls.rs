//! The checker of long histories must see bugs in the store, and histories that were tampered with.

use std::mem::discriminant;
use std::time::Duration;

use fastrand::Rng;

use super::super::campaign::{report, seeds, with_seed};
use super::calls::{Answer, Read, Write};
use super::choose::Board;
use super::record::{Asked, Entry, Race, Scene};
use super::replay::Replay;
use super::{clock, is_in_order};
use crate::Store;
use crate::planted::Bug;

const TRIES: u64 = 20;

fn race(bug: Option<Bug>) -> Race {
    // With a bug it is waited for in vain, and as long.
    let watch = Duration::from_secs(if bug.is_some() { 2 } else { 60 });
    Race { threads: 8, patient: 10, calls: 100, bug, watch }
}

fn outcome(bug: Option<Bug>, random: &mut Rng) -> Result<(), String> {
    let clock = clock();
    let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
    is_in_order(&store, &clock, race(bug), 20, random).map(drop)
}

/// In how many of so many histories this bug is seen.
fn seen(bug: Bug) {
    let seen = seeds(TRIES)
        .take(TRIES as usize)
        .filter(|seed| with_seed(*seed, |mut random| Ok(outcome(Some(bug), &mut random).err())).is_some());
    let seen = seen.count();
    report(format_args!("histories of 2,000 calls: {bug:?} was seen in {seen} of {TRIES}"));
    assert!(seen > 0, "nobody saw {bug:?}");
}

#[test]
fn control_a_history_sees_a_claim_without_a_check() {
    seen(Bug::ClaimWithoutCheck);
}

#[test]
fn control_a_history_sees_a_completion_without_a_check() {
    seen(Bug::CompleteWithoutCheck);
}

#[test]
fn control_a_history_sees_an_early_expiry() {
    seen(Bug::ExpireEarly);
}

#[test]
fn control_a_history_sees_a_grant_that_is_not_stored() {
    seen(Bug::GrantNotStored);
}

#[test]
fn control_a_history_sees_an_answer_before_the_commit() {
    seen(Bug::AnswerBeforeCommit);
}

#[test]
fn control_a_history_sees_a_lost_wake_up() {
    seen(Bug::WakeUpLost);
}

/// Changes a history, as a store that is out of order would, or finds nothing to change at the place it looks at.
type Tamper = fn(&mut [Entry], &mut Rng) -> Option<()>;

/// Two calls of a kind, not far from each other, have each other's answers.
fn swap_answers(log: &mut [Entry], random: &mut Rng) -> Option<()> {
    let one = random.usize(..log.len());
    let differs = |other: &&Entry| other.answer != log[one].answer && is_alike(&other.asked, &log[one].asked);
    let far = log[one + 1..].iter().take(300).position(|other| differs(&other))?;
    let answer = log[one].answer.clone();
    log[one].answer = std::mem::replace(&mut log[one + 1 + far].answer, answer);
    Some(())
}

fn is_alike(one: &Asked, other: &Asked) -> bool {
    match (one, other) {
        (Asked::Write(one), Asked::Write(other)) => discriminant(one) == discriminant(other),
        (Asked::Read(one), Asked::Read(other)) => discriminant(one) == discriminant(other),
        _ => false,
    }
}

/// A look at a task gives what an earlier one gave: a snapshot from before what had been answered.
fn read_stale(log: &mut [Entry], random: &mut Rng) -> Option<()> {
    let later = random.usize(..log.len());
    let Asked::Read(Read::Task(task)) = log[later].asked else { return None };
    let called = log[later].called;
    let is_earlier =
        |entry: &&Entry| entry.returned < called && matches!(entry.asked, Asked::Read(Read::Task(of)) if of == task);
    let earlier = log.iter().filter(is_earlier).max_by_key(|entry| entry.returned)?.answer.clone();
    if log[later].answer == earlier {
        return None;
    }
    log[later].answer = earlier;
    Some(())
}

/// A call that changed something has changed nothing: in its place stands one that looks, and finds what is there.
fn forget(log: &mut [Entry], random: &mut Rng) -> Option<()> {
    let at = random.usize(..log.len());
    let changes = log[at].serials.len() == 1
        && matches!(log[at].answer, Answer::Claim(Some(_)) | Answer::Message(_) | Answer::Turn(..));
    let harmless = changes.then(|| log.iter().find(|entry| matches!(entry.asked, Asked::Write(Write::Spoil(_)))))??;
    let (asked, answer) = (harmless.asked.clone(), harmless.answer.clone());
    (log[at].asked, log[at].answer) = (asked, answer);
    Some(())
}

/// Two neighbours in the order of the commits that both made something have each other's places, and both are said to have
/// been under way all the time: the order agrees with real time, and only the ids do not rise. Two of most other calls
/// could as well have happened the other way round.
fn swap_places(log: &mut [Entry], random: &mut Rng) -> Option<()> {
    let makes = |entry: &Entry| match &entry.answer {
        Answer::Message(_) => 1,
        Answer::Thread(_) | Answer::Task(_) | Answer::Pair(..) => 2,
        _ => 0,
    };
    let one = random.usize(..log.len());
    let [place] = log[one].serials[..] else { return None };
    let next = log.iter().flat_map(|entry| &entry.serials).filter(|next| next.number > place.number);
    let next = *next.min_by_key(|next| next.number)?;
    let other = log.iter().position(|entry| entry.serials == [next])?;
    if makes(&log[one]) == 0 || makes(&log[one]) != makes(&log[other]) {
        return None;
    }
    let (first, second) = (log[one].clone(), log[other].clone());
    for at in [one, other] {
        log[at].called = first.called.min(second.called);
        log[at].returned = first.returned.max(second.returned);
        log[at].clock = (first.clock.0.min(second.clock.0), first.clock.1.max(second.clock.1));
    }
    (log[one].serials[0].number, log[other].serials[0].number) = (next.number, place.number);
    Some(())
}

/// A call has its place before that of one that had returned when it was made, also by the clock.
fn break_real_time(log: &mut [Entry], random: &mut Rng) -> Option<()> {
    let one = random.usize(..log.len());
    let [place] = log[one].serials[..] else { return None };
    let earlier = log.iter().find(|entry| entry.returned < log[one].called && entry.serials.len() == 1)?.serials[0];
    let other = log.iter().position(|entry| entry.serials == [earlier])?;
    (log[one].serials[0], log[other].serials[0]) = (earlier, place);
    Some(())
}

/// A yes for a no.
fn contradict(log: &mut [Entry], random: &mut Rng) -> Option<()> {
    let at = random.usize(..log.len());
    let Answer::Yes(yes) = &mut log[at].answer else { return None };
    *yes = !*yes;
    Some(())
}

#[test]
fn control_a_history_that_was_tampered_with_is_seen() {
    let tampers: [(&str, Tamper); 6] = [
        ("two neighbours swapped in the order", swap_places),
        ("an order against real time", break_real_time),
        ("two answers swapped", swap_answers),
        ("a stale read", read_stale),
        ("a change left out", forget),
        ("a yes for a no", contradict),
    ];
    for (name, tamper) in tampers {
        let seen = seeds(TRIES).take(TRIES as usize).filter(|seed| {
            with_seed(*seed, |mut random| {
                let clock = clock();
                let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
                let scene = Scene { store: &store, clock: &clock, board: &Board::default() };
                let mut log = scene.run(Race { calls: 2_000, ..race(None) }, &mut random)?;
                Replay::default().go_on(&log)?;
                if !(0..100_000).any(|_| tamper(&mut log, &mut random).is_some()) {
                    return Err("there is nothing to change".into());
                }
                Ok(Replay::default().go_on(&log).is_err())
            })
        });
        let seen = seen.count();
        report(format_args!("histories of 2,000 calls: {name} was seen in {seen} of {TRIES}"));
        assert!(seen > 0, "nobody saw {name}");
    }
}
