//! Refuses requests that policies do not allow.

use bytes::Bytes;
use http::{StatusCode, request};

use super::{super::log::Log, Reply};
use crate::{
    net,
    observe::Flags,
    policy::rbac::{Compiled, Peer, Subject},
};

/// The answer of a request that is not allowed.
pub(super) fn ask(log: &Log, head: &request::Parts, policies: &Compiled) -> Option<Reply> {
    let subject = subject(log, head);
    let metrics = &log.client.metrics;
    if let Some(shadow) = &policies.shadow {
        match shadow.judge(&subject) {
            (true, _) => metrics.rbac_shadow_allowed.inc(),
            (false, _) => metrics.rbac_shadow_denied.inc(),
        }
    }
    let (allowed, policy) = policies.rules.as_ref()?.judge(&subject);
    if allowed {
        metrics.rbac_allowed.inc();
        return None;
    }
    metrics.rbac_denied.inc();
    // In one word, for logs whose fields are.
    let policy = policy.unwrap_or("none").replace(char::is_whitespace, "_");
    Some(Reply {
        status: StatusCode::FORBIDDEN,
        body: Bytes::from_static(b"RBAC: access denied"),
        grpc_status: None,
        headers: Vec::new(),
        flags: Flags::default(),
        details: format!("rbac_access_denied_matched_policy[{policy}]").into(),
    })
}

fn subject<'a>(log: &'a Log, head: &'a request::Parts) -> Subject<'a> {
    let client = &log.client;
    let session = client.tls.as_deref();
    let peer = session.map(|session| {
        let facts = session.peer.as_ref().map(net::tls::Peer::facts);
        facts.map_or_else(Peer::default, |facts| Peer {
            uris: &facts.uris,
            dns: &facts.dns,
            subject: &facts.subject,
        })
    });
    Subject {
        request: super::view(head),
        destination: client.local,
        server_name: session
            .and_then(net::tls::Session::asked_name)
            .unwrap_or_default(),
        peer,
        connected: client.peer.ip(),
        direct: client.direct.ip(),
        client: log.remote.unwrap_or(client.peer).ip(),
    }
}
