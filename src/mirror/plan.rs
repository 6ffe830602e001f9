//! What is asked for, as a scenario: one service without end, and its shadows. Pure.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use meshbed_proxy::{
    draw::Seed,
    policy::{
        matcher::Matcher,
        mirror::{Limits, SampleKey},
    },
    unit::{Share, show_duration},
};
use serde_json::{Map, Value, json};

use super::ends::Believed;
use crate::{
    event::Id,
    measure::ErrorRule,
    scenario::{
        Backing, Diff, Phase, Policy, Protocol, ReportSettings, Requests, Role, Scenario, Service,
        Shadow, Standing,
    },
    shadow::{Noise, Rules, sha256},
    stats::margins::Margins,
};

/// The service whose traffic is mirrored.
pub const LIVE: &str = "live";

/// The only phase.
pub const PHASE: &str = "mirror";

/// Where reports go unless it is said otherwise.
const REPORTS: &str = "reports";

/// Events that a report keeps: a few hundred megabytes, however long it goes on.
pub const MAX_EVENTS: u64 = 1_000_000;

/// Headers whose values are never shown, unless a file says which.
const HIDDEN: [&str; 3] = ["authorization", "cookie", "set-cookie"];

/// A shadow that is asked for.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its id.
    pub id: Id,
    /// What it is for.
    pub role: Role,
    /// Its address as written.
    pub written: String,
    /// Its address as resolved.
    pub address: SocketAddr,
    /// Which share of the requests; `None`: that of all.
    pub percent: Option<Share>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where the traffic comes from, in a few words.
    pub from: String,
    /// The primary, as written and resolved.
    pub primary: (String, SocketAddr),
    /// The shadows.
    pub shadows: Vec<Side>,
    /// What all of them speak.
    pub protocol: Protocol,
    /// Whose certificates are believed of those that are spoken to over TLS; `None`: those of the machine's authorities.
    pub believed: Option<Believed>,
    /// Which share of the requests, where a shadow has none of its own.
    pub percent: Share,
    /// What the draw is keyed by.
    pub key: SampleKey,
    /// Which requests.
    pub matcher: Matcher,
    /// Requests that change something are copied too.
    pub allow_unsafe: bool,
    /// Headers set on copies.
    pub set: Vec<(String, String)>,
    /// Headers removed from copies.
    pub remove: Vec<String>,
    /// What the copies of one shadow may cost.
    pub limits: Limits,
    /// How answers are compared.
    pub compared: Compared,
    /// The seed of the sample.
    pub seed: u64,
    /// Event loops.
    pub workers: usize,
    /// It ends by itself after this; `None`: when it is told to.
    pub duration: Option<Duration>,
}

/// How answers are compared, where a file says so.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The file; `None`: none was given.
    pub file: Option<PathBuf>,
    /// What it says of comparing.
    pub diff: Diff,
    /// What it says is not to be shown.
    pub redact: Option<Vec<String>>,
}

impl Default for Compared {
    /// As a scenario without `diff:` compares.
    fn default() -> Self {
        let noise = Noise::default();
        Self {
            file: None,
            diff: Diff {
                rules: Rules::default(),
                control: None,
                alpha: noise.alpha,
                min_effect: Share::new(noise.min_effect).unwrap_or(Share::NONE),
            },
            redact: None,
        }
    }
}

