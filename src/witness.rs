//! The order in which transactions ran, in the crate's own tests only: the witness by which a history of many threads is
//! replayed.
//!
//! The leaders of batches run one transaction after the other, so a counter that each of them takes a tick of numbers
//! them in the order they have. A test takes ticks of the same counter where it calls and where it returns: a
//! transaction that did its work in between has its number in between.
//!
//! In a build without tests a serial number is nothing, and nothing of this remains.

#[cfg(test)]
pub(crate) use for_tests::{Serial, listen, next, note, tick};
#[cfg(not(test))]
pub(crate) use for_use::{Serial, next, note};

#[cfg(not(test))]
mod for_use {
    use crate::clock::Timestamp;

    /// Nothing.
    #[derive(Default)]
    pub(crate) struct Serial(());

    pub(crate) const fn next(_: Timestamp) -> Serial {
        Serial(())
    }

    pub(crate) const fn note(_: &Serial) {}
}

#[cfg(test)]
mod for_tests {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use crate::clock::Timestamp;

    static TICKS: AtomicU64 = AtomicU64::new(1);

    // Only those who listen pay: every other test would gather what nobody reads.
    thread_local! {
        static HEARD: RefCell<Option<Vec<Serial>>> = const { RefCell::new(None) };
    }

    /// The number of a transaction's last run, and the moment it ran at.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub(crate) struct Serial {
        pub(crate) number: u64,
        /// `None`: it never ran.
        pub(crate) now: Option<Timestamp>,
    }

    /// That of a transaction that runs now.
    pub(crate) fn next(now: Timestamp) -> Serial {
        Serial { number: tick(), now: Some(now) }
    }

    /// Tells it to the thread that called for the transaction.
    pub(crate) fn note(serial: &Serial) {
        HEARD.with_borrow_mut(|heard| heard.iter_mut().for_each(|heard| heard.push(*serial)));
    }

    /// A number above all that were given out.
    pub(crate) fn tick() -> u64 {
        TICKS.fetch_add(1, SeqCst)
    }

    /// What `f` gives back, and the transactions that this thread called for meanwhile, in order.
    pub(crate) fn listen<T>(f: impl FnOnce() -> T) -> (T, Vec<Serial>) {
        HEARD.set(Some(Vec::new()));
        let result = f();
        (result, HEARD.take().unwrap_or_default())
    }
}
