//! Claiming: agents race for tasks, and work them off.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{Criterion, SamplingMode};
use khala::{AgentId, Claim, Store, TaskId};

use crate::crew::time_together;
use crate::fixture::{Fixture, load, scaled, task};
use crate::turns::Turns;
use crate::{CROWDS, crowd, elements};

/// How many agents race, and for how many tasks, where sharing a commit is compared with not sharing it.
const COMPARED_AGENTS: usize = 32;
const COMPARED_TASKS: usize = 10_000;

/// How many rounds of that: one operation per commit makes one sync per task, which takes many seconds.
const COMPARED_ROUNDS: usize = 5;

/// How many claims each agent makes, and renews, in a round where the two are compared.
const OPERATIONS: usize = 16;

/// How many of the oldest open tasks an agent looks at before it picks one, for each agent in the race.
const PAGE_PER_AGENT: usize = 4;

/// So many agents race for one open list until all of it is claimed.
pub(crate) fn race(criterion: &mut Criterion) {
    let fixture = LazyLock::new(|| Fixture::in_use(Store::builder()));
    let mut group = criterion.benchmark_group("claim race");
    group.sampling_mode(SamplingMode::Flat);
    for agents in CROWDS {
        let tasks = scaled(64 * agents.max(2));
        group.throughput(elements(tasks));
        group.bench_function(crowd(agents), |bencher| {
            LazyLock::force(&fixture);
            bencher.iter_custom(|races| (0..races).map(|_| Race::new(&fixture, tasks).run(agents).time).sum());
        });
    }
}

/// The same race with the store as it is and with every operation in a commit of its own. Criterion shows the first; of
/// both by turns comes the sentence that is given back.
pub(crate) fn race_batched_and_alone(criterion: &mut Criterion) -> Option<String> {
    let tasks = scaled(COMPARED_TASKS);
    let batched = LazyLock::new(|| Fixture::in_use(Store::builder()));
    let alone = LazyLock::new(|| Fixture::in_use(Store::builder().batch_max_operations(1)));
    let (tries, claims) = (Cell::new(0), Cell::new(0));
    let mut turns = Turns::new(
        COMPARED_ROUNDS,
        || {
            let race = Race::new(&batched, tasks).run(COMPARED_AGENTS);
            tries.set(tries.get() + race.tries);
            claims.set(claims.get() + tasks);
            race.time
        },
        || Race::new(&alone, tasks).run(COMPARED_AGENTS).time,
    );
    let mut group = criterion.benchmark_group("claim race against one operation per commit");
    group.sampling_mode(SamplingMode::Flat).throughput(elements(tasks));
    group.bench_function(format!("{COMPARED_AGENTS} agents, {COMPARED_TASKS} tasks"), |bencher| {
        LazyLock::force(&batched);
        LazyLock::force(&alone);
        bencher.iter_custom(|rounds| turns.take(rounds).0);
    });
    group.finish();
    let medians = turns.medians()?;
    Some(format!(
        "{COMPARED_AGENTS} agents race for {tasks} open tasks: {:.2?} with shared commits, {:.2?} with one operation per \
         commit. Sharing is {:.1} times faster (medians of {} rounds by turns). Every task was claimed exactly once; \
         {} of {} tries at shared commits came too late.",
        medians.first,
        medians.second,
        medians.ratio(),
        medians.rounds,
        tries.get() - claims.get(),
        tries.get(),
    ))
}

/// So many agents claim tasks and complete them, each its own.
pub(crate) fn claim_and_complete(criterion: &mut Criterion) {
    let fixture = LazyLock::new(|| Fixture::in_use(Store::builder()));
    let mut group = criterion.benchmark_group("claim and complete");
    group.sampling_mode(SamplingMode::Flat);
    for agents in CROWDS {
        group.throughput(elements(agents));
        group.bench_function(crowd(agents), |bencher| {
            LazyLock::force(&fixture);
            bencher.iter_custom(|rounds| {
                let rounds = usize::try_from(rounds).unwrap();
                let tasks = open_tasks(&fixture, agents * rounds);
                let (time, _) = time_together(agents, |number| {
                    let agent = agent(number);
                    // Neighbours in the queue go to different agents, as they do when everybody takes what is oldest.
                    for &task in tasks.iter().skip(number).step_by(agents) {
                        let claim = fixture.claim_task(task, &agent).unwrap().unwrap();
                        assert!(fixture.complete_task(task, claim.id).unwrap());
                    }
                });
                time
            });
        });
    }
}

/// So many agents claim tasks of their own, and renew claims of their own.
///
/// Renewing writes only when the claim lasts longer than before, which each of these does.
pub(crate) fn claim_and_renew(criterion: &mut Criterion) -> Option<String> {
    let fixture = LazyLock::new(|| Fixture::in_use(Store::builder()));
    let held = LazyLock::new(|| claimed_tasks(&fixture));
    let mut turns = Turns::new(usize::MAX, || claim_all(&fixture), || renew_all(&fixture, &held));
    let mut group = criterion.benchmark_group("claim and renew");
    group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(1));
    group.throughput(elements(COMPARED_AGENTS * OPERATIONS));
    group.bench_function(format!("claim_task, {}", crowd(COMPARED_AGENTS)), |bencher| {
        LazyLock::force(&held);
        bencher.iter_custom(|rounds| turns.take(rounds).0);
    });
    group.bench_function(format!("renew_claim, {}", crowd(COMPARED_AGENTS)), |bencher| {
        LazyLock::force(&held);
        bencher.iter_custom(|rounds| turns.take(rounds).1);
    });
    group.finish();
    let medians = turns.medians()?;
    Some(format!(
        "{COMPARED_AGENTS} agents make {OPERATIONS} claims each in {:.2?} and renew as many in {:.2?}: {:.2} times as long \
         (medians of {} rounds by turns).",
        medians.first,
        medians.second,
        medians.ratio(),
        medians.rounds,
    ))
}

