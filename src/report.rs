//! The report bundle: a run, serialised. A folder, written as `.NAME.partial` while the run lasts and renamed when it is
//! whole; everything that is shown of a run later is rendered from it.
//!
//! ```text
//! RunEvent ─► Writer ─► (own thread) ─► events.jsonl  requests.jsonl.zst  examples
//! Measured ┐                                                                  │
//! Facts    ┴─► finish ─► run.json  latency.hlog  diffs.jsonl ◄────────────────┘
//!                            └──────── read ─► Report ─► summary.md  junit.xml  report.html
//! ```

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

mod build;
pub mod compare;
pub mod format;
mod lines;
mod machine;
mod reservoir;
pub mod run;
mod samples;
mod store;
mod writer;

pub use build::Facts;
pub use format::hlog::{Interval, Tag};
pub use run::Run;
pub use store::{DIFFS, EVENTS, HLOG, REQUESTS, RUN, name_of, read};
pub use writer::Writer;

use crate::{measure::Kind, stats::histogram::Histogram};

/// A run, read from its bundle.
#[derive(Debug, Clone)]
pub struct Report {
    /// The folder.
    pub dir: PathBuf,
    /// The outcome.
    pub run: Run,
    /// Latencies by second and tag.
    pub intervals: Vec<Interval>,
}

impl Report {
    /// All latencies of a service's side over these phases, as one histogram.
    pub fn latency(&self, service: &str, side: &str, kind: Kind, phases: &[&str]) -> Histogram {
        let mut all = Histogram::default();
        let wanted = |tag: &Tag| {
            tag.kind == kind
                && tag.service == service
                && tag.side == side
                && phases.contains(&tag.phase.as_str())
        };
        for interval in self
            .intervals
            .iter()
            .filter(|interval| wanted(&interval.tag))
        {
            all.merge(&interval.histogram);
        }
        all
    }

    /// The primary's response times over all recorded phases.
    pub fn responses(&self, service: &str) -> Histogram {
        let phases: Vec<&str> = self.run.recorded().map(|phase| &*phase.id).collect();
        self.latency(service, "primary", Kind::Response, &phases)
    }
}

/// Renders a bundle's readable forms again, byte for byte; gives the files written.
pub fn render(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let report = read(dir)?;
    let mut written = Vec::new();
    for format in format::FORMATS {
        let path = dir.join(format.file);
        // Only what the run wrote, so that a bundle stays as its scenario asked for it.
        if path.exists() {
            std::fs::write(&path, (format.write)(&report)).map_err(|source| Error::Unwritable {
                path: path.clone(),
                source,
            })?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Why a bundle cannot be read or written.
#[derive(Debug)]
pub enum Error {
    /// A file cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should hold.
    NotJson {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A bundle of another version.
    Schema {
        /// Its `run.json`.
        path: PathBuf,
        /// The version that it names.
        found: Option<u64>,
    },
    /// A latency log is broken.
    Log {
        /// Which.
        path: PathBuf,
        /// Where and how.
        what: String,
    },
    /// The thread that writes has died.
    Lost,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, .. } => write!(f, "cannot read `{}`", path.display()),
            Self::Unwritable { path, .. } => write!(f, "cannot write `{}`", path.display()),
            Self::NotJson { path, .. } => write!(f, "`{}` is not a report's", path.display()),
            Self::Schema { path, found } => match found {
                Some(found) => write!(
                    f,
                    "`{}` has schema {found}, this build reads schema {}",
                    path.display(),
                    run::SCHEMA
                ),
                None => write!(
                    f,
                    "`{}` names no schema, it is not a report's",
                    path.display()
                ),
            },
            Self::Log { path, what } => write!(f, "`{}` is broken, {what}", path.display()),
            Self::Lost => f.write_str("the report's writing thread has died"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } | Self::Unwritable { source, .. } => Some(source),
            Self::NotJson { source, .. } => Some(source),
            Self::Schema { .. } | Self::Log { .. } | Self::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests;
