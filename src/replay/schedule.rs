//! What will be sent when: all sources of a scenario merged, numbered and made ready. A pure function of captures,
//! scenario and seed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use meshbed_proxy::{draw::Seed, unit::Rate};
use sha2::{Digest, Sha256};

use super::{
    arrival::{Arrivals, Chooser},
    rewrite::{InvalidRewrite, Prepared, Raw, Rewriter},
};
use crate::{
    event::{Id, Micros},
    scenario::{Connections, Part, Protocol, Scenario, Source, SourceKind, Template},
    shadow::hex,
};

mod trace;

/// What will be sent when. `planned[i].ordinal == i`, but after [`Schedule::only`]; due times ascend.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// All requests, by ordinal.
    pub planned: Vec<Planned>,
    /// The sources, as [`Planned::source`] counts them.
    pub sources: Vec<Lane>,
    /// Of times, connections and requests, in hex: two runs with equal ones sent the same.
    pub sha256: String,
    /// When the last request is due.
    pub span_us: Micros,
}

/// One request of the schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Its place in the schedule.
    pub ordinal: u64,
    /// Its source, by index in [`Schedule::sources`].
    pub source: usize,
    /// When it is due.
    pub due_us: Micros,
    /// The connection it goes by; where its source has a pool, the number of the pool's first.
    pub connection: u64,
    /// What is sent. Equal requests are one value.
    pub request: Arc<Prepared>,
}

/// A source, as far as sending goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// Its id.
    pub id: Id,
    /// The service its requests go to.
    pub service: Id,
    /// What is spoken on its connections.
    pub protocol: Protocol,
    /// How many connections.
    pub connections: Connections,
    /// Requests under way at once; more wait.
    pub max_in_flight: u32,
    /// A request is given up after this, counted from its sending.
    pub timeout: Duration,
    /// The capture it is made from.
    pub trace: Option<TraceFacts>,
}

/// What a capture gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceFacts {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// Exchanges found in it.
    pub exchanges: u64,
    /// What was not turned into requests, by reason: the capture's own, and why an exchange is not sent.
    pub skipped: BTreeMap<String, u64>,
}

/// Why there is no schedule.
#[derive(Debug)]
pub enum Error {
    /// A capture cannot be read.
    Capture {
        /// The source.
        source_id: Id,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A source's filter cannot be used.
    Filter {
        /// The source.
        source_id: Id,
        /// Why.
        why: String,
    },
    /// A rewrite or a template cannot be used.
    Request {
        /// The source.
        source_id: Id,
        /// Why.
        why: String,
    },
    /// A source gives nothing to send.
    Empty {
        /// The source.
        source_id: Id,
        /// Why.
        why: String,
    },
}

impl Error {
    /// The part of the scenario that it is about.
    pub fn part(&self) -> Part {
        let (Self::Capture { source_id, .. }
        | Self::Filter { source_id, .. }
        | Self::Request { source_id, .. }
        | Self::Empty { source_id, .. }) = self;
        Part::Source(Arc::clone(source_id))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture {
                source_id, path, ..
            } => write!(
                f,
                "traffic `{source_id}`: cannot read the capture {}",
                path.display()
            ),
            Self::Filter { source_id, why } => write!(f, "traffic `{source_id}`: filter: {why}"),
            Self::Request { source_id, why } => write!(f, "traffic `{source_id}`: {why}"),
            Self::Empty { source_id, why } => {
                write!(f, "traffic `{source_id}` gives no request: {why}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Capture { cause, .. } => Some(&**cause),
            _ => None,
        }
    }
}

/// The schedule of a scenario, cut at the end of its phases.
pub fn build(scenario: &Scenario) -> Result<Schedule, Error> {
    from_sources(&scenario.traffic, scenario.seed, scenario.length_us())
}

/// The schedule of some sources, cut at `length_us`.
pub fn from_sources(sources: &[Source], seed: Seed, length_us: Micros) -> Result<Schedule, Error> {
    let mut drafts = Vec::new();
    let mut lanes = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let rewriter =
            Rewriter::new(&source.rewrite, &source.to).map_err(|InvalidRewrite(why)| {
                Error::Request {
                    source_id: Arc::clone(&source.id),
                    why,
                }
            })?;
        let before = drafts.len();
        let trace = match &source.kind {
            SourceKind::Trace { .. } => Some(trace::drafts(
                source,
                index,
                &rewriter,
                length_us,
                &mut drafts,
            )?),
            SourceKind::Generate {
                rate,
                arrival,
                requests,
            } => {
                let templates = templates(source, requests, &rewriter)?;
                let chooser = Chooser::new(
                    requests.iter().map(|template| template.weight),
                    seed,
                    &source.id,
                );
                drafts.extend(
                    Arrivals::new(*arrival, *rate, seed, &source.id)
                        .take_while(|due_us| *due_us < length_us)
                        .zip(0..)
                        .filter_map(|(due_us, number)| {
                            let template = templates.get(chooser.choose(number)?)?;
                            Some(Draft {
                                due_us,
                                source: index,
                                stream: (0, 0),
                                request: Arc::clone(template),
                            })
                        }),
                );
                None
            }
        };
        if drafts.len() == before {
            return Err(empty(source, trace.as_ref()));
        }
        lanes.push(Lane {
            id: Arc::clone(&source.id),
            service: Arc::clone(&source.to),
            protocol: source.protocol,
            connections: source.connections,
            max_in_flight: source.max_in_flight,
            timeout: source.timeout,
            trace,
        });
    }
    Ok(Schedule::number(drafts, lanes))
}

impl Schedule {
    /// The same requests in the same order, evenly spaced at this rate.
    #[must_use]
    pub fn at_rate(mut self, rate: Rate) -> Self {
        for (index, planned) in self.planned.iter_mut().enumerate() {
            planned.due_us = (index as f64 / rate.get() * 1e6).round() as Micros;
        }
        self.seal()
    }

