//! Futures that are dropped at any moment, and what is left of them: no claim that nobody has, no place in line, no write in
//! part. With bugs planted in every thread of the runtime.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::campaign::{report, seeds, with_seed};
use crate::db::{FailingDisk, Fault, Plan, TestDisk};
use crate::planted::{Bug, plant_here, with_bug};
use crate::{AgentId, AsyncStore, Claim, Error, NewTask, Result, Store, TaskFilter, TaskId, TaskStatus};

/// Longer than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime of either kind, few threads, and a bug in all of them.
fn runtime(is_multi_thread: bool, bug: Option<Bug>) -> Runtime {
    let mut builder = if is_multi_thread { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.worker_threads(2).enable_time().max_blocking_threads(2).on_thread_start(move || plant_here(bug));
    builder.build().unwrap()
}

fn agent(number: usize) -> AgentId {
    AgentId::new(format!("agent-{number}")).unwrap()
}

/// What a future gives if it is ready within so many polls. It is dropped in any case.
async fn within<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            return Some(answer);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Claims, loses patience at any moment, and settles what it was given, until all tasks are done. The claims it got.
async fn work(store: AsyncStore, tasks: Arc<[TaskId]>, number: usize, mut random: Rng) -> Result<Vec<Claim>> {
    let (me, any) = (agent(number), TaskFilter::new());
    let mut got = Vec::new();
    loop {
        let polls = [random.usize(..4), random.usize(..40), usize::MAX][random.usize(..3)];
        let claim = match random.u8(..3) {
            0 => within(store.claim_task(tasks[random.usize(..tasks.len())], &me), polls).await,
            1 => within(store.claim_next(&me, &any), polls).await,
            _ => within(store.claim_next_within(&me, &any, Duration::from_millis(random.u64(..3))), polls).await,
        };
        if let Some(claim) = claim.transpose()?.flatten() {
            got.push(claim.clone());
            if random.bool() {
                let ended = within(store.complete_task(claim.task.id, claim.id), random.usize(..4)).await;
                // Whether it was done or not, this says yes.
                assert!(ended.transpose()?.unwrap_or(true));
                assert!(store.complete_task(claim.task.id, claim.id).await?);
            } else {
                assert!(store.release_task(claim.task.id, claim.id).await?);
            }
        }
        if store.stats().await?.tasks[&TaskStatus::Completed] == tasks.len() as u64 {
            return Ok(got);
        }
    }
}

/// Several work as above. At the end each task was in as many hands as somebody got it, and never in two at once.
fn everything_is_done(mut random: Rng, bug: Option<Bug>) -> Result<usize, String> {
    const TASKS: usize = 12;
    let runtime = runtime(random.bool(), bug);
    let store = with_bug(bug, Store::in_memory).unwrap();
    let thread = store.create_thread("futures", "test").unwrap().id;
    let tasks = store.create_tasks(thread, vec![NewTask::new("any", ""); TASKS]).unwrap();
    let tasks: Arc<[TaskId]> = tasks.iter().map(|task| task.id).collect();
    // With a bug it is waited for in vain, and as long.
    let patience = if bug.is_some() { Duration::from_secs(1) } else { PATIENCE };
    let got = with_bug(bug, || {
        runtime.block_on(async {
            let mut working = JoinSet::new();
            for number in 0..6 {
                let (store, tasks, random) = (AsyncStore::from(store.clone()), Arc::clone(&tasks), random.fork());
                working.spawn(work(store, tasks, number, random));
            }
            let all = async { working.join_all().await.into_iter().collect::<Result<Vec<_>>>() };
            let all = tokio::time::timeout(patience, all).await;
            all.map_err(|_| format!("not done in {patience:?}: {}", whereabouts(&store)))?.map_err(|e| e.to_string())
        })
    })?;
    // A claim that is being given back is none that anybody has: that is over when the runtime is.
    drop(runtime);
    store.verify().map_err(|error| error.to_string())?;
    let mut claims: Vec<_> = got.concat().iter().map(|claim| claim.id).collect();
    let count = claims.len();
    claims.sort_unstable();
    claims.dedup();
    if claims.len() < count { Err("a claim is given to two".into()) } else { Ok(count) }
}

fn whereabouts(store: &Store) -> String {
    let tasks = store.tasks(&TaskFilter::new()).unwrap().items;
    let mut by_status = BTreeMap::<_, u32>::new();
    for task in tasks {
        *by_status.entry(task.status).or_default() += 1;
    }
    format!("{by_status:?}")
}

#[test]
fn whoever_loses_patience_leaves_no_claim_behind() {
    let claims: usize = seeds(60).map(|seed| with_seed(seed, |random| everything_is_done(random, None))).sum();
    report(format_args!("futures that are dropped: 60 scenes, {claims} claims received, none left behind"));
}

#[test]
fn control_a_claim_that_is_not_given_back_is_seen() {
    let seen = |seed: &u64| {
        with_seed(*seed, |random| {
            let wrong = everything_is_done(random, Some(Bug::ClaimNotGivenBack)).err();
            Ok(wrong.is_some_and(|wrong| wrong.contains("Claimed")))
        })
    };
    let count = seeds(5).take(5).filter(seen).count();
    report(format_args!("futures that are dropped: ClaimNotGivenBack was seen in {count} of 5"));
    assert!(count > 0, "nobody saw it");
}

#[test]
fn futures_that_come_together_share_a_commit() {
    let disk = TestDisk::default();
    let store = AsyncStore::from(Store::builder().open_on(disk.clone()).unwrap());
    let before = disk.syncs();
    runtime(false, None).block_on(async {
        let mut writing = JoinSet::new();
        for _ in 0..200 {
            let store = store.clone();
            writing.spawn(async move { store.create_thread("futures", "test").await.unwrap() });
        }
        assert_eq!(writing.join_all().await.len(), 200);
    });
    let syncs = disk.syncs() - before;
    assert!(syncs <= 20, "{syncs} syncs for 200 writes");
}

/// Futures wait for tasks, and the disk fails under a write of somebody else.
fn everybody_is_told_of_a_failure(is_multi_thread: bool, bug: Option<Bug>) -> Result<(), String> {
    let disk = FailingDisk::of(Vec::new());
    let store = AsyncStore::from(Store::builder().open_on(disk.clone()).unwrap());
    runtime(is_multi_thread, bug).block_on(async {
        plant_here(bug);
        let mut waiting = JoinSet::new();
        for number in 0..5 {
            let store = store.clone();
            waiting.spawn(async move {
                store.claim_next_within(&agent(number), &TaskFilter::new(), Duration::MAX).await.map(drop)
            });
        }
        // Each has tried in vain once this one has, as they are in one line.
        assert_eq!(
            store.claim_next_within(&agent(9), &TaskFilter::new(), Duration::from_millis(20)).await.unwrap(),
            None
        );
        disk.arm(Some(Plan { after: 0, only: None, fault: Fault::Eio, for_ever: true }));
        let failed = store.create_thread("futures", "test").await;
        plant_here(None);
        if !matches!(failed, Err(Error::CommitUnknown | Error::Io { .. } | Error::Poisoned)) {
            return Err(format!("the disk failed, and {failed:?}"));
        }
        let patience = if bug.is_some() { Duration::from_millis(200) } else { PATIENCE };
        let told = tokio::time::timeout(patience, waiting.join_all()).await.map_err(|_| "somebody is not told")?;
        if told.iter().all(|told| matches!(told, Err(Error::Poisoned))) { Ok(()) } else { Err(format!("{told:?}")) }
    })
}

#[test]
fn futures_that_wait_are_told_when_the_store_fails() {
    for is_multi_thread in [false, true] {
        everybody_is_told_of_a_failure(is_multi_thread, None).unwrap();
    }
}

#[test]
fn control_a_failure_that_no_future_is_told_of_is_seen() {
    let told = everybody_is_told_of_a_failure(false, Some(Bug::FailureNotTold));
    assert_eq!(told.unwrap_err(), "somebody is not told");
}
