//! The operations as futures: on either kind of runtime, with two threads for blocking work, they do what the methods do, and
//! can be dropped at any moment.

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use khala::{
    AgentId, AsyncStore, Claim, Error, ManualClock, MessageFilter, NewMessage, NewTask, Store, TaskFilter, TaskId,
    TaskStatus, ThreadFilter, ThreadId, ThreadStatus, Timestamp,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Longer than any of these takes. Who is not woken gives up, and the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().max_blocking_threads(2).build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().max_blocking_threads(2).build().unwrap()
}

/// Runs a scene on each kind of runtime, and looks into its store at the end.
fn on_both<F: Future<Output = ()>>(scene: impl Fn(AsyncStore) -> F) {
    for runtime in [current_thread(), multi_thread()] {
        let store = Store::in_memory().unwrap();
        let scene = scene(AsyncStore::from(store.clone()));
        runtime.block_on(async { tokio::time::timeout(PATIENCE, scene).await.expect("it ends") });
        store.verify().unwrap();
    }
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

async fn thread_of(store: &AsyncStore) -> ThreadId {
    store.create_thread("futures", "test").await.unwrap().id
}

/// Polls a future so many times, with a turn for the others in between, and drops it. What it gave if it was ready by then.
async fn poll_and_drop<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(answer) = polled {
            return Some(answer);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Polls a claim and drops it. One that came all the same is given back by hand.
async fn claim_and_drop(store: &AsyncStore, claim: impl Future<Output = khala::Result<Option<Claim>>>, polls: usize) {
    if let Some(Ok(Some(claim))) = poll_and_drop(claim, polls).await {
        assert!(store.release_task(claim.task.id, claim.id).await.unwrap());
    }
}

#[test]
fn every_operation_is_a_future_and_does_what_the_method_does() {
    on_both(|store| async move {
        let (ada, writers) = (agent("ada"), TaskFilter::new().role("writer"));
        let thread = thread_of(&store).await;
        let task = store.create_task(thread, NewTask::new("writer", "one").max_attempts(9)).await.unwrap();
        let more = store.create_tasks(thread, vec![NewTask::new("writer", "two"); 2]).await.unwrap();
        let claim = store.claim_task(task.id, &ada).await.unwrap().unwrap();
        assert_eq!(store.claim_task(task.id, &ada).await.unwrap(), None);
        assert!(store.renew_claim(task.id, claim.id).await.unwrap());
        assert!(store.release_task(task.id, claim.id).await.unwrap());
        assert!(!store.complete_task(task.id, claim.id).await.unwrap(), "it was given back");
        let claim = store.claim_next(&ada, &writers).await.unwrap().unwrap();
        assert_eq!(claim.task.id, task.id);
        assert!(store.fail_task(task.id, claim.id, "no idea").await.unwrap());
        assert_eq!(store.task(task.id).await.unwrap().unwrap().status, TaskStatus::Open);
        assert!(store.cancel_task(task.id).await.unwrap());
        let claim = store.claim_next_within(&ada, &writers, PATIENCE).await.unwrap().unwrap();
        assert_eq!(claim.task.id, more[0].id);

        let first = store.append_message(thread, NewMessage::new("writer", "a")).await.unwrap();
        let second = store.append_message_at(thread, NewMessage::new("writer", "b"), Some(first.id)).await.unwrap();
        let late = store.append_message_at(thread, NewMessage::new("writer", "c"), Some(first.id)).await;
        assert!(late.unwrap_err().is_conflict());
        let rest = store.append_messages(thread, vec![NewMessage::new("writer", "d")]).await.unwrap();
        let after = MessageFilter::new().after(first.id);
        assert_eq!(store.thread_messages(thread, &after).await.unwrap(), [second, rest[0].clone()]);

        let done = store
            .write(move |tx| {
                tx.append_message(thread, &NewMessage::new("writer", "e").under(claim.task.id, claim.id))?;
                tx.complete_task(claim.task.id, claim.id)
            })
            .await;
        assert!(done.unwrap());
        let refused = store.write(move |tx| {
            tx.create_thread("refused", "test")?;
            Err::<(), _>(Error::aborted("not today"))
        });
        assert!(matches!(refused.await, Err(Error::Aborted { .. })));
        assert_eq!(store.open_tasks(9).await.unwrap(), [more[1].clone()]);
        assert_eq!(store.tasks(&TaskFilter::new().thread(thread)).await.unwrap().items.len(), 3);
        assert_eq!(store.expire_timed_out_tasks().await.unwrap(), 0);

        let token = store.register_agent(&ada).await.unwrap();
        assert_eq!(store.authenticate(token.expose()).await.unwrap(), store.agent(&ada).await.unwrap());
        let rotated = store.rotate_token(&ada).await.unwrap();
        assert_eq!(store.authenticate(token.expose()).await.unwrap(), None);
        assert!(store.authenticate(rotated.expose()).await.unwrap().is_some());
        assert_eq!(store.agents(None, 9).await.unwrap().len(), 1);
        assert!(store.remove_agent(&ada).await.unwrap());

        let ended = store.finish_thread(thread, ThreadStatus::Completed, Some("done")).await.unwrap();
        assert_eq!(store.thread(thread).await.unwrap(), Some(ended));
        assert_eq!(store.threads(&ThreadFilter::new()).await.unwrap().items.len(), 1);
        let later = store.read(|tx| Ok(tx.now() + Duration::from_secs(60))).await.unwrap();
        assert_eq!(store.prune(later).await.unwrap(), 1);
        let other = thread_of(&store).await;
        assert!(store.delete_thread(other).await.unwrap());
        assert_eq!(store.stats().await.unwrap().threads.values().sum::<u64>(), 0);
        store.checkpoint().await.unwrap();
        store.verify().await.unwrap();
        assert_eq!(store.schema_history().await.unwrap().len(), 3);
        assert_eq!(store.failure(), None);
    });
}

#[test]
fn a_store_is_opened_closed_and_copied_without_blocking() {
    for runtime in [current_thread(), multi_thread()] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents.khala");
        runtime.block_on(async {
            let store = AsyncStore::open(&path).await.unwrap();
            let thread = thread_of(&store).await;
            let copy = folder.path().join("copy.khala");
            assert_eq!(store.backup(&copy, |_| {}).await.unwrap().rows.threads, 1);
            let second = AsyncStore::open(&path).await;
            assert!(matches!(second, Err(Error::AlreadyOpen { .. })));
            store.clone().close().await;
            assert!(store.thread(thread).await.unwrap().is_some(), "another handle was closed");
            store.close().await;
            let builder = Store::builder().create_if_missing(false);
            let store = AsyncStore::open_with(builder.clone(), &path).await.expect("it is closed");
            assert!(store.thread(thread).await.unwrap().is_some());
            drop(store);
            // A moment later, on another thread.
            while AsyncStore::open_with(builder.clone(), &path).await.is_err() {
                tokio::task::yield_now().await;
            }
            let missing = AsyncStore::open_with(builder, Path::new("missing")).await;
            assert!(matches!(missing, Err(Error::Io { .. })));
        });
    }
}

#[cfg(feature = "json")]
#[test]
fn rows_go_out_and_come_in() {
    on_both(|store| async move {
        thread_of(&store).await;
        let (exported, lines) = store.export(Vec::new(), |_| {}).await.unwrap();
        assert_eq!(exported.rows.threads, 1);
        let other = AsyncStore::from(Store::in_memory().unwrap());
        let options = khala::ImportOptions::new();
        let imported = other.import(std::io::Cursor::new(lines.clone()), &options, |_| {}).await.unwrap();
        assert_eq!(imported.added.threads, 1);
        assert_eq!(other.export(Vec::new(), |_| {}).await.unwrap().1, lines);
        let wrong = other.import(&b"{}"[..], &options, |_| {}).await;
        assert!(matches!(wrong, Err(Error::Import { .. })));
    });
}

#[test]
fn a_thousand_wait_with_two_threads_and_each_gets_a_task() {
    on_both(|store| async move {
        let thread = thread_of(&store).await;
        let mut waiting = JoinSet::new();
        for number in 0..1_000 {
            let store = store.clone();
            waiting.spawn(async move {
                let filter = TaskFilter::new().role(["writer", "reviewer"][number % 2]);
                let claim = store.claim_next_within(&agent("one of many"), &filter, PATIENCE).await.unwrap();
                let claim = claim.expect("it is woken in time");
                assert!(store.complete_task(claim.task.id, claim.id).await.unwrap());
                claim.task.id
            });
        }
        let mut creating = JoinSet::new();
        for number in 0..1_000 {
            let store = store.clone();
            creating.spawn(async move {
                store.create_task(thread, NewTask::new(["writer", "reviewer"][number % 2], "")).await.unwrap().id
            });
        }
        let mut made = creating.join_all().await;
        let mut done = waiting.join_all().await;
        made.sort_unstable();
        done.sort_unstable();
        assert_eq!(done, made, "each task is done once");
    });
}

#[test]
fn whoever_waits_as_a_future_stands_in_line_with_threads_that_wait() {
    on_both(|store| async move {
        let thread = thread_of(&store).await;
        let mut waiting = JoinSet::new();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (store, mine) = (Store::from(store.clone()), TaskFilter::new());
                std::thread::spawn(move || store.claim_next_within(&agent("thread"), &mine, PATIENCE).unwrap().unwrap())
            })
            .collect();
        for _ in 0..4 {
            let store = store.clone();
            waiting.spawn(async move {
                let mine = TaskFilter::new();
                store.claim_next_within(&agent("future"), &mine, PATIENCE).await.unwrap().unwrap().task.id
            });
        }
        let tasks = store.create_tasks(thread, vec![NewTask::new("writer", ""); 8]).await.unwrap();
        let by_futures = waiting.join_all().await;
        let claimed = threads.into_iter().map(|thread| thread.join().unwrap().task.id).chain(by_futures);
        let mut claimed: Vec<_> = claimed.collect();
        claimed.sort_unstable();
        assert_eq!(claimed, tasks.iter().map(|task| task.id).collect::<Vec<_>>());
    });
}

