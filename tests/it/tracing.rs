//! What the spans tell: every operation and every batch, what came of it and how long it took, and nothing secret.

use std::collections::BTreeMap;

#[cfg(feature = "tokio")]
use ::tracing::Dispatch;
use khala::{
    AgentId, Error, MessageFilter, NewMessage, NewTask, Store, TaskFilter, TaskStatus, ThreadFilter, ThreadStatus,
};

use crate::listener::Told;

fn ada() -> AgentId {
    AgentId::new("ada").unwrap()
}

/// Every text that an agent or a person can write.
const SECRETS: [&str; 9] = [
    "secret-content",
    "secret-meta",
    "secret-instruction",
    "secret-result",
    "secret-reason",
    "secret-key",
    "secret-role",
    "secret-workflow",
    "secret-refusal",
];

/// Does everything there is to do, with nothing but secrets. What was handed out, which is secret as well.
fn live(store: &Store) -> khala::Result<Vec<String>> {
    let [content, meta, instruction, result, reason, key, role, workflow, refusal] = SECRETS;
    let mut handed_out = vec![];
    let token = store.register_agent(&ada())?;
    let rotated = store.rotate_token(&ada())?;
    handed_out.extend([token.expose().to_owned(), rotated.expose().to_owned()]);
    store.authenticate(rotated.expose())?;
    store.authenticate("secret-key of somebody else")?;
    store.agent(&ada())?;
    store.agents(None, 5)?;

    let thread = store.create_thread(workflow, "ada")?.id;
    let new = || NewTask::new(role, instruction).max_attempts(2).key(key);
    let task = store.create_task(thread, new())?.id;
    let other_key = store.create_task(thread, NewTask::new(role, "another").key(key)).map(drop);
    assert!(other_key.is_ok() || matches!(other_key, Err(Error::KeyConflict { .. })));
    store.create_tasks(thread, vec![NewTask::new(role, instruction); 3])?;
    for wrong in [NewTask::new("", instruction), NewTask::new(role.repeat(99), instruction)] {
        assert!(store.create_task(thread, wrong).is_err());
    }
    let first = store.claim_task(task, &ada())?.unwrap().id;
    handed_out.push(first.to_string());
    store.renew_claim(task, first)?;
    store.fail_task(task, first, reason)?;
    let filter = TaskFilter::new().role(role);
    let second = store.claim_next(&ada(), &filter)?.unwrap();
    store.release_task(second.task.id, second.id)?;
    let third = store.claim_next_within(&ada(), &filter, std::time::Duration::ZERO)?.unwrap();
    handed_out.extend([second.id.to_string(), third.id.to_string()]);
    let (held, claim) = (third.task.id, third.id);
    let said = store.append_message(thread, NewMessage::new(role, content).meta(meta).under(held, claim))?;
    store.append_message_at(thread, NewMessage::new(role, content), Some(said.id))?;
    store.append_messages(thread, vec![NewMessage::new(role, content); 2])?;
    store.complete_task(held, claim)?;
    assert!(!store.complete_task(held, first)?);
    let late = store.append_message(thread, NewMessage::new(role, content).under(held, first));
    assert!(matches!(late, Err(Error::ClaimLost(_))));
    let refused = store.write(move |tx| {
        tx.append_message(thread, &NewMessage::new(role, content))?;
        Err::<(), _>(Error::aborted(refusal))
    });
    assert!(refused.is_err());
    store.thread_messages(thread, &MessageFilter::new().role(role))?;
    store.task(task)?;
    store.tasks(&filter)?;
    store.open_tasks(5)?;
    store.cancel_task(store.open_tasks(1)?[0].id)?;
    store.expire_timed_out_tasks()?;
    store.finish_thread(thread, ThreadStatus::Completed, Some(result))?;
    store.thread(thread)?;
    store.threads(&ThreadFilter::new())?;
    store.stats()?;
    store.verify()?;
    store.schema_history()?;
    store.checkpoint()?;
    store.read(|tx| tx.thread(thread))?;
    #[cfg(feature = "json")]
    {
        let mut rows = Vec::new();
        store.export(&mut rows, |_| {})?;
        store.import(rows.as_slice(), &khala::ImportOptions::new(), |_| {})?;
        let wrong = format!(r#"{{"table":"threads","id":"{content}"}}"#);
        assert!(store.import(wrong.as_bytes(), &khala::ImportOptions::new(), |_| {}).is_err());
    }
    store.delete_thread(thread)?;
    store.prune(khala::Timestamp::from_micros(0))?;
    store.remove_agent(&ada())?;
    Ok(handed_out)
}

/// The first of these that is told.
fn leaked<'a>(told: &Told, secrets: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let everything = told.everything();
    secrets.into_iter().find(|secret| everything.contains(secret))
}

