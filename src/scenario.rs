//! A scenario, validated and resolved: nothing optional that has a default, references resolved, durations typed. Pure
//! data; `scenario/file.rs` is the YAML as typed, `scenario/resolve.rs` makes the one from the other and reports all
//! problems at once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use meshbed_proxy::{
    draw::Seed,
    policy::{
        matcher::Matcher,
        mirror::{Limits, SampleKey},
    },
    unit::{ByteSize, Rate, Share},
};

mod checks;
mod compared;
mod compose;
mod container;
mod fault;
pub mod file;
pub mod ignore;
mod include;
pub mod key;
mod measuring;
mod policy;
mod problem;
mod read;
mod resolve;
pub mod schema;
mod shadow;
mod timeline;
mod topology;
mod traffic;
mod value;
mod vars;
mod yaml;

pub use compared::{Compared, compared};
pub use policy::Policy;
pub use problem::{Part, Problem, Problems, Standing, Warning};
pub use resolve::Overrides;

pub use fault::FaultKind;
pub use meshbed_proxy::policy::fault::Place;

use crate::{event::Id, expr::Expr, shadow::Rules, stats::margins::Margins};
pub use crate::{measure::ErrorRule, stats::paired::Called};

/// All that a run needs to know.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// The file it was read from.
    pub file: PathBuf,
    /// Where its parts stand.
    pub standing: Standing,
    /// SHA-256 of all files it was read from, in order of inclusion, the Compose file last, in hex.
    pub sha256: String,
    /// The whole of it with defaults and variables filled in, for the report.
    pub resolved: serde_json::Value,
    /// The seed: the file's, `--seed`, or drawn.
    pub seed: Seed,
    /// What counts as an error.
    pub errors: ErrorRule,
    /// Event loops of the proxies.
    pub workers: usize,
    /// Services, in file order.
    pub services: Vec<Service>,
    /// Traffic sources, in file order.
    pub traffic: Vec<Source>,
    /// Shadows, in file order; the number of a shadow's side is its index + 1.
    pub shadows: Vec<Shadow>,
    /// How answers are compared.
    pub diff: Diff,
    /// Phases, in order, back to back from 0; never empty.
    pub phases: Vec<Phase>,
    /// Faults, in file order.
    pub faults: Vec<Fault>,
    /// Conditions that must hold before the first fault, else nothing is broken.
    pub steady_state: Vec<Steady>,
    /// Conditions that stop the run.
    pub guards: Vec<Guard>,
    /// Checks, in file order; never empty.
    pub checks: Vec<Check>,
    /// The least score that passes, 0 to 100.
    pub min_score: f64,
    /// Changes of a latency that matter, where runs or shadows are compared.
    pub margins: Margins,
    /// What is written.
    pub report: ReportSettings,
}

/// A service of the topology.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its id.
    pub id: Id,
    /// What runs it.
    pub backing: Backing,
    /// What it speaks.
    pub protocol: Protocol,
    /// Ids of the services it calls, each with the fixed outbound port, if one is asked for.
    pub calls: Vec<(Id, Option<SocketAddr>)>,
    /// How calls to it are made.
    pub policy: Policy,
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1, unless a caller begins in HTTP/2.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http,
    /// HTTP/2 without TLS, by prior knowledge.
    H2,
    /// gRPC: HTTP/2, and answers by gRPC's rules.
    Grpc,
    /// Bytes that sidecars pass on without looking into them.
    Tcp,
    /// HTTP/1.1 over TLS.
    Tls,
}

impl Protocol {
    /// Whether it is HTTP/2 that is spoken on the wire.
    pub fn is_h2(self) -> bool {
        matches!(self, Self::H2 | Self::Grpc)
    }

    /// Whether sidecars see requests.
    pub fn is_http(self) -> bool {
        self != Self::Tcp
    }
}

/// What the service of this id speaks; of one that there is not, the default.
pub(crate) fn protocol_of(services: &[Service], id: &str) -> Protocol {
    let service = services.iter().find(|service| &*service.id == id);
    service.map_or_else(Protocol::default, |service| service.protocol)
}

/// What runs a service.
#[derive(Debug, Clone, PartialEq)]
pub enum Backing {
    /// A service that comes with meshbed.
    Builtin {
        /// Its application.
        app: String,
        /// Its version.
        version: String,
    },
    /// A program started for the run.
    Process(Process),
    /// A container started for the run.
    Container(Box<Container>),
    /// Something that runs already.
    Address(Vec<SocketAddr>),
}

