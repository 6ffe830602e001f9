//! Envoy's v3 resources become a [`Config`]; a bootstrap file is read by reflection, so that its errors have a place.
//!
//! `text → DynamicMessage (descriptors of Envoy's API) → is every field honoured? → typed message → Config`
//!
//! A field that Envoy does not know is an error. One that it knows and we don't honour yet is an error too, or a warning
//! where [`Options::lenient`] asks for it; it is never silently dropped.

use std::fmt;

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
    // On a thread of its own, whose memory goes back to the kernel with it: Envoy's descriptors are taken apart here, and
    // what they leave behind would be the better half of an idle process. What is kept is a copy that a second thread makes,
    // so that the first drops all it has made itself: what another drops stays in that one's cache, and keeps the rest.
    on_a_thread(|| {
        let read = read_here(text, options);
        let copy = on_a_thread(|| read.clone());
        drop(read);
        copy
    })
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read_here(text: &str, options: Options) -> Result<Loaded, Vec<Problem>> {
    let dynamic = parse(text).map_err(|what| vec![place::unreadable(text, what)])?;
    let mut notes = Notes(place::twice(text).into_iter().collect());
    support::walk(&dynamic, &mut notes);
    let bootstrap = Bootstrap::decode(dynamic.encode_to_vec().as_slice())
        .map_err(|error| vec![Problem::invalid("", error.to_string())])?;
    let config = bootstrap::convert(&bootstrap, options.seed, &mut notes);
    let mut problems = notes.0;
    if problems
        .iter()
        .all(|problem| problem.kind == Kind::Unsupported)
    {
        problems.extend(
            config.check().iter().map(|problem| {
                Problem::invalid(place::in_file(&problem.path), problem.what.clone())
            }),
        );
    }
    place::locate(text, &mut problems);
    let (errors, warnings): (Vec<_>, Vec<_>) = problems
        .into_iter()
        .partition(|problem| problem.kind == Kind::Invalid || !options.lenient);
    if errors.is_empty() {
        Ok(Loaded {
            config,
            warnings,
            bootstrap: json_of(&dynamic),
        })
    } else {
        Err(errors)
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
