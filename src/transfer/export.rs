//! All rows out.

/// What an export came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The rows that were written.
    pub rows: RowCounts,
    /// How many bytes they take.
    pub bytes: u64,
}