impl Backing {
    /// Where it is, of what runs already; else nowhere yet.
    pub fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Address(addresses) => addresses,
            Self::Builtin { .. } | Self::Process(_) | Self::Container(_) => &[],
        }
    }
}

/// A container started for the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Where its image comes from.
    pub image: Image,
    /// In place of the image's; empty: the image's.
    pub entrypoint: Vec<String>,
    /// In place of the image's; empty: the image's.
    pub command: Vec<String>,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
    /// Where it listens.
    pub port: u16,
    /// The most memory it may use.
    pub memory: Option<ByteSize>,
    /// The most processor time it may use, in cores.
    pub cpus: Option<f64>,
    /// How many of it.
    pub replicas: u16,
    /// A command in it that must succeed before it is ready.
    pub healthcheck: Option<Healthcheck>,
    /// When it counts as ready.
    pub ready: Ready,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// It has this name, here or in a registry.
    Named(String),
    /// It is built.
    Built(Build),
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Build {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// The Dockerfile, relative to the folder.
    pub dockerfile: String,
    /// Values of its `ARG`s.
    pub args: BTreeMap<String, String>,
    /// The stage that is built; `None`: the last.
    pub target: Option<String>,
    /// The name that it gets and keeps; `None`: it goes with the run.
    pub name: Option<String>,
}

/// A command that a container engine runs in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// `CMD` and a program, or `CMD-SHELL` and a line for the shell.
    pub test: Vec<String>,
    /// How often.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u64,
    /// Failures so soon after the start do not count.
    pub start_period: Duration,
}

/// A program started for the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
    /// Where it starts, relative to the scenario's folder unless absolute.
    pub cwd: PathBuf,
    /// How many of it.
    pub replicas: u32,
    /// When it counts as ready.
    pub ready: Ready,
}

/// When a service counts as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// This path answers 2xx; `None`: its port accepts.
    pub http: Option<String>,
    /// Within this.
    pub within: Duration,
}

/// A source of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its id.
    pub id: Id,
    /// The service its requests go to.
    pub to: Id,
    /// What that service speaks.
    pub protocol: Protocol,
    /// What it sends.
    pub kind: SourceKind,
    /// How many connections.
    pub connections: Connections,
    /// Requests under way at once; more wait, counted as overflow.
    pub max_in_flight: u32,
    /// A request is given up after this, counted from its sending.
    pub timeout: Duration,
    /// What is changed in each request.
    pub rewrite: Rewrite,
}

/// What a source sends.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// What a capture holds.
    Trace {
        /// The capture.
        file: PathBuf,
        /// Time runs this much faster than recorded.
        speed: f64,
        /// Only this part of the recording, counted from its first request.
        window: Option<(Duration, Duration)>,
        /// How often it is played, one after the other.
        loops: u32,
        /// Only these requests.
        filter: Matcher,
    },
    /// What templates make.
    Generate {
        /// Requests per second.
        rate: Rate,
        /// How arrivals are spread.
        arrival: Arrival,
        /// What is sent, chosen by weight.
        requests: Vec<Template>,
    },
}

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Evenly.
    Constant,
    /// Memoryless.
    Poisson,
}

/// A request to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Its share, relative to the others'.
    pub weight: u32,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// How many connections a source uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Those of the recording, each request on its own.
    Recorded,
    /// A pool of this many.
    Pool(u32),
}

/// What is changed in each request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// Replaces the host.
    pub host: Option<String>,
    /// Regular expressions on path and query, the first that matches is applied, with `$1`.
    pub path: Vec<(String, String)>,
    /// Headers set.
    pub set: Vec<(String, String)>,
    /// Headers removed.
    pub remove: Vec<String>,
}

/// A shadow of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// Its id.
    pub id: Id,
    /// The service whose calls are mirrored.
    pub of: Id,
    /// Candidate or control.
    pub role: Role,
    /// What runs it; it calls what `of` calls.
    pub backing: Backing,
    /// Which share of the calls.
    pub percent: Share,
    /// What the draw is keyed by.
    pub key: SampleKey,
    /// Which calls; methods GET and HEAD by default.
    pub matcher: Matcher,
    /// Of those, calls that change something are refused, and counted as skipped.
    pub safe_only: bool,
    /// Headers set on the copy.
    pub set: Vec<(String, String)>,
    /// Headers removed from the copy.
    pub remove: Vec<String>,
    /// What the copies may cost.
    pub limits: Limits,
}

/// What a shadow is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The version in question.
    Candidate,
    /// A second instance of the baseline, which shows the noise.
    Control,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Control => "control",
        }
    }
}

