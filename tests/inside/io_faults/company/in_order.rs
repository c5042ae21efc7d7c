//! The same scene each time, on a disk that fails at the n-th request, for every n there is.
//!
//! ```text
//!   two agents sleep ── the first writer holds the engine ── a reader reads its snapshot
//!     behind the first writer, one batch: a writer, an agent, two writers
//!       while that one is at work, the next batch: two writers
//!         then, if nothing has failed, a task for each agent
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use super::super::contents::Contents;
use super::super::{
    HANGS, PATIENCE, Told, Trial, clock, every_fault, fixture, open, refuses_everything, survives, told, within,
};
use super::{Claimed, Ended, board, is_true, joined, leave_mark, or_ends_it, outcome, start};
use crate::db::{Asked, FailingDisk, Fault, Plan};
use crate::inside::campaign::{report, seeds, with_seed};
use crate::planted::{Bug, with_bug};
use crate::{AgentId, Claim, Clock, ManualClock, NewTask, Result, Store, TaskFilter, ThreadId, Timestamp};

/// A clock that knows how often it was asked, which every operation does when it is run.
#[derive(Clone, Debug)]
struct Counting(ManualClock, Arc<AtomicU64>);

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        self.1.fetch_add(1, SeqCst);
        self.0.now()
    }
}

/// A closure stops at it when it is first run. Outside one hears that it is there, and can let it go.
struct Gate {
    reached: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
}

fn gate() -> (Gate, impl FnMut() + Send + 'static) {
    let ((reach, reached), (open, opened)) = (mpsc::channel(), mpsc::channel());
    let stop = move || {
        // Nobody listens the second time.
        let _ = reach.send(()).map(|()| opened.recv());
    };
    (Gate { reached, open }, stop)
}

impl Gate {
    /// Lets the closure go on, if it is still there.
    fn open(&self) {
        let _ = self.open.send(());
    }

    /// Whether the closure is there; if not, it never will be.
    fn is_reached(&self) -> bool {
        self.reached.recv().is_ok()
    }
}

/// Those who are in the scene.
struct Cast<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    store: &'env Store,
    board: ThreadId,
    fault: Fault,
}

type Writer<'scope> = (String, ScopedJoinHandle<'scope, Result<()>>);
type Agent<'scope> = ScopedJoinHandle<'scope, Result<Option<Claim>>>;

impl<'scope> Cast<'scope, '_> {
    /// Somebody who leaves a mark, after stopping at the gate.
    fn writer(&self, mark: &str, mut stop: impl FnMut() + Send + 'static) -> Writer<'scope> {
        let (store, board) = (self.store, self.board);
        let (left, mark) = (mark.to_owned(), mark.to_owned());
        let writer = start(self.scope, move || {
            store.write(move |tx| {
                stop();
                leave_mark(tx, board, &left, |_| Ok(()))
            })
        });
        (mark, writer)
    }

    /// Somebody who waits for a task of a role that nobody has.
    fn agent(&self) -> Agent<'scope> {
        let store = self.store;
        start(self.scope, move || {
            store.claim_next_within(&AgentId::new("agent").unwrap(), &TaskFilter::new().role("later"), Duration::MAX)
        })
    }

    /// Two who wait, and have begun their first try.
    fn sleepers(&self, clock: &Counting) -> Vec<Agent<'scope>> {
        let mut agents = Vec::new();
        for _ in 0..2 {
            let asked = clock.1.load(SeqCst);
            agents.push(self.agent());
            while clock.1.load(SeqCst) == asked {
                thread::yield_now();
            }
        }
        agents
    }

    /// Somebody who has a snapshot, and reads all of it when the gate is opened.
    fn reader(&self) -> (Gate, ScopedJoinHandle<'scope, Result<Contents>>) {
        let (gate, mut stop) = gate();
        let store = self.store;
        let reader = start(self.scope, move || {
            store.read(|tx| {
                stop();
                Contents::of(tx)
            })
        });
        (gate, reader)
    }

    /// Waits until so many are in the batch that is open, or the last of them has been turned away.
    fn wait_until_in_batch<T>(&self, so_many: usize, last: &ScopedJoinHandle<'scope, T>) {
        while self.store.writer().waiting() < so_many && !last.is_finished() {
            thread::yield_now();
        }
    }

    fn told_to(&self, writers: Vec<Writer<'scope>>) -> Result<Vec<Ended>, String> {
        let ended = |(mark, writer)| Ok(Ended { mark, told: outcome(joined(writer)?, self.fault)? });
        writers.into_iter().map(ended).collect()
    }
}

