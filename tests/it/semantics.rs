//! Each rule of the contract, once.

use std::collections::HashSet;
use std::time::Duration;

use khala::{
    AgentId, Claim, ClaimId, Clock, Error, ManualClock, Message, MessageFilter, MessageId, NewMessage, NewTask, Store,
    Task, TaskFilter, TaskId, TaskStatus, Thread, ThreadId, ThreadStatus, Timestamp,
};

/// A store in memory with a thread in it, and the clock it follows.
struct Scene {
    store: Store,
    clock: ManualClock,
    thread: ThreadId,
    ada: AgentId,
    bob: AgentId,
}

fn scene() -> Scene {
    let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000));
    let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    Scene { store, clock, thread, ada: AgentId::new("ada").unwrap(), bob: AgentId::new("bob").unwrap() }
}

impl Scene {
    fn task(&self, role: &str, timeout_seconds: u32) -> Task {
        let task = NewTask::new(role, "Do it.").timeout_seconds(timeout_seconds);
        self.store.create_task(self.thread, task).unwrap()
    }

    fn claim(&self, task: &Task, agent: &AgentId) -> Claim {
        self.store.claim_task(task.id, agent).unwrap().unwrap()
    }

    fn now_is(&self, id: TaskId) -> Task {
        self.store.task(id).unwrap().unwrap()
    }

    fn open(&self) -> Vec<TaskId> {
        self.store.open_tasks(100).unwrap().iter().map(|task| task.id).collect()
    }

    fn say(&self, role: &str, content: &str, step: u64) -> Message {
        self.store.append_message(self.thread, NewMessage::new(role, content).step(step)).unwrap()
    }

