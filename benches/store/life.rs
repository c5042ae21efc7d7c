//! What a store's life leaves behind must not slow it down: the same operation in a small and in a large store, by turns.
//!
//! The trees of the large store are deeper, so that a commit writes a few pages more; `claim_task`, which searches for
//! nothing, costs as much more there. Walking through the rows would make it a thousand times as long.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use khala::{AgentId, Store, TaskFilter, TaskId, ThreadId, ThreadStatus, Timestamp, WriteTx};

use crate::fixture::{Fixture, load, message, scaled, task};
use crate::turns::Turns;

/// How many rows a small and a large store have of what should not matter.
const FEW: usize = 1_000;
const MANY: usize = 1_000_000;

/// How many roles the tasks are for that are open and not asked for.
const OTHER_ROLES: usize = 20;

/// How many threads are pruned at a time, and what is in each of them.
const PRUNED: usize = 10;
const MESSAGES: usize = 5;
const TASKS: usize = 2;

/// The next task of a role of which there is one, while many are open for other roles.
pub(crate) fn claim_rare_role(criterion: &mut Criterion) -> Option<String> {
    let store = |open| {
        let fixture = Fixture::new(Store::builder());
        let thread = fixture.threads[0];
        load(&fixture, scaled(open), move |tx, i| {
            tx.create_task(thread, &task(&format!("role-{}", i % OTHER_ROLES))).map(drop)
        });
        fixture
    };
    compare(criterion, "claim_next", "open tasks of other roles", store, |fixture| claim_next(fixture, "rare"))
}

/// The next task of a role for which many have been completed.
pub(crate) fn claim_among_finished(criterion: &mut Criterion) -> Option<String> {
    let store = |finished| {
        let fixture = Fixture::new(Store::builder());
        let thread = fixture.threads[0];
        let agent = AgentId::new("veteran").unwrap();
        load(&fixture, scaled(finished), move |tx, _| {
            let task = tx.create_task(thread, &task("reviewer"))?;
            let claim = tx.claim_task(task.id, &agent)?.unwrap();
            tx.complete_task(task.id, claim.id).map(|done| assert!(done))
        });
        fixture
    };
    compare(criterion, "claim_next", "completed tasks", store, |fixture| claim_next(fixture, "reviewer"))
}

/// Removing finished threads among many in which work goes on, each with a message.
pub(crate) fn prune(criterion: &mut Criterion) -> Option<String> {
    let store = |threads| {
        let fixture = Fixture::new(Store::builder());
        load(&fixture, scaled(threads), |tx, _| {
            let thread = tx.create_thread("review", "bench")?.id;
            tx.append_message(thread, &message(64)).map(drop)
        });
        fixture
    };
    compare(criterion, &format!("prune {PRUNED} finished threads"), "other threads", store, prune_finished)
}

/// Measures an operation by turns in the store that `store` makes with few and with many of these rows. That both cost the
/// same is the point; the sentence that is given back says how near they come.
fn compare(
    criterion: &mut Criterion,
    operation: &str,
    rows: &str,
    store: impl Fn(usize) -> Fixture,
    measure: impl Fn(&Fixture) -> Duration,
) -> Option<String> {
    let few = LazyLock::new(|| store(FEW));
    let many = LazyLock::new(|| store(MANY));
    let prepare = || (LazyLock::force(&few), LazyLock::force(&many));
    let mut turns = Turns::new(usize::MAX, || measure(&few), || measure(&many));
    let mut group = criterion.benchmark_group(format!("{operation} among {rows}"));
    group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(1));
    group.bench_function(format!("{FEW}"), |bencher| {
        prepare();
        bencher.iter_custom(|rounds| turns.take(rounds).0);
    });
    group.bench_function(format!("{MANY}"), |bencher| {
        prepare();
        bencher.iter_custom(|rounds| turns.take(rounds).1);
    });
    group.finish();
    let medians = turns.medians()?;
    Some(format!(
        "{operation} takes {:.2?} among {FEW} {rows} and {:.2?} among {MANY}: {:.2} times as long (medians of {} rounds \
         by turns).",
        medians.first,
        medians.second,
        medians.ratio(),
        medians.rounds,
    ))
}

/// How long it takes to claim the only open task of a role.
fn claim_next(fixture: &Fixture, role: &str) -> Duration {
    let agent = AgentId::new("agent").unwrap();
    let filter = TaskFilter::new().role(role);
    let task = fixture.create_task(fixture.threads[0], task(role)).unwrap();
    let began = Instant::now();
    let claim = fixture.claim_next(&agent, &filter).unwrap();
    let time = began.elapsed();
    let claim = claim.unwrap();
    assert_eq!(claim.task.id, task.id);
    assert!(fixture.complete_task(task.id, claim.id).unwrap());
    time
}

/// How long it takes to prune the threads that have just finished.
fn prune_finished(fixture: &Fixture) -> Duration {
    let finished = load(fixture, PRUNED, |tx, _| finished_thread(tx));
    let began = Instant::now();
    let pruned = fixture.prune(Timestamp::MAX).unwrap();
    let time = began.elapsed();
    assert_eq!(usize::try_from(pruned).unwrap(), PRUNED);
    for (thread, tasks) in finished {
        assert_eq!(fixture.thread(thread).unwrap(), None);
        assert!(tasks.into_iter().all(|task| fixture.task(task).unwrap().is_none()));
    }
    time
}

/// A thread in which one task was completed, and the others were given up when it ended.
fn finished_thread(tx: &mut WriteTx) -> khala::Result<(ThreadId, Vec<TaskId>)> {
    let thread = tx.create_thread("review", "bench")?.id;
    for _ in 0..MESSAGES {
        tx.append_message(thread, &message(256))?;
    }
    let tasks: Vec<_> =
        (0..TASKS).map(|_| Ok(tx.create_task(thread, &task("reviewer"))?.id)).collect::<khala::Result<_>>()?;
    let claim = tx.claim_task(tasks[0], &AgentId::new("agent")?)?.unwrap();
    assert!(tx.complete_task(tasks[0], claim.id)?);
    tx.finish_thread(thread, ThreadStatus::Completed, Some("Done."))?;
    Ok((thread, tasks))
}
