//! Makes a [`Scenario`] of what was read: references are resolved, places found, sums checked. All problems are told, not
//! only the first; a part that is wrong is left out, and nothing that only follows from that is told again.

use std::path::{Path, PathBuf};

use jiff::civil::Date;
use meshbed_proxy::{
    draw::Seed,
    policy::matcher::{How, Matcher, Named as Condition, Text},
    unit::Share,
};
use serde_json::Value as Json;

use super::{
    ErrorRule, ReportSettings, Requests, Scenario, Source,
    problem::{Files, Part, Place, Problem, Standing, suggest},
    value::Item,
};
use crate::{
    event::Id,
    expr::{self, Expr, Unit, parse::Named},
    measure::CLIENT,
    stats::margins::Margins,
};

/// Where reports go unless the scenario says otherwise.
const REPORTS: &str = "reports";

/// Settings of the command line.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--set VAR=VALUE`, in order.
    pub set: Vec<(String, String)>,
    /// `--workers`.
    pub workers: Option<usize>,
}

/// What is known while a scenario is put together.
pub(super) struct Resolver<'a> {
    pub(super) root: &'a Item,
    pub(super) files: &'a Files,
    pub(super) today: Date,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Where the parts stand that are judged later.
    pub(super) standing: Vec<(Part, Place, String)>,
}

