//! The folder of a report: its name, its files, reading it again.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use meshbed_proxy::draw::Seed;
use serde_json::Value;

use crate::report::{
    Error, Report,
    format::hlog::{self, Interval},
    run::{Run, SCHEMA},
};

/// The outcome.
pub const RUN: &str = "run.json";
/// Latencies by second.
pub const HLOG: &str = "latency.hlog";
/// What happened.
pub const EVENTS: &str = "events.jsonl";
/// Every request with its hops.
pub const REQUESTS: &str = "requests.jsonl.zst";
/// Examples of differences.
pub const DIFFS: &str = "diffs.jsonl";

/// Name of a run's folder: the scenario's name and the seed.
pub fn name_of(scenario: &str, seed: Seed) -> String {
    let mut name = String::new();
    for c in scenario.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() >= LONGEST_NAME {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    let name = if name.is_empty() { "run" } else { name };
    format!("{name}-{:x}", seed.0)
}

/// A name longer than this does not help who reads a listing.
const LONGEST_NAME: usize = 40;

/// The first of NAME, NAME-2, NAME-3, … that is neither there nor being written, made as `.NAME.partial`: its name, and
/// the folder that was made.
///
/// `before` is told of the folder before it is made, and may refuse.
pub(super) fn reserve(
    parent: &Path,
    name: &str,
    before: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<(String, PathBuf)> {
    fs::create_dir_all(parent)?;
    for number in 1_u32.. {
        let name = if number == 1 {
            name.to_owned()
        } else {
            format!("{name}-{number}")
        };
        if parent.join(&name).exists() {
            continue;
        }
        let partial = parent.join(format!(".{name}.partial"));
        if partial.exists() {
            continue;
        }
        before(&partial)?;
        match fs::create_dir(&partial) {
            Ok(()) => return Ok((name, partial)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name is free"))
}

/// Reads a report, of this version or an older one.
pub fn read(dir: &Path) -> Result<Report, Error> {
    let path = dir.join(RUN);
    let text = fs::read(&path).map_err(|source| Error::Unreadable {
        path: path.clone(),
        source,
    })?;
    let json: Value = serde_json::from_slice(&text).map_err(|source| Error::NotJson {
        path: path.clone(),
        source,
    })?;
    let schema = json.get("schema").and_then(Value::as_u64);
    if schema != Some(u64::from(SCHEMA)) {
        return Err(Error::Schema {
            path,
            found: schema,
        });
    }
    let run: Run =
        serde_json::from_value(json).map_err(|source| Error::NotJson { path, source })?;
    let path = dir.join(HLOG);
    let log = fs::read_to_string(&path).map_err(|source| Error::Unreadable {
        path: path.clone(),
        source,
    })?;
    let intervals = hlog::parse(&log)
        .and_then(|intervals| agree(&run, intervals))
        .map_err(|what| Error::Log { path, what })?;
    Ok(Report {
        dir: dir.to_owned(),
        run,
        intervals,
    })
}

/// The intervals, if they have the samples that the table says: a log that was cut or exchanged would be compared, and
/// nobody would see it.
fn agree(run: &Run, intervals: Vec<Interval>) -> Result<Vec<Interval>, String> {
    let mut samples: HashMap<String, u64> = HashMap::new();
    for interval in &intervals {
        *samples.entry(interval.tag.to_string()).or_default() += interval.histogram.count();
    }
    for row in &run.latency {
        let found = samples.get(&row.tag).copied().unwrap_or_default();
        if found != row.n {
            return Err(format!(
                "it has {found} samples of {}, and {RUN} says {}",
                row.tag, row.n
            ));
        }
    }
    Ok(intervals)
}

impl Report {
    /// Lines of `events.jsonl`, in order.
    pub fn events(&self) -> Result<Box<dyn Iterator<Item = Result<Value, Error>>>, Error> {
        self.lines(EVENTS)
    }

    /// Lines of `diffs.jsonl`.
    pub fn diffs(&self) -> Result<Box<dyn Iterator<Item = Result<Value, Error>>>, Error> {
        self.lines(DIFFS)
    }

    /// Lines of `requests.jsonl.zst`; none where the run kept none.
    pub fn requests(&self) -> Result<Box<dyn Iterator<Item = Result<Value, Error>>>, Error> {
        let path = self.dir.join(REQUESTS);
        if !path.exists() {
            return Ok(Box::new(std::iter::empty()));
        }
        let unreadable = |source| Error::Unreadable {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(unreadable)?;
        let reader = zstd::Decoder::new(file).map_err(unreadable)?;
        Ok(Box::new(parsed(path.clone(), BufReader::new(reader))))
    }

    fn lines(&self, name: &str) -> Result<Box<dyn Iterator<Item = Result<Value, Error>>>, Error> {
        let path = self.dir.join(name);
        let file = File::open(&path).map_err(|source| Error::Unreadable {
            path: path.clone(),
            source,
        })?;
        Ok(Box::new(parsed(path, BufReader::new(file))))
    }
}

fn parsed(path: PathBuf, reader: impl BufRead) -> impl Iterator<Item = Result<Value, Error>> {
    reader.lines().map(move |line| {
        let line = line.map_err(|source| Error::Unreadable {
            path: path.clone(),
            source,
        })?;
        serde_json::from_str(&line).map_err(|source| Error::NotJson {
            path: path.clone(),
            source,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_for_scenario_and_seed() {
        let rows = [
            ("Checkout", 32570, "checkout-7f3a"),
            ("a slow  payments, service!", 7, "a-slow-payments-service-7"),
            ("…", 1, "run-1"),
            (
                "a name that goes on and on and on and never seems to end",
                255,
                "a-name-that-goes-on-and-on-and-on-and-ne-ff",
            ),
        ];
        for (scenario, seed, name) in rows {
            assert_eq!(name_of(scenario, Seed(seed)), name);
        }
    }

    #[test]
    fn a_taken_name_is_never_used_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a-7")).unwrap();
        let (first, _) = reserve(dir.path(), "a-7", &mut |_| Ok(())).unwrap();
        let (second, partial) = reserve(dir.path(), "a-7", &mut |_| Ok(())).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("a-7-2", "a-7-3"));
        assert_eq!(partial, dir.path().join(".a-7-3.partial"));
    }
}
