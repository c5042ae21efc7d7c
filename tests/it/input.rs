//! Bad input: a clear error that names the thing and the bound, and nothing changed.

use std::time::Duration;

use khala::limits::{CLOCK_MAX, NAME_MAX_BYTES, TEXT_MAX_BYTES};
use khala::{
    Agent, AgentId, Claim, ClaimId, Error, ManualClock, Message, MessageFilter, MessageId, NewMessage, NewTask, Result,
    Store, Task, TaskId, Thread, ThreadId, Timestamp,
};

const UNKNOWN: &str = "01D39ZY06FGSCTVN4T2V9PKHFZ";

fn store() -> (Store, ThreadId) {
    let store = Store::builder().clock(ManualClock::new(Timestamp::from_micros(0))).in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    (store, thread)
}

/// The first message gets id 1 only if nothing was counted before, and nothing else may be there.
fn is_untouched(store: &Store, thread: ThreadId) {
    assert_eq!(store.open_tasks(10).unwrap(), []);
    assert_eq!(store.thread_messages(thread, &MessageFilter::new()).unwrap(), []);
    let first = store.append_message(thread, NewMessage::new("user", "first")).unwrap();
    assert_eq!(first.id, MessageId::from_u64(1), "no id was used up");
    store.verify().unwrap();
}

/// Everything that takes a name, by what its error calls it.
#[expect(clippy::type_complexity, reason = "a list of closures, each used once")]
fn takers_of_names() -> Vec<(&'static str, Box<dyn Fn(&Store, ThreadId, &str) -> Result<()>>)> {
    vec![
        ("workflow", Box::new(|store, _, name| store.create_thread(name, "ada").map(drop))),
        ("initiator", Box::new(|store, _, name| store.create_thread("review", name).map(drop))),
        (
            "message role",
            Box::new(|store, thread, name| store.append_message(thread, NewMessage::new(name, "")).map(drop)),
        ),
        ("task role", Box::new(|store, thread, name| store.create_task(thread, NewTask::new(name, "")).map(drop))),
        ("agent id", Box::new(|store, _, name| store.register_agent(&AgentId::new(name)?).map(drop))),
    ]
}

#[test]
fn a_name_is_not_empty_and_has_at_most_256_bytes() {
    let (store, thread) = store();
    for (field, take) in takers_of_names() {
        let message = take(&store, thread, "").unwrap_err().to_string();
        assert_eq!(message, format!("{field} is empty; a name has 1 to 256 bytes"));
        for long in ["x".repeat(257), "é".repeat(129)] {
            let error = take(&store, thread, &long).unwrap_err();
            assert_eq!(error.to_string(), format!("{field} has {} bytes; the most is 256", long.len()));
            assert!(matches!(error, Error::TooLarge { max: NAME_MAX_BYTES, .. }));
        }
    }
    is_untouched(&store, thread);
}

#[test]
fn a_name_may_hold_any_256_bytes_of_text() {
    let (store, thread) = store();
    for name in ["x".repeat(256), "é".repeat(128), "\0".repeat(256), "a\nb\tc".into(), " ".into()] {
        for (_, take) in takers_of_names() {
            take(&store, thread, &name).unwrap();
        }
        let found = store.thread_messages(thread, &MessageFilter::new().role(&*name)).unwrap();
        assert_eq!(found.len(), 1, "{name:?} comes back");
        assert_eq!(store.agent(&AgentId::new(&*name).unwrap()).unwrap().unwrap().id.as_str(), name);
        assert_eq!(store.open_tasks(100).unwrap().iter().filter(|task| task.role == name).count(), 1);
    }
    store.verify().unwrap();
}

#[test]
fn a_text_has_at_most_16_mebibytes() {
    let (store, thread) = store();
    let most = "x".repeat(TEXT_MAX_BYTES);
    let more = "x".repeat(TEXT_MAX_BYTES + 1);
    let refused = [
        ("message content", store.append_message(thread, NewMessage::new("user", &*more)).map(drop)),
        ("message meta", store.append_message(thread, NewMessage::new("user", "").meta(&*more)).map(drop)),
        ("task instruction", store.create_task(thread, NewTask::new("writer", &*more)).map(drop)),
    ];
    for (field, outcome) in refused {
        let message = outcome.unwrap_err().to_string();
        assert_eq!(message, format!("{field} has 16777217 bytes; the most is 16777216"));
    }
    is_untouched(&store, thread);
    let message = store.append_message(thread, NewMessage::new("user", &*most).meta(&*most)).unwrap();
    assert_eq!(store.thread_messages(thread, &MessageFilter::new().after(MessageId::from_u64(1))).unwrap(), [message]);
    let task = store.create_task(thread, NewTask::new("writer", &*most)).unwrap();
    assert_eq!(store.task(task.id).unwrap(), Some(task));
    store.verify().unwrap();
}