#[test]
fn a_wait_ends_when_a_claim_times_out_or_a_scheduled_task_is_due_or_its_time_is_up() {
    on_both(|store| async move {
        let (ada, any) = (agent("ada"), TaskFilter::new());
        let thread = thread_of(&store).await;
        assert_eq!(store.claim_next_within(&ada, &any, Duration::ZERO).await.unwrap(), None);
        assert_eq!(store.claim_next_within(&ada, &any, Duration::from_millis(20)).await.unwrap(), None);
        let soon = store.read(|tx| Ok(tx.now() + Duration::from_millis(50))).await.unwrap();
        let scheduled = store.create_task(thread, NewTask::new("writer", "").not_before(soon).timeout_seconds(1));
        let scheduled = scheduled.await.unwrap();
        for _ in 0..2 {
            let claim = store.claim_next_within(&ada, &any, PATIENCE).await.unwrap().expect("it is due");
            assert_eq!(claim.task.id, scheduled.id, "when its time comes, and when the claim has timed out");
        }
    });
}

#[test]
fn patience_is_measured_by_the_runtimes_time_which_a_test_can_stop() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let store = AsyncStore::from(Store::in_memory().unwrap());
        let started = tokio::time::Instant::now();
        let hour = Duration::from_secs(3600);
        assert_eq!(store.claim_next_within(&agent("ada"), &TaskFilter::new(), hour).await.unwrap(), None);
        assert!(started.elapsed() >= hour);
    });
}