#[test]
fn nothing_secret_is_told() {
    let told = Told::default();
    let store = Store::in_memory().unwrap();
    let handed_out = told.listen(|| live(&store)).unwrap();
    assert!(told.operations().len() > 40, "{}", told.everything());
    let secrets = handed_out.iter().map(String::as_str).chain(SECRETS);
    assert_eq!(leaked(&told, secrets), None, "in {}", told.everything());
    store.verify().unwrap();
}

#[test]
fn control_a_secret_that_is_told_is_seen() {
    for secret in SECRETS {
        let told = Told::default();
        told.listen(|| {
            let span = ::tracing::debug_span!(target: "khala", "operation", task = ::tracing::field::Empty);
            span.record("task", format!("the {secret} of it"));
        });
        assert_eq!(leaked(&told, SECRETS), Some(secret));
        let told = Told::default();
        told.listen(|| ::tracing::error!(target: "khala", reason = secret));
        assert_eq!(leaked(&told, SECRETS), Some(secret));
    }
}

#[test]
fn every_operation_has_one_span_with_its_outcome_and_its_time() {
    let told = Told::default();
    let store = Store::in_memory().unwrap();
    told.listen(|| live(&store)).unwrap();
    let operations = told.operations();
    let mut names = BTreeMap::<_, u32>::new();
    for (_, span) in &operations {
        assert!(span.is_over, "{span:?}");
        assert!(span.fields.contains_key("outcome"), "{span:?}");
        span.fields["elapsed_us"].parse::<u64>().unwrap();
        *names.entry(span.name).or_default() += 1;
    }
    // Each method of `Store` that is an operation, as the sources have them.
    let sources = ["src/store/shortcuts.rs", "src/store.rs", "src/store/waiting.rs"];
    let sources =
        sources.map(|file| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap());
    let methods = sources.iter().flat_map(|source| source.lines().filter_map(|line| line.strip_prefix("    pub fn ")));
    let methods = methods.filter(|head| !head.contains(") -> &") && !head.starts_with("failure"));
    for name in methods.filter_map(|head| head.split(['(', '<']).next()) {
        assert!(names.contains_key(name), "{name} is not told of: {names:?}");
    }
    assert_eq!((names["create_task"], names["write"], names["read"]), (4, 1, 1), "each once, and by its own name");
    let of = |name: &str, outcome: &str| {
        let told = operations.iter().filter(|(_, span)| span.name == name);
        told.filter(|(_, span)| span.fields["outcome"] == outcome).count()
    };
    assert_eq!(of("create_task", "InvalidInput") + of("create_task", "TooLarge"), 2);
    assert_eq!(of("append_message", "ClaimLost"), 1);
    assert_eq!(of("write", "Aborted"), 1);
    let rows = |name: &str| -> Vec<_> {
        let told = operations.iter().filter(|(_, span)| span.name == name);
        told.map(|(_, span)| span.fields.get("rows").map(String::as_str)).collect()
    };
    assert_eq!(rows("create_tasks"), [Some("3")]);
    assert_eq!(rows("complete_task"), [Some("1"), Some("0")], "done, and turned away");
    assert_eq!(rows("claim_next_within"), [Some("1")]);
    assert_eq!(rows("thread_messages"), [Some("4")]);
    assert_eq!(rows("verify"), [None]);
}

