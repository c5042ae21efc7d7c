//! Agents that come with their ids and the hashes of their tokens.
//!
//! A token that khala made has 32 random bytes, so its plain hash gives nothing away. Those of other programs are let in as
//! they are, by their hash: whether they can be guessed is those programs' business.

use std::fmt::Write as _;

use super::{Agent, BY_TOKEN, Registration, TokenHash};
use crate::error::{Error, Result};
use crate::tx::{Landed, WriteTx};

/// The field that is named when a hash is refused.
const TOKEN_HASH: &str = "agents.token_hash";

impl Registration {
    pub(crate) const fn new(agent: Agent, token_hash: [u8; 32]) -> Self {
        Self { agent, token_hash }
    }

    pub(crate) const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The SHA-256 of its token, in 64 hexadecimal digits.
    pub(crate) fn token_hash_text(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.token_hash {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The hash that this text stands for.
    pub(crate) fn token_hash_of(text: &str) -> Result<TokenHash> {
        let malformed = || Error::InvalidInput {
            field: TOKEN_HASH,
            // Not shown: somebody may have put the token itself there.
            reason: format!("has {} bytes; a SHA-256 has 64 hexadecimal digits", text.len()),
        };
        let mut hash = [0; 32];
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(malformed)?;
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        }
        Ok(hash)
    }
}

impl WriteTx<'_> {
    /// Registers an agent as it was registered elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] when another agent has its token, or it comes from too far ahead.
    pub(crate) fn import_agent(&mut self, registration: &Registration) -> Result<Landed<Registration>> {
        if let Some(there) = self.registration(&registration.agent.id)? {
            return Ok(Landed::There(there));
        }
        if let Some(name) = self.tables().value(&BY_TOKEN, &registration.token_hash)? {
            let reason =
                format!("is that of agent {:?} too; each has a token of its own", String::from_utf8_lossy(&name));
            return Err(Error::InvalidInput { field: TOKEN_HASH, reason });
        }
        self.count_moment("agents.created_at", registration.agent.created_at)?;
        self.put(registration)?;
        Ok(Landed::Added)
    }
}
