//! All rows in.

/// How rows are imported: what [`Store::import`](crate::Store::import) takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    table: Option<Table>,
}

impl ImportOptions {
    /// Rows that each say which table they belong to, as [`Store::export`](crate::Store::export) writes them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The table of rows that do not say theirs, as `sqlite3 -json` prints them. Those that do must be of this table.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.table = Some(table);
        self
    }
}

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Rows that are new in the store.
    pub added: RowCounts,
    /// Rows that were there already, and the same.
    pub already_there: RowCounts,
}
