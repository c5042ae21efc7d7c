//! What the spans tell where it takes the inside to see it: what leaks if a bug is planted, a batch of exactly so many, and
//! subscribers that panic or call the store.

#[path = "../it/listener.rs"]
mod listener;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use self::listener::Told;
use super::faults::Together;
use crate::db::{FailingDisk, Fault, Plan, Request};
use crate::planted::{Bug, with_bug};
use crate::{AgentId, Error, NewMessage, NewTask, Store, TaskFilter};

/// The first token or claim id that is told while each way to get one is taken.
fn leaked() -> Option<String> {
    let told = Told::default();
    let store = Store::in_memory().unwrap();
    let (ada, any) = (AgentId::new("ada").unwrap(), TaskFilter::new());
    let handed_out = told.listen(|| {
        let tokens = [store.register_agent(&ada).unwrap(), store.rotate_token(&ada).unwrap()];
        let thread = store.create_thread("review", "ada").unwrap().id;
        let task = || store.create_task(thread, NewTask::new("writer", "Draft it.")).unwrap().id;
        let by_id = store.claim_task(task(), &ada).unwrap().unwrap();
        task();
        let next = store.claim_next(&ada, &any).unwrap().unwrap();
        task();
        let waited = store.claim_next_within(&ada, &any, std::time::Duration::ZERO).unwrap().unwrap();
        for claim in [&by_id, &next, &waited] {
            assert!(store.renew_claim(claim.task.id, claim.id).unwrap());
            store.append_message(thread, NewMessage::new("writer", "").under(claim.task.id, claim.id)).unwrap();
            store.task(claim.task.id).unwrap();
        }
        assert!(store.complete_task(by_id.task.id, by_id.id).unwrap());
        assert!(store.fail_task(next.task.id, next.id, "").unwrap());
        assert!(store.release_task(waited.task.id, waited.id).unwrap());
        let claims = [by_id, next, waited].map(|claim| claim.id.to_string());
        tokens.iter().map(|token| token.expose().to_owned()).chain(claims).collect::<Vec<_>>()
    });
    store.verify().unwrap();
    let everything = told.everything();
    handed_out.into_iter().find(|secret| everything.contains(secret))
}

#[test]
fn no_token_and_no_claim_id_is_told() {
    assert_eq!(leaked(), None);
}

#[test]
fn control_a_claim_id_that_is_told_is_seen() {
    assert!(with_bug(Some(Bug::ClaimIdTraced), leaked).is_some());
}

#[test]
fn writers_of_one_batch_are_one_span_and_one_that_spoils_it_is_one_more_transaction() {
    let told = Told::default();
    let store = Store::in_memory().unwrap();
    std::thread::scope(|scope| {
        let (mut batch, told) = (Together::new(scope, &store), &told);
        let create = move |store: &Store| {
            told.listen(|| {
                store.write(|tx| {
                    tracing::info!(target: "closure", "it runs");
                    tx.create_thread("review", "ada")
                })
            })
        };
        let writers: Vec<_> = (0..3).map(|_| batch.join_by(create)).collect();
        let spoiler = batch.join_by(move |store| {
            told.listen(|| {
                store.write(|tx| {
                    tx.create_thread("review", "ada")?;
                    Err::<(), _>(Error::aborted("after it wrote"))
                })
            })
        });
        batch.go();
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
        spoiler.join().unwrap().unwrap_err();
    });
    let batches = told.batches();
    let [batch] = batches.as_slice() else { panic!("{batches:?}") };
    let fields = ["operations", "transactions", "outcome"].map(|name| batch.fields[name].as_str());
    assert_eq!(fields, ["4", "2", "committed"]);
    assert!(batch.is_root && batch.is_over, "{batch:?}");
    let number = |name: &str| batch.fields[name].parse::<u64>().unwrap();
    assert!(number("bytes") > 0 && number("committing_us") <= number("elapsed_us"), "{batch:?}");
    let callers: Vec<_> = told.operations().into_iter().map(|(id, _)| id).collect();
    assert_eq!(batch.follows_from, callers);
    // The first of them ran all closures, twice; each said what it said in its own caller's span.
    let within: Vec<_> = told.spans().events.iter().map(|event| event.within.unwrap()).collect();
    assert_eq!(within, callers[..3].repeat(2));
    store.verify().unwrap();
}

/// Panics when a batch begins, when it ends, or at an event.
enum Panics {
    Begin,
    End,
    /// After it has called this store.
    Event(Store),
}

/// The span of the batch, and those of the operations, which it has nothing against.
const BATCH: u64 = 2;
const OPERATION: u64 = 1;

impl Subscriber for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        if attributes.metadata().name() != "batch" {
            return Id::from_u64(OPERATION);
        }
        assert!(!matches!(self, Self::Begin), "at its begin");
        Id::from_u64(BATCH)
    }

    fn record(&self, id: &Id, _: &Record<'_>) {
        assert!(id.into_u64() != BATCH || !matches!(self, Self::End), "at its end");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {
        assert!(!matches!(self, Self::End), "near its end");
    }

    fn event(&self, _: &Event<'_>) {
        if let Self::Event(store) = self {
            let told = store.create_thread("review", "ada");
            assert!(matches!(told, Err(Error::Poisoned)), "{told:?}");
            panic!("at an event");
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_that_panics_takes_nobodys_answer_away() {
    for panics in [Panics::Begin, Panics::End] {
        let store = Store::in_memory().unwrap();
        std::thread::scope(|scope| {
            let mut batch = Together::new(scope, &store);
            let leader = batch
                .join_by(|store| tracing::subscriber::with_default(panics, || store.create_thread("review", "ada")));
            let follower = batch.join(|tx| tx.create_thread("review", "ada"));
            batch.go();
            follower.join().unwrap().unwrap();
            leader.join().unwrap().unwrap();
        });
        assert_eq!(store.failure(), None);
        store.verify().unwrap();
    }
}

#[test]
fn a_failure_is_told_when_it_is_set_so_that_who_hears_of_it_may_call_the_store_and_panic() {
    let disk = FailingDisk::default();
    let store = Store::builder().open_on(disk.clone()).unwrap();
    disk.arm(Some(Plan { after: 0, only: Some(Request::Sync), fault: Fault::Eio, for_ever: true }));
    let failed =
        tracing::subscriber::with_default(Panics::Event(store.clone()), || store.create_thread("review", "ada"));
    assert!(matches!(failed, Err(Error::CommitUnknown)), "{failed:?}");
    assert_eq!(store.failure(), Some("cannot sync the store disk: Input/output error (os error 5)"));
}

#[test]
fn a_failure_is_told_once_with_its_reason() {
    let disk = FailingDisk::default();
    let store = Store::builder().open_on(disk.clone()).unwrap();
    disk.arm(Some(Plan { after: 0, only: None, fault: Fault::Eio, for_ever: true }));
    let told = Told::default();
    told.listen(|| {
        store.create_thread("review", "ada").unwrap_err();
        store.create_thread("review", "ada").unwrap_err();
        store.checkpoint().unwrap_err();
    });
    let events = told.spans().events.clone();
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert!(event.text.starts_with("ERROR") && event.text.contains(store.failure().unwrap()), "{event:?}");
    assert_eq!(event.within, None, "it is the store's and not this operation's alone");
}
