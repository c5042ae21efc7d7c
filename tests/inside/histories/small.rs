//! Small histories, thousands of them, of each of which an order is searched that explains it.
//!
//! Nothing is known of such a history but what was asked and answered and when, by the ticks of a counter. When in
//! between the store looked at the clock is not known either: each moment that the clock showed meanwhile is tried.

use std::ops::AddAssign;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use fastrand::Rng;

use super::super::campaign::{report, seeds, with_seed};
use super::calls::{Answer, Write};
use super::choose::Board;
use super::clock;
use super::linear::{MOST_CALLS, NoOrder, Span, State, order};
use super::record::{Asked, Entry, Log, Scene};
use super::world::{World, Wrong};
use crate::planted::{Bug, with_bug};
use crate::{Clock, Store, Timestamp};

const THREADS: usize = 5;
const CALLS_EACH: usize = 10;
/// Made before the threads start, so that they meet on something.
const CALLS_FIRST: usize = 5;

/// What the store holds, and the last moment that anything was written at.
#[derive(Clone, Debug, Default, PartialEq)]
struct Moment {
    world: World,
    now: Option<Timestamp>,
}

struct Asking {
    entry: Entry,
    /// The moments that the clock showed from the call to the return.
    moments: Vec<Timestamp>,
}

impl State for Moment {
    type Call = Asking;

    fn after(&self, Asking { entry, moments }: &Asking) -> Vec<Self> {
        match &entry.asked {
            Asked::Read(read) if self.world.read(read) == entry.answer => vec![self.clone()],
            Asked::Read(_) => vec![],
            Asked::Write(write) => {
                let possible = moments.iter().filter(|now| self.now <= Some(**now));
                possible.filter_map(|now| self.write(write, &entry.answer, *now)).collect()
            }
        }
    }
}

impl Moment {
    fn write(&self, write: &Write, given: &Answer, now: Timestamp) -> Option<Self> {
        let mut world = self.world.clone();
        let answer = match world.write(write, given, now) {
            Ok(answer) => answer,
            Err(Wrong::Refused(name)) => Answer::Refused(name),
            Err(Wrong::Impossible(_)) => return None,
        };
        (answer == *given).then_some(Self { world, now: Some(now) })
    }
}

/// Histories that had an order.
#[derive(Debug, Default)]
struct Tried {
    histories: usize,
    calls: usize,
    /// Pairs of calls that were under way at the same time.
    meetings: usize,
    /// Calls that have another place in the order found than by the time they were made.
    overtaken: usize,
}

impl AddAssign for Tried {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.calls += other.calls;
        self.meetings += other.meetings;
        self.overtaken += other.overtaken;
    }
}

/// Runs a small history, and searches an order of it.
fn has_an_order(bug: Option<Bug>, random: &mut Rng) -> Result<Tried, String> {
    let (log, shown) = run(bug, random);
    let spans: Vec<_> = log.into_iter().map(|entry| span(entry, &shown)).collect();
    let order = order(&Moment::default(), &spans).map_err(|none| explain(&spans, &none))?;
    let meet = |one: &Span<Asking>, other: &Span<Asking>| one.called < other.returned && other.called < one.returned;
    let pairs = spans.iter().enumerate().flat_map(|(at, one)| spans[..at].iter().map(move |other| (one, other)));
    Ok(Tried {
        histories: 1,
        calls: spans.len(),
        meetings: pairs.filter(|(one, other)| meet(one, other)).count(),
        overtaken: order.iter().enumerate().filter(|(place, at)| place != *at).count(),
    })
}