    /// Only these requests, each under its old ordinal, so far apart.
    #[must_use]
    pub fn only(mut self, ordinals: &BTreeSet<u64>, apart_us: Micros) -> Self {
        self.planned
            .retain(|planned| ordinals.contains(&planned.ordinal));
        for (planned, index) in self.planned.iter_mut().zip(0..) {
            planned.due_us = index * apart_us;
        }
        self.seal()
    }

    /// How many requests are due before that moment.
    pub fn due_before(&self, us: Micros) -> usize {
        self.planned.partition_point(|planned| planned.due_us < us)
    }

    /// Puts the requests of all sources in order, numbers them, and gives each its connection.
    fn number(mut drafts: Vec<Draft>, sources: Vec<Lane>) -> Self {
        // Stable: what a source has for the same microsecond keeps its own order.
        drafts.sort_by_key(|draft| (draft.due_us, draft.source));
        let mut connections = Numbers::default();
        let planned = drafts
            .into_iter()
            .zip(0..)
            .map(|(draft, ordinal)| Planned {
                ordinal,
                source: draft.source,
                due_us: draft.due_us,
                connection: connections.of(&draft, sources.get(draft.source)),
                request: draft.request,
            })
            .collect();
        Self {
            planned,
            sources,
            sha256: String::new(),
            span_us: 0,
        }
        .seal()
    }

    /// Fills in what follows from the rest.
    fn seal(mut self) -> Self {
        self.span_us = self.planned.last().map_or(0, |planned| planned.due_us);
        self.sha256 = self.digest();
        self
    }

