//! What went wrong, in one line that names the file, and what to do about it in another.

use std::io::{self, ErrorKind};
use std::path::Path;

use khala::Error;

use crate::place::Place;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the store said, and what the operating system had refused before, if that was it.
    Store { error: Error, cause: Option<String> },
    /// What was asked for cannot be meant.
    Usage(String),
    /// What was written could not be printed: what the operating system said, and what became of the work.
    Output { source: io::Error, after: Option<String> },
    /// Something else that could not be done.
    Other { message: String, advice: Option<String> },
    /// Whoever read the output has seen enough.
    ClosedPipe,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store { error, cause: None }
    }
}

impl Failure {
    /// What a store said that perhaps had failed before.
    pub(crate) fn of(error: Error, cause: Option<&str>) -> Self {
        let is_told_apart = matches!(error, Error::CommitUnknown | Error::Poisoned);
        Self::Store { error, cause: cause.filter(|_| is_told_apart).map(Into::into) }
    }

    /// What the operating system said to the output.
    pub(crate) fn of_output(source: io::Error) -> Self {
        if source.kind() == ErrorKind::BrokenPipe { Self::ClosedPipe } else { Self::Output { source, after: None } }
    }

    /// The same, where work was done whose result could not be told, so that even a closed pipe matters.
    pub(crate) fn after(self, what: impl Into<String>) -> Self {
        match self {
            Self::ClosedPipe => Self::Output { source: ErrorKind::BrokenPipe.into(), after: Some(what.into()) },
            Self::Output { source, .. } => Self::Output { source, after: Some(what.into()) },
            other => other,
        }
    }

    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::Other { message: message.into(), advice: None }
    }

    /// Whether it is a refusal that the caller has to reckon with, not a mishap.
    pub(crate) fn is_no(&self) -> bool {
        matches!(self, Self::Store { error: Error::ClaimLost(_) | Error::ThreadMoved { .. }, .. })
    }

    /// What went wrong.
    pub(crate) fn message(&self, place: &Place) -> String {
        match self {
            Self::Store { error, cause } => {
                let message = store_message(error, place.path());
                cause.as_ref().map_or(message.clone(), |cause| format!("{message} ({cause})"))
            }
            Self::Usage(message) | Self::Other { message, .. } => message.clone(),
            Self::Output { source, .. } => format!("cannot write to the standard output: {source}"),
            Self::ClosedPipe => "nobody reads the output".into(),
        }
    }

    /// What to do about it, where there is something.
    pub(crate) fn advice(&self, place: &Place) -> Option<String> {
        match self {
            Self::Store { error, .. } => store_advice(error, place.path()),
            Self::Output { after, .. } => after.clone(),
            Self::Other { advice, .. } => advice.clone(),
            Self::Usage(_) => Some("For more, try --help.".into()),
            Self::ClosedPipe => None,
        }
    }
}

fn store_message(error: &Error, path: &Path) -> String {
    let store = path.display();
    match error {
        Error::AlreadyOpen { .. } => format!("{store} is in use by another process"),
        Error::SchemaTooNew { found, supported } => {
            format!("{store} has schema {found}, and this version of khala knows schemas up to {supported}")
        }
        Error::Corrupt { table, reason } if *table == "file" => format!("{store} is damaged: {}", bare(reason, path)),
        Error::Corrupt { table, reason } => format!("{store} is damaged: table {table}: {reason}"),
        Error::Io { path: Some(named), source, .. } if named == path => match source.kind() {
            ErrorKind::NotFound if !has_folder(path) => format!("there is no folder {}", folder_of(path).display()),
            ErrorKind::NotFound => format!("there is no store {store}"),
            ErrorKind::IsADirectory => format!("{store} is a folder, not a store"),
            _ => error.to_string(),
        },
        Error::Io { .. } | Error::NotAStore { .. } | Error::FileExists { .. } => error.to_string(),
        _ => format!("{store}: {error}"),
    }
}

/// The library names the file in this reason, and so do we.
fn bare<'a>(reason: &'a str, path: &Path) -> &'a str {
    reason.strip_prefix(&format!("{}: ", path.display())).unwrap_or(reason)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn has_folder(path: &Path) -> bool {
    folder_of(path).is_dir()
}

fn store_advice(error: &Error, path: &Path) -> Option<String> {
    let store = path.display();
    let advice = match error {
        Error::AlreadyOpen { .. } => {
            "One process at a time has a store open. Wait longer with --lock-wait 1m, or close it there; a program that \
             keeps it open can make a copy for you with Store::backup."
                .into()
        }
        Error::SchemaTooNew { .. } => "Use the version of khala that wrote it, or a newer one.".into(),
        Error::FileExists { .. } => "It was not touched. Choose another name, or move it away.".into(),
        Error::NotAStore { .. } => "It was not touched. Name the store with --store FILE or KHALA_STORE.".into(),
        Error::Corrupt { .. } => {
            format!("Keep {store} as it is and go back to the last backup; what was acknowledged since is in no other file.")
        }
        Error::Io { path: Some(named), source, .. } if named != path => return io_advice_elsewhere(source.kind(), named),
        Error::Io { source, .. } => return io_advice(source.kind(), path),
        Error::CommitUnknown | Error::Poisoned => {
            "The file is whole, and what was acknowledged before is in it. Look whether this is too, then try again.".into()
        }
        _ => return None,
    };
    Some(advice)
}

/// What to do about a file that is not the store.
fn io_advice_elsewhere(kind: ErrorKind, path: &Path) -> Option<String> {
    match kind {
        ErrorKind::NotFound if !has_folder(path) => {
            Some(format!("There is no folder {}; create it first.", folder_of(path).display()))
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("Make room and try again.".into()),
        _ => None,
    }
}

fn io_advice(kind: ErrorKind, path: &Path) -> Option<String> {
    let store = path.display();
    Some(match kind {
        ErrorKind::NotFound if !has_folder(path) => {
            "Create it, or name the store with --store FILE or KHALA_STORE.".into()
        }
        ErrorKind::NotFound => {
            format!("`khala --store {store} init` creates it. --store FILE or KHALA_STORE names another.")
        }
        ErrorKind::IsADirectory => "Name the file in it with --store FILE or KHALA_STORE.".into(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "A store is opened for writing, also to read it. Make it writable, or copy it to where it is.".into()
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "Make room and try again. What was acknowledged before is in the file.".into()
        }
        _ => return None,
    })
}