/// What a scene came to: what each was told, group by group, and what the disk was asked for.
struct Scene {
    groups: Vec<Vec<Ended>>,
    requests: Vec<Asked>,
    has_failed: bool,
}

type Acted = (Vec<Vec<Ended>>, Vec<Claimed>);

/// Plays the scene on a disk that fails by this plan. The error is a violation.
fn play(cache_bytes: usize, plan: Option<Plan>) -> Result<Scene, String> {
    let disk = FailingDisk::of(fixture(2));
    let clock = Counting(clock(), Arc::default());
    let store = Store::builder().clock(clock.clone()).cache_bytes(cache_bytes).open_on(disk.clone()).unwrap();
    let fault = plan.map_or(Fault::Eio, |plan| plan.fault);
    let (groups, claims) = thread::scope(|scope| {
        let cast = Cast { scope, store: &store, board: board(&store), fault };
        or_ends_it(&disk, &store, || cast.act(&clock, || disk.arm(plan)))
    })?;
    is_in_order(&groups)?;
    let has_failed = store.failure().is_some();
    if has_failed {
        refuses_everything(&store, fault)?;
    }
    drop(store);
    let requests = disk.requests();
    if let Some(plan) = plan.filter(|plan| plan.for_ever)
        && let Err(error) = open(&disk, cache_bytes, true)
    {
        told(&error, plan.fault)?;
    }
    survives(&disk, |_, contents| is_true(&contents, groups.iter().flatten(), &claims))?;
    Ok(Scene { groups, requests, has_failed })
}

impl Cast<'_, '_> {
    fn act(&self, clock: &Counting, arm: impl FnOnce()) -> Result<Acted, String> {
        let (store, fault) = (self.store, self.fault);
        // Else the agents' first tries would do it.
        store.expire_timed_out_tasks().unwrap();
        let held = store.read(Contents::of).unwrap();
        let mut agents = self.sleepers(clock);
        // Its turn comes after the agents' first tries.
        let (first_gate, stop) = gate();
        let first = vec![self.writer("first", stop)];
        assert!(first_gate.is_reached());
        let (snapshot, reader) = self.reader();
        assert!(snapshot.is_reached());

        arm();
        snapshot.open();
        let mut answers = Vec::new();
        match outcome(joined(reader)?, fault)? {
            Ok(seen) if seen == held => {}
            Ok(seen) => return Err(format!("the reader got a wrong answer: {}", seen.difference(&held))),
            // Nobody else has noticed yet: those who sleep have only the reader to wake them.
            Err(_) => {
                for agent in agents.drain(..) {
                    answers.push(joined(agent)?);
                }
            }
        }
        let (second_gate, stop) = gate();
        let mut second = vec![self.writer("second 0", stop)];
        self.wait_until_in_batch(1, &second[0].1);
        agents.push(self.agent());
        self.wait_until_in_batch(2, &agents[agents.len() - 1]);
        for number in 1..3 {
            second.push(self.writer(&format!("second {number}"), || {}));
            self.wait_until_in_batch(number + 2, &second[number].1);
        }
        first_gate.open();
        let mut third = Vec::new();
        if second_gate.is_reached() {
            for number in 0..2 {
                third.push(self.writer(&format!("third {number}"), || {}));
                self.wait_until_in_batch(number + 1, &third[number].1);
            }
            second_gate.open();
        }
        let groups = [first, second, third].map(|group| self.told_to(group));
        let groups = groups.into_iter().collect::<Result<Vec<_>, String>>()?;
        // A task for each of them, if they are still there: whoever cannot have one has been told.
        for _ in 0..agents.len() {
            let created = store.create_task(self.board, NewTask::new("later", "At last."));
            outcome(created, fault)?.ok();
        }
        for agent in agents {
            answers.push(joined(agent)?);
        }
        let mut claims = Vec::new();
        for answer in answers {
            if let Ok(claim) = outcome(answer, fault)? {
                let claim = claim.ok_or("an agent was sent away with nothing")?;
                claims.push(Claimed { task: claim.task.id, claim: claim.id, completed: None });
            }
        }
        Ok((groups, claims))
    }
}

