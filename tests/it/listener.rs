//! A subscriber that keeps what it is told, for the tests of what the spans tell, outside and inside of the crate.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// What is told, as it came.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Spans>>);

#[derive(Default)]
pub(crate) struct Spans {
    all: Vec<Span>,
    pub(crate) events: Vec<Said>,
    /// Entered and not left, on any thread: the tests enter one at a time.
    inside: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) name: &'static str,
    pub(crate) fields: BTreeMap<&'static str, String>,
    pub(crate) follows_from: Vec<u64>,
    pub(crate) is_root: bool,
    pub(crate) is_over: bool,
}

/// An event, and the span that it was said in.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) within: Option<u64>,
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.into());
    }
}

impl Told {
    pub(crate) fn spans(&self) -> MutexGuard<'_, Spans> {
        self.0.lock().unwrap()
    }

    /// What `f` gives back, with this thread's spans told here.
    pub(crate) fn listen<T>(&self, f: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&Dispatch::new(self.clone()), f)
    }

    pub(crate) fn operations(&self) -> Vec<(u64, Span)> {
        let spans = self.spans();
        let numbered = spans.all.iter().cloned().enumerate().filter(|(_, span)| span.name != "batch");
        numbered.map(|(at, span)| (at as u64 + 1, span)).collect()
    }

    pub(crate) fn batches(&self) -> Vec<Span> {
        self.spans().all.iter().filter(|span| span.name == "batch").cloned().collect()
    }

    /// Everything that was told, as text.
    pub(crate) fn everything(&self) -> String {
        let spans = self.spans();
        let mut text = String::new();
        for span in &spans.all {
            writeln!(text, "{} {:?}", span.name, span.fields).unwrap();
        }
        for event in &spans.events {
            writeln!(text, "{}", event.text).unwrap();
        }
        text
    }
}

impl Spans {
    fn span(&mut self, id: &Id) -> &mut Span {
        let at = usize::try_from(id.into_u64()).unwrap() - 1;
        &mut self.all[at]
    }
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("khala") || metadata.target() == "closure"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let (name, is_root) = (attributes.metadata().name(), attributes.is_root());
        let mut span = Span { name, is_root, ..Span::default() };
        attributes.record(&mut Fields(&mut span.fields));
        let mut spans = self.spans();
        spans.all.push(span);
        Id::from_u64(spans.all.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut self.spans().span(id).fields));
    }

    fn record_follows_from(&self, id: &Id, before: &Id) {
        self.spans().span(id).follows_from.push(before.into_u64());
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let mut spans = self.spans();
        let within = spans.inside.last().copied();
        spans.events.push(Said { text: format!("{} {fields:?}", event.metadata().level()), within });
    }

    fn enter(&self, id: &Id) {
        self.spans().inside.push(id.into_u64());
    }

    fn exit(&self, id: &Id) {
        self.spans().inside.retain(|inside| *inside != id.into_u64());
    }

    fn try_close(&self, id: Id) -> bool {
        self.spans().span(&id).is_over = true;
        true
    }
}