    fn hear(&self, filter: &MessageFilter) -> Vec<String> {
        let messages = self.store.thread_messages(self.thread, filter).unwrap();
        messages.into_iter().map(|message| message.content).collect()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn end(self) {
        self.store.verify().unwrap();
    }
}

#[test]
fn a_thread_begins_active_and_comes_back_as_it_was_created() {
    let scene = scene();
    let thread: Thread = scene.store.create_thread("triage", "bob").unwrap();
    assert_eq!((thread.workflow.as_str(), thread.initiator.as_str()), ("triage", "bob"));
    assert_eq!((thread.status, thread.status.as_str(), &thread.result), (ThreadStatus::Active, "active", &None));
    assert_eq!((thread.created_at, thread.updated_at), (scene.clock.now(), scene.clock.now()));
    assert_eq!(scene.store.thread(thread.id).unwrap(), Some(thread));
    let unknown: ThreadId = "01D39ZY06FGSCTVN4T2V9PKHFZ".parse().unwrap();
    assert_eq!(scene.store.thread(unknown).unwrap(), None);
    scene.end();
}

#[test]
fn messages_and_tasks_do_not_touch_their_thread() {
    let scene = scene();
    let before = scene.store.thread(scene.thread).unwrap();
    scene.pass(60);
    scene.say("user", "hello", 0);
    scene.task("writer", 60);
    assert_eq!(scene.store.thread(scene.thread).unwrap(), before);
    scene.end();
}

#[test]
fn a_message_comes_back_with_everything_it_was_given() {
    let scene = scene();
    let new = NewMessage::new("assistant", "Looks good.").meta("{\"tokens\":3}").step(7).agent(&scene.ada);
    let message = scene.store.append_message(scene.thread, new).unwrap();
    assert_eq!((message.id, message.thread_id), (MessageId::from_u64(1), scene.thread));
    assert_eq!((message.role.as_str(), message.content.as_str(), message.step), ("assistant", "Looks good.", 7));
    assert_eq!((message.meta.as_deref(), message.agent_id.as_ref()), (Some("{\"tokens\":3}"), Some(&scene.ada)));
    assert_eq!(message.created_at, scene.clock.now());
    assert_eq!(scene.store.thread_messages(scene.thread, &MessageFilter::new()).unwrap(), [message]);
    let plain = scene.say("user", "", 0);
    assert_eq!((plain.meta, plain.agent_id, plain.step), (None, None, 0));
    scene.end();
}

#[test]
fn messages_come_by_step_and_within_a_step_in_the_order_they_were_appended() {
    let scene = scene();
    for (content, step) in [("c", 2), ("a", 0), ("d", 2), ("b", 1), ("e", u64::MAX)] {
        scene.say("user", content, step);
    }
    assert_eq!(scene.hear(&MessageFilter::new()), ["a", "b", "c", "d", "e"]);
    scene.end();
}

#[test]
fn the_last_messages_are_the_last_that_match_in_the_threads_order() {
    let scene = scene();
    for (n, role) in ["user", "assistant", "user", "assistant", "user"].into_iter().enumerate() {
        scene.say(role, &n.to_string(), 0);
    }
    assert_eq!(scene.hear(&MessageFilter::new().last(2)), ["3", "4"]);
    assert_eq!(scene.hear(&MessageFilter::new().role("user").last(2)), ["2", "4"]);
    assert_eq!(scene.hear(&MessageFilter::new().last(9)), ["0", "1", "2", "3", "4"]);
    scene.end();
}

#[test]
fn all_filters_combine() {
    let scene = scene();
    let mut ids = vec![];
    for n in 0..12_u64 {
        scene.pass(1);
        ids.push(scene.say(if n % 2 == 0 { "user" } else { "assistant" }, &n.to_string(), n % 3));
    }
    assert_eq!(scene.hear(&MessageFilter::new().step(1)), ["1", "4", "7", "10"]);
    assert_eq!(scene.hear(&MessageFilter::new().after(ids[8].id)), ["9", "10", "11"]);
    assert_eq!(scene.hear(&MessageFilter::new().since(ids[9].created_at)), ["9", "10", "11"], "since is inclusive");
    assert_eq!(scene.hear(&MessageFilter::new().after(ids[3].id).since(ids[2].created_at).step(0)), ["6", "9"]);
    let all = MessageFilter::new().role("user").step(1).after(ids[1].id).since(ids[4].created_at).last(1);
    assert_eq!(scene.hear(&all), ["10"]);
    assert_eq!(scene.hear(&MessageFilter::new().since(ids[11].created_at + Duration::from_micros(1))), [""; 0]);
    scene.end();
}

#[test]
fn threads_do_not_hear_each_other() {
    let scene = scene();
    let other = scene.store.create_thread("review", "bob").unwrap().id;
    let first = scene.say("user", "here", 0);
    scene.store.append_message(other, NewMessage::new("user", "there")).unwrap();
    scene.say("user", "here again", 0);
    assert_eq!(scene.hear(&MessageFilter::new()), ["here", "here again"]);
    let after = MessageFilter::new().after(first.id);
    assert_eq!(scene.store.thread_messages(other, &after).unwrap().len(), 1, "after takes the id of any thread");
    scene.end();
}

#[test]
fn a_task_begins_open_with_a_timeout_of_300_seconds() {
    let scene = scene();
    let task = scene.store.create_task(scene.thread, NewTask::new("writer", "Write.")).unwrap();
    assert_eq!((task.status, task.status.as_str(), task.timeout_seconds), (TaskStatus::Open, "open", 300));
    assert_eq!((task.role.as_str(), task.instruction.as_str(), task.thread_id), ("writer", "Write.", scene.thread));
    assert_eq!((&task.claim_id, &task.claimed_by, task.claimed_at, task.finished_at), (&None, &None, None, None));
    assert_eq!(scene.store.open_tasks(1).unwrap(), [task]);
    scene.end();
}

#[test]
fn a_claim_is_given_once() {
    let scene = scene();
    let task = scene.task("writer", 60);
    let claim = scene.claim(&task, &scene.ada);
    assert_eq!(claim.task.status, TaskStatus::Claimed);
    assert_eq!((claim.task.claim_id, claim.task.claimed_by.as_ref()), (Some(claim.id), Some(&scene.ada)));
    assert_eq!(claim.task.claimed_at, Some(scene.clock.now()));
    assert_eq!(claim.expires_at(), scene.clock.now() + Duration::from_secs(60));
    assert_eq!(scene.now_is(task.id), claim.task);
    assert_eq!(scene.store.claim_task(task.id, &scene.bob).unwrap(), None, "somebody else was first");
    assert_eq!(scene.store.claim_task(task.id, &scene.ada).unwrap(), None, "also for the holder");
    assert_eq!(scene.open(), []);
    scene.end();
}

#[test]
fn a_finished_task_cannot_be_claimed() {
    let scene = scene();
    let task = scene.task("writer", 60);
    let claim = scene.claim(&task, &scene.ada);
    assert!(scene.store.complete_task(task.id, claim.id).unwrap());
    assert_eq!(scene.store.claim_task(task.id, &scene.bob).unwrap(), None);
    scene.end();
}

#[test]
fn a_completion_holds_and_can_be_repeated() {
    let scene = scene();
    let task = scene.task("writer", 60);
    let claim = scene.claim(&task, &scene.ada);
    scene.pass(5);
    assert!(scene.store.complete_task(task.id, claim.id).unwrap());
    let completed = scene.now_is(task.id);
    assert_eq!((completed.status, completed.finished_at), (TaskStatus::Completed, Some(scene.clock.now())));
    assert_eq!((completed.claim_id, completed.claimed_by.as_ref()), (Some(claim.id), Some(&scene.ada)));
    scene.pass(5);
    assert!(scene.store.complete_task(task.id, claim.id).unwrap(), "the same call again says the same");
    assert_eq!(scene.now_is(task.id), completed, "and changes nothing");
    scene.end();
}

#[test]
fn a_completion_under_another_claim_is_turned_away() {
    let scene = scene();
    let (task, other) = (scene.task("writer", 60), scene.task("writer", 60));
    let (claim, other_claim) = (scene.claim(&task, &scene.ada), scene.claim(&other, &scene.ada));
    let before = scene.now_is(task.id);
    assert!(!scene.store.complete_task(task.id, other_claim.id).unwrap());
    assert_eq!(scene.now_is(task.id), before);
    assert!(scene.store.complete_task(task.id, claim.id).unwrap());
    assert!(!scene.store.complete_task(task.id, other_claim.id).unwrap(), "also when it is finished");
    scene.end();
}

#[test]
fn an_open_task_cannot_be_completed() {
    let scene = scene();
    let task = scene.task("writer", 60);
    let claim: ClaimId = "01D39ZY06FGSCTVN4T2V9PKHFZ".parse().unwrap();
    assert!(!scene.store.complete_task(task.id, claim).unwrap());
    assert_eq!(scene.now_is(task.id), task);
    scene.end();
}

#[test]
fn a_claim_expires_when_its_time_is_up_and_not_before() {
    let scene = scene();
    let task = scene.task("writer", 60);
    scene.claim(&task, &scene.ada);
    scene.clock.advance(Duration::from_micros(59_999_999));
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 0);
    scene.clock.advance(Duration::from_micros(1));
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 1);
    let mut reopened = task.clone();
    reopened.attempts = 1;
    assert_eq!(scene.now_is(task.id), reopened, "open again, without claim, holder and claim time");
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 0);
    scene.end();
}

