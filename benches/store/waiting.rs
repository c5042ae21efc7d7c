//! Waking who waits: how long a new task takes into the hands of an agent that is waiting for one.

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use khala::{AgentId, Store, TaskFilter};

use crate::fixture::{Fixture, message, task};
use crate::turns::Turns;

/// How long an agent has to try, find nothing and fall asleep before the task comes that wakes it.
const FALLING_ASLEEP: Duration = Duration::from_millis(3);

/// The longest an agent waits. Far longer than it ever should: no claim by then is a defect.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many commits a claim may take, at the median, after the call that created its task has returned.
const BAR: f64 = 1.5;

/// From a new task to the claim of an agent that waited for it, beside one commit of the same store. From the call of
/// `create_task` on it contains two commits, from its return on one; the sentence that is given back says how near they
/// come.
pub(crate) fn wake_up(criterion: &mut Criterion) -> Option<String> {
    let fixture = LazyLock::new(|| Fixture::in_use(Store::builder()));
    let mut called = Turns::new(usize::MAX, || two_commits(&fixture)[0], || wake(&fixture).since_call);
    let mut returned = Turns::new(usize::MAX, || two_commits(&fixture)[1], || wake(&fixture).since_return);
    let mut group = criterion.benchmark_group("wake up");
    group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(1));
    group.bench_function("one commit", |bencher| {
        LazyLock::force(&fixture);
        bencher.iter_custom(|rounds| called.take(rounds).0);
    });
    group.bench_function("claim after the call of create_task", |bencher| {
        LazyLock::force(&fixture);
        bencher.iter_custom(|rounds| called.take(rounds).1);
    });
    group.bench_function("claim after the return of create_task", |bencher| {
        LazyLock::force(&fixture);
        bencher.iter_custom(|rounds| returned.take(rounds).1);
    });
    group.finish();
    let (called, returned) = (called.medians()?, returned.medians()?);
    Some(format!(
        "An agent that waits has its claim {:.2?} after create_task was called, {:.2} times as long as one commit of \
         {:.2?}, and two are in it; and {:.2?} after create_task has returned, {:.2} times as long as one commit of \
         {:.2?}, and one is in it: {} the bar of {BAR} (medians of {} and {} rounds by turns).",
        called.second,
        called.ratio(),
        called.first,
        returned.second,
        returned.ratio(),
        returned.first,
        if returned.ratio() <= BAR { "within" } else { "over" },
        called.rounds,
        returned.rounds,
    ))
}

/// How long a commit takes while nobody waits, after the same rest as that of `create_task`, and one right behind it, as
/// that of the claim: on a machine that has rested the first takes longer.
fn two_commits(fixture: &Fixture) -> [Duration; 2] {
    thread::sleep(FALLING_ASLEEP);
    [(); 2].map(|()| {
        let thread = fixture.threads[0];
        let began = Instant::now();
        fixture.append_message(thread, message(256)).unwrap();
        began.elapsed()
    })
}

/// How long it took until the agent that waited held its claim.
struct Wake {
    since_call: Duration,
    since_return: Duration,
}

/// Creates a task that somebody waits for. Both sides take their times themselves.
fn wake(fixture: &Fixture) -> Wake {
    let agent = AgentId::new("patient").unwrap();
    let wait = || {
        let claim = fixture.claim_next_within(&agent, &TaskFilter::new().role("reviewer"), PATIENCE).unwrap();
        (Instant::now(), claim.unwrap())
    };
    let thread = fixture.threads[0];
    thread::scope(|scope| {
        let waiter = scope.spawn(wait);
        thread::sleep(FALLING_ASLEEP);
        let called = Instant::now();
        let task = fixture.create_task(thread, task("reviewer")).unwrap();
        let returned = Instant::now();
        let (held, claim) = waiter.join().unwrap();
        assert_eq!((claim.task.id, claim.task.attempts), (task.id, 1));
        assert!(fixture.complete_task(task.id, claim.id).unwrap());
        Wake { since_call: held - called, since_return: held.saturating_duration_since(returned) }
    })
}