#[test]
fn a_text_may_be_empty() {
    let (store, thread) = store();
    store.append_message(thread, NewMessage::new("user", "").meta("")).unwrap();
    store.create_task(thread, NewTask::new("writer", "")).unwrap();
    assert_eq!(store.thread_messages(thread, &MessageFilter::new()).unwrap()[0].meta.as_deref(), Some(""));
    store.verify().unwrap();
}

#[test]
fn a_timeout_is_at_least_a_second_and_may_be_136_years() {
    let (store, thread) = store();
    let error = store.create_task(thread, NewTask::new("writer", "").timeout_seconds(0)).unwrap_err();
    assert_eq!(error.to_string(), "task timeout_seconds is 0; a claim lasts 1 to 4294967295 seconds");
    is_untouched(&store, thread);
    let task = store.create_task(thread, NewTask::new("writer", "").timeout_seconds(u32::MAX)).unwrap();
    let claim = store.claim_task(task.id, &AgentId::new("ada").unwrap()).unwrap().unwrap();
    assert_eq!(claim.expires_at().to_string(), "2106-02-07T06:28:15.000000Z");
    assert_eq!(store.expire_timed_out_tasks().unwrap(), 0);
    store.verify().unwrap();
}

#[test]
fn the_longest_claim_at_the_latest_moment_times_out_at_the_end_of_time_and_not_before() {
    let clock = ManualClock::new(CLOCK_MAX);
    let store = Store::builder().clock(clock).in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let task = store.create_task(thread, NewTask::new("writer", "").timeout_seconds(u32::MAX)).unwrap();
    let claim = store.claim_task(task.id, &AgentId::new("ada").unwrap()).unwrap().unwrap();
    assert_eq!(claim.expires_at(), Timestamp::MAX);
    assert_eq!(store.expire_timed_out_tasks().unwrap(), 0);
    store.verify().unwrap();
}

#[test]
fn a_clock_too_late_for_a_claim_to_time_out_is_refused_until_it_says_less() {
    let start = Timestamp::from_micros(0);
    // A clock that counts nanoseconds, say.
    for late in [CLOCK_MAX + Duration::from_micros(1), Timestamp::MAX] {
        let clock = ManualClock::new(start);
        let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
        let thread = store.create_thread("review", "ada").unwrap().id;
        clock.set(late);
        for error in [
            store.append_message(thread, NewMessage::new("user", "")).unwrap_err(),
            store.thread(thread).unwrap_err(),
            Store::builder().clock(clock.clone()).in_memory().unwrap_err(),
        ] {
            let latest = "the latest moment at which a claim can time out is 9863-11-23T15:31:45.000000Z";
            assert_eq!(error.to_string(), format!("clock puts the store at {late}; {latest}"));
        }
        clock.set(start);
        is_untouched(&store, thread);
        assert_eq!(store.create_thread("review", "ada").unwrap().created_at, start, "nothing of it stays");
    }
}

#[test]
fn a_store_works_before_1970() {
    let store = Store::builder().clock(ManualClock::new(Timestamp::MIN)).in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap();
    let later = store.create_thread("review", "ada").unwrap();
    assert!(later.id > thread.id);
    assert_eq!(thread.created_at, Timestamp::MIN);
    store.verify().unwrap();
}