/// How long it takes until every agent has claimed what is its own.
fn claim_all(fixture: &Fixture) -> Duration {
    let tasks = open_tasks(fixture, COMPARED_AGENTS * OPERATIONS);
    let (time, claims) = time_together(COMPARED_AGENTS, |number| {
        let agent = agent(number);
        let own = tasks.iter().skip(number).step_by(COMPARED_AGENTS);
        own.map(|&task| fixture.claim_task(task, &agent).unwrap().unwrap()).collect::<Vec<_>>()
    });
    let claims: Vec<_> = claims.into_iter().flatten().collect();
    load(fixture, claims.len(), move |tx, i| {
        tx.complete_task(claims[i].task.id, claims[i].id).map(|completed| assert!(completed))
    });
    time
}

/// How long it takes until every agent has renewed what is its own.
fn renew_all(fixture: &Fixture, held: &[Claim]) -> Duration {
    let expiry = |claim: &Claim| fixture.task(claim.task.id).unwrap().unwrap().expires_at;
    let before: Vec<_> = held.iter().map(expiry).collect();
    let (time, _) = time_together(COMPARED_AGENTS, |number| {
        for claim in held.iter().skip(number).step_by(COMPARED_AGENTS) {
            assert!(fixture.renew_claim(claim.task.id, claim.id).unwrap());
        }
    });
    assert!(held.iter().zip(before).all(|(claim, before)| expiry(claim) > before), "every renewal was written");
    time
}

/// As many claims as all agents renew in a round.
fn claimed_tasks(fixture: &Fixture) -> Vec<Claim> {
    let tasks = open_tasks(fixture, COMPARED_AGENTS * OPERATIONS);
    let agent = agent(0);
    load(fixture, tasks.len(), move |tx, i| Ok(tx.claim_task(tasks[i], &agent)?.unwrap()))
}

/// A race for one open list.
///
/// Every agent does what an application does: it looks at the oldest tasks that are open, picks one of them at random and
/// tries to claim it. Two who pick the same one, or one that is being claimed, really race, and one of them loses. All
/// walking the list in the same order would race for one task at a time, 31 of 32 losing each; going through all of it
/// on one's own would mean to try thousands that have long been taken. Both measure how fast one is turned away.
///
/// What a look at the list would show, `taken` says: reading it from the store is measured elsewhere.
struct Race<'a> {
    store: &'a Store,
    tasks: Vec<TaskId>,
    /// Which are known to be taken, because somebody has got an answer about them.
    taken: Vec<AtomicBool>,
}

/// How a race went.
struct Finish {
    time: Duration,
    tries: usize,
}

impl<'a> Race<'a> {
    fn new(fixture: &'a Fixture, tasks: usize) -> Self {
        let taken = (0..tasks).map(|_| AtomicBool::new(false)).collect();
        Self { store: fixture, tasks: open_tasks(fixture, tasks), taken }
    }

    fn run(&self, agents: usize) -> Finish {
        let (time, results) = time_together(agents, |number| self.take_part(number, PAGE_PER_AGENT * agents));
        let tries = results.iter().map(|(tries, _)| tries).sum();
        self.check(results.into_iter().flat_map(|(_, claims)| claims).collect());
        Finish { time, tries }
    }

    /// Claims what it can until all is taken: how often it tried, and what it got.
    fn take_part(&self, number: usize, page: usize) -> (usize, Vec<Claim>) {
        let agent = agent(number);
        let mut dice = Dice::new(number);
        let (mut tries, mut claims) = (0, Vec::new());
        let is_taken = |task: &usize| self.taken[*task].load(Ordering::Relaxed);
        let mut oldest = 0;
        loop {
            oldest = (oldest..self.tasks.len()).find(|task| !is_taken(task)).unwrap_or(self.tasks.len());
            let open: Vec<_> = (oldest..self.tasks.len()).filter(|task| !is_taken(task)).take(page).collect();
            let Some(&task) = dice.pick(&open) else { return (tries, claims) };
            claims.extend(self.store.claim_task(self.tasks[task], &agent).unwrap());
            self.taken[task].store(true, Ordering::Relaxed);
            tries += 1;
        }
    }

    /// Every task was claimed exactly once, and is stored under that claim.
    fn check(&self, mut claims: Vec<Claim>) {
        claims.sort_unstable_by_key(|claim| claim.task.id);
        let claimed: Vec<_> = claims.iter().map(|claim| claim.task.id).collect();
        assert_eq!(claimed, self.tasks, "every task is claimed exactly once");
        for claim in claims {
            assert_eq!(self.store.task(claim.task.id).unwrap(), Some(claim.task), "the claim is what is stored");
        }
    }
}

/// This many new open tasks, oldest first.
fn open_tasks(fixture: &Fixture, count: usize) -> Vec<TaskId> {
    let threads = fixture.threads.clone();
    load(fixture, count, move |tx, i| Ok(tx.create_task(threads[i % threads.len()], &task("reviewer"))?.id))
}

fn agent(number: usize) -> AgentId {
    AgentId::new(format!("agent-{number}")).unwrap()
}

/// A die that falls the same way in every run: Vigna's `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn new(number: usize) -> Self {
        Self(u64::try_from(number).unwrap())
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        let index = bits.checked_rem(u64::try_from(from.len()).unwrap())?;
        from.get(usize::try_from(index).unwrap())
    }
}