#[test]
fn time_alone_takes_no_claim_away() {
    let scene = scene();
    let task = scene.task("writer", 60);
    let claim = scene.claim(&task, &scene.ada);
    scene.pass(10_000);
    assert_eq!(scene.store.claim_task(task.id, &scene.bob).unwrap(), None, "nobody has reopened it");
    assert!(scene.store.complete_task(task.id, claim.id).unwrap(), "so a late completion is accepted");
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 0);
    scene.end();
}

#[test]
fn a_stale_claimant_is_turned_away() {
    let scene = scene();
    let task = scene.task("writer", 60);
    let stale = scene.claim(&task, &scene.ada);
    scene.pass(60);
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 1);
    assert!(!scene.store.complete_task(task.id, stale.id).unwrap(), "the task is open");
    let fresh = scene.claim(&task, &scene.bob);
    assert!(!scene.store.complete_task(task.id, stale.id).unwrap(), "the task is bob's");
    assert_eq!(scene.now_is(task.id), fresh.task);
    assert!(scene.store.complete_task(task.id, fresh.id).unwrap());
    assert!(!scene.store.complete_task(task.id, stale.id).unwrap(), "the task is done");
    scene.end();
}

#[test]
fn a_reopened_task_keeps_its_place_in_the_queue() {
    let scene = scene();
    let first = scene.task("writer", 10);
    scene.pass(1);
    let second = scene.task("writer", 10);
    scene.claim(&first, &scene.ada);
    scene.pass(60);
    let third = scene.task("writer", 10);
    scene.store.expire_timed_out_tasks().unwrap();
    assert_eq!(scene.open(), [first.id, second.id, third.id]);
    scene.end();
}

#[test]
fn a_large_sweep_reopens_everything_that_is_due() {
    let scene = scene();
    let (thread, ada) = (scene.thread, scene.ada.clone());
    let count = 2 * khala::limits::EXPIRE_SLICE_TASKS + 1;
    let claim_many = move |tx: &mut khala::WriteTx<'_>| {
        for n in 0..count {
            let task = tx.create_task(thread, &NewTask::new(format!("role-{}", n % 3), "").timeout_seconds(5))?;
            tx.claim_task(task.id, &ada)?;
        }
        Ok(())
    };
    scene.store.write(claim_many).unwrap();
    let kept = scene.claim(&scene.task("writer", 600), &scene.ada);
    scene.pass(5);
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), u64::try_from(count).unwrap());
    assert_eq!(scene.store.open_tasks(usize::MAX).unwrap().len(), count);
    assert_eq!(scene.now_is(kept.task.id), kept.task);
    scene.end();
}

#[test]
fn a_large_sweep_opens_every_scheduled_task_whose_time_has_come() {
    let scene = scene();
    let thread = scene.thread;
    let count = 2 * khala::limits::EXPIRE_SLICE_TASKS + 1;
    let schedule_many = move |tx: &mut khala::WriteTx<'_>| {
        let at = tx.now() + Duration::from_secs(5);
        (0..count).try_for_each(|_| tx.create_task(thread, &NewTask::new("writer", "").not_before(at)).map(drop))
    };
    scene.store.write(schedule_many).unwrap();
    scene.pass(5);
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 0);
    assert_eq!(scene.store.open_tasks(usize::MAX).unwrap().len(), count);
    scene.end();
}

#[test]
fn a_sweep_inside_a_transaction_takes_away_everything_that_is_due_at_once() {
    let scene = scene();
    let count = khala::limits::EXPIRE_SLICE_TASKS + 1;
    let (thread, ada) = (scene.thread, scene.ada.clone());
    let claim_many = move |tx: &mut khala::WriteTx<'_>| {
        for _ in 0..count {
            let task = tx.create_task(thread, &NewTask::new("writer", "").timeout_seconds(5))?;
            tx.claim_task(task.id, &ada)?;
        }
        Ok(())
    };
    scene.store.write(claim_many).unwrap();
    scene.pass(5);
    let swept = scene.store.write(|tx| Ok([tx.expire_timed_out_tasks()?, tx.expire_timed_out_tasks()?])).unwrap();
    assert_eq!(swept, [u64::try_from(count).unwrap(), 0]);
    scene.end();
}

#[test]
fn open_tasks_of_all_roles_come_oldest_first() {
    let scene = scene();
    let mut created = vec![];
    for n in 0..20 {
        created.push(scene.task(["writer", "reviewer", "a"][n % 3], 60).id);
        // Some at the same moment: then the older id comes first.
        scene.pass(u64::from(n % 4 == 0));
    }
    assert_eq!(scene.open(), created);
    let few = scene.store.open_tasks(3).unwrap();
    assert_eq!(few.iter().map(|task| task.id).collect::<Vec<_>>(), created[..3]);
    scene.end();
}