#[test]
fn opening_a_file_and_what_was_done_to_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [path, copy, left] = ["agents.khala", "copy.khala", "left.khala"].map(|name| folder.path().join(name));
    let told = Told::default();
    told.listen(|| {
        let store = Store::open(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(Error::AlreadyOpen { .. })));
        store.create_thread("review", "ada").unwrap();
        store.backup(&copy, |_| {}).unwrap();
        // What a crash leaves.
        std::fs::copy(&path, &left).unwrap();
        drop(store);
        Store::compact(&path, |_| {}).unwrap();
        Store::open(&left).unwrap().verify().unwrap();
        Store::in_memory().unwrap();
    });
    let operations = told.operations();
    let outcomes: Vec<_> = operations.iter().map(|(_, span)| (span.name, span.fields["outcome"].as_str())).collect();
    let expected = ["open", "open", "create_thread", "backup", "compact", "open", "verify", "in_memory"];
    assert_eq!(outcomes.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected);
    for (at, (name, outcome)) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome, if at == 1 { "AlreadyOpen" } else { "ok" }, "{name}");
    }
    for (at, path) in [(0, &path), (3, &copy), (4, &path), (5, &left)] {
        assert_eq!(operations[at].1.fields["path"], path.display().to_string());
    }
    assert_eq!(operations[3].1.fields["rows"], "1");
    let events = told.spans().events.clone();
    let within: Vec<_> = events.iter().map(|event| event.within).collect();
    let [open, compact, open_left, in_memory] = [0, 4, 5, 7].map(|at: usize| Some(operations[at].0));
    assert_eq!(
        within,
        [open, open, open, open, compact, open_left, in_memory, in_memory, in_memory],
        "three migrations and a creation, two openings, and three migrations: {events:?}"
    );
    assert!(events.iter().all(|event| event.text.starts_with("INFO")), "{events:?}");
    for (at, what) in [
        (0, r#""name": "0001_initial""#),
        (3, r#""message": "created""#),
        (3, r#""schema": "3""#),
        (4, r#""was_closed": "true""#),
        (5, r#""was_closed": "false""#),
        (5, &format!(r#""path": "{}""#, left.display())),
    ] {
        assert!(events[at].text.contains(what), "{what} in {}", events[at].text);
    }
}

#[test]
fn the_row_that_an_answer_is_is_told_and_of_a_claim_it_is_the_task() {
    let told = Told::default();
    let store = Store::in_memory().unwrap();
    let (thread, task, message) = told.listen(|| {
        let thread = store.create_thread("review", "ada").unwrap().id;
        let task = store.create_task(thread, NewTask::new("writer", "Draft it.")).unwrap().id;
        let message = store.append_message(thread, NewMessage::new("writer", "A draft.")).unwrap().id;
        store.claim_next(&ada(), &TaskFilter::new()).unwrap().unwrap();
        store.claim_next(&ada(), &TaskFilter::new()).unwrap();
        store.open_tasks(5).unwrap();
        (thread.to_string(), task.to_string(), message.to_string())
    });
    let rows: Vec<_> = told.operations().into_iter().map(|(_, span)| span.fields.get("row").cloned()).collect();
    assert_eq!(rows, [Some(thread), Some(task.clone()), Some(message), Some(task), None, None]);
}

#[test]
fn damage_is_told_with_its_table_and_not_with_what_is_in_it() {
    let told = Told::default();
    let store = Store::in_memory().unwrap();
    let damaged = told.listen(|| {
        store.read(|_| Err::<(), _>(Error::Corrupt { table: "tasks", reason: "secret-content is too long".into() }))
    });
    assert!(damaged.is_err());
    let events = told.spans().events.clone();
    assert!(matches!(events.as_slice(), [event] if event.within == Some(1)), "{events:?}");
    let text = &events[0].text;
    assert!(text.starts_with("ERROR") && text.contains("tasks") && leaked(&told, SECRETS).is_none(), "{text}");
    store.verify().unwrap();
}

#[test]
fn a_batch_that_runs_again_says_so_and_one_that_panics_ends() {
    let told = Told::default();
    let store = Store::in_memory().unwrap();
    told.listen(|| {
        let refused = store.write(|tx| {
            tx.create_thread("refused", "ada")?;
            Err::<(), _>(Error::aborted("too late"))
        });
        assert!(refused.is_err());
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            store.write(|_| -> khala::Result<()> { panic!("in a closure") })
        }));
        assert!(panics.is_err());
    });
    let outcomes: Vec<_> = told.operations().into_iter().map(|(_, span)| span.fields["outcome"].clone()).collect();
    assert_eq!(outcomes, ["Aborted", "dropped"]);
    assert!(told.batches().iter().all(|batch| batch.is_root && batch.is_over));
    let stats = store.stats().unwrap();
    assert_eq!(stats.tasks.get(&TaskStatus::Open).copied().unwrap_or(0), 0);
}

#[cfg(feature = "tokio")]
#[test]
fn futures_have_the_same_spans_and_one_that_is_dropped_says_so() {
    use khala::AsyncStore;

    let told = Told::default();
    let store = AsyncStore::from(Store::in_memory().unwrap());
    let dispatch = Dispatch::new(told.clone());
    // On every thread of the runtime: what reads runs on those.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .on_thread_start(move || std::mem::forget(::tracing::dispatcher::set_default(&dispatch)))
        .build()
        .unwrap();
    told.listen(|| {
        runtime.block_on(async {
            let thread = store.create_thread("review", "ada").await.unwrap().id;
            store.create_task(thread, NewTask::new("writer", "")).await.unwrap();
            assert!(store.claim_next(&ada(), &TaskFilter::new()).await.unwrap().is_some());
            assert_eq!(store.tasks(&TaskFilter::new()).await.unwrap().items.len(), 1);
            let (ada, any) = (ada(), TaskFilter::new());
            let wait = store.claim_next_within(&ada, &any, std::time::Duration::MAX);
            assert!(tokio::time::timeout(std::time::Duration::from_millis(20), wait).await.is_err());
        });
    });
    let told = told.operations();
    let told: Vec<_> = told.iter().map(|(_, span)| (span.name, span.fields["outcome"].as_str())).collect();
    let expected = [
        ("create_thread", "ok"),
        ("create_task", "ok"),
        ("claim_next", "ok"),
        ("tasks", "ok"),
        ("claim_next_within", "dropped"),
    ];
    assert_eq!(told, expected);
}
