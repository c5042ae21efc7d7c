//! Many of a kind in one step, and what an application does when it falls idle.

use khala::{AgentId, Error, ManualClock, MessageFilter, MessageId, NewMessage, NewTask, Store, ThreadId, Timestamp};

fn scene() -> (Store, ThreadId) {
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    (store, thread)
}

fn said(content: &str) -> NewMessage {
    NewMessage::new("user", content)
}

#[test]
fn messages_that_come_together_stand_in_their_order_and_come_back() {
    let (store, thread) = scene();
    let appended = store.append_messages(thread, vec![said("one"), said("two"), said("three").step(1)]).unwrap();
    assert_eq!(appended.iter().map(|message| message.id.as_u64()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(store.thread_messages(thread, &MessageFilter::new()).unwrap(), appended);
    assert_eq!(store.append_messages(thread, vec![]).unwrap(), []);
    store.verify().unwrap();
}

#[test]
fn of_messages_of_which_one_is_refused_none_is_appended_even_if_the_closure_looks_away() {
    let (store, thread) = scene();
    let task = store.create_task(thread, NewTask::new("writer", "Write.")).unwrap();
    let agent = AgentId::new("ada").unwrap();
    let claim = store.claim_task(task.id, &agent).unwrap().unwrap().id;
    assert!(store.release_task(task.id, claim).unwrap());
    let stale = said("late").under(task.id, claim);
    store
        .write(move |tx| {
            let nameless = tx.append_messages(thread, &[said("one"), NewMessage::new("", "two")]);
            assert!(matches!(nameless, Err(Error::InvalidInput { field: "message role", .. })), "{nameless:?}");
            let late = tx.append_messages(thread, &[said("one"), stale.clone()]);
            assert!(matches!(late, Err(Error::ClaimLost(_))), "{late:?}");
            Ok(())
        })
        .unwrap();
    assert_eq!(store.thread_messages(thread, &MessageFilter::new()).unwrap(), []);
    let unknown = "01D39ZY06FGSCTVN4T2V9PKHFZ".parse().unwrap();
    let lost = store.append_messages(unknown, vec![said("one")]);
    assert!(matches!(lost, Err(Error::ThreadNotFound(id)) if id == unknown), "{lost:?}");
    store.verify().unwrap();
}

#[test]
fn tasks_that_come_together_are_open_in_their_order_and_come_back() {
    let (store, thread) = scene();
    let tasks: Vec<_> = (0..50).map(|n| NewTask::new("writer", n.to_string()).key(format!("part {n}"))).collect();
    let created = store.create_tasks(thread, tasks.clone()).unwrap();
    assert_eq!(store.open_tasks(100).unwrap(), created);
    assert_eq!(store.create_tasks(thread, tasks).unwrap(), created, "by their keys they are the same");
    assert_eq!(store.create_tasks(thread, vec![]).unwrap(), []);
    store.verify().unwrap();
}

#[test]
fn of_tasks_of_which_one_is_refused_none_is_created_even_if_the_closure_looks_away() {
    let (store, thread) = scene();
    let first = store.create_task(thread, NewTask::new("writer", "First.").key("first")).unwrap();
    store
        .write(move |tx| {
            let new = NewTask::new("writer", "New.");
            let refused = tx.create_tasks(thread, &[new.clone(), NewTask::new("writer", "Other.").key("first")]);
            assert!(matches!(refused, Err(Error::KeyConflict { task, .. }) if task == first.id), "{refused:?}");
            let refused = tx.create_tasks(thread, &[new.clone(), new.clone().timeout_seconds(0)]);
            assert!(matches!(refused, Err(Error::InvalidInput { .. })), "{refused:?}");
            let two_of_a_key = [new.clone().key("same"), NewTask::new("writer", "Other.").key("same")];
            let refused = tx.create_tasks(thread, &two_of_a_key).unwrap_err().to_string();
            assert_eq!(refused, "task key \"same\" is that of two different tasks");
            let twice = tx.create_tasks(thread, &[new.clone().key("twice"), new.key("twice")])?;
            assert_eq!(twice[0], twice[1], "the same twice is one");
            Ok(())
        })
        .unwrap();
    assert_eq!(store.open_tasks(10).unwrap().len(), 2);
    store.verify().unwrap();
}

/// Steps that are long enough for the walk to jump, in a thread between two others, with appends that go to and fro.
#[test]
fn what_came_after_a_message_is_found_in_long_steps_as_in_short_ones() {
    let (store, _) = scene();
    let threads: Vec<_> = (0..3).map(|_| store.create_thread("review", "ada").unwrap().id).collect();
    for n in 0..180_u64 {
        let thread = threads[usize::try_from(n % 3).unwrap()];
        store.append_message(thread, said(&n.to_string()).step(n / 3 % 4 * (n % 5))).unwrap();
    }
    for thread in threads {
        let all = store.thread_messages(thread, &MessageFilter::new()).unwrap();
        for after in (0..=181).map(MessageId::from_u64) {
            for step in [None, Some(0), Some(2), Some(99)] {
                for last in [None, Some(0), Some(1), Some(7), Some(1_000)] {
                    let mut filter = MessageFilter::new().after(after);
                    let mut expected: Vec<_> = all.iter().filter(|message| message.id > after).collect();
                    if let Some(step) = step {
                        filter = filter.step(step);
                        expected.retain(|message| message.step == step);
                    }
                    if let Some(last) = last {
                        filter = filter.last(last);
                        expected.drain(..expected.len().saturating_sub(last));
                    }
                    let found = store.thread_messages(thread, &filter).unwrap();
                    assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter:?}");
                }
            }
        }
    }
}

#[test]
fn a_checkpoint_changes_nothing_that_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("agents.khala")).unwrap();
    let thread = store.create_thread("review", "ada").unwrap();
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    store.append_messages(thread.id, vec![said("afterwards")]).unwrap();
    assert_eq!(store.thread(thread.id).unwrap(), Some(thread));
    store.verify().unwrap();
    let inner = store.clone();
    assert!(matches!(store.write(move |_| inner.checkpoint()), Err(Error::Nested)));
}

#[test]
fn a_checkpoint_asks_for_no_moment_and_works_whatever_the_clock_says() {
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
    clock.set(Timestamp::MAX);
    assert!(matches!(store.create_thread("review", "ada"), Err(Error::InvalidInput { field: "clock", .. })));
    store.checkpoint().unwrap();
}

#[test]
fn many_writers_share_batches_of_two_at_the_most() {
    let store = Store::builder().batch_max_operations(2).in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|n| drop(store.append_message(thread, said(&n.to_string())).unwrap())));
        }
    });
    assert_eq!(store.thread_messages(thread, &MessageFilter::new()).unwrap().len(), 400);
    store.verify().unwrap();
}
