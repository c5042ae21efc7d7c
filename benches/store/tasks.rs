//! Looking at the open tasks, and taking claims away that have timed out.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use khala::{AgentId, ManualClock, Store, TaskId, Timestamp};

use crate::elements;
use crate::fixture::{Fixture, load, scaled, task};
use crate::turns::Turns;

/// How many tasks are open, how many roles they are for, and how many of them are asked for.
const OPEN: usize = 100_000;
const ROLES: [usize; 2] = [1, 20];
const PAGE: usize = 50;

/// How many claims are due in each sweep, and how many are held in a small and in a large store.
const DUE: usize = 10;
const FEW_CLAIMED: usize = 1_000;
const MANY_CLAIMED: usize = 100_000;

/// The oldest 50 of 100,000 open tasks.
pub(crate) fn open_tasks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open tasks");
    group.throughput(elements(PAGE));
    for roles in ROLES {
        let fixture = LazyLock::new(|| {
            let fixture = Fixture::new(Store::builder());
            let thread = fixture.threads[0];
            load(&fixture, scaled(OPEN), move |tx, i| tx.create_task(thread, &task(&format!("role-{}", i % roles))));
            fixture
        });
        group.bench_function(
            format!("{PAGE} of {OPEN}, {roles} {}", if roles == 1 { "role" } else { "roles" }),
            |bencher| {
                assert_eq!(fixture.open_tasks(PAGE).unwrap().len(), PAGE);
                bencher.iter(|| fixture.open_tasks(PAGE).unwrap());
            },
        );
    }
}

/// Sweeps that find 10 due claims among 1,000 and among 100,000, and one that finds none. That the first two cost the
/// same is the point; the sentence that is given back says how near they come.
pub(crate) fn expire(criterion: &mut Criterion) -> Option<String> {
    let few = LazyLock::new(|| Claimed::new(scaled(FEW_CLAIMED)));
    let many = LazyLock::new(|| Claimed::new(scaled(MANY_CLAIMED)));
    let prepare = || (LazyLock::force(&few), LazyLock::force(&many));
    let mut turns = Turns::new(usize::MAX, || few.expire_due(), || many.expire_due());
    let mut group = criterion.benchmark_group("expire");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(format!("{DUE} due among {FEW_CLAIMED}"), |bencher| {
        prepare();
        bencher.iter_custom(|rounds| turns.take(rounds).0);
    });
    group.bench_function(format!("{DUE} due among {MANY_CLAIMED}"), |bencher| {
        prepare();
        bencher.iter_custom(|rounds| turns.take(rounds).1);
    });
    group.bench_function(format!("none due among {MANY_CLAIMED}"), |bencher| {
        bencher.iter(|| assert_eq!(many.fixture.expire_timed_out_tasks().unwrap(), 0));
    });
    group.finish();
    let medians = turns.medians()?;
    Some(format!(
        "{DUE} timed-out claims are taken away in {:.2?} among {FEW_CLAIMED} claims and in {:.2?} among {MANY_CLAIMED}: \
         {:.2} times as long (medians of {} rounds by turns).",
        medians.first,
        medians.second,
        medians.ratio(),
        medians.rounds,
    ))
}

/// A store with many claimed tasks, a few of which can be made to time out again and again.
struct Claimed {
    fixture: Fixture,
    clock: ManualClock,
    agent: AgentId,
    short: Vec<TaskId>,
}

impl Claimed {
    fn new(held: usize) -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let fixture = Fixture::new(Store::builder().clock(clock.clone()));
        let agent = AgentId::new("agent").unwrap();
        let thread = fixture.threads[0];
        let holder = agent.clone();
        load(&fixture, held, move |tx, _| {
            let task = tx.create_task(thread, &task("reviewer").timeout_seconds(u32::MAX))?;
            tx.claim_task(task.id, &holder)
        });
        let short =
            load(&fixture, DUE, move |tx, _| Ok(tx.create_task(thread, &task("reviewer").timeout_seconds(1))?.id));
        Self { fixture, clock, agent, short }
    }

    /// Claims the short ones, lets them time out, and takes the time of the sweep that finds them.
    fn expire_due(&self) -> Duration {
        let (short, agent) = (self.short.clone(), self.agent.clone());
        let claim_all = self.fixture.write(move |tx| {
            short.iter().try_for_each(|&task| tx.claim_task(task, &agent).map(|claim| assert!(claim.is_some())))
        });
        claim_all.unwrap();
        self.clock.advance(Duration::from_secs(1));
        let began = Instant::now();
        let expired = self.fixture.expire_timed_out_tasks().unwrap();
        let time = began.elapsed();
        assert_eq!(usize::try_from(expired).unwrap(), DUE);
        time
    }
}
