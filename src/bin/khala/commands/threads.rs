//! Threads and what is said in them.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use comfy_table::Cell;
use khala::{AgentId, Message, MessageFilter, MessageId, NewMessage, Thread, ThreadFilter, ThreadId, ThreadStatus};

use super::lists::Part;
use crate::args::Session;
use crate::output::{BOLD, DIM, NAME, fields};
use crate::table::{self, Column};
use crate::text::{harmless, indented, moment, summary};
use crate::values::{self, Under, texts};
use crate::{Answer, Result};

const STATUSES: [ThreadStatus; 4] =
    [ThreadStatus::Active, ThreadStatus::Completed, ThreadStatus::Failed, ThreadStatus::Cancelled];

fn status_parser(statuses: &'static [ThreadStatus]) -> impl TypedValueParser<Value = ThreadStatus> {
    let names = PossibleValuesParser::new(statuses.iter().map(|status| status.as_str()));
    names.try_map(|name| statuses.iter().find(|status| status.as_str() == name).copied().ok_or("no status"))
}

/// Lists the threads, the oldest first.
#[derive(Args, Debug)]
#[command(after_help = "Example: khala threads --status active --newest --limit 20")]
pub(crate) struct Threads {
    /// Only those that stand so; finished ones in the order in which they finished.
    #[arg(long, value_parser = status_parser(&STATUSES))]
    status: Option<ThreadStatus>,

    #[command(flatten)]
    part: Part,
}

const COLUMNS: &[Column<Thread>] = &[
    Column { heading: "THREAD", cell: |thread| Cell::new(thread.id) },
    Column { heading: "STATUS", cell: |thread| table::thread_status(thread.status) },
    Column { heading: "OPENED", cell: |thread| Cell::new(moment(thread.created_at)) },
    Column { heading: "WORKFLOW", cell: |thread| Cell::new(summary(&thread.workflow)) },
    Column { heading: "INITIATOR", cell: |thread| Cell::new(summary(&thread.initiator)) },
    Column { heading: "RESULT", cell: |thread| Cell::new(thread.result.as_deref().map_or("-".into(), summary)) },
];

impl Threads {
    pub(crate) fn run(self, session: &Session) -> Result {
        let mut filter = ThreadFilter::new();
        if let Some(status) = self.status {
            filter = filter.status(status);
        }
        self.part.print(session, "threads", COLUMNS, |tx, wanted| {
            let mut filter = filter.clone().limit(wanted.limit);
            if wanted.newest_first {
                filter = filter.newest_first();
            }
            if let Some(after) = wanted.after {
                filter = filter.after(after);
            }
            tx.threads(&filter)
        })
    }
}

/// Shows a thread and what was said in it, or opens a new one.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
With --json it prints the messages, with --json --head the thread itself.

Examples:
  khala thread 01D39ZY06FGSCTVN4T2V9PKHFZ --last 20
  thread=$(khala thread new release --initiator ada)")]
pub(crate) struct ThreadArgs {
    /// Which thread.
    #[arg(required = true, value_name = "THREAD")]
    id: Option<ThreadId>,

    /// The thread itself, without its messages.
    #[arg(long)]
    head: bool,

    /// Only the last so many messages of those that match the rest.
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,

    /// Only what was said in this role.
    #[arg(long)]
    role: Option<String>,

    /// Only this step.
    #[arg(long)]
    step: Option<u64>,

    /// Only what was appended after this message.
    #[arg(long, value_name = "MESSAGE")]
    after: Option<MessageId>,

    /// Only what was appended at this moment or later: RFC 3339, a date, or so long ago, such as 10m.
    #[arg(long, value_name = "MOMENT", value_parser = values::past)]
    since: Option<khala::Timestamp>,

    #[command(subcommand)]
    command: Option<ThreadCommand>,
}

#[derive(Debug, Subcommand)]
enum ThreadCommand {
    New(New),
}

/// Opens a thread and prints its id.
#[derive(Args, Debug)]
#[command(after_help = "Example: thread=$(khala thread new release --initiator ada)")]
struct New {
    /// What kind of work it is, in your words.
    workflow: String,

    /// Who opens it, in your words.
    #[arg(long, value_name = "NAME")]
    initiator: String,
}

impl ThreadArgs {
    pub(crate) fn run(self, session: &Session) -> Result {
        match (self.command, self.id) {
            (Some(ThreadCommand::New(new)), _) => {
                let thread = session.place.with(|store| store.create_thread(&new.workflow, &new.initiator))?;
                session.output.one(&thread, |thread| format!("{}\n", thread.id))?;
            }
            (None, None) => {}
            (None, Some(id)) => {
                let mut filter = MessageFilter::new();
                filter = self.role.into_iter().fold(filter, MessageFilter::role);
                filter = self.step.into_iter().fold(filter, MessageFilter::step);
                filter = self.after.into_iter().fold(filter, MessageFilter::after);
                filter = self.since.into_iter().fold(filter, MessageFilter::since);
                filter = self.last.into_iter().fold(filter, MessageFilter::last);
                let head_alone = self.head;
                let (thread, messages) = session.place.with(|store| {
                    store.read(|tx| {
                        let thread = tx.thread(id)?.ok_or(khala::Error::ThreadNotFound(id))?;
                        let messages = if head_alone { vec![] } else { tx.thread_messages(id, &filter)? };
                        Ok((thread, messages))
                    })
                })?;
                if self.head {
                    session.output.one(&thread, thread_head)?;
                } else if session.output.json {
                    session.output.list(&[]).add(&messages)?;
                } else {
                    session.output.text(&conversation(&thread, &messages))?;
                }
            }
        }
        Ok(Answer::Yes)
    }
}

