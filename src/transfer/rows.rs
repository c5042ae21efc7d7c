/// A table of rows that can be exported and imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Table {
    /// Who may come in by token.
    Agents,
    /// Conversations.
    Threads,
    /// What was said in them.
    Messages,
    /// What is to be done in them.
    Tasks,
}
