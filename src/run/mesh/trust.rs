//! Who believes whom, where callers speak TLS: an authority made for the run, and a certificate for each service that is
//! spoken to so. The caller's sidecar shows it, since that is where the caller's connections end.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use meshbed_proxy::{
    config::{Chain, tls},
    net::tls::{Wrong, authority::Authority},
    policy::fault::tls::Rule,
};

use super::{Caller, Wiring, wire};
use crate::{
    event::Id,
    measure::CLIENT,
    scenario::{Backing, Fault, FaultKind, Protocol, Scenario},
};

/// The certificates of a run; empty, where nobody speaks TLS.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pem: Option<String>,
    issuer: Option<tls::Certificate>,
    certificates: BTreeMap<Id, tls::Certificate>,
}

impl Trust {
    /// What a scenario needs.
    ///
    /// # Errors
    /// When no keys can be had.
    pub fn new(scenario: &Scenario) -> Result<Self, Wrong> {
        let services = scenario.services.iter();
        let mut asked = services
            .filter(|it| it.protocol == Protocol::Tls)
            .peekable();
        if asked.peek().is_none() {
            return Ok(Self::default());
        }
        let authority = Authority::new("meshbed run")?;
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let certificates = asked
            .map(|service| Ok((service.id.clone(), authority.issue(&service.id, &here)?)))
            .collect::<Result<_, Wrong>>()?;
        Ok(Self {
            pem: Some(authority.pem()),
            issuer: Some(authority.own()),
            certificates,
        })
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> Option<&str> {
        self.pem.as_deref()
    }

    /// Whether this service is spoken to over TLS.
    pub fn covers(&self, service: &str) -> bool {
        self.certificates.contains_key(service)
    }

    /// How the generator speaks to the services that it drives, of those that are spoken to over TLS.
    pub fn clients(&self) -> BTreeMap<Id, tls::Client> {
        let client = |id: &Id| {
            let pem = self.pem()?;
            Some((id.clone(), tls::Client::trusting(pem, id)))
        };
        self.certificates.keys().filter_map(client).collect()
    }
}

/// Ends TLS on the connections of a caller, if it speaks it to this service.
pub(super) fn end(
    scenario: &Scenario,
    wiring: &Wiring,
    caller: Caller<'_>,
    peer: &Id,
    chain: &mut Chain,
) {
    let Some(certificate) = wiring.trust.certificates.get(peer) else {
        return;
    };
    chain.tls = Some(tls::Server {
        common: tls::Common {
            certificates: vec![certificate.clone()],
            alpn: vec!["http/1.1".to_owned()],
            ..tls::Common::default()
        },
        issuer: wiring.trust.issuer.clone(),
        ..tls::Server::default()
    });
    chain.numbered = caller.id == CLIENT;
    let spoils = |fault: &&Fault| matches!(fault.kind, FaultKind::Handshake(_));
    chain.spoilt = wire::meeting(scenario, caller.id, peer)
        .filter(spoils)
        .filter_map(|fault| rule(fault, caller.id, wiring))
        .collect();
}

/// How a service's own sidecar speaks to it: a program that is spoken to over TLS ends it itself, with whatever certificate it
/// has. A builtin knows no TLS.
pub(super) fn begin(protocol: Protocol, backing: &Backing, service: &Id) -> Option<tls::Client> {
    let begins = protocol == Protocol::Tls && !matches!(backing, Backing::Builtin { .. });
    begins.then(|| tls::Client {
        sni: service.to_string(),
        ..tls::Client::default()
    })
}

fn rule(fault: &Fault, caller: &str, wiring: &Wiring) -> Option<Rule> {
    let FaultKind::Handshake(kind) = &fault.kind else {
        return None;
    };
    let (name, select) = wire::choice(fault, caller, wiring)?;
    Some(Rule {
        id: fault.id.clone(),
        name,
        select,
        kind: *kind,
    })
}