#[test]
fn ids_rise_in_commit_order_also_within_one_microsecond_and_across_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp::from_micros(5));
    let (mut threads, mut tasks, mut messages) = (vec![], vec![], vec![]);
    for _ in 0..3 {
        let store = Store::builder().clock(clock.clone()).open(folder.path().join("ids.khala")).unwrap();
        for _ in 0..20 {
            let thread = store.create_thread("review", "ada").unwrap();
            tasks.push(store.create_task(thread.id, NewTask::new("writer", "")).unwrap().id);
            messages.push(store.append_message(thread.id, NewMessage::new("user", "")).unwrap().id);
            threads.push(thread.id);
        }
        store.verify().unwrap();
    }
    assert!(threads.is_sorted() && tasks.is_sorted() && messages.is_sorted());
    assert_eq!(messages, (1..=60).map(MessageId::from_u64).collect::<Vec<_>>());
    assert_eq!(threads.iter().collect::<HashSet<_>>().len(), 60);
    assert_eq!(tasks.iter().collect::<HashSet<_>>().len(), 60);
}

#[test]
fn claim_ids_are_fresh_and_tell_nothing_about_each_other() {
    let scene = scene();
    let mut randoms = HashSet::new();
    for _ in 0..200 {
        let claim = scene.claim(&scene.task("writer", 60), &scene.ada);
        // The last 16 characters are the 80 random bits. In order or one apart would be a counter.
        let text = claim.id.to_string();
        assert!(randoms.insert(text[10..].to_owned()), "{text} repeats");
    }
    let sorted = randoms.iter().map(|text| text[..6].to_owned()).collect::<HashSet<_>>();
    assert!(sorted.len() > 190, "the high bits differ as well");
    scene.end();
}

#[test]
fn an_id_begins_with_the_millisecond_it_was_made_in() {
    let scene = scene();
    scene.clock.set(Timestamp::from_micros(1_700_000_000_123_456));
    let thread = scene.store.create_thread("review", "ada").unwrap().id;
    let task = scene.store.create_task(thread, NewTask::new("writer", "")).unwrap();
    let claim = scene.claim(&task, &scene.ada);
    for id in [thread.to_string(), task.id.to_string(), claim.id.to_string()] {
        let digit = |character| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(character).unwrap();
        let millis = id[..10].chars().fold(0, |millis, character| millis * 32 + digit(character));
        assert_eq!(millis, 1_700_000_000_123, "{id}");
    }
    scene.end();
}

#[test]
fn a_backward_step_of_the_clock_is_absorbed_at_the_clocks_pace() {
    let scene = scene();
    let before = scene.say("user", "before", 0).created_at;
    scene.clock.set(Timestamp::from_micros(before.as_micros() - 3_600_000_000));
    assert_eq!(scene.say("user", "after the step", 0).created_at, before, "time goes on from where it was");
    scene.pass(2);
    assert_eq!(scene.say("user", "later", 0).created_at, before + Duration::from_secs(2), "at the clock's pace");
    scene.end();
}

#[test]
fn a_claim_times_out_by_stored_time_whatever_the_clock_does() {
    let scene = scene();
    let task = scene.task("writer", 60);
    scene.claim(&task, &scene.ada);
    scene.clock.set(Timestamp::from_micros(0));
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 0, "not revived into the future");
    scene.pass(60);
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 1, "and not immortal");
    scene.end();
}

#[test]
fn time_does_not_go_back_across_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("time.khala");
    let open = |micros| Store::builder().clock(ManualClock::new(Timestamp::from_micros(micros))).open(&path).unwrap();
    let first = open(5_000_000).create_thread("review", "ada").unwrap();
    let store = open(1_000_000);
    let second = store.create_thread("review", "ada").unwrap();
    assert_eq!(second.created_at, first.created_at);
    assert!(second.id > first.id);
    store.verify().unwrap();
}

#[test]
fn the_next_task_is_the_oldest_of_the_highest_priority() {
    let scene = scene();
    let create = |priority: i16| {
        scene.pass(1);
        scene.store.create_task(scene.thread, NewTask::new("writer", "").priority(priority)).unwrap().id
    };
    let (low, first, second, urgent) = (create(i16::MIN), create(0), create(0), create(i16::MAX));
    let next = || scene.store.claim_next(&scene.ada, &TaskFilter::new()).unwrap().map(|claim| claim.task.id);
    assert_eq!([next(), next(), next(), next(), next()], [Some(urgent), Some(first), Some(second), Some(low), None]);
    scene.end();
}

#[test]
fn the_next_task_is_of_the_role_and_thread_asked_for() {
    let scene = scene();
    let other = scene.store.create_thread("review", "bob").unwrap().id;
    let writer = scene.task("writer", 60);
    let reviewer = scene.task("reviewer", 60);
    let elsewhere = scene.store.create_task(other, NewTask::new("writer", "").priority(9)).unwrap();
    let next = |filter: TaskFilter| scene.store.claim_next(&scene.ada, &filter).unwrap().map(|claim| claim.task.id);
    assert_eq!(next(TaskFilter::new().role("nobody")), None);
    assert_eq!(next(TaskFilter::new().role("reviewer")), Some(reviewer.id));
    assert_eq!(next(TaskFilter::new().thread(scene.thread).role("reviewer")), None);
    assert_eq!(next(TaskFilter::new().thread(scene.thread)), Some(writer.id));
    assert_eq!(next(TaskFilter::new()), Some(elsewhere.id));
    scene.end();
}