impl Resolver<'_> {
    pub(super) fn scenario(
        &mut self,
        file: &Path,
        sha256: String,
        overrides: &Overrides,
    ) -> Scenario {
        let root = self.root;
        let ids = self.declared();
        let services = self.services(&ids);
        let traffic = self.traffic(&ids, &services);
        let phases = self.phases();
        let faults = self.faults(&ids, &phases, &services);
        let shadows = self.shadows(&ids, &services);
        let diff = self.diff(&ids, &shadows);
        let steady_state = self.steady_state(&ids, &phases, &faults);
        let guards = self.guards(&ids);
        let checks = self.checks(&ids, &phases, &faults);
        let min_score = root
            .get("score")
            .and_then(|score| score.get("min"))
            .map_or(100.0, |min| {
                let number = min.as_number().unwrap_or(100.0);
                if number > 100.0 {
                    self.tell(
                        min,
                        format!("`{number}` is more than a score can be"),
                        "a number from 0 to 100",
                    );
                }
                number
            });
        let seed = overrides
            .seed
            .or_else(|| root.whole("seed"))
            // Short enough to be told over the telephone; every seed is as good as any other.
            .unwrap_or_else(|| u64::from(rand::random::<u32>()));
        let workers = overrides
            .workers
            .or_else(|| Some(root.get("topology")?.whole("workers")? as usize))
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Scenario {
            name: root.text("name").unwrap_or_default().to_owned(),
            description: root.text("description").unwrap_or_default().to_owned(),
            file: file.to_owned(),
            standing: Standing::default(),
            sha256,
            resolved: resolved(root, seed, workers, &traffic),
            seed: Seed(seed),
            errors: error_rule(root),
            workers,
            services,
            traffic,
            shadows,
            diff,
            phases,
            faults,
            steady_state,
            guards,
            checks,
            min_score,
            margins: self.margins(),
            report: self.report(),
        }
    }

    /// The changes that matter; a margin of nothing would call every change.
    fn margins(&mut self) -> Margins {
        let root = self.root;
        let margins = root.get("compare").and_then(|it| it.get("margins"));
        let mut of = |key: &str, own: f64| {
            let Some(item) = margins.and_then(|it| it.get(key)) else {
                return own;
            };
            let share = item.as_share().map_or(own, Share::get);
            if share <= 0.0 {
                self.tell(
                    item,
                    "a margin of nothing: every change would matter",
                    "a share above 0, such as `5%`",
                );
            }
            share
        };
        let own = Margins::default();
        Margins {
            p50: of("p50", own.p50),
            p90: of("p90", own.p90),
            p99: of("p99", own.p99),
        }
    }

    fn report(&mut self) -> ReportSettings {
        let root = self.root;
        let report = root.get("report");
        let texts = |key: &str| report.map_or_else(Vec::new, |report| report.texts(key));
        // What the file says is relative to it; the default is in the current folder, where a person looks first.
        let dir = report.filter(|report| report.has("dir"));
        let baseline = root
            .get("compare")
            .and_then(|compare| compare.get("baseline"));
        ReportSettings {
            dir: dir
                .and_then(|report| self.beside(report.get("dir")?))
                .unwrap_or_else(|| PathBuf::from(REPORTS)),
            requests: match report.and_then(|report| report.text("requests")) {
                Some("sampled") => Requests::Sampled,
                Some("none") => Requests::None,
                _ => Requests::All,
            },
            max_events: None,
            redact: texts("redact"),
            formats: texts("formats"),
            baseline: baseline.and_then(|baseline| self.existing(baseline, true)),
        }
    }

    pub(super) fn tell(&mut self, item: &Item, what: impl Into<String>, help: impl Into<String>) {
        self.problems
            .push(Problem::at(item.at, what).path(&item.path).help(help));
    }

    pub(super) fn warn(&mut self, item: &Item, what: impl Into<String>, help: impl Into<String>) {
        self.warnings
            .push(Problem::at(item.at, what).path(&item.path).help(help));
    }

    /// The id at a key, if it is one of those; else it is told.
    pub(super) fn reference(
        &mut self,
        of: &Item,
        key: &str,
        what: &str,
        known: &[Id],
    ) -> Option<Id> {
        let item = of.get(key)?;
        self.known(item, what, known)
    }

    /// An id, if it is one of those; else it is told.
    pub(super) fn known(&mut self, item: &Item, what: &str, known: &[Id]) -> Option<Id> {
        let id = item.as_id()?;
        if known.contains(id) {
            return Some(id.clone());
        }
        let names = known.iter().map(|id| &**id);
        self.tell(
            item,
            format!("there is no {what} `{id}`"),
            suggest(id, names),
        );
        None
    }

    /// An expression, if it is right; else what is wrong is told, each with its place in the text.
    pub(super) fn expression(&mut self, item: &Item, ids: &Ids) -> Option<(Expr, Unit, String)> {
        let text = item.as_text()?;
        let parsed = match expr::parse(text) {
            Ok(parsed) => parsed,
            Err(wrongs) => {
                for wrong in wrongs {
                    self.problems.push(
                        Problem::at(item.place_in(wrong.at, wrong.length), wrong.what)
                            .path(&item.path)
                            .help(wrong.help),
                    );
                }
                return None;
            }
        };
        let mut good = true;
        for name in &parsed.names {
            let (what, known) = match name.what {
                Named::Service => ("service", &ids.services),
                Named::Shadow => ("shadow", &ids.shadows),
                Named::Phase => ("phase", &ids.phases),
            };
            let place = item.place_in(name.at, name.id.chars().count());
            if !known.iter().any(|id| **id == *name.id) {
                good = false;
                self.problems.push(
                    Problem::at(place, format!("there is no {what} `{}`", name.id))
                        .path(&item.path)
                        .help(suggest(&name.id, known.iter().map(|id| &**id))),
                );
            } else if name.what == Named::Service && !ids.is_reached(&name.id) {
                good = false;
                self.problems.push(
                    Problem::at(place, format!("nothing calls the service `{}`", name.id))
                        .path(&item.path)
                        .help("there will be no data of it; services that traffic goes to, or that another `calls`, have"),
                );
            }
        }
        good.then(|| (parsed.expr, parsed.unit, text.to_owned()))
    }

    /// A condition, if it is one; else what is wrong is told.
    pub(super) fn condition(&mut self, item: &Item, ids: &Ids) -> Option<(Expr, String)> {
        let (expr, unit, text) = self.expression(item, ids)?;
        if unit != Unit::Bool {
            self.tell(
                item,
                format!(
                    "`{text}` is {}, not a condition",
                    super::read::unit_words(unit)
                ),
                "a comparison such as `error_share[shop] < 0.1%`",
            );
            return None;
        }
        if expr.has_time_to() {
            self.tell(
                item,
                "`time_to` belongs in `checks`",
                "a condition on what is measured now",
            );
            return None;
        }
        Some((expr, text))
    }

    /// A path that must be there: beside the file that names it, else in the current folder.
    pub(super) fn existing(&mut self, item: &Item, folder: bool) -> Option<PathBuf> {
        let text = item.as_text()?;
        let beside = self.folder_of(item.at).join(text);
        let is_there = |path: &Path| {
            if folder {
                path.is_dir()
            } else {
                path.is_file()
            }
        };
        if is_there(&beside) {
            return Some(clean(&beside));
        }
        let here = PathBuf::from(text);
        if is_there(&here) {
            return Some(here);
        }
        let what = if folder { "folder" } else { "file" };
        let places = if beside == here {
            format!("looked for {}", beside.display())
        } else {
            format!("looked for {} and {}", beside.display(), here.display())
        };
        self.tell(item, format!("there is no {what} `{text}`"), places);
        None
    }

    /// A path that need not be there: relative to the file that names it.
    pub(super) fn beside(&self, item: &Item) -> Option<PathBuf> {
        Some(clean(&self.folder_of(item.at).join(item.as_text()?)))
    }

    /// The folder of the file that a place is in.
    pub(super) fn folder_of(&self, at: Place) -> PathBuf {
        self.files
            .0
            .get(usize::from(at.file))
            .and_then(|(path, _)| path.parent())
            .map_or_else(PathBuf::new, Path::to_owned)
    }

    /// What a `match` or `filter` says.
    pub(super) fn matcher(item: Option<&Item>) -> Matcher {
        let Some(item) = item else {
            return Matcher::default();
        };
        let glob = |text: &str| Text {
            how: How::Glob(text.to_owned()),
            ignore_case: false,
        };
        let condition = |name: &str, value: &str| Condition {
            name: name.to_ascii_lowercase(),
            value: Some(glob(value)),
            invert: false,
            absent_as: None,
        };
        let mut headers: Vec<Condition> = item
            .pairs("headers")
            .iter()
            .map(|(name, value)| condition(name, value))
            .collect();
        headers.extend(item.text("host").map(|host| condition(":authority", host)));
        Matcher {
            methods: item.texts("methods"),
            path: item.text("path").map(glob),
            headers,
            ..Matcher::default()
        }
    }
}

