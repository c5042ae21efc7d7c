//! The commands. Each has its arguments in a struct, what it says of itself above it, and runs.

mod agents;
mod claims;
mod lists;
mod moving;
mod shell;
mod tasks;
mod threads;
mod upkeep;

use clap::Subcommand;

use crate::Result;
use crate::args::Session;

macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident($args:path),)*) => {
        /// What can be asked for.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(#[$meta])* $name($args),)*
        }

        impl Command {
            pub(crate) fn run(self, session: &Session) -> Result {
                match self {
                    $(Self::$name(args) => args.run(session),)*
                }
            }
        }
    };
}

commands! {
    Init(upkeep::Init),
    Stats(upkeep::Stats),
    Threads(threads::Threads),
    Thread(threads::ThreadArgs),
    Say(threads::Say),
    Finish(threads::Finish),
    Tasks(tasks::Tasks),
    Task(tasks::TaskArgs),
    Claim(claims::ClaimArgs),
    Renew(claims::Renew),
    Complete(claims::Complete),
    Fail(claims::Fail),
    Release(claims::Release),
    Cancel(claims::Cancel),
    Expire(upkeep::Expire),
    Agents(agents::Agents),
    Agent(agents::AgentArgs),
    Export(moving::Export),
    Import(moving::Import),
    Backup(moving::Backup),
    Compact(moving::Compact),
    Prune(upkeep::Prune),
    Check(upkeep::Check),
    Timeline(crate::timeline::Timeline),
    Demo(crate::demo::Demo),
    Completions(shell::Completions),
    Man(shell::Man),
}