#[test]
fn the_next_task_may_be_one_whose_claim_has_just_timed_out() {
    let scene = scene();
    let task = scene.task("writer", 10);
    let stale = scene.claim(&task, &scene.ada);
    let next = || scene.store.claim_next(&scene.bob, &TaskFilter::new()).unwrap();
    assert_eq!(next(), None);
    scene.pass(10);
    let claim = next().unwrap();
    assert_eq!((claim.task.id, claim.task.attempts), (task.id, 2));
    assert!(!scene.store.complete_task(task.id, stale.id).unwrap());
    scene.end();
}

#[test]
fn a_renewed_claim_lasts_its_full_time_from_now_and_is_never_shortened() {
    let scene = scene();
    let task = scene.task("writer", 60);
    let claim = scene.claim(&task, &scene.ada);
    scene.pass(50);
    assert!(scene.store.renew_claim(task.id, claim.id).unwrap());
    assert_eq!(scene.now_is(task.id).expires_at, Some(scene.clock.now() + Duration::from_secs(60)));
    scene.clock.set(Timestamp::from_micros(0));
    assert!(scene.store.renew_claim(task.id, claim.id).unwrap(), "the clock's step is absorbed");
    scene.pass(59);
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 0);
    scene.pass(1);
    assert!(scene.store.renew_claim(task.id, claim.id).unwrap(), "late, and nobody has taken it away");
    scene.pass(60);
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 1);
    assert!(!scene.store.renew_claim(task.id, claim.id).unwrap());
    scene.end();
}

#[test]
fn a_released_task_is_open_in_its_old_place_and_its_attempt_is_not_counted() {
    let scene = scene();
    let first = scene.store.create_task(scene.thread, NewTask::new("writer", "").max_attempts(1)).unwrap();
    scene.pass(1);
    let second = scene.task("writer", 60);
    for _ in 0..3 {
        let claim = scene.claim(&first, &scene.ada);
        assert_eq!(claim.task.attempts, 1);
        assert!(scene.store.release_task(first.id, claim.id).unwrap());
        assert!(!scene.store.release_task(first.id, claim.id).unwrap());
        assert_eq!(scene.now_is(first.id), first);
    }
    assert_eq!(scene.open(), [first.id, second.id]);
    scene.end();
}

#[test]
fn a_failed_attempt_rests_twice_as_long_each_time_and_at_most_a_day() {
    let scene = scene();
    let task = NewTask::new("writer", "").backoff_seconds(30_000);
    let task = scene.store.create_task(scene.thread, task).unwrap();
    for rest in [30_000, 60_000, 86_400, 86_400] {
        let claim = scene.claim(&task, &scene.ada);
        assert!(scene.store.fail_task(task.id, claim.id, "out of tokens").unwrap());
        let failed = scene.now_is(task.id);
        assert_eq!((failed.status, failed.last_error.as_deref()), (TaskStatus::Scheduled, Some("out of tokens")));
        assert_eq!(failed.not_before, Some(scene.clock.now() + Duration::from_secs(rest)));
        scene.pass(rest - 1);
        assert_eq!(scene.store.claim_task(task.id, &scene.bob).unwrap(), None, "its time has not come");
        assert_eq!(scene.store.claim_next(&scene.bob, &TaskFilter::new()).unwrap(), None);
        scene.pass(1);
    }
    assert_eq!(scene.store.claim_next(&scene.bob, &TaskFilter::new()).unwrap().unwrap().task.attempts, 5);
    scene.end();
}

#[test]
fn a_task_whose_attempts_are_spent_is_failed_for_good() {
    let scene = scene();
    let new = || NewTask::new("writer", "").max_attempts(2).timeout_seconds(10);
    let (by_holder, by_time) =
        (scene.store.create_task(scene.thread, new()).unwrap(), scene.store.create_task(scene.thread, new()).unwrap());
    for _ in 0..2 {
        let claim = scene.claim(&by_holder, &scene.ada);
        assert!(scene.store.fail_task(by_holder.id, claim.id, "no").unwrap());
        scene.claim(&by_time, &scene.ada);
        scene.pass(10);
        assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 1, "a crash counts as an attempt");
    }
    for (task, reason) in [(by_holder, "no"), (by_time, "the claim timed out")] {
        let failed = scene.now_is(task.id);
        assert_eq!((failed.status, failed.last_error.as_deref()), (TaskStatus::Failed, Some(reason)));
        assert!(failed.finished_at.is_some());
        assert_eq!(failed.claimed_by.as_ref(), Some(&scene.ada), "who had the last attempt stays known");
        assert_eq!(scene.store.claim_task(task.id, &scene.bob).unwrap(), None);
        assert!(!scene.store.cancel_task(task.id).unwrap(), "for good");
    }
    scene.end();
}

#[test]
fn a_scheduled_task_waits_for_its_time() {
    let scene = scene();
    let at = scene.clock.now() + Duration::from_secs(100);
    let task = scene.store.create_task(scene.thread, NewTask::new("writer", "").not_before(at)).unwrap();
    assert_eq!((task.status, task.not_before), (TaskStatus::Scheduled, Some(at)));
    scene.clock.advance(Duration::from_micros(99_999_999));
    assert_eq!(scene.store.claim_task(task.id, &scene.ada).unwrap(), None);
    assert_eq!((scene.store.expire_timed_out_tasks().unwrap(), scene.open()), (0, vec![]));
    scene.clock.advance(Duration::from_micros(1));
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 0, "opened, and not counted as expired");
    assert_eq!(scene.open(), [task.id]);
    let past = scene.store.create_task(scene.thread, NewTask::new("writer", "").not_before(at)).unwrap();
    assert_eq!(past.status, TaskStatus::Open, "a time that has come already");
    scene.end();
}

