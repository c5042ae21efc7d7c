//! Lists, a page at a time, and what is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use khala::{
    AgentId, Cursor, Error, ManualClock, NewMessage, NewTask, Page, Result, Store, Task, TaskFilter, TaskId,
    TaskStatus, ThreadFilter, ThreadId, ThreadStatus, Timestamp,
};

struct Scene {
    store: Store,
    clock: ManualClock,
    threads: Vec<ThreadId>,
    tasks: Vec<TaskId>,
}

/// Three threads, the second finished; tasks of two roles in the first and the third, in every status.
fn scene() -> Scene {
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
    let mut scene = Scene { store, clock, threads: vec![], tasks: vec![] };
    for _ in 0..3 {
        scene.threads.push(scene.store.create_thread("review", "ada").unwrap().id);
        scene.clock.advance(Duration::from_secs(1));
    }
    scene.store.finish_thread(scene.threads[1], ThreadStatus::Completed, None).unwrap();
    let ada = AgentId::new("ada").unwrap();
    for n in 0..12 {
        let role = ["writer", "reviewer"][n % 2];
        let mut new = NewTask::new(role, n.to_string()).max_attempts(1).timeout_seconds(60);
        if n == 11 {
            new = new.not_before(Timestamp::from_micros(1_000_000_000));
        }
        let task = scene.store.create_task(scene.threads[n / 6 * 2], new).unwrap().id;
        scene.tasks.push(task);
        scene.clock.advance(Duration::from_secs(1));
        if n < 5 {
            let claim = scene.store.claim_task(task, &ada).unwrap().unwrap().id;
            match n {
                0 => assert!(scene.store.complete_task(task, claim).unwrap()),
                1 => assert!(scene.store.fail_task(task, claim, "no").unwrap()),
                2 => assert!(scene.store.cancel_task(task).unwrap()),
                _ => {}
            }
        }
    }
    scene
}

impl Scene {
    /// All pages of this many, as numbers of tasks in the order of their creation.
    fn numbers(&self, filter: &TaskFilter, limit: usize) -> Vec<usize> {
        let mut filter = filter.clone().limit(limit);
        let mut numbers = vec![];
        loop {
            let page = self.store.tasks(&filter).unwrap();
            assert!(page.items.len() <= limit);
            numbers.extend(page.items.iter().map(|task| self.tasks.iter().position(|id| *id == task.id).unwrap()));
            let Some(next) = page.next else { return numbers };
            // It survives a journey as text.
            filter = filter.after(next.to_string().parse().unwrap());
        }
    }
}

#[test]
fn tasks_are_listed_by_what_is_asked_and_pages_leave_nothing_out() {
    let scene = scene();
    let ada = AgentId::new("ada").unwrap();
    let filter = TaskFilter::new;
    let lists = [
        (filter(), (0..12).collect()),
        (filter().role("writer"), vec![0, 2, 4, 6, 8, 10]),
        (filter().thread(scene.threads[2]), (6..12).collect()),
        (filter().thread(scene.threads[1]), vec![]),
        (filter().thread(scene.threads[0]).role("reviewer").status(TaskStatus::Open), vec![5]),
        (filter().status(TaskStatus::Open).role("reviewer"), vec![5, 7, 9]),
        (filter().status(TaskStatus::Open), vec![5, 7, 9, 6, 8, 10]),
        (filter().status(TaskStatus::Claimed), vec![3, 4]),
        (filter().status(TaskStatus::Completed), vec![0]),
        (filter().status(TaskStatus::Failed), vec![1]),
        (filter().status(TaskStatus::Cancelled), vec![2]),
        (filter().status(TaskStatus::Scheduled), vec![11]),
        (filter().holder(&ada), vec![3, 4]),
        (filter().holder(&ada).role("writer"), vec![4]),
        (filter().holder(&ada).status(TaskStatus::Completed), vec![0]),
        (filter().holder(&AgentId::new("bob").unwrap()), vec![]),
    ];
    for (filter, expected) in lists {
        for limit in [1, 2, 5, 12, 100] {
            assert_eq!(scene.numbers(&filter, limit), expected, "{filter:?} by {limit}");
            let mut backwards = expected.clone();
            backwards.reverse();
            assert_eq!(scene.numbers(&filter.clone().newest_first(), limit), backwards, "{filter:?} by {limit}");
        }
    }
}

