//! `verify` sees an index that drifted from its rows, whichever it is, and a counter that fell behind them.

use crate::planted::{Bug, with_bug};
use crate::{AgentId, Error, NewMessage, NewTask, Result, Store, ThreadStatus};

/// Does this to a sound store while old index entries are kept, and expects `verify` to name the index.
fn drifts(index: &str, change: impl Fn(&Store) -> Result<()>) {
    let store = Store::in_memory().unwrap();
    store.register_agent(&AgentId::new("ada").unwrap()).unwrap();
    store.verify().unwrap();
    with_bug(Some(Bug::StaleIndexEntryKept), || change(&store)).unwrap();
    let verdict = store.verify();
    assert!(matches!(&verdict, Err(Error::Corrupt { table, .. }) if *table == index), "{index}: {verdict:?}");
}

#[test]
fn an_entry_that_stayed_is_seen_in_every_index_that_changes() {
    let ada = AgentId::new("ada").unwrap();
    drifts("agents_by_token", |store| store.rotate_token(&ada).map(drop));
    drifts("agents_by_token", |store| store.remove_agent(&ada).map(drop));
    drifts("threads_by_status", |store| {
        let thread = store.create_thread("review", "ada")?.id;
        store.finish_thread(thread, ThreadStatus::Completed, None).map(drop)
    });
    drifts("tasks_by_status", |store| {
        let thread = store.create_thread("review", "ada")?.id;
        let task = store.create_task(thread, NewTask::new("writer", "Write."))?.id;
        store.claim_task(task, &ada).map(drop)
    });
}

#[test]
fn a_message_whose_id_would_be_given_out_again_is_seen() {
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let append = || store.append_message(thread, NewMessage::new("user", "")).map(drop);
    append().unwrap();
    store.verify().unwrap();
    with_bug(Some(Bug::CountersNotSaved), append).unwrap();
    let verdict = store.verify();
    assert!(
        matches!(&verdict, Err(Error::Corrupt { table: "meta", reason }) if reason.starts_with("message 2 is stored")),
        "{verdict:?}"
    );
}