    /// Of the canonical form: each source's id and service, then each request's source, due time, connection and the
    /// SHA-256 of its content; numbers little-endian, texts with their length before them.
    fn digest(&self) -> String {
        let mut whole = Sha256::new();
        for lane in &self.sources {
            text(&mut whole, lane.id.as_bytes());
            text(&mut whole, lane.service.as_bytes());
        }
        let mut contents: HashMap<*const Prepared, [u8; 32]> = HashMap::new();
        for planned in &self.planned {
            whole.update((planned.source as u64).to_le_bytes());
            whole.update(planned.due_us.to_le_bytes());
            whole.update(planned.connection.to_le_bytes());
            whole.update(
                contents
                    .entry(Arc::as_ptr(&planned.request))
                    .or_insert_with(|| content(&planned.request)),
            );
        }
        hex(&whole.finalize())
    }
}

/// A request before the sources are merged.
#[derive(Debug, Clone)]
struct Draft {
    due_us: Micros,
    source: usize,
    /// Loop and recorded stream; always the same for a pool.
    stream: (u32, u64),
    request: Arc<Prepared>,
}

/// Numbers of connections, in order of their first use.
#[derive(Debug, Default)]
struct Numbers {
    known: HashMap<(usize, (u32, u64)), u64>,
    next: u64,
}

impl Numbers {
    fn of(&mut self, draft: &Draft, lane: Option<&Lane>) -> u64 {
        let (stream, many) = match lane.map(|lane| lane.connections) {
            Some(Connections::Pool(many)) => ((0, 0), u64::from(many.max(1))),
            Some(Connections::Recorded) | None => (draft.stream, 1),
        };
        let next = &mut self.next;
        *self.known.entry((draft.source, stream)).or_insert_with(|| {
            let first = *next;
            *next += many;
            first
        })
    }
}

fn templates(
    source: &Source,
    requests: &[Template],
    rewriter: &Rewriter,
) -> Result<Vec<Arc<Prepared>>, Error> {
    requests
        .iter()
        .map(|template| {
            let authority = template
                .headers
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case("host"))
                .map_or("", |(_, host)| host);
            rewriter
                .prepare(Raw {
                    method: &template.method,
                    target: template.path.as_bytes(),
                    authority: authority.as_bytes(),
                    headers: template
                        .headers
                        .iter()
                        .map(|(key, text)| (key.as_bytes(), text.as_bytes())),
                    body: template.body.clone().into(),
                })
                .map(Arc::new)
                .map_err(|why| Error::Request {
                    source_id: Arc::clone(&source.id),
                    why: format!(
                        "`{} {}` cannot be sent: {}",
                        template.method,
                        template.path,
                        why.name()
                    ),
                })
        })
        .collect()
}

fn empty(source: &Source, trace: Option<&TraceFacts>) -> Error {
    let why = match trace {
        None => "none is due before the end of the phases".to_owned(),
        Some(facts) => {
            let skipped: Vec<String> = facts
                .skipped
                .iter()
                .map(|(reason, count)| format!("{reason} {count}"))
                .collect();
            format!(
                "{} exchanges in {}; skipped: {}",
                facts.exchanges,
                facts.path.display(),
                if skipped.is_empty() {
                    "none".to_owned()
                } else {
                    skipped.join(", ")
                }
            )
        }
    };
    Error::Empty {
        source_id: Arc::clone(&source.id),
        why,
    }
}

fn content(request: &Prepared) -> [u8; 32] {
    let mut hash = Sha256::new();
    text(&mut hash, request.method.as_str().as_bytes());
    text(&mut hash, request.path().as_bytes());
    hash.update((request.headers.len() as u64).to_le_bytes());
    for (key, value) in &request.headers {
        text(&mut hash, key.as_str().as_bytes());
        text(&mut hash, value.as_bytes());
    }
    text(&mut hash, &request.body);
    hash.finalize().into()
}

