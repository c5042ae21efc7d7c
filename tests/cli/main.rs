//! The command `khala` from the outside.
