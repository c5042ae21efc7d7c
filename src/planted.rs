//! Bugs on purpose: a harness that never fails proves nothing, so each has a test in which one of these makes it fail.
//!
//! Outside the crate's own tests and fuzz targets every question is answered `false` at compile time, and nothing of this remains.

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A key keeps the sign bit of a time, so that times before 1970 sort last.
    SignBitKept,
    /// A key does not escape the zero byte in a text.
    NulNotEscaped,
    /// A row's old index entries stay when the row changes.
    StaleIndexEntryKept,
    /// A task is claimed without a look at its status.
    ClaimWithoutCheck,
    /// A task is completed without a look at the claim id.
    CompleteWithoutCheck,
    /// Expiry reopens one second too early.
    ExpireEarly,
    /// Decoding does not look for surplus bytes.
    SurplusBytesAccepted,
    /// The text of a ULID that is too large for one is read as another one.
    OverflowingUlidAccepted,
    /// A batch answers its callers before its commit.
    AnswerBeforeCommit,
    /// A batch answers its callers, and commits a moment later.
    CommitNotAwaited,
    /// A leader takes the operations out of its batch, and others can still join it.
    BatchLeftOpen,
    /// Who joins a batch that nobody leads, and has a thread to lead it, waits for somebody else to.
    LeadNotTaken,
    /// A claim that was made for a future which was dropped since stays as it is.
    #[cfg(feature = "tokio")]
    ClaimNotGivenBack,
    /// Who goes to sleep does not say how it is woken.
    WakerForgotten,
    /// A claim is handed out and not stored.
    GrantNotStored,
    /// Who was woken for a task and leaves without it does not pass the wake-up on.
    WakeUpLost,
    /// The timekeeper does not hear of what will be due while it sleeps.
    DueNotTold,
    /// The next timekeeper sleeps on when it becomes that.
    TimeNotHandedOver,
    /// Stored time follows the clock backwards.
    TimeFollowsClock,
    /// After a backward step of the clock stored time stands still until the clock has caught up.
    TimeStandsStill,
    /// A sync of the disk is skipped.
    SyncSkipped,
    /// A file that was not closed is trusted as it is read, and not written back.
    NotWrittenBack,
    /// A batch does not store where the counters are.
    CountersNotSaved,
    /// The counters stay where they are when rows come in with ids and times of their own.
    #[cfg(feature = "json")]
    CountersNotRaised,
    /// Messages that come in with times out of order are taken to be in order.
    #[cfg(feature = "json")]
    DisorderNotCounted,
    /// A commit that the disk refused is taken for a success.
    FaultSwallowed,
    /// Nobody who waits is woken when the store fails.
    FailureNotTold,
    /// A file is opened without a look at its checksums.
    CheckSkipped,
    /// Nobody compares the receipt of the last durable commit with what the engine came up with.
    ReceiptIgnored,
    /// A file is repaired before it is known whether it will be refused.
    RepairedBeforeRefused,
    /// A span tells the id of the claim that was handed out.
    ClaimIdTraced,
    /// A panic of the engine goes through to the caller.
    PanicLetThrough,
}

#[cfg(not(any(test, fuzzing)))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(all(fuzzing, not(test)))]
pub(crate) use for_fuzzing::{plant, planted};

/// A fuzz target is built once for both: without bugs, and with those that it has to find.
#[cfg(all(fuzzing, not(test)))]
mod for_fuzzing {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::Bug;

    static PLANTED: AtomicBool = AtomicBool::new(false);

    pub(crate) fn planted(bug: Bug) -> bool {
        matches!(bug, Bug::SurplusBytesAccepted | Bug::OverflowingUlidAccepted) && PLANTED.load(Relaxed)
    }

    pub(crate) fn plant() {
        PLANTED.store(true, Relaxed);
    }
}

#[cfg(all(test, feature = "tokio"))]
pub(crate) use for_tests::plant_here;
#[cfg(test)]
pub(crate) use for_tests::{planted, planted_here, with_bug};

#[cfg(test)]
mod for_tests {
    use std::cell::Cell;

    use super::Bug;

    // Per thread, so that tests running beside each other stay sane. A closure can run on another writer's thread:
    // a test with several threads plants its bug in each.
    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// What is planted on this thread, for a test that plants it on others too.
    pub(crate) fn planted_here() -> Option<Bug> {
        PLANTED.get()
    }

    /// Plants it on this thread from here on: for threads that others make.
    #[cfg(feature = "tokio")]
    pub(crate) fn plant_here(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// What `f` gives back with this bug in place on this thread.
    pub(crate) fn with_bug<T>(bug: Option<Bug>, f: impl FnOnce() -> T) -> T {
        struct Restore(Option<Bug>);
        impl Drop for Restore {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }
        let _restore = Restore(PLANTED.replace(bug));
        f()
    }
}
