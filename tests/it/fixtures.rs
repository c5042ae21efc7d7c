//! A file of every released schema, kept for ever: this version opens each and goes on with it.
//!
//! `KHALA_WRITE_FIXTURE=1 cargo test --test it fixtures` writes the fixture of the present schema if there is none.
//! A fixture that is there is never written again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use khala::{
    AgentId, ManualClock, MessageFilter, NewMessage, NewTask, Result, Store, TaskFilter, TaskStatus, ThreadStatus,
    Timestamp,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000))
}

/// Rows of every kind, in every state, as `write_fixture` of this schema made them.
struct Fixture {
    store: Store,
    clock: ManualClock,
    _folder: tempfile::TempDir,
}

/// A copy of the fixture of this schema, opened by this version.
fn open_copy(schema: u32) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.khala");
    fs::copy(fixture(&format!("schema-{schema}.khala")), &path).unwrap();
    let clock = clock();
    let store = Store::builder().clock(clock.clone()).open(&path).unwrap();
    store.verify().unwrap();
    Fixture { store, clock, _folder: folder }
}

fn token(schema: u32) -> String {
    fs::read_to_string(fixture(&format!("schema-{schema}.token"))).unwrap().trim().to_owned()
}

/// Writes the fixture of the present schema: what schema 1 had, in the same order, and what came after.
fn write_fixture(path: &Path) -> Result<String> {
    let clock = clock();
    let store = Store::builder().clock(clock.clone()).open(path)?;
    let ada = AgentId::new("ada")?;
    let token = store.register_agent(&ada)?;
    let thread = store.create_thread("review", "ada")?.id;
    store.create_thread("empty \u{1F980}", "b\0b")?;
    for step in [1, 0, 1] {
        store.append_message(thread, NewMessage::new("user", format!("step {step}")).step(step).agent(&ada))?;
        clock.advance(Duration::from_secs(1));
    }
    store.append_message(thread, NewMessage::new("assistant", "large ".repeat(2_000)).meta("{}").step(2))?;
    let task = |instruction: &str| NewTask::new("reviewer", instruction).timeout_seconds(60);
    // One that is finished, so that it stands in nobody's way.
    let long = store.create_task(thread, task(&LONG.repeat(100)).key("long"))?;
    assert!(store.cancel_task(long.id)?);
    store.create_task(thread, task("open"))?;
    store.create_task(thread, NewTask::new("writer\0", "open for another role"))?;
    let claimed = store.create_task(thread, task("claimed"))?;
    store.claim_task(claimed.id, &ada)?;
    let claim = |new: NewTask| -> Result<_> {
        let task = store.create_task(thread, new)?.id;
        let claim = store.claim_task(task, &ada)?;
        Ok((task, claim.map_or_else(|| unreachable!("nobody else claims it"), |claim| claim.id)))
    };
    let (completed, under) = claim(task("completed"))?;
    assert!(store.complete_task(completed, under)?);
    let (failed, under) = claim(task("failed").max_attempts(1).key("failed"))?;
    assert!(store.fail_task(failed, under, "on purpose")?);
    let (resting, under) = claim(task("resting").backoff_seconds(600))?;
    assert!(store.fail_task(resting, under, "on purpose")?);
    let cancelled = store.create_task(thread, task("cancelled").priority(-7))?;
    assert!(store.cancel_task(cancelled.id)?);
    for status in [ThreadStatus::Completed, ThreadStatus::Failed, ThreadStatus::Cancelled] {
        let finished = store.create_thread("finished", status.as_str())?;
        store.finish_thread(finished.id, status, Some("the result"))?;
    }
    store.verify()?;
    Ok(token.expose().into())
}

/// An instruction that stands apart when repeated.
const LONG: &str = "Long. ";