impl Wanted {
    /// The same as a scenario.
    pub fn scenario(&self) -> Scenario {
        let resolved = self.resolved();
        let (primary, address) = &self.primary;
        Scenario {
            name: format!("mirror {primary}"),
            description: format!("live traffic of {primary}, {}", self.from),
            file: self.compared.file.clone().unwrap_or_default(),
            standing: Standing::default(),
            sha256: sha256(resolved.to_string().as_bytes()),
            resolved,
            seed: Seed(self.seed),
            errors: ErrorRule::default(),
            workers: self.workers,
            services: vec![Service {
                id: LIVE.into(),
                backing: Backing::Address(vec![*address]),
                protocol: self.protocol,
                calls: Vec::new(),
                policy: Policy::default(),
            }],
            traffic: Vec::new(),
            shadows: self.shadows.iter().map(|side| self.shadow(side)).collect(),
            diff: Diff {
                control: self.control().cloned(),
                ..self.compared.diff.clone()
            },
            phases: vec![Phase::alone(
                PHASE,
                self.duration
                    .map_or(u64::MAX, |duration| duration.as_micros() as u64),
            )],
            faults: Vec::new(),
            steady_state: Vec::new(),
            guards: Vec::new(),
            checks: Vec::new(),
            min_score: 0.0,
            margins: Margins::default(),
            report: ReportSettings {
                dir: REPORTS.into(),
                // Live traffic has no schedule whose requests could be told apart for ever.
                requests: Requests::None,
                max_events: Some(MAX_EVENTS),
                redact: self
                    .compared
                    .redact
                    .clone()
                    .unwrap_or_else(|| HIDDEN.map(str::to_owned).to_vec()),
                formats: ["md", "junit", "html"].map(str::to_owned).to_vec(),
                baseline: None,
            },
        }
    }

    /// The shadow whose differences are noise.
    pub fn control(&self) -> Option<&Id> {
        let control = self.shadows.iter().find(|side| side.role == Role::Control);
        control.map(|side| &side.id)
    }

    fn shadow(&self, side: &Side) -> Shadow {
        Shadow {
            id: side.id.clone(),
            of: LIVE.into(),
            role: side.role,
            backing: Backing::Address(vec![side.address]),
            percent: side.percent.unwrap_or(self.percent),
            key: self.key.clone(),
            matcher: self.matcher.clone(),
            safe_only: !self.allow_unsafe,
            set: self.set.clone(),
            remove: self.remove.clone(),
            limits: self.limits.clone(),
        }
    }

    /// All that was asked for. Of headers that copies are given only the names are told: their values may be credentials.
    fn resolved(&self) -> Value {
        let limits = &self.limits;
        let shadow = |side: &Side| {
            let mut shadow = json!({"id": &*side.id, "role": side.role.name(), "to": side.written});
            if let (Some(percent), Some(shadow)) = (side.percent, shadow.as_object_mut()) {
                shadow.insert("percent".to_owned(), percent.to_string().into());
            }
            shadow
        };
        let set: Vec<&str> = self.set.iter().map(|(name, _)| name.as_str()).collect();
        let mut mirror = Map::new();
        let mut put = |key: &str, value: Value| {
            mirror.insert(key.to_owned(), value);
        };
        put("from", self.from.as_str().into());
        put("to", self.primary.0.as_str().into());
        put("shadow", self.shadows.iter().map(shadow).collect());
        let spoken = if self.protocol.is_h2() { "h2" } else { "auto" };
        put("protocol", spoken.into());
        let ca = match &self.believed {
            Some(Believed::By(file)) => Some(file.display().to_string()),
            Some(Believed::Any) | None => None,
        };
        put("ca", ca.into());
        put("insecure", (self.believed == Some(Believed::Any)).into());
        put("percent", self.percent.to_string().into());
        put("key", key_name(&self.key).into());
        put("methods", self.matcher.methods.clone().into());
        put(
            "unsafe",
            if self.allow_unsafe { "allow" } else { "refuse" }.into(),
        );
        put("set_headers", set.into());
        put("remove_headers", self.remove.clone().into());
        put(
            "limits",
            json!({
                "in_flight": limits.in_flight, "queue": limits.queue, "deadline": show_duration(limits.deadline),
                "request_body": limits.request_body.to_string(), "response_body": limits.response_body.to_string(),
            }),
        );
        put("workers", self.workers.into());
        put("duration", self.duration.map(show_duration).into());
        let file = self.compared.file.as_ref();
        put("diff", file.map(|file| file.display().to_string()).into());
        json!({ "mirror": mirror })
    }
}

fn key_name(key: &SampleKey) -> String {
    match key {
        SampleKey::Ordinal => "ordinal".to_owned(),
        SampleKey::Header(name) => format!("header:{name}"),
        SampleKey::Cookie(name) => format!("cookie:{name}"),
    }
}