#[test]
fn a_cancelled_task_is_gone_for_its_holder_and_for_everybody() {
    let scene = scene();
    let (open, held) = (scene.task("writer", 60), scene.task("writer", 60));
    let claim = scene.claim(&held, &scene.ada);
    for task in [&open, &held] {
        assert!(scene.store.cancel_task(task.id).unwrap());
        assert!(scene.store.cancel_task(task.id).unwrap(), "the same call again says the same");
        assert_eq!(scene.now_is(task.id).status, TaskStatus::Cancelled);
        assert_eq!(scene.store.claim_task(task.id, &scene.bob).unwrap(), None);
    }
    assert!(!scene.store.renew_claim(held.id, claim.id).unwrap());
    assert!(!scene.store.complete_task(held.id, claim.id).unwrap());
    assert!(!scene.store.fail_task(held.id, claim.id, "late").unwrap());
    scene.pass(600);
    assert_eq!(scene.store.expire_timed_out_tasks().unwrap(), 0);
    let done = scene.task("writer", 60);
    let claim = scene.claim(&done, &scene.ada);
    scene.store.complete_task(done.id, claim.id).unwrap();
    assert!(!scene.store.cancel_task(done.id).unwrap(), "done is done");
    scene.end();
}

#[test]
fn the_same_key_gives_back_the_same_task() {
    let scene = scene();
    let new = |instruction: &str| NewTask::new("writer", instruction).key("chapter-1");
    let task = scene.store.create_task(scene.thread, new("Write.")).unwrap();
    let claim = scene.claim(&task, &scene.ada);
    scene.store.complete_task(task.id, claim.id).unwrap();
    let again = scene.store.create_task(scene.thread, new("Write.")).unwrap();
    assert_eq!((again.id, again.status), (task.id, TaskStatus::Completed), "whatever has become of it");
    let conflict = scene.store.create_task(scene.thread, new("Write more.")).unwrap_err();
    assert!(matches!(&conflict, Error::KeyConflict { key, task: id } if key == "chapter-1" && *id == task.id));
    assert!(conflict.is_conflict() && conflict.to_string().contains("chapter-1"), "{conflict}");
    let elsewhere = scene.store.create_thread("review", "ada").unwrap().id;
    assert_ne!(scene.store.create_task(elsewhere, new("Write.")).unwrap().id, task.id, "a key is a thread's own");
    assert!(scene.store.create_task(scene.thread, NewTask::new("writer", "").key("")).is_err());
    assert!(scene.store.create_task(scene.thread, NewTask::new("writer", "").max_attempts(0)).is_err());
    scene.end();
}

#[test]
fn a_message_under_a_claim_is_appended_only_while_the_claim_holds() {
    let scene = scene();
    let task = scene.task("writer", 10);
    let claim = scene.claim(&task, &scene.ada);
    let say = |content: &str| {
        scene.store.append_message(scene.thread, NewMessage::new("writer", content).under(task.id, claim.id))
    };
    say("working").unwrap();
    scene.pass(10);
    say("late, and still its holder").unwrap();
    scene.store.expire_timed_out_tasks().unwrap();
    let lost = say("too late").unwrap_err();
    assert!(matches!(lost, Error::ClaimLost(id) if id == task.id) && lost.is_conflict());
    assert_eq!(scene.hear(&MessageFilter::new()), ["working", "late, and still its holder"]);
    scene.end();
}

#[test]
fn a_turn_under_its_claim_can_be_repeated_and_says_nothing_twice() {
    let scene = scene();
    let (thread, task) = (scene.thread, scene.task("writer", 60));
    let claim = scene.claim(&task, &scene.ada);
    let turn = || {
        let (task, claim) = (task.id, claim.id);
        scene.store.write(move |tx| {
            tx.append_message(thread, &NewMessage::new("writer", "Done.").under(task, claim))?;
            tx.complete_task(task, claim)
        })
    };
    assert!(turn().unwrap());
    assert!(matches!(turn(), Err(Error::ClaimLost(_))), "as after a commit whose outcome was unknown");
    assert_eq!(scene.hear(&MessageFilter::new()), ["Done."]);
    scene.end();
}

#[test]
fn a_message_at_a_place_is_appended_only_if_nothing_came_in_between() {
    let scene = scene();
    let at = |expected: Option<MessageId>, step: u64| {
        scene.store.append_message_at(scene.thread, NewMessage::new("user", "here").step(step), expected)
    };
    let first = at(None, 5).unwrap().id;
    assert!(matches!(at(None, 0), Err(Error::ThreadMoved { newest: Some(newest) }) if newest == first));
    let second = at(Some(first), 0).unwrap().id;
    let moved = at(Some(first), 9).unwrap_err();
    assert!(matches!(moved, Error::ThreadMoved { newest: Some(newest) } if newest == second), "whatever its step");
    assert_eq!(moved.to_string(), "the thread has moved on: its newest message is 2");
    scene
        .store
        .append_message(scene.store.create_thread("review", "bob").unwrap().id, NewMessage::new("user", ""))
        .unwrap();
    at(Some(second), 1).unwrap();
    scene.end();
}