fn thread_head(thread: &Thread) -> String {
    let mut lines = vec![
        ("thread", thread.id.to_string()),
        ("workflow", harmless(&thread.workflow)),
        ("status", thread.status.to_string()),
        ("initiator", harmless(&thread.initiator)),
        ("opened", moment(thread.created_at)),
    ];
    if thread.status != ThreadStatus::Active {
        lines.push(("finished", moment(thread.updated_at)));
    }
    if let Some(result) = &thread.result {
        lines.push(("result", indented(result, "           ").trim().to_owned()));
    }
    fields(&lines)
}

fn conversation(thread: &Thread, messages: &[Message]) -> String {
    messages.iter().map(message_text).fold(thread_head(thread), |text, message| text + "\n" + &message)
}

fn message_text(message: &Message) -> String {
    let agent = message.agent_id.as_ref().map_or(String::new(), |agent| format!(" ({})", harmless(agent.as_str())));
    let (role, when) = (harmless(&message.role), moment(message.created_at));
    let speaker = format!("{BOLD}{NAME}{role}{NAME:#}{BOLD:#}{agent}");
    let what = format!("  {DIM}message {}, step {}, {when}{DIM:#}\n", message.id, message.step);
    let content = indented(&message.content, "  ");
    let meta = message.meta.as_ref().map(|meta| format!("  {DIM}meta: {}{DIM:#}\n", summary(meta)));
    [speaker, what, content, meta.unwrap_or_default()].concat()
}

/// Appends a message to a thread and prints its id.
#[derive(Args, Debug)]
#[command(after_help = "\
Give what a model wrote through the standard input: it can be of any length and begin with anything.
With --under it is appended only while the claim holds its task; otherwise the exit code is 3.

Examples:
  khala say $thread --role user 'What is new in this version?'
  git log --oneline | khala say $thread - --role tool --agent writer-1 --under $task:$claim")]
pub(crate) struct Say {
    /// Which thread.
    thread: ThreadId,

    /// What is said; - is all of the standard input, as it is.
    #[arg(allow_hyphen_values = true)]
    text: String,

    /// In which role, in your words.
    #[arg(long)]
    role: String,

    /// Who says it.
    #[arg(long, env = "KHALA_AGENT", hide_env_values = true)]
    agent: Option<AgentId>,

    /// What is kept beside it, often JSON; - is the standard input.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    meta: Option<String>,

    /// Which step of the workflow it belongs to.
    #[arg(long, default_value_t = 0)]
    step: u64,

    /// Only while this claim holds its task.
    #[arg(long, value_name = "TASK:CLAIM")]
    under: Option<Under>,

    /// Only if this is the thread's newest message, or none: nobody has spoken since. Otherwise the exit code is 3.
    #[arg(long, value_name = "MESSAGE", value_parser = expected)]
    after: Option<Expected>,
}

/// The newest message that is expected, if one is.
#[derive(Clone, Copy, Debug)]
struct Expected(Option<MessageId>);

fn expected(text: &str) -> Result<Expected, khala::Error> {
    if text == "none" { Ok(Expected(None)) } else { text.parse().map(|id| Expected(Some(id))) }
}

impl Say {
    pub(crate) fn run(self, session: &Session) -> Result {
        let [text, meta] = texts([Some(&self.text), self.meta.as_deref()])?;
        let mut message = NewMessage::new(self.role, text.unwrap_or_default()).step(self.step);
        message = meta.into_iter().fold(message, NewMessage::meta);
        message = self.agent.iter().fold(message, NewMessage::agent);
        message = self.under.into_iter().fold(message, |message, under| message.under(under.task, under.claim));
        let (thread, expected) = (self.thread, self.after);
        let said = session.place.with(|store| match expected {
            Some(Expected(newest)) => store.append_message_at(thread, message, newest),
            None => store.append_message(thread, message),
        })?;
        session.output.one(&said, |said| format!("{}\n", said.id))?;
        Ok(Answer::Yes)
    }
}

/// Ends a thread for good; its unfinished tasks are cancelled.
#[derive(Args, Debug)]
#[command(after_help = "Example: khala finish $thread completed --result 'Released.'")]
pub(crate) struct Finish {
    /// Which thread.
    thread: ThreadId,

    /// How it ended.
    #[arg(value_parser = status_parser(&STATUSES[1..]))]
    status: ThreadStatus,

    /// What came of it; - is the standard input.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    result: Option<String>,
}

impl Finish {
    pub(crate) fn run(self, session: &Session) -> Result {
        let [result] = texts([self.result.as_deref()])?;
        let finished = session.place.with(|store| store.finish_thread(self.thread, self.status, result.as_deref()))?;
        session.output.one(&finished, |thread| format!("{}\n", thread.status))?;
        Ok(Answer::Yes)
    }
}