/// The history in the order of its calls, and all that the clock showed.
fn run(bug: Option<Bug>, random: &mut Rng) -> (Log, Vec<Timestamp>) {
    const { assert!(CALLS_FIRST + THREADS * CALLS_EACH <= MOST_CALLS) };
    let clock = clock();
    let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
    let board = Board::default();
    let scene = Scene { store: &store, clock: &clock, board: &board };
    let shown = Mutex::new(vec![clock.now()]);
    let mut log = Log::new();
    with_bug(bug, || {
        scene.ask(Asked::Write(Write::CreateThread), &mut log);
        while log.len() < CALLS_FIRST {
            let asked = choose(&scene, random);
            if matches!(asked, Asked::Write(Write::CreateTask(..))) {
                scene.ask(asked, &mut log);
            }
        }
    });
    let start = Barrier::new(THREADS);
    let act = |mut random: Rng| {
        let mut log = Log::new();
        start.wait();
        for _ in 0..CALLS_EACH {
            scene.ask(choose(&scene, &mut random), &mut log);
            if random.u8(..12) == 0 {
                // Known before it is shown: it may be more than was seen, never less.
                let mut shown = shown.lock().unwrap();
                let step = Duration::from_secs(random.u64(1..15));
                shown.push(clock.now() + step);
                clock.advance(step);
            }
        }
        log
    };
    std::thread::scope(|scope| {
        let act = &act;
        let forks: Vec<_> = (0..THREADS).map(|_| random.fork()).collect();
        let acting: Vec<_> =
            forks.into_iter().map(|random| scope.spawn(move || with_bug(bug, || act(random)))).collect();
        log.extend(acting.into_iter().flat_map(|thread| thread.join().unwrap()));
    });
    log.sort_by_key(|entry| entry.called);
    (log, shown.into_inner().unwrap())
}

/// What to do next, of what is done in one step: an order of calls that let others in between need not exist.
fn choose(scene: &Scene<'_>, random: &mut Rng) -> Asked {
    loop {
        match scene.board.choose(random, scene.clock.now()) {
            // So few claims time out at once in one step.
            Some(Asked::Write(write)) if write.is_in_parts() && !matches!(write, Write::Expire) => {}
            Some(asked) => return asked,
            None => {}
        }
    }
}

fn span(entry: Entry, shown: &[Timestamp]) -> Span<Asking> {
    let (from, to) = entry.clock;
    let moments = shown.iter().copied().filter(|moment| from <= *moment && *moment <= to).collect();
    let (called, returned) = (entry.called, entry.returned);
    Span { call: Asking { entry, moments }, called, returned }
}

fn explain(spans: &[Span<Asking>], none: &NoOrder) -> String {
    let line = |at: &usize| {
        let Entry { asked, answer, called, returned, .. } = &spans[*at].call.entry;
        format!("  [{called}, {returned}] {asked:?}: {answer:?}\n")
    };
    let [longest, stuck] = [&none.longest, &none.stuck].map(|calls| calls.iter().map(line).collect::<String>());
    format!("no order explains these answers; after\n{longest}none of these can have come next:\n{stuck}")
}

#[test]
fn small_histories_are_linearizable() {
    let mut tried = Tried::default();
    for seed in seeds(3_000) {
        tried += with_seed(seed, |mut random| has_an_order(None, &mut random));
    }
    let Tried { histories, calls, meetings, overtaken } = tried;
    report(format_args!(
        "{histories} small histories of {calls} calls of {THREADS} threads, {meetings} pairs of them at the same time, \
         have an order, searched for ({overtaken} calls have another place in it than they were made in); 0 have none"
    ));
    assert!(meetings > histories, "the threads hardly meet");
}

/// In how many of so many times 20 small histories this bug is seen.
fn seen(bug: Bug) {
    const TRIES: u64 = 20;
    let is_seen =
        |seed: &u64| with_seed(*seed, |mut random| Ok((0..20).any(|_| has_an_order(Some(bug), &mut random).is_err())));
    let seen = seeds(TRIES).take(TRIES as usize).filter(is_seen).count();
    report(format_args!("20 small histories: {bug:?} was seen in {seen} of {TRIES}"));
    assert!(seen > 0, "nobody saw {bug:?}");
}

#[test]
fn control_a_search_for_an_order_sees_a_grant_that_is_not_stored() {
    seen(Bug::GrantNotStored);
}

#[test]
fn control_a_search_for_an_order_sees_a_claim_without_a_check() {
    seen(Bug::ClaimWithoutCheck);
}

#[test]
fn control_a_search_for_an_order_sees_an_answer_before_the_commit() {
    seen(Bug::AnswerBeforeCommit);
}

#[test]
fn control_a_search_for_an_order_sees_an_early_expiry() {
    seen(Bug::ExpireEarly);
}
