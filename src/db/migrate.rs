//! The schema-version table, and the migrations in order.
//!
//! A migration is applied in one transaction together with its record, so a file is at one version or the next and
//! never between. A file with a version from the future is refused untouched.

mod instructions_apart;
mod life_of_a_task;

use serde::{Deserialize, Serialize};

use super::key::{KeyRange, last_part};
use super::row::{Index, Row, TableDef};
use super::table::Tables;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::trace;

/// One step from a schema to the next. What it does never changes once released: it names tables as they were then.
struct Migration {
    name: &'static str,
    run: fn(&mut Tables<'_>) -> Result<()>,
}

/// Version 1 first; the version is the place in this list. See ARCHITECTURE.md, "How to add a migration".
const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_initial", run: initial },
    Migration { name: "0002_life_of_a_task", run: life_of_a_task::run },
    Migration { name: "0003_instructions_apart", run: instructions_apart::run },
];

/// The first schema: every table and index, empty.
fn initial(tables: &mut Tables<'_>) -> Result<()> {
    const TABLES: &[TableDef] = &[
        TableDef::variable("meta"),
        TableDef::fixed::<4>("schema_version"),
        TableDef::variable("agents"),
        TableDef::fixed::<32>("agents_by_token"),
        TableDef::fixed::<16>("threads"),
        TableDef::fixed_keys::<25>("threads_by_status"),
        TableDef::fixed::<8>("messages"),
        TableDef::fixed_keys::<32>("messages_by_step"),
        TableDef::fixed::<16>("tasks"),
        TableDef::variable_keys("tasks_by_status"),
        TableDef::fixed_keys::<32>("tasks_by_thread"),
    ];
    TABLES.iter().try_for_each(|table| tables.create(table))
}

/// A migration that a store has been through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AppliedMigration {
    /// The schema version it led to, from 1.
    pub version: u32,
    /// Its name, such as `0001_initial`.
    pub name: String,
    /// When it was applied, in stored time.
    pub applied_at: Timestamp,
}

impl Row for AppliedMigration {
    const TABLE: TableDef = TableDef::fixed::<4>("schema_version");
    const INDEXES: &'static [Index<Self>] = &[];

    type Id = u32;
    type Stored<'a> = (&'a str, Timestamp);

    fn id(&self) -> u32 {
        self.version
    }

    fn to_stored(&self) -> Self::Stored<'_> {
        (&self.name, self.applied_at)
    }

    fn from_stored(version: u32, (name, applied_at): Self::Stored<'_>) -> Result<Self, String> {
        Ok(Self { version, name: name.into(), applied_at })
    }

    fn id_of_key(key: &[u8]) -> Result<u32> {
        last_part(Self::TABLE.name, key).map(u32::from_be_bytes)
    }
}

/// The migrations a store has been through, oldest first.
pub(crate) fn history(tables: &Tables<'_>) -> Result<Vec<AppliedMigration>> {
    const ALL: KeyRange = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    tables.rows(&ALL)?.collect()
}

/// The version that every file has once it is open.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// How many migrations this history has seen; an error unless they are this version's first ones.
pub(super) fn version_of(history: &[AppliedMigration]) -> Result<usize> {
    let found = history.last().map_or(0, |newest| newest.version);
    let supported = newest();
    if found > supported {
        return Err(Error::SchemaTooNew { found, supported });
    }
    for (applied, (version, migration)) in history.iter().zip((1..).zip(MIGRATIONS)) {
        if applied.version != version || applied.name != migration.name {
            return Err(Error::corrupt(
                AppliedMigration::TABLE.name,
                format!("version {} is {:?}, not {:?}", applied.version, applied.name, migration.name),
            ));
        }
    }
    Ok(history.len())
}

/// A migration that this store has not been through.
pub(super) struct Pending {
    version: u32,
    migration: &'static Migration,
}

/// What comes after the first `applied` migrations, in order.
pub(super) fn pending(applied: usize) -> impl Iterator<Item = Pending> {
    (1..).zip(MIGRATIONS).skip(applied).map(|(version, migration)| Pending { version, migration })
}

impl Pending {
    /// Says that it has been applied, and is durable.
    pub(super) fn tell(&self) {
        trace::migrated(self.version, self.migration.name);
    }

    /// Makes the change and records it.
    pub(super) fn apply(&self, tables: &mut Tables<'_>, now: Timestamp) -> Result<()> {
        (self.migration.run)(tables)?;
        tables.put(&AppliedMigration { version: self.version, name: self.migration.name.into(), applied_at: now })
    }
}