#[test]
fn a_write_that_waits_for_its_turn_blocks_nobody() {
    on_both(|store| async move {
        // A closure on another thread holds the turn until a task of this runtime lets it go.
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let (entered, has_entered) = tokio::sync::oneshot::channel();
        let holder = std::thread::spawn({
            let (store, mut entered) = (Store::from(store.clone()), Some(entered));
            move || {
                store.write(move |_| {
                    entered.take().map(|entered| entered.send(()));
                    held.recv().map_err(Error::aborted)
                })
            }
        });
        has_entered.await.unwrap();
        let writes = tokio::spawn({
            let store = store.clone();
            async move {
                let mut writing = JoinSet::new();
                for _ in 0..100 {
                    let store = store.clone();
                    writing.spawn(async move { thread_of(&store).await });
                }
                writing.join_all().await.len()
            }
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.threads(&ThreadFilter::new()).await.unwrap().items.len(), 0, "reads go on");
        assert!(!writes.is_finished());
        let_go.send(()).unwrap();
        assert_eq!(writes.await.unwrap(), 100);
        holder.join().unwrap().unwrap();
    });
}

/// The one thread for blocking work waits for a batch that it was going to lead itself: it takes the lead when it joins.
#[test]
fn a_pool_whose_threads_all_write_does_not_wait_for_itself() {
    let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
    let store = AsyncStore::from(Store::in_memory().unwrap());
    let threads = runtime.block_on(async {
        let everything = async {
            let mut work = JoinSet::new();
            for _ in 0..200 {
                let (on_pool, as_future) = (Store::from(store.clone()), store.clone());
                work.spawn_blocking(move || on_pool.create_thread("pool", "test").unwrap().id);
                work.spawn(async move { thread_of(&as_future).await });
            }
            work.join_all().await
        };
        tokio::time::timeout(PATIENCE, everything).await.expect("it ends")
    });
    assert_eq!(threads.len(), 400);
    Store::from(store).verify().unwrap();
}

#[test]
fn a_future_that_is_not_polled_does_nothing_and_one_that_was_does_all_of_it() {
    on_both(|store| async move {
        let thread = thread_of(&store).await;
        poll_and_drop(store.append_message(thread, NewMessage::new("writer", "not polled")), 0).await;
        poll_and_drop(store.append_message(thread, NewMessage::new("writer", "polled")), 1).await;
        // What comes later in line has the one before it behind it.
        store.append_message(thread, NewMessage::new("writer", "last")).await.unwrap();
        let said = store.thread_messages(thread, &MessageFilter::new()).await.unwrap();
        let said: Vec<_> = said.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(said, ["polled", "last"]);
    });
}

#[test]
fn a_claim_whose_future_was_dropped_is_given_back() {
    on_both(|store| async move {
        let (ada, any) = (agent("ada"), TaskFilter::new());
        let thread = thread_of(&store).await;
        let task = store.create_task(thread, NewTask::new("writer", "")).await.unwrap().id;
        for polls in (1..4).cycle().take(60) {
            match polls % 3 {
                0 => claim_and_drop(&store, store.claim_task(task, &ada), polls).await,
                1 => claim_and_drop(&store, store.claim_next(&ada, &any), polls).await,
                _ => claim_and_drop(&store, store.claim_next_within(&ada, &any, PATIENCE), polls).await,
            }
        }
        let claim = store.claim_next_within(&agent("bob"), &any, PATIENCE).await.unwrap().expect("it is given back");
        assert_eq!((claim.task.id, claim.task.attempts), (task, 1), "and none of the attempts counts");
        assert!(store.complete_task(task, claim.id).await.unwrap());
    });
}

#[test]
fn a_wait_that_is_dropped_gives_up_its_place_and_passes_its_wake_up_on() {
    on_both(|store| async move {
        let (ada, any) = (agent("ada"), TaskFilter::new());
        let thread = thread_of(&store).await;
        for polls in 1..6 {
            // First in line, and gone by the time that it is woken, or just after.
            let (first, others) = (store.clone(), store.clone());
            let leaving = async { claim_and_drop(&first, first.claim_next_within(&ada, &any, PATIENCE), polls).await };
            let staying = tokio::spawn(async move {
                others.claim_next_within(&agent("bob"), &TaskFilter::new(), PATIENCE).await.unwrap().unwrap()
            });
            let (task, ()) = tokio::join!(store.create_task(thread, NewTask::new("writer", "")), leaving);
            let claim = staying.await.unwrap();
            assert_eq!(claim.task.id, task.unwrap().id);
            assert!(store.complete_task(claim.task.id, claim.id).await.unwrap());
        }
    });
}

#[test]
fn select_and_timeout_take_one_way_and_lose_nothing() {
    on_both(|store| async move {
        let (ada, any) = (agent("ada"), TaskFilter::new());
        let thread = thread_of(&store).await;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let worker = tokio::spawn({
            let store = store.clone();
            async move {
                let mut done: Vec<TaskId> = vec![];
                let mut stopped = pin!(stopped);
                loop {
                    tokio::select! {
                        _ = &mut stopped => return done,
                        claim = store.claim_next_within(&ada, &any, Duration::MAX) => {
                            let claim = claim.unwrap().unwrap();
                            assert!(store.complete_task(claim.task.id, claim.id).await.unwrap());
                            done.push(claim.task.id);
                        }
                    }
                }
            }
        });
        let mut made = vec![];
        for _ in 0..20 {
            let create = store.create_task(thread, NewTask::new("writer", ""));
            made.push(tokio::time::timeout(PATIENCE, create).await.unwrap().unwrap().id);
        }
        while store.stats().await.unwrap().tasks[&TaskStatus::Completed] < 20 {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        assert_eq!(worker.await.unwrap(), made);
    });
}

#[test]
fn a_panic_in_a_closure_reaches_the_one_who_awaits_it_and_nobody_else() {
    on_both(|store| async move {
        let other = store.clone();
        let writes = tokio::spawn(async move { other.write(|_| -> khala::Result<()> { panic!("in a write") }).await });
        let other = store.clone();
        let reads = tokio::spawn(async move { other.read(|_| -> khala::Result<()> { panic!("in a read") }).await });
        let thread = thread_of(&store).await;
        assert_eq!(*writes.await.unwrap_err().into_panic().downcast::<&str>().unwrap(), "in a write");
        assert_eq!(*reads.await.unwrap_err().into_panic().downcast::<&str>().unwrap(), "in a read");
        assert!(store.thread(thread).await.unwrap().is_some());
    });
}

/// An answer for a future that may be gone: its destructor panics on every thread but this one.
#[derive(Debug)]
struct PanicsElsewhere(std::thread::ThreadId);

impl Drop for PanicsElsewhere {
    fn drop(&mut self) {
        assert!(std::thread::current().id() == self.0, "nobody wants it");
    }
}

#[test]
fn an_answer_that_nobody_wants_disturbs_nobody() {
    let here = std::thread::current().id();
    on_both(|store| async move {
        for _ in 0..20 {
            // Whoever drops it when it has come already has its panic; it is the others whom this is about.
            drop(poll_and_drop(store.write(move |_| Ok(PanicsElsewhere(here))), 1).await);
            thread_of(&store).await;
        }
    });
}

#[test]
fn a_future_of_a_store_inside_its_own_closure_says_so() {
    let store = Store::in_memory().unwrap();
    let inner = AsyncStore::from(store.clone());
    let runtime = Arc::new(current_thread());
    let nested = store.write(move |_| {
        let write = runtime.block_on(inner.create_thread("nested", "test"));
        let read = runtime.block_on(inner.stats());
        assert!(matches!((write, read), (Err(Error::Nested), Err(Error::Nested))));
        Ok(())
    });
    nested.unwrap();
}

#[test]
fn a_runtime_that_is_shut_down_in_the_middle_leaves_a_whole_store_and_no_claim_behind() {
    for (number, runtime) in
        (0..40).map(|number| (number, if number % 2 == 0 { current_thread() } else { multi_thread() }))
    {
        let store = Store::in_memory().unwrap();
        let thread = store.create_thread("short", "test").unwrap().id;
        let tasks = store.create_tasks(thread, vec![NewTask::new("writer", ""); 10]).unwrap();
        let stored = &store;
        let received = Arc::new(Mutex::new(vec![]));
        runtime.block_on(async {
            for _ in 0..20 {
                let store = AsyncStore::from(stored.clone());
                tokio::spawn(async move { store.append_message(thread, NewMessage::new("writer", "")).await });
                let store = AsyncStore::from(stored.clone());
                tokio::spawn(async move {
                    let _ = store.claim_next_within(&agent("ada"), &TaskFilter::new().role("nobody"), PATIENCE).await;
                });
                let (store, received) = (AsyncStore::from(stored.clone()), Arc::clone(&received));
                tokio::spawn(async move {
                    let claim = store.claim_next(&agent("ada"), &TaskFilter::new()).await.unwrap();
                    if let Some(claim) = claim {
                        received.lock().unwrap().push(claim);
                    }
                });
            }
            for _ in 0..number {
                tokio::task::yield_now().await;
            }
        });
        drop(runtime);
        // Each can be claimed by somebody who waits for it but those that were received: what nobody received comes back.
        let received = std::mem::take(&mut *received.lock().unwrap());
        for _ in 0..tasks.len() - received.len() {
            let claim = store.claim_next_within(&agent("bob"), &TaskFilter::new(), PATIENCE).unwrap();
            assert_eq!(claim.expect("it is given back").task.attempts, 1);
        }
        for claim in received {
            assert!(store.complete_task(claim.task.id, claim.id).unwrap());
        }
        store.verify().unwrap();
    }
}

#[test]
#[should_panic(expected = "no reactor running")]
fn outside_of_a_runtime_a_future_panics_as_tokios_own_do() {
    let store = AsyncStore::from(Store::in_memory().unwrap());
    let future = pin!(store.create_thread("nowhere", "test"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = future.poll(&mut context);
}

#[test]
fn a_handle_that_is_dropped_outside_of_a_runtime_closes_the_file_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.khala");
    drop(AsyncStore::from(Store::open(&path).unwrap()));
    Store::open(&path).expect("it is closed").verify().unwrap();
}

#[test]
fn futures_can_be_sent_to_other_threads() {
    fn is_send<T: Send>(_: &T) {}
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let store = AsyncStore::from(Store::builder().clock(clock).in_memory().unwrap());
    let (ada, any) = (agent("ada"), TaskFilter::new());
    is_send(&store.claim_next_within(&ada, &any, PATIENCE));
    is_send(&store.create_thread("sent", "test"));
    is_send(&store.read(|_| Ok(())));
    is_send(&store.write(|_| Ok(())));
    is_send(&store.clone().close());
}
