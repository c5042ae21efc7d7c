//! Who is inside a closure of which store, so that a store called from inside its own closure can say so instead of
//! waiting for itself.

use std::cell::RefCell;

use crate::error::{Error, Result};

/// A store, told apart from every other of this process.
pub(crate) type StoreKey = u64;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Access {
    Read,
    Write,
}

thread_local! {
    static INSIDE: RefCell<Vec<(StoreKey, Access)>> = const { RefCell::new(Vec::new()) };
}

/// An error if this thread is inside a closure that this call could wait for. A write closure may be run by any
/// writer's thread, so from inside one no store can be written: two stores could wait for each other.
pub(crate) fn check(store: StoreKey, access: Access) -> Result<()> {
    let nested = INSIDE.with_borrow(|inside| {
        inside.iter().any(|&entry| entry.0 == store || (entry.1 == Access::Write && access == Access::Write))
    });
    if nested { Err(Error::Nested) } else { Ok(()) }
}

/// Marks this thread as inside a closure of this store until the mark is dropped.
pub(crate) fn enter(store: StoreKey, access: Access) -> Mark {
    INSIDE.with_borrow_mut(|inside| inside.push((store, access)));
    Mark(())
}

pub(crate) struct Mark(());

impl Drop for Mark {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(Vec::pop);
    }
}