fn text(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Arrival, Rewrite};

    fn generated(id: &str, per_second: f64, arrival: Arrival, connections: Connections) -> Source {
        Source {
            protocol: Protocol::Http,
            id: id.into(),
            to: "shop".into(),
            kind: SourceKind::Generate {
                rate: Rate::per_second(per_second).unwrap(),
                arrival,
                requests: ["/a", "/b"]
                    .map(|path| Template {
                        weight: 1,
                        method: "GET".to_owned(),
                        path: path.to_owned(),
                        headers: Vec::new(),
                        body: Vec::new(),
                    })
                    .to_vec(),
            },
            connections,
            max_in_flight: 10,
            timeout: Duration::from_secs(1),
            rewrite: Rewrite::default(),
        }
    }

    #[test]
    fn sources_merge_by_due_time_then_file_order() {
        let sources = [
            generated("main", 2.0, Arrival::Constant, Connections::Pool(4)),
            generated("side", 1.0, Arrival::Constant, Connections::Pool(2)),
        ];
        let schedule = from_sources(&sources, Seed(7), 1_000_001).unwrap();
        let rows: Vec<_> = schedule
            .planned
            .iter()
            .map(|planned| {
                (
                    planned.ordinal,
                    planned.due_us,
                    planned.source,
                    planned.connection,
                )
            })
            .collect();
        // The second pool's connections are numbered after the four of the first.
        assert_eq!(
            rows,
            [
                (0, 0, 0, 0),
                (1, 0, 1, 4),
                (2, 500_000, 0, 0),
                (3, 1_000_000, 0, 0),
                (4, 1_000_000, 1, 4),
            ]
        );
        assert_eq!(schedule.span_us, 1_000_000);
        assert_eq!(schedule.due_before(500_000), 2);
        assert_eq!(schedule.due_before(500_001), 3);
    }

    #[test]
    fn the_end_of_the_phases_cuts_the_schedule() {
        let sources = [generated(
            "main",
            100.0,
            Arrival::Constant,
            Connections::Pool(1),
        )];
        let schedule = from_sources(&sources, Seed(7), 50_000).unwrap();
        // Due at 0, 10, 20, 30, 40 ms; 50 ms is past the end.
        assert_eq!(schedule.planned.len(), 5);
        assert!(matches!(
            from_sources(&sources, Seed(7), 0),
            Err(Error::Empty { .. })
        ));
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_another() {
        let sources = [generated(
            "main",
            500.0,
            Arrival::Poisson,
            Connections::Pool(1),
        )];
        let build = |seed| from_sources(&sources, Seed(seed), 2_000_000).unwrap();
        assert_eq!(build(7), build(7));
        assert_ne!(build(7).sha256, build(8).sha256);
        // Which template is sent is chance too: near half of about 1,000.
        let first = build(7);
        let a = first
            .planned
            .iter()
            .filter(|p| p.request.path() == "/a")
            .count();
        assert!((400..600).contains(&a), "{a}");
    }

    #[test]
    fn the_digest_tells_what_is_sent() {
        let mut sources = [generated(
            "main",
            10.0,
            Arrival::Constant,
            Connections::Pool(1),
        )];
        let digest = |sources: &[Source]| from_sources(sources, Seed(7), 1_000_000).unwrap().sha256;
        let before = digest(&sources);
        assert_eq!(before.len(), 64);
        sources[0].rewrite.set = vec![("x-a".to_owned(), "1".to_owned())];
        assert_ne!(before, digest(&sources));
    }

    #[test]
    fn a_rate_spaces_requests_evenly_in_their_order() {
        let sources = [generated(
            "main",
            500.0,
            Arrival::Poisson,
            Connections::Pool(1),
        )];
        let poisson = from_sources(&sources, Seed(7), 1_000_000).unwrap();
        let paths = |schedule: &Schedule| -> Vec<String> {
            let path = |p: &Planned| p.request.path().to_owned();
            schedule.planned.iter().map(path).collect()
        };
        let even = poisson.clone().at_rate(Rate::per_second(100.0).unwrap());
        assert_eq!(paths(&poisson), paths(&even));
        assert_ne!(poisson.sha256, even.sha256);
        assert!(
            even.planned
                .iter()
                .zip(0..)
                .all(|(p, i)| p.due_us == i * 10_000)
        );
    }

    #[test]
    fn a_template_that_cannot_be_sent_is_named() {
        let mut sources = [generated(
            "main",
            10.0,
            Arrival::Constant,
            Connections::Pool(1),
        )];
        if let SourceKind::Generate { requests, .. } = &mut sources[0].kind {
            requests[1].path = "no path".to_owned();
        }
        let error = from_sources(&sources, Seed(7), 1_000_000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "traffic `main`: `GET no path` cannot be sent: unsendable_target"
        );
    }
}
