//! The peers, each in a file of its own.

pub(crate) mod disk;
pub(crate) mod fjall;
pub(crate) mod khala;
pub(crate) mod lmdb;
pub(crate) mod redb;
pub(crate) mod sqlite;