#[test]
fn a_finished_thread_takes_nothing_more_and_its_tasks_are_cancelled() {
    let scene = scene();
    let (open, held, done) = (scene.task("writer", 60), scene.task("writer", 60), scene.task("writer", 60));
    let (claim, finished) = (scene.claim(&held, &scene.ada), scene.claim(&done, &scene.ada));
    scene.store.complete_task(done.id, finished.id).unwrap();
    scene.pass(5);
    let thread = scene.store.finish_thread(scene.thread, ThreadStatus::Completed, Some("All good.")).unwrap();
    assert_eq!((thread.status, thread.result.as_deref()), (ThreadStatus::Completed, Some("All good.")));
    assert_eq!(thread.updated_at, scene.clock.now());
    assert_eq!(scene.now_is(open.id).status, TaskStatus::Cancelled);
    assert_eq!(scene.now_is(held.id).status, TaskStatus::Cancelled);
    assert_eq!(scene.now_is(done.id).status, TaskStatus::Completed);
    assert!(!scene.store.complete_task(held.id, claim.id).unwrap());
    let refused = [
        scene.store.append_message(scene.thread, NewMessage::new("user", "")).map(drop),
        scene.store.append_message_at(scene.thread, NewMessage::new("user", ""), None).map(drop),
        scene.store.create_task(scene.thread, NewTask::new("writer", "")).map(drop),
        scene.store.finish_thread(scene.thread, ThreadStatus::Failed, None).map(drop),
    ];
    for refusal in refused {
        assert!(matches!(refusal, Err(Error::ThreadFinished(id)) if id == scene.thread));
    }
    scene.pass(5);
    let again = scene.store.finish_thread(scene.thread, ThreadStatus::Completed, Some("All good.")).unwrap();
    assert_eq!(again, thread, "ending it the same way again changes nothing");
    assert!(scene.store.finish_thread(scene.thread, ThreadStatus::Active, None).is_err());
    scene.end();
}

#[test]
fn a_deleted_thread_is_gone_with_everything_in_it() {
    let scene = scene();
    let kept = scene.store.create_thread("review", "bob").unwrap().id;
    scene.store.append_message(kept, NewMessage::new("user", "kept")).unwrap();
    let task = scene.task("writer", 60);
    let keyed = scene.store.create_task(scene.thread, NewTask::new("writer", "").key("k")).unwrap();
    let claim = scene.claim(&task, &scene.ada);
    scene.say("user", "gone", 0);
    assert!(scene.store.delete_thread(scene.thread).unwrap());
    assert!(!scene.store.delete_thread(scene.thread).unwrap());
    assert_eq!(scene.store.thread(scene.thread).unwrap(), None);
    assert_eq!((scene.store.task(task.id).unwrap(), scene.store.task(keyed.id).unwrap()), (None, None));
    assert!(matches!(scene.store.complete_task(task.id, claim.id), Err(Error::TaskNotFound(_))));
    assert!(matches!(scene.store.thread_messages(scene.thread, &MessageFilter::new()), Err(Error::ThreadNotFound(_))));
    let next = scene.store.append_message(kept, NewMessage::new("user", "next")).unwrap();
    assert_eq!(next.id, MessageId::from_u64(3), "no id is given out twice");
    assert_eq!(scene.store.thread_messages(kept, &MessageFilter::new().after(MessageId::from_u64(1))).unwrap(), [next]);
    scene.end();
}

#[test]
fn only_threads_that_finished_before_are_pruned() {
    let scene = scene();
    let finish = |status| {
        let id = scene.store.create_thread("review", "ada").unwrap().id;
        scene.pass(10);
        scene.store.finish_thread(id, status, None).unwrap().id
    };
    let old = [finish(ThreadStatus::Failed), finish(ThreadStatus::Completed), finish(ThreadStatus::Cancelled)];
    scene.pass(1);
    let before = scene.clock.now();
    let young = scene.store.create_thread("review", "ada").unwrap().id;
    scene.store.finish_thread(young, ThreadStatus::Completed, None).unwrap();
    assert_eq!(scene.store.prune(before).unwrap(), 3);
    assert!(old.iter().all(|id| scene.store.thread(*id).unwrap().is_none()));
    assert!(scene.store.thread(young).unwrap().is_some(), "it finished at that moment, not before");
    assert!(scene.store.thread(scene.thread).unwrap().is_some(), "it is not finished");
    assert_eq!(scene.store.prune(before).unwrap(), 0);
    scene.end();
}

#[test]
fn a_rotated_token_replaces_the_old_one_and_a_removed_agent_has_none() {
    let scene = scene();
    assert!(matches!(scene.store.rotate_token(&scene.ada), Err(Error::AgentNotFound(id)) if id == scene.ada));
    let old = scene.store.register_agent(&scene.ada).unwrap();
    let registered = scene.store.agent(&scene.ada).unwrap();
    scene.pass(5);
    let new = scene.store.rotate_token(&scene.ada).unwrap();
    assert_eq!(scene.store.authenticate(old.expose()).unwrap(), None);
    assert_eq!(scene.store.authenticate(new.expose()).unwrap(), registered, "the same agent, registered when it was");
    assert!(scene.store.remove_agent(&scene.ada).unwrap());
    assert!(!scene.store.remove_agent(&scene.ada).unwrap());
    assert_eq!(scene.store.authenticate(new.expose()).unwrap(), None);
    scene.store.register_agent(&scene.ada).unwrap();
    scene.end();
}