#[test]
fn threads_are_listed_by_status() {
    let scene = scene();
    let ids = |filter: &ThreadFilter| -> Vec<ThreadId> {
        scene.store.threads(filter).unwrap().items.iter().map(|thread| thread.id).collect()
    };
    let [first, second, third] = scene.threads[..] else { unreachable!() };
    assert_eq!(ids(&ThreadFilter::new()), [first, second, third]);
    assert_eq!(ids(&ThreadFilter::new().newest_first()), [third, second, first]);
    assert_eq!(ids(&ThreadFilter::new().status(ThreadStatus::Active)), [first, third]);
    assert_eq!(ids(&ThreadFilter::new().status(ThreadStatus::Completed)), [second]);
    assert_eq!(ids(&ThreadFilter::new().status(ThreadStatus::Failed)), []);
    let page = scene.store.threads(&ThreadFilter::new().limit(2)).unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(ids(&ThreadFilter::new().limit(2).after(page.next.unwrap())), [third]);
}

#[test]
fn a_page_has_100_items_unless_the_filter_says_otherwise() {
    let store = Store::in_memory().unwrap();
    let create = |tx: &mut khala::WriteTx<'_>| (0..101).try_for_each(|_| tx.create_thread("w", "i").map(drop));
    store.write(create).unwrap();
    let page = store.threads(&ThreadFilter::new()).unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (100, true));
    let rest = store.threads(&ThreadFilter::new().after(page.next.unwrap())).unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
}

#[test]
fn a_page_that_just_ends_says_so() {
    let scene = scene();
    assert_eq!(scene.store.threads(&ThreadFilter::new().limit(3)).unwrap().next, None);
}

#[test]
fn what_comes_between_two_pages_disturbs_neither() {
    let scene = scene();
    let Page { items, next, .. } = scene.store.tasks(&TaskFilter::new().limit(6)).unwrap();
    scene.store.delete_thread(scene.threads[0]).unwrap();
    scene.store.create_task(scene.threads[2], NewTask::new("late", "")).unwrap();
    let rest: Page<Task> = scene.store.tasks(&TaskFilter::new().after(next.unwrap())).unwrap();
    let seen = items.iter().chain(&rest.items).map(|task| task.id);
    assert!(seen.clone().is_sorted() && seen.count() == 13, "twelve that were there, and the late one at the end");
}

