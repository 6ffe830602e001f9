//! What format strings show of a TLS connection.

use std::time::Duration;

use super::put;
use crate::{net::tls::Session, policy::format::field::Tls};

/// The text; whether there is one.
pub(crate) fn text(session: &Session, of: Tls, out: &mut Vec<u8>) -> bool {
    let list = |names: &[String], out: &mut Vec<u8>| put(&names.join(","), out);
    let peer = session.peer.as_ref();
    let local = session.local.as_deref();
    match of {
        Tls::Version => put(session.version, out),
        Tls::Cipher => put(session.cipher, out),
        // TLS 1.3 has none, and 1.2 is resumed by tickets.
        Tls::SessionId => false,
        Tls::ServerName => put(session.sni.as_deref().unwrap_or_default(), out),
        Tls::PeerUriSan => peer.is_some_and(|peer| list(&peer.facts().uris, out)),
        Tls::PeerDnsSan => peer.is_some_and(|peer| list(&peer.facts().dns, out)),
        Tls::PeerIpSan => peer.is_some_and(|peer| list(&peer.facts().ips, out)),
        Tls::PeerEmailSan => peer.is_some_and(|peer| list(&peer.facts().emails, out)),
        Tls::PeerSubject => peer.is_some_and(|peer| put(&peer.facts().subject, out)),
        Tls::PeerIssuer => peer.is_some_and(|peer| put(&peer.facts().issuer, out)),
        Tls::PeerSerial => peer.is_some_and(|peer| put(&peer.facts().serial, out)),
        Tls::PeerFingerprint1 => peer.is_some_and(|peer| put(&peer.sha1_digest(), out)),
        Tls::PeerFingerprint256 => peer.is_some_and(|peer| put(peer.digest(), out)),
        Tls::PeerCert => peer.is_some_and(|peer| put(&peer.url_encoded_pem(), out)),
        Tls::LocalUriSan => local.is_some_and(|local| list(&local.uris, out)),
        Tls::LocalDnsSan => local.is_some_and(|local| list(&local.dns, out)),
        Tls::LocalIpSan => local.is_some_and(|local| list(&local.ips, out)),
        Tls::LocalEmailSan => local.is_some_and(|local| list(&local.emails, out)),
        Tls::LocalSubject => local.is_some_and(|local| put(&local.subject, out)),
    }
}

/// The name that the client asked for, in small letters.
pub(crate) fn requested_name(session: &Session, out: &mut Vec<u8>) -> bool {
    let name = session.asked_name();
    name.is_some_and(|name| put(&name.to_ascii_lowercase(), out))
}

/// Since when the peer's certificate is good, from 1970.
pub(crate) fn good_from(session: &Session) -> Option<Duration> {
    since_1970(session.peer.as_ref()?.facts().not_before)
}

/// Until when the peer's certificate is good, from 1970.
pub(crate) fn good_until(session: &Session) -> Option<Duration> {
    since_1970(session.peer.as_ref()?.facts().not_after)
}

fn since_1970(seconds: i64) -> Option<Duration> {
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