/// What all schemas have, and that it goes on.
fn opens_and_goes_on(schema: u32) {
    let Fixture { store, clock, _folder } = open_copy(schema);
    let history = store.schema_history().unwrap();
    let names: Vec<_> = history.iter().map(|migration| migration.name.as_str()).collect();
    assert_eq!(names, ["0001_initial", "0002_life_of_a_task", "0003_instructions_apart"]);

    let ada = store.authenticate(&token(schema)).unwrap().unwrap().id;
    assert_eq!(ada.as_str(), "ada");
    let open = store.open_tasks(10).unwrap();
    let instructions: Vec<_> = open.iter().map(|task| task.instruction.as_str()).collect();
    assert_eq!(instructions, ["open", "open for another role"]);
    let thread = store.thread(open[0].thread_id).unwrap().unwrap();
    assert_eq!((thread.workflow.as_str(), thread.initiator.as_str()), ("review", "ada"));
    let messages = store.thread_messages(thread.id, &MessageFilter::new()).unwrap();
    let contents: Vec<_> = messages.iter().map(|message| &message.content[..6]).collect();
    assert_eq!(contents, ["step 0", "step 1", "step 1", "large "]);
    assert_eq!((messages[0].agent_id.as_ref(), messages[3].meta.as_deref()), (Some(&ada), Some("{}")));

    // The claim from then times out now, ids and times go on rising.
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(store.expire_timed_out_tasks().unwrap(), 1);
    let open = store.open_tasks(10).unwrap();
    let reopened = open.iter().find(|task| task.instruction == "claimed").unwrap();
    assert_eq!((reopened.attempts, reopened.max_attempts, reopened.priority), (1, None, 0));
    let claim = store.claim_task(reopened.id, &ada).unwrap().unwrap();
    assert_eq!(claim.task.attempts, 2);
    assert!(store.complete_task(reopened.id, claim.id).unwrap());
    let message = store.append_message(thread.id, NewMessage::new("user", "new")).unwrap();
    assert_eq!(message.id.as_u64(), 5);
    assert!(message.created_at > messages[3].created_at);
    let next = store.claim_next(&ada, &TaskFilter::new()).unwrap().unwrap();
    assert_eq!(next.task.instruction, "open");
    store.finish_thread(thread.id, ThreadStatus::Completed, Some("done")).unwrap();
    store.verify().unwrap();
    assert!(store.delete_thread(thread.id).unwrap());
    store.verify().unwrap();
}

#[test]
fn a_file_of_schema_1_is_upgraded_and_goes_on() {
    opens_and_goes_on(1);
}

#[test]
fn a_file_of_schema_2_is_upgraded_and_goes_on() {
    opens_and_goes_on(2);
}

#[test]
fn a_file_of_schema_3_opens_and_goes_on() {
    let file = fixture("schema-3.khala");
    if std::env::var_os("KHALA_WRITE_FIXTURE").is_some() && !file.exists() {
        fs::write(fixture("schema-3.token"), write_fixture(&file).unwrap()).unwrap();
    }
    let store = open_copy(3).store;
    let finished = store.tasks(&TaskFilter::new().status(TaskStatus::Cancelled)).unwrap().items;
    assert!(finished.iter().any(|task| task.instruction == LONG.repeat(100)));
    opens_and_goes_on(3);
}

/// Instructions on both sides of the length from which on they stand apart, in tasks of every state.
#[test]
fn long_instructions_of_schema_2_come_through_the_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.khala");
    fs::copy(fixture("schema-2-long-instructions.khala"), &path).unwrap();
    let store = Store::builder().clock(clock()).open(&path).unwrap();
    store.verify().unwrap();
    let tasks = store.tasks(&TaskFilter::new()).unwrap().items;
    assert_eq!(tasks.len(), 15);
    for (tasks, length) in tasks.chunks(3).zip([10, 255, 256, 257, 5_000]) {
        for (task, state) in tasks.iter().zip(["open", "claimed", "completed"]) {
            assert_eq!((task.status.as_str(), &task.instruction), (state, &format!("{state:x<length$}")));
        }
    }
    let ada = AgentId::new("ada").unwrap();
    while let Some(claim) = store.claim_next(&ada, &TaskFilter::new()).unwrap() {
        assert!(tasks.iter().any(|task| (task.id, &task.instruction) == (claim.task.id, &claim.task.instruction)));
        assert!(store.complete_task(claim.task.id, claim.id).unwrap());
    }
    assert!(store.delete_thread(tasks[0].thread_id).unwrap());
    assert_eq!(store.tasks(&TaskFilter::new()).unwrap().items, []);
    store.verify().unwrap();
}

#[test]
fn an_upgraded_file_is_upgraded_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.khala");
    fs::copy(fixture("schema-1.khala"), &path).unwrap();
    let first = Store::open(&path).unwrap().schema_history().unwrap();
    let second = Store::open(&path).unwrap().schema_history().unwrap();
    assert_eq!((first.len(), &first), (3, &second));
    assert!(first[1].applied_at >= first[0].applied_at);
}