#[test]
fn a_limit_of_0_and_a_cursor_from_elsewhere_are_refused() {
    let scene = scene();
    assert!(matches!(scene.store.tasks(&TaskFilter::new().limit(0)), Err(Error::InvalidInput { field: "limit", .. })));
    let of_tasks = scene.store.tasks(&TaskFilter::new().limit(1)).unwrap().next.unwrap();
    let elsewhere = scene.store.tasks(&TaskFilter::new().status(TaskStatus::Open).after(of_tasks.clone()));
    assert!(matches!(elsewhere, Err(Error::InvalidInput { field: "cursor", .. })), "{elsewhere:?}");
    let too_short = of_tasks.to_string()[..10].parse::<Cursor>().unwrap();
    assert!(scene.store.tasks(&TaskFilter::new().after(too_short)).is_err());
    for text in ["x", "abc", "0g", "é"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}

#[test]
fn claiming_looks_at_role_and_thread_and_refuses_the_rest() {
    let scene = scene();
    let ada = AgentId::new("ada").unwrap();
    for filter in [
        TaskFilter::new().status(TaskStatus::Open),
        TaskFilter::new().holder(&ada),
        TaskFilter::new().newest_first(),
        TaskFilter::new().limit(1),
    ] {
        let refused = scene.store.claim_next(&ada, &filter);
        assert!(matches!(refused, Err(Error::InvalidInput { field: "task filter", .. })), "{refused:?}");
        assert!(scene.store.claim_next_within(&ada, &filter, Duration::MAX).is_err(), "and does not wait");
    }
    scene.store.verify().unwrap();
}

#[test]
fn agents_are_listed_by_name() {
    let store = Store::in_memory().unwrap();
    let names = ["a", "a\0", "ab", "b"];
    for name in ["b", "a\0", "ab", "a"] {
        store.register_agent(&AgentId::new(name).unwrap()).unwrap();
    }
    let listed = |after: Option<&str>, limit| -> Result<Vec<String>> {
        let after = after.map(AgentId::new).transpose()?;
        Ok(store.agents(after.as_ref(), limit)?.iter().map(|agent| agent.id.to_string()).collect())
    };
    assert_eq!(listed(None, 10).unwrap(), names);
    assert_eq!(listed(None, 2).unwrap(), names[..2]);
    assert_eq!(listed(Some("a\0"), 10).unwrap(), names[2..]);
    assert_eq!(listed(Some("aa"), 10).unwrap(), names[2..], "also behind a name that is not there");
    assert_eq!(listed(None, 0).unwrap(), [""; 0]);
}

#[test]
fn everything_is_counted() {
    let scene = scene();
    scene.store.append_message(scene.threads[0], NewMessage::new("user", "hello")).unwrap();
    scene.store.register_agent(&AgentId::new("ada").unwrap()).unwrap();
    let stats = scene.store.stats().unwrap();
    assert_eq!((stats.agents, stats.messages, stats.claims_due), (1, 1, 0));
    let expected = [
        (TaskStatus::Open, 6),
        (TaskStatus::Scheduled, 1),
        (TaskStatus::Claimed, 2),
        (TaskStatus::Completed, 1),
        (TaskStatus::Failed, 1),
        (TaskStatus::Cancelled, 1),
    ];
    assert_eq!(stats.tasks, BTreeMap::from(expected));
    let expected = [
        (ThreadStatus::Active, 2),
        (ThreadStatus::Completed, 1),
        (ThreadStatus::Failed, 0),
        (ThreadStatus::Cancelled, 0),
    ];
    assert_eq!(stats.threads, BTreeMap::from(expected));
    let oldest = scene.store.task(scene.tasks[5]).unwrap().unwrap();
    assert_eq!(stats.oldest_open, Some(oldest.created_at));
    assert!(stats.bytes_in_use > 1_000);
    assert_eq!(stats.bytes_on_disk, None, "it is in memory");
    scene.clock.advance(Duration::from_secs(600));
    assert_eq!(scene.store.stats().unwrap().claims_due, 2);
    for name in ["ben", "cem"] {
        scene.store.register_agent(&AgentId::new(name).unwrap()).unwrap();
    }
    let more = scene.store.stats().unwrap();
    assert_eq!(more.agents, 3);
    // Two names, two times and two hashes, each of them twice.
    assert!(more.bytes_in_use >= stats.bytes_in_use + 2 * 32 * 2, "{} {}", more.bytes_in_use, stats.bytes_in_use);
}

#[test]
fn a_store_on_a_disk_says_how_much_of_it_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("stats.khala")).unwrap();
    let stats = store.stats().unwrap();
    assert!(stats.bytes_on_disk.unwrap() >= 4_096, "{stats:?}");
    let empty = stats.bytes_in_use;
    let thread = store.create_thread("review", "ada").unwrap().id;
    store.append_message(thread, NewMessage::new("user", "x".repeat(100_000))).unwrap();
    assert!(store.stats().unwrap().bytes_in_use >= empty + 100_000);
}

#[test]
fn a_transaction_counts_what_it_has_written_itself() {
    let scene = scene();
    let thread = scene.threads[0];
    let counted = scene.store.write(move |tx| {
        let before = tx.stats()?;
        tx.append_message(thread, &NewMessage::new("user", "x".repeat(10_000)))?;
        tx.register_agent(&AgentId::new("new")?)?;
        Ok([before, tx.stats()?])
    });
    let [before, within] = counted.unwrap();
    assert_eq!((within.messages, within.agents), (before.messages + 1, before.agents + 1));
    assert!(within.bytes_in_use >= before.bytes_in_use + 10_000, "{before:?} {within:?}");
    assert_eq!(scene.store.stats().unwrap(), within);
}
