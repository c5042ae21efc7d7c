//! Appending messages, and reading a thread.

use std::hint::black_box;
use std::sync::LazyLock;

use criterion::{Criterion, SamplingMode};
use khala::{MessageFilter, Store, ThreadId};

use crate::crew::time_together;
use crate::fixture::{Fixture, load, message, scaled};
use crate::{CROWDS, crowd, elements};

/// The thread that is read, and what lies around it.
const MESSAGES: usize = 1_000;
const OTHER_MESSAGES: usize = 100_000;
const MESSAGES_PER_STEP: usize = 20;

/// So many agents append to conversations of their own.
pub(crate) fn append(criterion: &mut Criterion) {
    let fixture = LazyLock::new(|| Fixture::in_use(Store::builder()));
    let mut group = criterion.benchmark_group("append");
    group.sampling_mode(SamplingMode::Flat);
    let small = CROWDS.map(|agents| (agents, "256 B", message(256)));
    for (agents, size, message) in small.into_iter().chain([(32, "4 KiB", message(4096))]) {
        group.throughput(elements(agents));
        group.bench_function(format!("{size}, {}", crowd(agents)), |bencher| {
            LazyLock::force(&fixture);
            bencher.iter_custom(|rounds| {
                let append = |number: usize| {
                    let thread = fixture.threads[number % fixture.threads.len()];
                    for _ in 0..rounds {
                        fixture.append_message(thread, message.clone()).unwrap();
                    }
                };
                time_together(agents, append).0
            });
        });
    }
}

/// A thread of 1,000 messages, spread evenly among 100,000 of other threads.
pub(crate) fn read_a_thread(criterion: &mut Criterion) {
    let fixture = LazyLock::new(read_fixture);
    let newest = |back: usize| {
        let (store, thread) = &*fixture;
        store.thread_messages(*thread, &MessageFilter::new().last(back + 1)).unwrap()[0].id
    };
    let mut group = criterion.benchmark_group("read a thread");
    let per_step = scaled(MESSAGES).min(MESSAGES_PER_STEP);
    let mut bench = |name: &str, found: usize, filter: &dyn Fn() -> MessageFilter| {
        group.throughput(elements(found));
        group.bench_function(name, |bencher| {
            let (store, thread) = &*fixture;
            let filter = filter();
            assert_eq!(store.thread_messages(*thread, &filter).unwrap().len(), found);
            bencher.iter(|| store.thread_messages(*thread, black_box(&filter)).unwrap());
        });
    };
    bench("all", scaled(MESSAGES), &MessageFilter::new);
    bench("the last 20", per_step, &|| MessageFilter::new().last(20));
    bench("one step", per_step, &|| MessageFilter::new().step(0));
    bench("5 new ones", 5, &|| MessageFilter::new().after(newest(5)));
}

fn read_fixture() -> (Fixture, ThreadId) {
    let fixture = Fixture::new(Store::builder());
    let (read, others) = (fixture.threads[0], fixture.threads[1..].to_vec());
    let between = OTHER_MESSAGES / MESSAGES;
    load(&fixture, scaled(MESSAGES) * (between + 1), move |tx, i| {
        let (round, place) = (i / (between + 1), i % (between + 1));
        let thread = if place == between { read } else { others[i % others.len()] };
        let step = u64::try_from(round / MESSAGES_PER_STEP).unwrap();
        tx.append_message(thread, &message(256).step(step))
    });
    (fixture, read)
}