/// The ids that are declared, those of things that are wrong included: what refers to them is not wrong for that.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) services: Vec<Id>,
    pub(super) shadows: Vec<Id>,
    pub(super) controls: Vec<Id>,
    pub(super) phases: Vec<Id>,
    pub(super) faults: Vec<Id>,
    /// Who calls whom; `client` is the traffic.
    pub(super) calls: Vec<(Id, Id)>,
}

impl Ids {
    /// Whether anything calls a service.
    pub(super) fn is_reached(&self, service: &str) -> bool {
        self.calls.iter().any(|(_, callee)| **callee == *service)
    }

    /// Whether one calls the other.
    pub(super) fn does_call(&self, caller: &str, service: &str) -> bool {
        self.calls
            .iter()
            .any(|(from, to)| **from == *caller && **to == *service)
    }
}

impl Resolver<'_> {
    pub(super) fn declared(&self) -> Ids {
        let root = self.root;
        let things = |list: &str| -> Vec<Id> {
            root.list(list)
                .iter()
                .filter_map(|item| item.id("id").cloned())
                .collect()
        };
        let topology = root.get("topology");
        let services = topology
            .and_then(|topology| topology.get("services"))
            .map_or(&[][..], Item::entries);
        let mut calls = Vec::new();
        for source in root.list("traffic") {
            let to = source
                .id("to")
                .or_else(|| topology.and_then(|topology| topology.id("entry")));
            calls.extend(to.map(|to| (Id::from(CLIENT), to.clone())));
        }
        for (key, service) in services {
            let caller: Id = key.name.as_str().into();
            let peers = service.get("calls");
            let listed = peers
                .map_or(&[][..], Item::items)
                .iter()
                .filter_map(|peer| peer.as_id().cloned());
            let named = peers
                .map_or(&[][..], Item::entries)
                .iter()
                .map(|(peer, _)| Id::from(peer.name.as_str()));
            calls.extend(listed.chain(named).map(|peer| (caller.clone(), peer)));
        }
        Ids {
            services: services
                .iter()
                .map(|(key, _)| key.name.as_str().into())
                .collect(),
            shadows: things("shadow"),
            controls: root
                .list("shadow")
                .iter()
                .filter(|shadow| shadow.text("role") == Some("control"))
                .filter_map(|shadow| shadow.id("id").cloned())
                .collect(),
            phases: things("phases"),
            faults: things("faults"),
            calls,
        }
    }
}

fn error_rule(root: &Item) -> ErrorRule {
    let mut rule = ErrorRule {
        no_response: false,
        classes: Vec::new(),
        statuses: Vec::new(),
        grpc_nonzero: false,
    };
    for text in root.texts("errors") {
        match text.as_str() {
            "no_response" => rule.no_response = true,
            "grpc_nonzero" => rule.grpc_nonzero = true,
            text => match text.strip_suffix("xx") {
                Some(class) => rule.classes.extend(class.parse::<u16>()),
                None => rule.statuses.extend(text.parse::<u16>()),
            },
        }
    }
    rule
}

/// A path without `.` and without `..` behind a name: `scenarios/../reports` is `reports`.
pub(super) fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(clean.components().next_back(), Some(Component::Normal(_))) =>
            {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    if clean.as_os_str().is_empty() {
        clean.push(".");
    }
    clean
}

/// The whole with everything filled in; variables are gone, they have done their work.
fn resolved(root: &Item, seed: u64, workers: usize, traffic: &[Source]) -> Json {
    let mut json = root.json();
    let Some(map) = json.as_object_mut() else {
        return json;
    };
    map.shift_remove("include");
    map.shift_remove("vars");
    map.insert("seed".to_owned(), seed.into());
    if let Some(topology) = map.get_mut("topology").and_then(Json::as_object_mut) {
        topology.insert("workers".to_owned(), workers.into());
    }
    if let Some(sources) = map.get_mut("traffic").and_then(Json::as_array_mut) {
        for (json, source) in sources.iter_mut().zip(traffic) {
            if let Some(json) = json.as_object_mut() {
                json.insert("to".to_owned(), source.to.to_string().into());
                let connections = match source.connections {
                    super::Connections::Recorded => "recorded".into(),
                    super::Connections::Pool(count) => count.into(),
                };
                json.insert("connections".to_owned(), connections);
            }
        }
    }
    json
}
