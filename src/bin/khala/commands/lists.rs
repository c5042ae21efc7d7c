//! What the lists have in common: a page of them, or all.

use std::num::NonZeroUsize;

use clap::Args;
use khala::{Cursor, Page, ReadTx};
use serde::Serialize;

use crate::args::Session;
use crate::table::Column;
use crate::values;
use crate::{Answer, Result};

/// Which part of a list.
#[derive(Args, Debug)]
pub(super) struct Part {
    /// The newest first.
    #[arg(long)]
    newest: bool,

    /// How many at the most.
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = values::at_least_one)]
    limit: NonZeroUsize,

    /// Those behind the end of a page: the cursor that it was printed with, and the rest as it was.
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,

    /// All there are, in one consistent view; the store stays open until the last is printed.
    #[arg(long, conflicts_with_all = ["limit", "after"])]
    all: bool,
}

/// The next page that is wanted.
pub(super) struct Wanted {
    pub(super) newest_first: bool,
    pub(super) limit: usize,
    pub(super) after: Option<Cursor>,
}

/// So many are read at once where all are printed.
const PAGE_OF_ALL: usize = 1_000;

impl Part {
    /// Prints the part that is wanted of the list that `page` reads.
    pub(super) fn print<T: Serialize>(
        self,
        session: &Session,
        what: &str,
        columns: &[Column<T>],
        page: impl Fn(&ReadTx<'_>, Wanted) -> khala::Result<Page<T>>,
    ) -> Result {
        let mut list = session.output.list(columns);
        let newest_first = self.newest;
        if !self.all {
            let wanted = Wanted { newest_first, limit: self.limit.get(), after: self.after };
            let page = session.place.with(|store| store.read(|tx| page(tx, wanted)))?;
            list.add(&page.items)?;
            list.end(what, page.next.as_ref())?;
            return Ok(Answer::Yes);
        }
        let mut printed = Ok(());
        session.place.with(|store| {
            store.read(|tx| {
                let mut after = None;
                loop {
                    let Page { items, next, .. } = page(tx, Wanted { newest_first, limit: PAGE_OF_ALL, after })?;
                    printed = list.add(&items);
                    if printed.is_err() || next.is_none() {
                        return Ok(());
                    }
                    after = next;
                }
            })
        })?;
        printed?;
        list.end(what, None)?;
        Ok(Answer::Yes)
    }
}