#[test]
fn a_turn_is_one_atomic_step() {
    let scene = scene();
    let (thread, task) = (scene.thread, scene.task("writer", 60));
    let claim = scene.claim(&task, &scene.ada);
    let turn = move |tx: &mut khala::WriteTx<'_>| {
        if !tx.complete_task(claim.task.id, claim.id)? {
            return Err(Error::aborted("the claim is gone"));
        }
        tx.append_message(thread, &NewMessage::new("assistant", "Done."))?;
        assert_eq!(tx.thread_messages(thread, &MessageFilter::new())?.len(), 1, "it reads what it wrote");
        let next = tx.create_task(thread, &NewTask::new("reviewer", "Review."))?;
        assert_eq!(next.created_at, tx.now(), "all at one moment");
        Ok(next)
    };
    let next = scene.store.write(turn).unwrap();
    assert_eq!(scene.now_is(task.id).status, TaskStatus::Completed);
    assert_eq!(scene.hear(&MessageFilter::new()), ["Done."]);
    assert_eq!(scene.open(), [next.id]);
    scene.end();
}

#[test]
fn an_error_from_a_closure_leaves_nothing_behind() {
    let scene = scene();
    let thread = scene.thread;
    let refused = scene.store.write(move |tx| {
        tx.append_message(thread, &NewMessage::new("user", "never said"))?;
        tx.create_task(thread, &NewTask::new("writer", ""))?;
        tx.register_agent(&AgentId::new("nobody")?)?;
        Err::<(), _>(Error::aborted("changed my mind"))
    });
    assert_eq!(refused.unwrap_err().to_string(), "aborted: changed my mind");
    assert_eq!((scene.hear(&MessageFilter::new()), scene.open()), (vec![], vec![]));
    assert_eq!(scene.store.agent(&AgentId::new("nobody").unwrap()).unwrap(), None);
    assert_eq!(scene.say("user", "said", 0).id, MessageId::from_u64(1), "no id is used up");
    scene.end();
}

#[test]
fn a_panic_in_a_closure_leaves_nothing_behind_and_goes_on_in_its_caller() {
    let scene = scene();
    let thread = scene.thread;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        scene.store.write(move |tx| -> khala::Result<()> {
            tx.append_message(thread, &NewMessage::new("user", "never said"))?;
            panic!("on purpose")
        })
    }));
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "on purpose");
    assert_eq!(scene.hear(&MessageFilter::new()), [""; 0]);
    scene.end();
}

#[test]
fn a_snapshot_does_not_see_what_is_written_meanwhile() {
    let scene = scene();
    scene
        .store
        .read(|tx| {
            let before = tx.thread_messages(scene.thread, &MessageFilter::new())?;
            // On another thread: a store called from inside its own closure is an error.
            std::thread::scope(|scope| scope.spawn(|| scene.say("user", "meanwhile", 0)).join().unwrap());
            assert_eq!(tx.thread_messages(scene.thread, &MessageFilter::new())?, before);
            Ok(())
        })
        .unwrap();
    assert_eq!(scene.hear(&MessageFilter::new()), ["meanwhile"]);
    scene.end();
}

#[test]
fn an_agent_is_let_in_by_its_token_and_by_nothing_else() {
    let scene = scene();
    let token = scene.store.register_agent(&scene.ada).unwrap();
    let other = scene.store.register_agent(&scene.bob).unwrap();
    let agent = scene.store.authenticate(token.expose()).unwrap().unwrap();
    assert_eq!((&agent.id, agent.created_at), (&scene.ada, scene.clock.now()));
    assert_eq!(scene.store.agent(&scene.ada).unwrap(), Some(agent));
    assert_eq!(scene.store.authenticate(other.expose()).unwrap().unwrap().id, scene.bob);
    assert_ne!(token.expose(), other.expose());
    assert!(token.expose().starts_with("khala_") && token.expose().len() == 70, "32 bytes in hexadecimal");
    assert!(matches!(scene.store.register_agent(&scene.ada), Err(Error::AgentExists(id)) if id == scene.ada));
    assert!(scene.store.authenticate(token.expose()).unwrap().is_some(), "the first token stays good");
    scene.end();
}

#[test]
fn what_is_printed_for_debugging_names_the_thing_and_tells_no_secret() {
    let scene = scene();
    let token = scene.store.register_agent(&scene.ada).unwrap();
    assert_eq!(format!("{token:?}"), "Token(secret)");
    assert_eq!(scene.store.read(|tx| Ok(format!("{tx:?}"))).unwrap(), "ReadTx { .. }");
    let printed = scene.store.write(|tx| Ok(format!("{tx:?}"))).unwrap();
    assert_eq!(printed, format!("WriteTx {{ now: {:?}, .. }}", scene.clock.now()));
    scene.end();
}

#[test]
fn a_token_is_neither_printed_nor_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.khala");
    let store = Store::open(&path).unwrap();
    let ada = AgentId::new("ada").unwrap();
    let token = store.register_agent(&ada).unwrap();
    let secret = token.expose().trim_start_matches("khala_");
    assert!(!format!("{token:?} {store:?} {:?}", store.agent(&ada).unwrap()).contains(secret));
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
}
