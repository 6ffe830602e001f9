//! Envoy's v3 resources become a [`Config`]; a bootstrap file is read by reflection, so that its errors have a place.
//!
//! `text → DynamicMessage (descriptors of Envoy's API) → is every field honoured? → typed message → Config`
//!
//! A field that Envoy does not know is an error. One that it knows and we don't honour yet is an error too, or a warning
//! where [`Options::lenient`] asks for it; it is never silently dropped.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use envoy_types::pb::envoy::{
    config::bootstrap::v3::Bootstrap, service::discovery::v3::DiscoveryResponse,
};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::{config::Config, draw::Seed};

mod access_log;
mod action;
mod balance;
mod bootstrap;
mod chain;
mod cluster;
mod endpoint;
mod filter;
mod headers;
mod health;
mod http1;
mod inspect;
mod listener;
mod local_reply;
mod place;
mod protocol;
mod redirect;
mod retry;
mod route;
mod secret;
mod sticky;
mod support;
mod tcp;
mod tls;
mod weighted;

pub use secret::Secret;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The seed of the configuration.
    pub seed: Seed,
    /// What is not supported yet is a warning instead of an error.
    pub lenient: bool,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What of the file is not honoured; empty unless it was read leniently.
    pub warnings: Vec<Problem>,
    /// The file's message as JSON, with Envoy's names of fields.
    pub bootstrap: serde_json::Value,
}

/// What is wrong with a file, or not supported of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it is wrong or not supported.
    pub kind: Kind,
    /// Path of the field, such as `static_resources.listeners[0].name`; empty where `what` has it.
    pub path: String,
    /// What is wrong; empty where the path says it all.
    pub what: String,
    /// Line and column of the field, from 1, where they are known.
    pub place: Option<(usize, usize)>,
}

/// Wrong, or not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Envoy would refuse it, too.
    Invalid,
    /// Envoy honours it; we don't yet.
    Unsupported,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, what, .. } = self;
        match (self.kind, path.is_empty(), what.is_empty()) {
            (Kind::Invalid, true, _) => write!(f, "{what}")?,
            (Kind::Invalid, false, _) => write!(f, "{path}: {what}")?,
            (Kind::Unsupported, _, true) => write!(f, "not supported yet: {path}")?,
            (Kind::Unsupported, _, false) => write!(f, "not supported yet: {path}: {what}")?,
        }
        if let Some((line, column)) = self.place {
            write!(f, " at line {line} column {column}")?;
        }
        Ok(())
    }
}

/// Reads a bootstrap, YAML or JSON. The error is everything that is wrong, in the order of the file; where the file is not
/// a bootstrap at all, the first thing.
pub fn read(text: &str, options: Options) -> Result<Loaded, Vec<Problem>> {
    // Taken apart on a thread of its own, whose memory goes back to the kernel with it: what Envoy's descriptors leave behind
    // would be the better half of an idle process. Nothing that is kept is made there, not even by the channel and the lock,
    // and that thread drops all that it has made itself: a single text that stays keeps what lies below it, and what another
    // thread drops stays in that one's cache.
    let (give, taken) = mpsc::sync_channel(1);
    let converted = &Mutex::new(());
    let converting = converted.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let parsed = Arc::new(Parsed::of(text));
            let _ = give.send(Arc::clone(&parsed));
            drop(converted.lock());
        });
        let read = match taken.recv() {
            Ok(parsed) => parsed.as_ref().as_ref().map_or_else(
                |problem| Err(vec![problem.clone()]),
                |parsed| parsed.convert(text, options),
            ),
            // It has panicked, which the scope tells.
            Err(_) => Err(Vec::new()),
        };
        drop(converting);
        read
    })
}

/// A bootstrap that is taken apart, without the descriptors by which it was.
struct Parsed {
    bytes: Vec<u8>,
    json: serde_json::Value,
    /// What is not honoured of it.
    problems: Vec<Problem>,
}

impl Parsed {
    /// The error: the text is not a bootstrap.
    fn of(text: &str) -> Result<Self, Problem> {
        let dynamic = parse(text).map_err(|what| place::unreadable(text, what))?;
        let mut notes = Notes(place::twice(text).into_iter().collect());
        support::walk(&dynamic, &mut notes);
        Ok(Self {
            bytes: dynamic.encode_to_vec(),
            json: json_of(&dynamic),
            problems: notes.0,
        })
    }

    fn convert(&self, text: &str, options: Options) -> Result<Loaded, Vec<Problem>> {
        let bootstrap = Bootstrap::decode(self.bytes.as_slice())
            .map_err(|error| vec![Problem::invalid("", error.to_string())])?;
        let mut notes = Notes(self.problems.clone());
        let config = bootstrap::convert(&bootstrap, options.seed, &mut notes);
        drop(bootstrap);
        let mut problems = notes.0;
        if problems
            .iter()
            .all(|problem| problem.kind == Kind::Unsupported)
        {
            problems.extend(config.check().iter().map(|problem| {
                Problem::invalid(place::in_file(&problem.path), problem.what.clone())
            }));
        }
        place::locate(text, &mut problems);
        let (errors, warnings): (Vec<_>, Vec<_>) = problems
            .into_iter()
            .partition(|problem| problem.kind == Kind::Invalid || !options.lenient);
        if errors.is_empty() {
            Ok(Loaded {
                config,
                warnings,
                bootstrap: self.json.clone(),
            })
        } else {
            Err(errors)
        }
    }
}

fn json_of(message: &DynamicMessage) -> serde_json::Value {
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap_or_default()
}

/// The message that a bootstrap is.
const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// The message that a file of resources is.
const RESOURCES: &str = "envoy.service.discovery.v3.DiscoveryResponse";

fn parse(text: &str) -> Result<DynamicMessage, String> {
    parse_as(BOOTSTRAP, text)
}

fn parse_as(message: &str, text: &str) -> Result<DynamicMessage, String> {
    // Decoding the pool takes some 50 ms: it is done when a file is read, and not before.
    let pool = DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin"))[..])
        .map_err(|error| format!("the descriptors of Envoy's API are broken: {error}"))?;
    let message = pool
        .get_message_by_name(message)
        .ok_or_else(|| format!("the descriptors of Envoy's API have no {message}"))?;
    DynamicMessage::deserialize(message, serde_yaml_ng::Deserializer::from_str(text))
        .map_err(|error| error.to_string())
}

/// Reads a file of secrets, YAML or JSON, as Envoy's SDS does, and takes the one of this name. The error is the first
/// thing that is wrong.
pub fn read_secret(text: &str, name: &str) -> Result<Secret, String> {
    let dynamic = parse_as(RESOURCES, text)?;
    let mut notes = Notes(Vec::new());
    support::walk(&dynamic, &mut notes);
    let file = DiscoveryResponse::decode(dynamic.encode_to_vec().as_slice())
        .map_err(|error| error.to_string())?;
    let secret = secret::named(&file, name, &mut notes);
    match notes.0.first() {
        Some(problem) => Err(problem.to_string()),
        None => secret.ok_or_else(|| format!("it has no secret `{name}`")),
    }
}

/// What was found while a file was converted.
#[derive(Debug)]
struct Notes(Vec<Problem>);

impl Notes {
    fn invalid(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem::invalid(path, what));
    }

    fn unsupported(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem {
            kind: Kind::Unsupported,
            ..Problem::invalid(path, what)
        });
    }
}

impl Problem {
    fn invalid(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            kind: Kind::Invalid,
            path: path.into(),
            what: what.into(),
            place: None,
        }
    }
}
