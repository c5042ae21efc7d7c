//! A file of every released schema, kept for ever: this version opens each and goes on with it.
//!
//! `KHALA_WRITE_FIXTURE=1 cargo test --test it fixtures` writes the fixture of the present schema if there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use khala::{AgentId, ClaimId, ManualClock, MessageFilter, NewMessage, NewTask, Result, Store, TaskStatus, Timestamp};

const TOKEN_FILE: &str = "schema-1.token";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000))
}

/// Rows of every kind, in every state. What is checked below must be found in it.
fn write_schema_1(path: &Path) -> Result<String> {
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
    store.create_task(thread, task("open"))?;
    store.create_task(thread, NewTask::new("writer\0", "open for another role"))?;
    let claimed = store.create_task(thread, task("claimed"))?;
    store.claim_task(claimed.id, &ada)?;
    let completed = store.create_task(thread, task("completed"))?;
    let claim = store.claim_task(completed.id, &ada)?.map(|claim| claim.id);
    assert!(store.complete_task(completed.id, claim.unwrap_or_else(|| unreachable!("nobody else claims it")))?);
    store.verify()?;
    Ok(token.expose().into())
}

#[test]
fn a_file_of_schema_1_opens_and_goes_on() {
    let file = fixture("schema-1.khala");
    if std::env::var_os("KHALA_WRITE_FIXTURE").is_some() && !file.exists() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(fixture(TOKEN_FILE), write_schema_1(&file).unwrap()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.khala");
    fs::copy(&file, &path).unwrap();
    let clock = clock();
    let store = Store::builder().clock(clock.clone()).open(&path).unwrap();
    store.verify().unwrap();
    assert_eq!(store.schema_history().unwrap()[0].name, "0001_initial");

    let ada = store.authenticate(fs::read_to_string(fixture(TOKEN_FILE)).unwrap().trim()).unwrap().unwrap().id;
    assert_eq!(ada.as_str(), "ada");
    let open = store.open_tasks(10).unwrap();
    assert_eq!(
        open.iter().map(|task| task.instruction.as_str()).collect::<Vec<_>>(),
        ["open", "open for another role"]
    );
    let thread = store.thread(open[0].thread_id).unwrap().unwrap();
    assert_eq!((thread.workflow.as_str(), thread.initiator.as_str()), ("review", "ada"));
    let messages = store.thread_messages(thread.id, &MessageFilter::new()).unwrap();
    let contents: Vec<_> = messages.iter().map(|message| &message.content[..6]).collect();
    assert_eq!(contents, ["step 0", "step 1", "step 1", "large "]);
    assert_eq!((messages[0].agent_id.as_ref(), messages[3].meta.as_deref()), (Some(&ada), Some("{}")));

    // It goes on: the claim from then times out now, ids and times go on rising.
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(store.expire_timed_out_tasks().unwrap(), 1);
    let open = store.open_tasks(10).unwrap();
    let reopened = open.iter().find(|task| task.instruction == "claimed").unwrap();
    let claim: ClaimId = store.claim_task(reopened.id, &ada).unwrap().unwrap().id;
    assert!(store.complete_task(reopened.id, claim).unwrap());
    assert_eq!(store.task(reopened.id).unwrap().unwrap().status, TaskStatus::Completed);
    let message = store.append_message(thread.id, NewMessage::new("user", "new")).unwrap();
    assert_eq!(message.id.as_u64(), 5);
    assert!(message.created_at > messages[3].created_at);
    store.verify().unwrap();
}
