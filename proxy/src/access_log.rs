//! Access logs: one line a request, rendered by the event loop into memory and written by a thread of its own
//! ([`sink`]). What a line says is [`crate::policy::format`]'s; when it is made is up to the protocol.

use std::sync::Arc;

use crate::{
    config::access_log::{AccessLog, Line},
    policy::format::{
        Source,
        field::{Message, Name},
    },
};

mod filter;
pub mod sink;

pub use filter::Filter;
use sink::{Sink, Sinks};

/// The access logs of one connection manager.
#[derive(Debug, Default)]
pub struct Logs {
    all: Vec<Log>,
    /// Somebody else wants headers, too.
    shared: bool,
    /// Headers that they look at, each once.
    pub wanted: Wanted,
}

/// The headers that must be known when a request ends.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Of the request.
    pub request: Vec<Name>,
    /// Of the answer.
    pub answer: Vec<Name>,
    /// After its body.
    pub trailer: Vec<Name>,
}

#[derive(Debug)]
struct Log {
    sink: Arc<Sink>,
    line: Line,
    filter: Option<Filter>,
}

impl Logs {
    /// Compiles the settings and opens their files. The error has the index of the log that cannot be.
    pub fn open(settings: &[AccessLog], sinks: &Sinks) -> Result<Self, (usize, String)> {
        let mut logs = Self::default();
        for (index, settings) in settings.iter().enumerate() {
            let filter = settings
                .filter
                .as_ref()
                .map(Filter::compile)
                .transpose()
                .map_err(|what| (index, what))?;
            if let Some(filter) = &filter {
                logs.wanted.add(filter.headers());
            }
            match &settings.line {
                Line::Text { format, .. } => logs.wanted.add(format.headers()),
                Line::Json { format, .. } => logs.wanted.add(format.headers()),
            }
            let sink = sinks.open(&settings.target).map_err(|what| (index, what))?;
            logs.all.push(Log {
                sink,
                line: settings.line.clone(),
                filter,
            });
        }
        Ok(logs)
    }

    /// Requests need not be kept: there are no logs, and nobody else wants their headers.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && !self.shared
    }

    /// Headers that somebody else wants to know as well.
    pub fn share(&mut self, headers: impl IntoIterator<Item = (Message, Name)>) {
        self.shared = true;
        self.wanted.add(headers);
    }

    /// Writes the lines of a request that has ended.
    pub fn write(&self, source: &dyn Source) {
        for log in &self.all {
            if log.filter.as_ref().is_none_or(|it| it.passes(source)) {
                log.sink.append(|out| match &log.line {
                    Line::Text { format, unset } => format.render(source, unset, out),
                    Line::Json { format, style } => format.render(source, *style, out),
                });
            }
        }
    }
}

impl Wanted {
    fn add(&mut self, headers: impl IntoIterator<Item = (Message, Name)>) {
        for (of, name) in headers {
            let names = match of {
                Message::Request => &mut self.request,
                Message::Answer => &mut self.answer,
                Message::Trailer => &mut self.trailer,
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
}