/// How answers are compared.
#[derive(Debug, Clone)]
pub struct Diff {
    /// The rules, compiled.
    pub rules: Rules,
    /// The control whose differences are noise.
    pub control: Option<Id>,
    /// Significance that a field's difference needs.
    pub alpha: f64,
    /// Share of answers that must differ for a value to be material.
    pub min_effect: Share,
}

/// A part of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Its id.
    pub id: Id,
    /// First microsecond.
    pub begin_us: u64,
    /// First microsecond after it.
    pub end_us: u64,
    /// Whether its requests are measured by default.
    pub record: bool,
}

impl Phase {
    /// A recorded one from the start.
    pub fn alone(id: &str, end_us: u64) -> Self {
        Self {
            id: id.into(),
            begin_us: 0,
            end_us,
            record: true,
        }
    }
}

/// A fault on the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its id.
    pub id: Id,
    /// The service whose calls meet it.
    pub target: Id,
    /// Only calls by this one; `None`: by all (`client` is the generator).
    pub from: Option<Id>,
    /// The phase it is placed in.
    pub during: Id,
    /// When it is active, in milliseconds of intended time, half-open, ascending, within its phase.
    pub windows: Vec<(u32, u32)>,
    /// Which of the matching requests.
    pub select: Select,
    /// Requests that it is for.
    pub matcher: Matcher,
    /// Requests that may suffer it at once.
    pub max_active: Option<u32>,
    /// Off by then, counted from when it is switched on, whatever happens.
    pub ttl: Duration,
    /// Where requests meet it.
    pub place: Place,
    /// What it does.
    pub kind: FaultKind,
}

/// Which of the matching requests a fault chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Select {
    /// A share of them.
    Share(Share),
    /// A share that grows from this over this time, to that.
    Ramp(Share, Duration, Share),
    /// The first so many.
    First(u64),
    /// Every so many-th.
    Every(u64),
}

/// A condition that must hold before anything is broken.
#[derive(Debug, Clone)]
pub struct Steady {
    /// The condition.
    pub check: Expr,
    /// Its text.
    pub text: String,
    /// The phase it is judged over.
    pub over: Id,
}

/// A condition that stops the run.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The condition, over the trailing `hold`.
    pub when: Expr,
    /// Its text.
    pub text: String,
    /// How long it must hold, judged each second or finer.
    pub hold: Duration,
}

/// A check.
#[derive(Debug, Clone)]
pub struct Check {
    /// Its id.
    pub id: Id,
    /// It decides by itself.
    pub must: bool,
    /// Its weight in the score; above 0.
    pub weight: f64,
    /// What is judged.
    pub that: Expr,
    /// Its text.
    pub text: String,
    /// Bounds of a graded check; `None`: `that` is a condition or a verdict.
    pub graded: Option<Graded>,
    /// What the verdict must not be; `None`: `that` is none.
    pub not: Option<Called>,
    /// The phases it is judged over; empty: all recorded ones.
    pub over: Vec<Id>,
    /// The moment that `time_to` counts from.
    pub from: Option<Moment>,
}

/// The bounds of a graded check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Graded {
    /// Full points at or beyond this.
    pub pass: f64,
    /// No points at or beyond this.
    pub fail: f64,
}

/// A moment of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// As written: `end(slow-payments)`.
    pub text: String,
    /// When, in microseconds since the start.
    pub at_us: u64,
}

/// What is written of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSettings {
    /// Folder of the reports; the run's own is made in it.
    pub dir: PathBuf,
    /// Which requests are written.
    pub requests: Requests,
    /// Events written at most, each as likely as any other; `None`: all.
    pub max_events: Option<u64>,
    /// Headers, cookies and JSON paths whose values are hidden.
    pub redact: Vec<String>,
    /// Formats beside the bundle: `md`, `junit`, `html`.
    pub formats: Vec<String>,
    /// A report folder to compare with at the end.
    pub baseline: Option<PathBuf>,
}

/// Which requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// All, up to 1,000,000.
    All,
    /// A sample.
    Sampled,
    /// None.
    None,
}

/// Longest body that a source sends from a capture.
pub const MAX_REQUEST_BODY: ByteSize = ByteSize(64 << 20);

