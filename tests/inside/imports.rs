//! Rows that come in with their ids and times: the controls of what guards them, and a disk that fails meanwhile.

use std::time::Duration;

use crate::db::{FailingDisk, Fault, Plan};
use crate::planted::{Bug, with_bug};
use crate::{AgentId, Error, ImportOptions, ManualClock, MessageFilter, NewTask, Store, TaskFilter, Timestamp};

fn lines(rows: &[&str]) -> String {
    let thread = r#"{"table":"threads","id":"01KAXC0000000000000000000T","workflow":"w","status":"active","initiator":"i","result":null,"created_at":"2025-11-25 10:00:00","updated_at":"2025-11-25 10:00:00"}"#;
    std::iter::once(&thread).chain(rows).fold(String::new(), |lines, row| lines + row + "\n")
}

fn message(id: u64, second: u64) -> String {
    format!(
        r#"{{"table":"messages","id":{id},"thread_id":"01KAXC0000000000000000000T","role":"r","content":"c","step":0,"created_at":"2025-11-25 10:00:{second:02}"}}"#
    )
}

fn store() -> Store {
    let clock = ManualClock::new("2025-11-25T10:10:00Z".parse().unwrap());
    Store::builder().clock(clock).in_memory().unwrap()
}

fn import(store: &Store, lines: &str) {
    store.import(lines.as_bytes(), &ImportOptions::new(), |_| {}).unwrap();
}

#[test]
fn control_counters_that_are_not_raised_are_seen_by_verify() {
    let (late, early) = (message(7, 0), message(7, 0));
    for rows in [lines(&[]), lines(&[&late, &early])] {
        let (right, wrong) = (store(), store());
        import(&right, &rows);
        right.verify().unwrap();
        with_bug(Some(Bug::CountersNotRaised), || import(&wrong, &rows));
        assert!(matches!(wrong.verify(), Err(Error::Corrupt { table: "meta", .. })), "{rows}");
    }
}

#[test]
fn control_disorder_that_is_not_counted_is_seen_by_verify_and_hides_messages() {
    let messages = [(1, 10), (2, 30), (3, 20), (4, 15), (5, 40)].map(|(id, second)| message(id, second));
    let rows = lines(&messages.each_ref().map(String::as_str));
    let since: Timestamp = "2025-11-25T10:00:25Z".parse().unwrap();
    let found = |store: &Store| {
        let thread = "01KAXC0000000000000000000T".parse().unwrap();
        store.thread_messages(thread, &MessageFilter::new().since(since)).unwrap().len()
    };
    let (right, wrong) = (store(), store());
    import(&right, &rows);
    right.verify().unwrap();
    assert_eq!(found(&right), 2);
    with_bug(Some(Bug::DisorderNotCounted), || import(&wrong, &rows));
    assert!(wrong.verify().is_err());
    assert_eq!(found(&wrong), 1);
}

/// What `tasks/import.rs` asks of a row holds for every row that the operations leave.
#[test]
fn whatever_the_operations_leave_can_be_imported() {
    let clock = ManualClock::new(Timestamp::from_micros(1_764_066_120_000_000));
    let from = Store::builder().clock(clock.clone()).in_memory().unwrap();
    let thread = from.create_thread("review", "ada").unwrap().id;
    let me = AgentId::new("ada").unwrap();
    // Every way that ends a claim, on a task with and without a bound on its attempts.
    for most in [None, Some(1), Some(2)] {
        for end in 0..7 {
            let mut task = NewTask::new("writer", "x").timeout_seconds(10).backoff_seconds(end % 2);
            if let Some(most) = most {
                task = task.max_attempts(most);
            }
            let task = from.create_task(thread, task).unwrap().id;
            let Some(claim) = from.claim_task(task, &me).unwrap() else { panic!("it is open") };
            match end {
                0 => assert!(from.complete_task(task, claim.id).unwrap()),
                1 | 2 => assert!(from.fail_task(task, claim.id, "no").unwrap()),
                3 => assert!(from.release_task(task, claim.id).unwrap()),
                4 => assert!(from.cancel_task(task).unwrap()),
                5 => {
                    clock.advance(Duration::from_secs(10));
                    from.expire_timed_out_tasks().unwrap();
                }
                _ => assert!(from.renew_claim(task, claim.id).unwrap()),
            }
        }
    }
    let mut rows = Vec::new();
    from.export(&mut rows, |_| {}).unwrap();
    let to = Store::builder().clock(clock).in_memory().unwrap();
    to.import(&rows[..], &ImportOptions::new(), |_| {}).unwrap();
    to.verify().unwrap();
    let all = TaskFilter::new().limit(100);
    assert_eq!(to.tasks(&all).unwrap().items, from.tasks(&all).unwrap().items);
}

/// An import on a disk that fails from its n-th request on: told, and nothing or all of it is there.
#[test]
fn an_import_that_the_disk_refuses_is_all_there_or_not_at_all() {
    let messages: Vec<_> = (1..40).map(|id| message(id, 0)).collect();
    let rows = lines(&messages.iter().map(String::as_str).collect::<Vec<_>>());
    let mut told = 0;
    for after in 0.. {
        let disk = FailingDisk::default();
        let store = Store::builder().cache_bytes(0).open_on(disk.clone()).unwrap();
        disk.arm(Some(Plan { after, only: None, fault: Fault::Eio, for_ever: true }));
        let outcome = store.import(rows.as_bytes(), &ImportOptions::new(), |_| {});
        let has_failed = disk.failed_at().is_some();
        drop(store);
        disk.arm(None);
        for image in [disk.content(), disk.durable()] {
            let store = Store::builder().open_on(FailingDisk::of(image)).unwrap();
            store.verify().unwrap();
            let count = store.stats().unwrap().messages;
            match &outcome {
                Ok(_) => assert_eq!(count, 39),
                Err(Error::Io { .. } | Error::Poisoned) => assert_eq!(count, 0),
                Err(Error::CommitUnknown) => assert!(count == 0 || count == 39, "{count}"),
                Err(error) => panic!("{error:?}"),
            }
        }
        told += u64::from(outcome.is_err());
        if !has_failed {
            break;
        }
    }
    assert!(told > 10, "{told} faults told");
}