/// Those of one batch are told the same; after a failure everybody is refused.
fn is_in_order(groups: &[Vec<Ended>]) -> Result<(), String> {
    let mut has_failed = false;
    for group in groups {
        let all = |wanted: fn(&Result<(), Told>) -> bool| group.iter().all(|ended| wanted(&ended.told));
        let is_right = if has_failed {
            all(|told| *told == Err(Told::Refused))
        } else {
            all(Result::is_ok)
                || all(|told| *told == Err(Told::Unknown))
                || all(|told| matches!(told, Err(Told::Io | Told::Refused)))
        };
        if !is_right {
            return Err(format!("told one after the other: {groups:?}"));
        }
        has_failed = has_failed || group.iter().any(|ended| ended.told.is_err());
    }
    Ok(())
}

/// Every fault of every request of the scene.
fn trials(cache_bytes: usize, random: &mut fastrand::Rng) -> Result<Vec<Trial>, String> {
    let healthy = within(PATIENCE, move || play(cache_bytes, None))?;
    Ok(every_fault(&healthy.requests, random))
}

/// What most of a scene's people saw of the fault.
fn end_of(scene: &Scene) -> &'static str {
    let told: Vec<_> = scene.groups.iter().flatten().filter_map(|ended| ended.told.err()).collect();
    match told[..] {
        [] if scene.has_failed => "it failed behind the writers",
        [] => "nobody had to be told",
        _ if told.contains(&Told::Unknown) => "a commit failed",
        _ => "an operation or the reader failed",
    }
}

#[test]
fn in_company_a_fault_at_any_request_reaches_everybody() {
    let (mut tried, mut ends) = (0, BTreeMap::<&str, u64>::new());
    for seed in seeds(1) {
        with_seed(seed, |mut random| {
            for cache_bytes in [0, 1 << 20] {
                for trial in trials(cache_bytes, &mut random)? {
                    let scene = within(PATIENCE, move || play(cache_bytes, Some(trial.plan)))
                        .map_err(|wrong| format!("a cache of {cache_bytes} bytes, {trial}: {wrong}"))?;
                    tried += 1;
                    *ends.entry(end_of(&scene)).or_default() += 1;
                }
            }
            Ok(())
        });
    }
    assert_eq!(ends.len(), 4, "every stage is reached: {ends:?}");
    report(format_args!("faults, in company: {tried} in order, 0 violations, 0 hung; {ends:?}"));
}

#[test]
fn control_a_failure_that_wakes_nobody_is_seen() {
    // Those that hang stay behind until the process ends, so they are few, and all at once.
    let trials = trials(0, &mut fastrand::Rng::new()).unwrap();
    let first = |wanted: Told| {
        let hits = |plan: &Plan| {
            let plan = *plan;
            let scene = within(PATIENCE, move || play(0, Some(plan))).unwrap();
            scene.groups.iter().flatten().any(|ended| ended.told == Err(wanted))
        };
        trials.iter().map(|trial| trial.plan).step_by(7).filter(hits).take(10).collect::<Vec<_>>()
    };
    let plans = [first(Told::Refused), first(Told::Unknown)].concat();
    let bug = Some(Bug::FailureNotTold);
    let running: Vec<_> = plans
        .into_iter()
        .map(|plan| {
            thread::spawn(move || {
                with_bug(bug, || within(Duration::from_secs(3), move || play(0, Some(plan)).map(drop)))
            })
        })
        .collect();
    let of = running.len();
    let is_seen = |said: Result<(), String>| said.is_err_and(|wrong| wrong.starts_with(HANGS));
    let seen = running.into_iter().filter_map(|run| run.join().ok()).filter(|said| is_seen(said.clone())).count();
    report(format_args!("control of the faults, in company: FailureNotTold was seen in {seen} of {of} runs"));
    assert!(seen > 0, "{of} runs, and nobody was left waiting");
}
