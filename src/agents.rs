//! Agents: who may come in, and the tokens they show at the door.
//!
//! | table | key | value |
//! |---|---|---|
//! | `agents` | agent id | row |
//! | `agents_by_token` | SHA-256 of the token | agent id |
//!
//! Agents need not be registered to act: registration is for applications that let agents in by token. A token is 32
//! random bytes, so a plain hash keeps it safe: there is nothing in it to guess, which is what slow hashes are for.

#[cfg(feature = "json")]
mod import;

use std::fmt::{self, Write as _};
use std::ops::Bound;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::db::key::{key, text_of};
use crate::db::{Entry, Index, Row, TableDef, random_bytes};
use crate::error::{Error, Result};
use crate::id::AgentId;
use crate::limits::TOKEN_MAX_BYTES;
use crate::tx::{ReadTx, WriteTx};

/// A registered agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// What an agent shows to be let in: `khala_` and 32 random bytes from the operating system in hexadecimal.
///
/// It is shown once, by [`WriteTx::register_agent`] or [`WriteTx::rotate_token`]; the store keeps its SHA-256 alone.
/// `Debug` does not print it.
#[derive(Clone)]
pub struct Token(String);

const TOKEN_PREFIX: &str = "khala_";

impl Token {
    fn random() -> Result<Self> {
        let mut text = String::from(TOKEN_PREFIX);
        for byte in random_bytes::<32>()? {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    /// The secret itself, to hand to the agent.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// The SHA-256 of a token.
type TokenHash = [u8; 32];

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}

/// An agent with the hash of its token, which never leaves the store.
pub(crate) struct Registration {
    agent: Agent,
    token_hash: TokenHash,
}

const BY_TOKEN: TableDef = TableDef::fixed::<32>("agents_by_token");

impl Row for Registration {
    const TABLE: TableDef = TableDef::variable("agents");
    const INDEXES: &'static [Index<Self>] = &[Index {
        table: BY_TOKEN,
        entry: |registration| {
            let value = registration.agent.id.as_str().into();
            Some(Entry { key: key(registration.token_hash), value })
        },
    }];

    type Id = AgentId;
    type Stored<'a> = (Timestamp, TokenHash);

    fn id(&self) -> AgentId {
        self.agent.id.clone()
    }

    fn to_stored(&self) -> Self::Stored<'_> {
        (self.agent.created_at, self.token_hash)
    }

    fn from_stored(id: AgentId, (created_at, token_hash): Self::Stored<'_>) -> Result<Self, String> {
        Ok(Self { agent: Agent { id, created_at }, token_hash })
    }

    fn id_of_key(key: &[u8]) -> Result<AgentId> {
        stored_id(Self::TABLE, text_of(key))
    }
}

/// The name that is stored in this table.
fn stored_id(table: TableDef, name: Option<String>) -> Result<AgentId> {
    let id = name.and_then(|name| AgentId::new(name).ok());
    id.ok_or_else(|| Error::corrupt(table.name, "a name is no agent's"))
}

impl WriteTx<'_> {
    /// Registers an agent and gives back its token, which is not shown again.
    ///
    /// # Errors
    ///
    /// [`Error::AgentExists`].
    pub fn register_agent(&mut self, id: &AgentId) -> Result<Token> {
        if self.tables().contains::<Registration>(id)? {
            return Err(Error::AgentExists(id.clone()));
        }
        let agent = Agent { id: id.clone(), created_at: self.now() };
        self.give_token(agent)
    }

    /// Gives a registered agent a new token, which is not shown again, and makes the old one worthless.
    ///
    /// # Errors
    ///
    /// [`Error::AgentNotFound`].
    pub fn rotate_token(&mut self, id: &AgentId) -> Result<Token> {
        let agent = self.agent(id)?.ok_or_else(|| Error::AgentNotFound(id.clone()))?;
        self.give_token(agent)
    }

    fn give_token(&mut self, agent: Agent) -> Result<Token> {
        let token = Token::random()?;
        self.put(&Registration { agent, token_hash: hash(token.expose()) })?;
        Ok(token)
    }

    /// Removes an agent's registration, and with it its token. What it said and did stays. Whether it was registered.
    ///
    /// # Errors
    ///
    /// Only what any write can meet: [`Error::Io`], [`Error::Corrupt`].
    pub fn remove_agent(&mut self, id: &AgentId) -> Result<bool> {
        self.remove::<Registration>(id)
    }
}

impl ReadTx<'_> {
    /// The agent whose token this is; `None` for every other text, and for one over 4,096 bytes.
    ///
    /// The token of an imported agent has whatever shape its program gave it.
    ///
    /// The token is found by its hash and compared in constant time, so that the time taken tells nothing about it.
    ///
    /// # Errors
    ///
    /// Only what reading can meet: [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    pub fn authenticate(&self, token: &str) -> Result<Option<Agent>> {
        if !(1..=TOKEN_MAX_BYTES).contains(&token.len()) {
            return Ok(None);
        }
        let hash = hash(token);
        let Some(name) = self.tables().value(&BY_TOKEN, &hash)? else { return Ok(None) };
        let id = stored_id(BY_TOKEN, String::from_utf8(name).ok())?;
        let registration = self.registration(&id)?;
        let registration =
            registration.ok_or_else(|| Error::corrupt(BY_TOKEN.name, format!("agent {id} does not exist")))?;
        let matches = bool::from(registration.token_hash.ct_eq(&hash));
        Ok(matches.then_some(registration.agent))
    }

    /// The registered agent of this name, or `None`.
    ///
    /// # Errors
    ///
    /// Only what reading can meet: [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    pub fn agent(&self, id: &AgentId) -> Result<Option<Agent>> {
        Ok(self.registration(id)?.map(|registration| registration.agent))
    }

    /// The registered agents by name, at most `limit` of them, from behind `after` on, or from the first.
    ///
    /// # Errors
    ///
    /// Only what reading can meet: [`Error::Io`], [`Error::Corrupt`], [`Error::Poisoned`].
    pub fn agents(&self, after: Option<&AgentId>, limit: usize) -> Result<Vec<Agent>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(key(after)));
        let registrations = self.tables().rows::<Registration>(&(from, Bound::Unbounded))?;
        registrations.take(limit).map(|registration| Ok(registration?.agent)).collect()
    }

    /// How many agents are registered, and how many bytes they take.
    pub(crate) fn measure_agents(&self) -> Result<(u64, u64)> {
        Ok((self.tables().len(&Registration::TABLE)?, self.tables().bytes_in_use::<Registration>()?))
    }

    fn registration(&self, id: &AgentId) -> Result<Option<Registration>> {
        self.tables().get(id)
    }

    pub(crate) fn verify_agents(&self) -> Result<()> {
        crate::db::verify_rows::<Registration>(self.tables())
    }
}
