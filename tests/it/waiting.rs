//! Waiting for a task: whatever makes one claimable ends the wait, and nothing else does.
//!
//! These run on the machine's clock, since waiting is about it; none of them measures time.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use khala::{AgentId, Claim, Clock, NewTask, Store, SystemClock, TaskFilter, TaskId, ThreadId, Timestamp};

const FOR_EVER: Duration = Duration::MAX;

/// Longer than any of these waits is. Who is not woken gives up, and the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine's clock, and how often the store has asked it: once for each transaction.
#[derive(Clone, Debug, Default)]
struct AskedClock {
    machine: SystemClock,
    asked: Arc<AtomicU64>,
}

impl Clock for AskedClock {
    fn now(&self) -> Timestamp {
        self.asked.fetch_add(1, SeqCst);
        self.machine.now()
    }
}

struct Scene {
    clock: AskedClock,
    store: Store,
    thread: ThreadId,
}

fn scene() -> Scene {
    let clock = AskedClock::default();
    let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
    let thread = store.create_thread("waiting", "test").unwrap().id;
    Scene { clock, store, thread }
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

impl Scene {
    /// What an agent on another thread gets when `then` happens after its first try has begun: what is written then comes
    /// after that try, so that nothing but a wake-up can lead to another.
    fn claimed_after(&self, filter: &TaskFilter, then: impl FnOnce()) -> Claim {
        let asked = self.clock.asked.load(SeqCst);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| self.store.claim_next_within(&agent("waiting"), filter, PATIENCE));
            while self.clock.asked.load(SeqCst) == asked {
                thread::yield_now();
            }
            then();
            waiting.join().unwrap().unwrap().expect("it is woken")
        })
    }
}

#[test]
fn a_task_that_is_there_is_claimed_at_once() {
    let scene = scene();
    let (store, thread) = (&scene.store, scene.thread);
    let task = store.create_task(thread, NewTask::new("writer", "")).unwrap();
    let claim = store.claim_next_within(&agent("ada"), &TaskFilter::new(), Duration::ZERO).unwrap().unwrap();
    assert_eq!(claim.task.id, task.id);
    store.verify().unwrap();
}

#[test]
fn a_wait_without_a_task_ends_with_none() {
    let store = scene().store;
    for patience in [Duration::ZERO, Duration::from_millis(20)] {
        assert_eq!(store.claim_next_within(&agent("ada"), &TaskFilter::new(), patience).unwrap(), None);
    }
    store.verify().unwrap();
}

#[test]
fn a_created_task_ends_the_wait() {
    let scene = scene();
    let (store, thread) = (&scene.store, scene.thread);
    let claim = scene.claimed_after(&TaskFilter::new(), || {
        store.create_task(thread, NewTask::new("writer", "")).unwrap();
    });
    assert_eq!(claim.task.role, "writer");
    store.verify().unwrap();
}

#[test]
fn only_a_task_of_the_role_and_thread_ends_the_wait() {
    let scene = scene();
    let (store, thread) = (&scene.store, scene.thread);
    let other = store.create_thread("waiting", "test").unwrap().id;
    let filter = TaskFilter::new().role("writer").thread(thread);
    let claim = scene.claimed_after(&filter, || {
        store.create_task(thread, NewTask::new("reviewer", "")).unwrap();
        store.create_task(other, NewTask::new("writer", "")).unwrap();
        store.create_task(thread, NewTask::new("writer", "this one")).unwrap();
    });
    assert_eq!(claim.task.instruction, "this one");
    store.verify().unwrap();
}

#[test]
fn a_released_or_failed_task_ends_the_wait() {
    let scene = scene();
    let (store, thread) = (&scene.store, scene.thread);
    let task = store.create_task(thread, NewTask::new("writer", "")).unwrap().id;
    let claim = store.claim_task(task, &agent("ada")).unwrap().unwrap();
    let claim = scene.claimed_after(&TaskFilter::new(), || {
        assert!(store.release_task(task, claim.id).unwrap());
    });
    let claim = scene.claimed_after(&TaskFilter::new(), || {
        assert!(store.fail_task(task, claim.id, "no").unwrap());
    });
    assert_eq!((claim.task.id, claim.task.last_error.as_deref()), (task, Some("no")));
    store.verify().unwrap();
}