#[test]
fn an_unknown_thread_or_task_is_named() {
    let (store, thread) = store();
    let (unknown, claim): (ThreadId, ClaimId) = (UNKNOWN.parse().unwrap(), UNKNOWN.parse().unwrap());
    let errors = [
        store.create_task(unknown, NewTask::new("writer", "")).unwrap_err(),
        store.append_message(unknown, NewMessage::new("user", "")).unwrap_err(),
        store.thread_messages(unknown, &MessageFilter::new()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.to_string(), format!("thread {UNKNOWN} does not exist"));
        assert!(error.is_not_found() && !error.is_conflict() && !error.is_retryable());
    }
    let unknown: TaskId = UNKNOWN.parse().unwrap();
    let errors = [
        store.claim_task(unknown, &AgentId::new("ada").unwrap()).unwrap_err(),
        store.complete_task(unknown, claim).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.to_string(), format!("task {UNKNOWN} does not exist"));
        assert!(error.is_not_found());
    }
    assert_eq!(store.task(unknown).unwrap(), None);
    assert_eq!(store.agent(&AgentId::new("nobody").unwrap()).unwrap(), None);
    is_untouched(&store, thread);
}

#[test]
fn extreme_limits_and_filters_are_taken_at_their_word() {
    let (store, thread) = store();
    store.create_task(thread, NewTask::new("writer", "")).unwrap();
    store.append_message(thread, NewMessage::new("user", "last step").step(u64::MAX)).unwrap();
    assert_eq!(store.open_tasks(0).unwrap(), []);
    assert_eq!(store.open_tasks(usize::MAX).unwrap().len(), 1);
    let count = |filter: MessageFilter| store.thread_messages(thread, &filter).unwrap().len();
    assert_eq!(count(MessageFilter::new().last(0)), 0);
    assert_eq!(count(MessageFilter::new().last(usize::MAX)), 1);
    assert_eq!(count(MessageFilter::new().step(u64::MAX)), 1);
    assert_eq!(count(MessageFilter::new().step(u64::MAX).last(5)), 1);
    assert_eq!(count(MessageFilter::new().step(0)), 0);
    assert_eq!(count(MessageFilter::new().after(MessageId::from_u64(u64::MAX))), 0);
    assert_eq!(count(MessageFilter::new().after(MessageId::from_u64(u64::MAX)).step(u64::MAX)), 0);
    assert_eq!(count(MessageFilter::new().after(MessageId::from_u64(0))), 1);
    assert_eq!(count(MessageFilter::new().since(Timestamp::MAX)), 0);
    assert_eq!(count(MessageFilter::new().since(Timestamp::MIN)), 1);
    assert_eq!(count(MessageFilter::new().role("")), 0);
    store.verify().unwrap();
}

#[test]
fn roles_that_begin_alike_are_queues_of_their_own() {
    let (store, thread) = store();
    let roles = ["a", "a\0", "a\0b", "ab", "\0", "\0\0", "a\u{FF}", "a"];
    for role in roles {
        store.create_task(thread, NewTask::new(role, "")).unwrap();
    }
    let open = store.open_tasks(100).unwrap();
    assert_eq!(open.iter().map(|task| task.role.as_str()).collect::<Vec<_>>(), roles);
    store.verify().unwrap();
}

#[test]
fn whatever_is_no_token_lets_nobody_in() {
    let (store, _) = store();
    let token = store.register_agent(&AgentId::new("ada").unwrap()).unwrap();
    let secret = token.expose();
    let others = [
        String::new(),
        "khala_".into(),
        secret[..69].into(),
        format!("{secret}0"),
        format!(" {secret}"),
        secret.to_uppercase(),
        format!("khala_{}", "0".repeat(64)),
        "x".repeat(1_000_000),
        "\u{1F980}".repeat(70),
    ];
    for other in others {
        assert_eq!(store.authenticate(&other).unwrap(), None);
    }
    assert!(store.authenticate(secret).unwrap().is_some());
}

#[test]
fn a_batch_has_between_1_and_1000_operations() {
    for operations in [0, 1_001, usize::MAX] {
        let error = Store::builder().batch_max_operations(operations).in_memory().unwrap_err();
        let expected = format!("batch_max_operations is {operations}; a batch has 1 to 1000 operations");
        assert_eq!(error.to_string(), expected);
    }
    for operations in [1, 1_000] {
        let store = Store::builder().batch_max_operations(operations).in_memory().unwrap();
        store.create_thread("review", "ada").unwrap();
    }
}

#[test]
fn errors_say_what_to_do_next() {
    let exists = Error::AgentExists(AgentId::new("ada").unwrap());
    assert!(exists.is_conflict() && !exists.is_not_found() && !exists.is_retryable());
    assert!(Error::Poisoned.is_retryable() && Error::CommitUnknown.is_retryable());
    assert!(Error::AlreadyOpen { path: "x".into() }.is_retryable());
    assert!(!Error::Nested.is_retryable() && !Error::aborted("no").is_retryable());
}

