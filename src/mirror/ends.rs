//! Where the ends of a mirror speak TLS. Pure.

use std::{collections::BTreeMap, path::PathBuf};

use meshbed_proxy::config::tls;

use crate::{event::Id, run::mesh, scenario::Scenario};

/// The protocols that clients may speak in TLS, the preferred first.
const SPOKEN: [&str; 2] = ["h2", "http/1.1"];

/// How the ends of a mirror speak TLS; by default none does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ends {
    /// What clients are shown.
    pub clients: Option<tls::Server>,
    /// How the primary is spoken to.
    pub primary: Option<tls::Client>,
    /// How shadows are spoken to.
    pub shadows: BTreeMap<Id, tls::Client>,
}

impl Ends {
    /// How the parties of the mirror's scenario are spoken to, by label, where its requests are replayed.
    pub fn by_party(&self, scenario: &Scenario) -> BTreeMap<String, tls::Client> {
        let spoken = |party: &mesh::Party<'_>| match party.shadow {
            Some((shadow, _)) => self.shadows.get(&shadow.id).cloned(),
            None => self.primary.clone(),
        };
        mesh::parties(scenario)
            .iter()
            .filter_map(|party| Some((party.label(), spoken(party)?)))
            .collect()
    }
}

/// Whose certificate is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Believed {
    /// One for the name that was asked for, by an authority in this file (PEM).
    By(PathBuf),
    /// Anybody's.
    Any,
}

/// Speaks TLS 1.2 or 1.3 to a server of this name.
pub fn to_server(name: &str, believed: &Believed) -> tls::Client {
    let params = tls::Params {
        max: Some(tls::Version::Tls13),
        ..tls::Params::default()
    };
    let validation = match believed {
        Believed::By(file) => Some(tls::Validation {
            trusted_ca: Some(tls::Source::File(file.clone())),
            ..tls::Validation::default()
        }),
        Believed::Any => None,
    };
    tls::Client {
        auto_san_validation: validation.is_some(),
        common: tls::Common {
            validation,
            params,
            ..tls::Common::default()
        },
        sni: name.to_owned(),
        ..tls::Client::default()
    }
}

/// Shows clients this certificate. Its files are read again when they change.
pub fn to_clients(chain: PathBuf, key: PathBuf) -> tls::Server {
    tls::Server {
        common: tls::Common {
            certificates: vec![tls::Certificate {
                chain: tls::Source::File(chain),
                key: tls::Source::File(key),
                ..tls::Certificate::default()
            }],
            alpn: SPOKEN.map(str::to_owned).into(),
            ..tls::Common::default()
        },
        ..tls::Server::default()
    }
}