#[test]
fn a_claim_that_times_out_ends_the_wait() {
    let scene = scene();
    let (store, thread) = (&scene.store, scene.thread);
    let task = store.create_task(thread, NewTask::new("writer", "").timeout_seconds(1)).unwrap().id;
    let stale = store.claim_task(task, &agent("crashed")).unwrap().unwrap();
    let claim = scene.claimed_after(&TaskFilter::new(), || {});
    assert_eq!((claim.task.id, claim.task.attempts), (task, 2));
    assert!(claim.task.claimed_at >= Some(stale.expires_at()), "never early");
    store.verify().unwrap();
}

#[test]
fn a_claim_made_while_somebody_waits_is_waited_for_as_well() {
    let scene = scene();
    let (store, thread) = (&scene.store, scene.thread);
    let claim = scene.claimed_after(&TaskFilter::new().role("writer"), || {
        // In one step, so that the waiting agent cannot come first.
        let stale = store.write(move |tx| {
            let task = tx.create_task(thread, &NewTask::new("writer", "").timeout_seconds(1))?;
            tx.claim_task(task.id, &AgentId::new("crashed")?)
        });
        stale.unwrap().unwrap();
    });
    assert_eq!(claim.task.attempts, 2);
    store.verify().unwrap();
}

#[test]
fn a_scheduled_task_ends_the_wait_when_its_time_comes() {
    let scene = scene();
    let (store, thread) = (&scene.store, scene.thread);
    let soon = Timestamp::from(SystemTime::now()) + Duration::from_millis(200);
    let claim = scene.claimed_after(&TaskFilter::new(), || {
        store.create_task(thread, NewTask::new("writer", "").not_before(soon)).unwrap();
    });
    assert!(claim.task.claimed_at >= Some(soon), "never early");
    store.verify().unwrap();
}

#[test]
fn a_wait_inside_a_closure_of_the_store_is_an_error() {
    let store = scene().store;
    let inner = store.clone();
    let nested = store.write(move |_| inner.claim_next_within(&AgentId::new("ada")?, &TaskFilter::new(), FOR_EVER));
    assert!(matches!(nested, Err(khala::Error::Nested)));
}

/// Agents that wait drain what planners create, each task once, while claims are released and attempts fail.
#[test]
fn waiting_agents_do_every_task_once() {
    const TASKS: usize = 400;
    const AGENTS: usize = 12;
    let scene = scene();
    let (store, thread) = (&scene.store, scene.thread);
    let done: Mutex<Vec<TaskId>> = Mutex::default();
    let create = |role: &str, count: usize| {
        for _ in 0..count {
            store.create_task(thread, NewTask::new(role, "")).unwrap();
        }
    };
    let work = |number: usize| {
        let me = agent(&format!("agent-{number}"));
        let filter = if number.is_multiple_of(3) { TaskFilter::new() } else { TaskFilter::new().role("writer") };
        for turn in 0.. {
            let claim = store.claim_next_within(&me, &filter, Duration::from_millis(300)).unwrap();
            let Some(claim) = claim else {
                if done.lock().unwrap().len() == TASKS {
                    return;
                }
                continue;
            };
            let (task, id) = (claim.task.id, claim.id);
            match turn % 5 {
                0 => assert!(store.release_task(task, id).unwrap()),
                1 => assert!(store.fail_task(task, id, "again").unwrap()),
                _ => {
                    assert!(store.complete_task(task, id).unwrap());
                    done.lock().unwrap().push(task);
                }
            }
        }
    };
    thread::scope(|scope| {
        for number in 0..AGENTS {
            let work = &work;
            scope.spawn(move || work(number));
        }
        for _ in 0..2 {
            scope.spawn(|| create("writer", TASKS / 2));
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), TASKS);
    store.verify().unwrap();
}