/// Every public row as JSON and back, with the field names of the API and ids as text.
#[test]
fn rows_are_json_with_ids_as_text() {
    let (store, thread) = store();
    let ada = AgentId::new("ada").unwrap();
    store.register_agent(&ada).unwrap();
    let message = NewMessage::new("user", "hello").agent(&ada).step(3);
    let message = store.append_message(thread, message).unwrap();
    let task = store.create_task(thread, NewTask::new("writer", "Write.")).unwrap();
    let claim = store.claim_task(task.id, &ada).unwrap().unwrap();

    let json = serde_json::to_value(&message).unwrap();
    let thread_id = thread.to_string();
    assert_eq!(
        json,
        serde_json::json!({
            "id": "1", "thread_id": thread_id, "role": "user", "content": "hello", "meta": null, "step": 3,
            "agent_id": "ada", "created_at": "1970-01-01T00:00:00.000000Z",
        })
    );
    assert_eq!(serde_json::from_value::<Message>(json).unwrap(), message);

    let json = serde_json::to_value(&claim).unwrap();
    assert_eq!(json["task"]["status"], "claimed");
    assert_eq!(json["task"]["claim_id"], json["id"]);
    assert_eq!(json["task"]["claimed_by"], "ada");
    assert_eq!(serde_json::from_value::<Claim>(json).unwrap(), claim);

    let json = serde_json::to_string(&task).unwrap();
    assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task);
    let thread = store.thread(thread).unwrap().unwrap();
    let json = serde_json::to_string(&thread).unwrap();
    assert!(json.contains("\"status\":\"active\""), "{json}");
    assert_eq!(serde_json::from_str::<Thread>(&json).unwrap(), thread);
    let agent = store.agent(&ada).unwrap().unwrap();
    let json = serde_json::to_string(&agent).unwrap();
    assert_eq!(json, "{\"id\":\"ada\",\"created_at\":\"1970-01-01T00:00:00.000000Z\"}", "and no hash of the token");
    assert_eq!(serde_json::from_str::<Agent>(&json).unwrap(), agent);
}

#[test]
fn whatever_an_agents_id_is_made_from_is_checked() {
    let ada = AgentId::new("ada").unwrap();
    let made = [
        "ada".parse().unwrap(),
        AgentId::try_from("ada").unwrap(),
        AgentId::try_from(String::from("ada")).unwrap(),
        serde_json::from_str(r#""ada""#).unwrap(),
    ];
    assert!(made.iter().all(|id: &AgentId| *id == ada), "{made:?}");
    assert_eq!((ada.as_ref(), ada.to_string(), format!("{ada:?}")), ("ada", "ada".into(), r#"AgentId("ada")"#.into()));
    assert!("".parse::<AgentId>().is_err() && AgentId::try_from("").is_err());
    assert!(AgentId::try_from(String::new()).is_err() && serde_json::from_str::<AgentId>(r#""""#).is_err());
}

#[test]
fn an_id_in_json_is_text_and_nothing_else() {
    let refused = [
        serde_json::from_str::<ThreadId>("7").unwrap_err(),
        serde_json::from_str::<MessageId>("7").unwrap_err(),
        serde_json::from_str::<AgentId>("null").unwrap_err(),
    ];
    for error in refused {
        assert!(error.to_string().contains("expected an identifier as text"), "{error}");
    }
}

#[test]
fn a_status_has_one_name_in_every_text() {
    let (store, _) = store();
    let stats = store.stats().unwrap();
    let (tasks, threads) = (stats.tasks.into_keys(), stats.threads.into_keys());
    let tasks = tasks.map(|status| (status.as_str(), status.to_string(), serde_json::to_value(status).unwrap()));
    let threads = threads.map(|status| (status.as_str(), status.to_string(), serde_json::to_value(status).unwrap()));
    let mut names = vec![];
    for (name, printed, json) in tasks.chain(threads) {
        assert_eq!((printed.as_str(), json.as_str()), (name, Some(name)));
        names.push(name);
    }
    names.sort_unstable();
    let of_tasks = ["cancelled", "claimed", "completed", "failed", "open", "scheduled"];
    let mut expected = [&of_tasks[..], &["active", "cancelled", "completed", "failed"]].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
}
