//! Agents and their tokens.

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use comfy_table::Cell;
use khala::{Agent, AgentId, Token};
use serde::Serialize;

use crate::args::Session;
use crate::output::say;
use crate::table::Column;
use crate::text::{moment, summary};
use crate::values::{self, text};
use crate::{Answer, Result};

/// Lists the registered agents by name.
#[derive(Args, Debug)]
#[command(after_help = "\
Agents need not be registered to act: registration is for applications that let them in by token.

Example: khala agents --limit 20")]
pub(crate) struct Agents {
    /// How many at the most.
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = values::at_least_one)]
    limit: NonZeroUsize,

    /// Only those behind this one.
    #[arg(long, value_name = "AGENT")]
    after: Option<AgentId>,
}

const COLUMNS: &[Column<Agent>] = &[
    Column { heading: "AGENT", cell: |agent| Cell::new(summary(agent.id.as_str())) },
    Column { heading: "REGISTERED", cell: |agent| Cell::new(moment(agent.created_at)) },
];

impl Agents {
    pub(crate) fn run(self, session: &Session) -> Result {
        let agents = session.place.with(|store| store.agents(self.after.as_ref(), self.limit.get()))?;
        let is_full = agents.len() == self.limit.get();
        let mut list = session.output.list(COLUMNS);
        list.add(&agents)?;
        list.end("agents", None)?;
        if let Some(last) = agents.last().filter(|_| is_full && !session.output.json) {
            say(&format!("there may be more: the same with --after {}", summary(last.id.as_str())));
        }
        Ok(Answer::Yes)
    }
}

/// Registers agents, changes their tokens, and lets them in.
#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Registers an agent and prints its token, which is not shown again.
    #[command(after_help = "Example: khala agent add reviewer-1 >reviewer-1.token")]
    Add(Name),
    /// Gives an agent a new token, which is not shown again; the old one is worthless from then on.
    #[command(after_help = "Example: khala agent rotate reviewer-1 >reviewer-1.token")]
    Rotate(Name),
    /// Removes an agent's registration and its token; what it said and did stays.
    #[command(after_help = "If there is no such agent, the exit code is 3.\n\nExample: khala agent remove reviewer-1")]
    Remove(Name),
    /// Reads a token from the standard input and prints whose it is.
    #[command(after_help = "\
If it is nobody's, the exit code is 3. A token is not taken from the command line, where others could see it.

Example: khala agent authenticate <reviewer-1.token")]
    Authenticate,
}

#[derive(Args, Debug)]
struct Name {
    /// Its name.
    agent: AgentId,
}

/// A token that is told once.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a AgentId,
    token: &'a str,
}

/// What was removed.
#[derive(Serialize)]
struct Removed<'a> {
    id: &'a AgentId,
}

impl AgentArgs {
    pub(crate) fn run(self, session: &Session) -> Result {
        match self.command {
            AgentCommand::Add(Name { agent }) => {
                let token = session.place.with(|store| store.register_agent(&agent))?;
                tell(session, &agent, &token)
            }
            AgentCommand::Rotate(Name { agent }) => {
                let token = session.place.with(|store| store.rotate_token(&agent))?;
                tell(session, &agent, &token)
            }
            AgentCommand::Remove(Name { agent }) => {
                if !session.place.with(|store| store.remove_agent(&agent))? {
                    return Ok(Answer::No(format!("agent {agent} is not registered")));
                }
                session.output.one(&Removed { id: &agent }, |_| String::new())?;
                Ok(Answer::Yes)
            }
            AgentCommand::Authenticate => {
                let token = text("-")?;
                match session.place.with(|store| store.authenticate(token.trim()))? {
                    None => Ok(Answer::No("the token is nobody's".into())),
                    Some(agent) => {
                        session.output.one(&agent, |agent| format!("{}\n", agent.id))?;
                        Ok(Answer::Yes)
                    }
                }
            }
        }
    }
}

fn tell(session: &Session, agent: &AgentId, token: &Token) -> Result {
    let told = session.output.one(&Told { id: agent, token: token.expose() }, |told| format!("{}\n", told.token));
    told.map_err(|failure| {
        failure.after(format!("The token is lost. `khala agent rotate {agent}` gives {agent} another."))
    })?;
    Ok(Answer::Yes)
}
