//! `x-forwarded-client-cert`: who the client is, as its certificate says; and what others have said before.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    config::{ClientCert, ForwardClientCert},
    net::tls::{Peer, Session},
};

const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Makes the header what is sent on. `present`: the request has it.
pub(super) fn settle(
    headers: &mut HeaderMap,
    present: bool,
    session: Option<&Session>,
    settings: ClientCert,
) {
    if settings.forward == ForwardClientCert::AlwaysForward {
        return;
    }
    let shown = session.and_then(|session| Some((session, session.peer.as_ref()?)));
    let Some((session, peer)) = shown.filter(|_| settings.forward != ForwardClientCert::Sanitize)
    else {
        if present {
            headers.remove(XFCC);
        }
        return;
    };
    match settings.forward {
        ForwardClientCert::AppendForward => {
            let ours = stated(session, peer, settings);
            let said: Vec<_> = headers
                .get_all(XFCC)
                .iter()
                .map(HeaderValue::as_bytes)
                .chain([ours.as_bytes()])
                .collect();
            if let Ok(value) = HeaderValue::from_bytes(&said.join(&b","[..])) {
                headers.insert(XFCC, value);
            }
        }
        ForwardClientCert::SanitizeSet => {
            headers.insert(XFCC, stated(session, peer, settings));
        }
        _ => {}
    }
}

/// What is said of the client; made once for a connection.
fn stated(session: &Session, peer: &Peer, settings: ClientCert) -> HeaderValue {
    let mut known = session.stated.borrow_mut();
    if let Some((by, value)) = &*known
        && *by == settings
    {
        return value.clone();
    }
    let value = HeaderValue::try_from(text(session, peer, settings))
        .unwrap_or(HeaderValue::from_static(""));
    *known = Some((settings, value.clone()));
    value
}

/// In Envoy's order. The keys of single values are there even if they have none.
fn text(session: &Session, peer: &Peer, settings: ClientCert) -> String {
    let facts = peer.facts();
    let local = session.local.iter().flat_map(|local| &local.uris);
    let mut parts: Vec<String> = local.map(|uri| format!("By={uri}")).collect();
    parts.push(format!("Hash={}", peer.digest()));
    if settings.cert {
        parts.push(format!("Cert=\"{}\"", peer.url_encoded_pem()));
    }
    if settings.chain {
        parts.push(format!("Chain=\"{}\"", peer.url_encoded_chain_pem()));
    }
    if settings.subject {
        parts.push(format!("Subject=\"{}\"", facts.subject));
    }
    if settings.uri {
        let uri = facts.uris.first().map_or("", String::as_str);
        parts.push(format!("URI={uri}"));
    }
    if settings.dns {
        parts.extend(facts.dns.iter().map(|name| format!("DNS={name}")));
    }
    parts.join(";")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::tls::facts::Facts;

    fn session() -> Session {
        Session {
            peer: Some(Peer::known(
                Facts {
                    subject: "CN=cart,O=shop".to_owned(),
                    uris: vec!["spiffe://t/cart".to_owned(), "x://y".to_owned()],
                    dns: vec!["cart.test".to_owned(), "c.test".to_owned()],
                    ..Facts::default()
                },
                "ab12".to_owned(),
            )),
            local: Some(Arc::new(Facts {
                uris: vec!["spiffe://t/shop".to_owned()],
                ..Facts::default()
            })),
            ..Session::default()
        }
    }

    #[test]
    fn what_others_said_is_kept_or_not() {
        use ForwardClientCert::{AlwaysForward, AppendForward, ForwardOnly, Sanitize, SanitizeSet};
        let ours = "By=spiffe://t/shop;Hash=ab12;Subject=\"CN=cart,O=shop\";URI=spiffe://t/cart;DNS=cart.test;DNS=c.test";
        let appended = format!("By=nobody,{ours}");
        let rows = [
            (Sanitize, true, None),
            (Sanitize, false, None),
            (ForwardOnly, true, Some("By=nobody")),
            (ForwardOnly, false, None),
            (AppendForward, true, Some(appended.as_str())),
            (AppendForward, false, None),
            (SanitizeSet, true, Some(ours)),
            (SanitizeSet, false, None),
            (AlwaysForward, true, Some("By=nobody")),
            (AlwaysForward, false, Some("By=nobody")),
        ];
        for (forward, shown, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(XFCC, HeaderValue::from_static("By=nobody"));
            let session = shown.then(session);
            let settings = ClientCert {
                forward,
                subject: true,
                uri: true,
                dns: true,
                ..ClientCert::default()
            };
            settle(&mut headers, true, session.as_ref(), settings);
            let value = headers.get(XFCC).and_then(|value| value.to_str().ok());
            assert_eq!(value, expected, "{forward:?}, a certificate: {shown}");
        }
    }
}