/// Reads a scenario and all that it includes. What is wrong is told as a whole; warnings do not stop a run.
pub fn load(path: &Path, overrides: &Overrides) -> Result<(Scenario, Vec<Warning>), Problems> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let read = whole(path, &overrides.set, &mut problems, &mut warnings);
    let Some(root) = read.root else {
        return Err(Problems::new(read.files, problems));
    };
    let item = read::read(&root, &file::ROOT, &mut problems);
    let mut resolver = resolve::Resolver {
        root: &item,
        files: &read.files,
        today: jiff::Zoned::now().date(),
        problems,
        warnings,
        standing: Vec::new(),
    };
    let mut scenario = resolver.scenario(path, read.files.sha256(), overrides);
    let resolve::Resolver {
        problems,
        warnings,
        standing: parts,
        ..
    } = resolver;
    if problems.is_empty() {
        let warnings = warnings
            .into_iter()
            .map(|warning| Warning::new(&read.files, warning))
            .collect();
        scenario.standing = Standing {
            files: read.files,
            parts,
        };
        Ok((scenario, warnings))
    } else {
        Err(Problems::new(read.files, problems))
    }
}

/// A scenario's file and all that it is made of besides: what it includes and its Compose file, with variables filled in.
fn whole(
    path: &Path,
    set: &[(String, String)],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> include::Read {
    let mut read = include::read(path, problems);
    let env = |name: &str| std::env::var(name).ok();
    if let Some(root) = &mut read.root {
        vars::fill(root, set, &env, problems);
        compose::take(root, &mut read.files, &env, problems, warnings);
    }
    read
}

impl Scenario {
    /// Length of the run, in microseconds.
    pub fn length_us(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.end_us)
    }

    /// The service of this id.
    pub fn service(&self, id: &str) -> Option<&Service> {
        self.services.iter().find(|service| &*service.id == id)
    }

    /// Whether a fault breaks connections, and not just requests.
    pub fn breaks_connections(&self) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|fault| fault.kind.is_of_connections())
    }

    /// Whether traffic drives a service.
    pub fn is_driven(&self, service: &str) -> bool {
        self.traffic.iter().any(|source| &*source.to == service)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"
name: good
vars: { slow: { type: duration, default: 400ms }, slo: 250ms }
seed: 7
topology:
  entry: shop
  services:
    shop: { builtin: { app: shop }, calls: [payments] }
    payments: { address: [127.0.0.1:9001], policy: { timeout: 2s } }
traffic:
  - id: main
    generate: { rate: 400/s, arrival: poisson, requests: [{ weight: 3, path: /a }, { method: POST, path: /b, body: { json: { token: "$(env.PATH)" } } }] }
    rewrite: { host: shop.test, headers: { set: { authorization: "Bearer $(env.PATH)" } } }
shadow:
  - { id: candidate, of: shop, to: { builtin: { app: shop, version: v2 } }, sample: { percent: 10%, key: "header:x-user" } }
phases:
  - { id: steady, for: 20s }
  - { id: fault, for: 20s }
  - { id: recovery, for: 35s }
faults:
  - { id: slow, target: payments, during: fault, at: +5s, for: 10s, percent: 50%, delay: $(slow) }
  - { id: blip, target: payments, during: fault, repeat: { every: 5s, for: 1s }, abort: { status: 503 } }
checks:
  - { id: slo, must: true, weight: 3, that: "p99[shop] < $(slo)", over: steady }
  - { id: recovers, that: "time_to(p99[shop] < 1.2 * p99[shop]@steady, hold: 5s)", from: "end(slow)", pass: 5s, fail: 30s }
"#;

    fn load_text(text: &str) -> Result<(Scenario, Vec<Warning>), Problems> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(file.path(), &Overrides::default())
    }

    fn good() -> Scenario {
        load_text(GOOD)
            .unwrap_or_else(|problems| panic!("{problems}"))
            .0
    }

    #[test]
    fn a_scenario_has_everything_filled_in() {
        let scenario = good();
        assert_eq!(scenario.length_us(), 75_000_000);
        assert_eq!(
            scenario.services[0].policy.timeout,
            Some(Duration::from_secs(15))
        );
        assert_eq!(scenario.traffic[0].connections, Connections::Pool(64));
        assert_eq!(scenario.traffic[0].max_in_flight, 2_000);
        assert_eq!(scenario.shadows[0].limits, Limits::default());
        assert_eq!(scenario.errors, ErrorRule::default());
        assert_eq!(scenario.faults[0].windows, [(25_000, 35_000)]);
        assert_eq!(
            scenario.faults[0].kind,
            FaultKind::Request(meshbed_proxy::policy::fault::Fault::Delay(
                meshbed_proxy::policy::fault::delay::Delay::Fixed(Duration::from_millis(400))
            ))
        );
        assert_eq!(
            scenario.faults[1].windows,
            [
                (20_000, 21_000),
                (25_000, 26_000),
                (30_000, 31_000),
                (35_000, 36_000)
            ]
        );
        assert_eq!(scenario.checks[1].from.as_ref().unwrap().at_us, 35_000_000);
        assert!((scenario.min_score - 100.0).abs() < f64::EPSILON);
        assert_eq!(scenario.resolved["faults"][0]["delay"], "400ms");
        assert_eq!(scenario.resolved["traffic"][0]["connections"], 64);
        assert_eq!(scenario.resolved.get("vars"), None);
    }

    #[test]
    fn what_pairs_took_is_kept_where_a_verdict_is_asked_for() {
        assert!(!good().measuring().timed);
        let check = "  - { id: speed, that: \"compare[candidate]\", not: regressed }\n";
        let (scenario, _) = load_text(&format!("{}{check}", GOOD.trim_end_matches(' ')))
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert!(scenario.measuring().timed);
        assert_eq!(scenario.checks[2].not, Some(Called::Regressed));
    }

    #[test]
    fn what_change_matters_may_be_said() {
        let with = |more: &str| load_text(&format!("{}{more}", GOOD.trim_end_matches(' ')));
        let own = Margins::default();
        assert_eq!(good().margins, own);
        assert_eq!(good().resolved["compare"]["margins"]["p99"], "10%");
        let (scenario, _) = with("compare: { margins: { p50: 2.5%, p99: 0.2 } }\n").unwrap();
        let expected = Margins {
            p50: 0.025,
            p99: 0.2,
            ..own
        };
        assert_eq!(
            (scenario.margins, scenario.measuring().margins),
            (expected, expected)
        );
        assert_eq!(scenario.resolved["compare"]["margins"]["p50"], "2.5%");
    }

    #[test]
    fn a_verdict_is_warned_of_by_the_window_that_it_is_called_over() {
        let warned = |check: &str| {
            let check = format!("  - {{ id: speed, {check}, not: regressed }}\n");
            let (_, warnings) = load_text(&format!("{}{check}", GOOD.trim_end_matches(' ')))
                .unwrap_or_else(|problems| panic!("{problems}"));
            let mut texts = warnings.iter().map(ToString::to_string);
            texts.find(|text| text.contains("a verdict needs"))
        };
        assert_eq!(warned("that: \"compare[candidate]\""), None);
        assert_eq!(warned("that: \"compare[candidate]@recovery\""), None);
        // Over its own phase, whatever the check's window is.
        for check in [
            "that: \"compare[candidate]\", over: steady",
            "that: \"compare[candidate]@steady\"",
            "that: \"compare[candidate]@steady\", over: recovery",
        ] {
            let text = warned(check).unwrap();
            assert!(
                text.contains("7 blocks of 3 s, its phases have 6"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_resolved_shows_no_secret() {
        let scenario = good();
        let source = &scenario.traffic[0];
        let path = std::env::var("PATH").unwrap();
        assert_eq!(source.rewrite.set[0].1, format!("Bearer {path}"));
        let text = scenario.resolved.to_string();
        assert!(text.contains("Bearer $(env.PATH)") && text.contains(r#""token":"$(env.PATH)""#));
        assert!(!text.contains(&path));
    }

    #[test]
    fn the_command_line_wins() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), GOOD).unwrap();
        let overrides = Overrides {
            seed: Some(9),
            set: vec![("slow".to_owned(), "1s".to_owned())],
            workers: Some(3),
        };
        let (scenario, _) = load(file.path(), &overrides).unwrap();
        assert_eq!((scenario.seed, scenario.workers), (Seed(9), 3));
        assert_eq!(scenario.resolved["faults"][0]["delay"], "1s");
    }

    proptest! {
        #[test]
        fn a_damaged_scenario_is_told_and_never_panics(
            edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..40, "[ -~\n]{0,6}"), 1..4)
        ) {
            let mut chars: Vec<char> = GOOD.chars().collect();
            for (at, remove, insert) in edits {
                let at = at.index(chars.len().max(1)).min(chars.len());
                let end = (at + remove).min(chars.len());
                chars.splice(at..end, insert.chars());
            }
            let text: String = chars.into_iter().collect();
            let lines = text.lines().count() as u32;
            if let Err(problems) = load_text(&text) {
                prop_assert!(problems.iter().count() > 0);
                prop_assert!(problems.iter().all(|problem| problem.line() <= lines + 1));
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }
}
