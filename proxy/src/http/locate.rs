//! Hosts and paths as routes are looked for by: ports and dots taken off, paths made canonical.

use http::{HeaderValue, Method, Uri, header, request, uri::PathAndQuery};

use super::log::Log;
use crate::{
    error::Error,
    net::target::Fragment,
    policy::path::Normalized,
    snapshot::{Manager, StripPort, hosts::without_port},
};

/// What a request that cannot be routed as it came is answered.
#[derive(Debug)]
pub(super) enum Elsewhere {
    /// The client has to ask for this path.
    Redirect(HeaderValue),
    /// It asked for something that nobody may.
    Refused(Error),
}

/// Settles the host of a request that came with one.
pub(super) fn host(head: &mut request::Parts, manager: &Manager) {
    if manager.strip_port.is_none() && !manager.strip_trailing_dot {
        return;
    }
    let Some(host) = head
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return;
    };
    let name = without_port(host);
    let port = host.get(name.len()..).unwrap_or_default();
    let own = |own: u16| port.get(1..).is_some_and(|port| port.parse() == Ok(own));
    let stripped = match manager.strip_port {
        Some(StripPort::Any) => head.method != Method::CONNECT,
        Some(StripPort::Own(port)) => head.method != Method::CONNECT && own(port),
        None => false,
    };
    let port = if stripped { "" } else { port };
    let name = match name.strip_suffix('.') {
        Some(without) if manager.strip_trailing_dot => without,
        _ => name,
    };
    if name.len() + port.len() == host.len() {
        return;
    }
    if let Ok(value) = HeaderValue::try_from([name, port].concat()) {
        head.headers.insert(header::HOST, value);
    }
}

/// Settles the path. From here on it is what logs and conditions see.
pub(super) fn path(log: &mut Log, head: &mut request::Parts) -> Result<(), Elsewhere> {
    let Some(path) = log.path.as_ref().map(PathAndQuery::as_str) else {
        return Ok(());
    };
    if !path.starts_with('/') {
        return Err(Elsewhere::Refused(Error::NoPath));
    }
    if head.extensions.get::<Fragment>().is_some() {
        return Err(Elsewhere::Refused(Error::Fragment));
    }
    let Some(listener) = log.listener().filter(|it| !it.manager.path.is_off()) else {
        return Ok(());
    };
    let changed = match listener.manager.path.apply(path) {
        Normalized::Same => return Ok(()),
        Normalized::Refused(path) => {
            // As in Envoy, logs tell of it unescaped.
            if let Some(Ok(uri)) = path.map(Uri::try_from) {
                head.uri = uri;
                log.keep_request(head);
            }
            return Err(Elsewhere::Refused(Error::BadPath));
        }
        Normalized::Changed(path) => PathAndQuery::try_from(path),
        Normalized::Redirect(path) => {
            if let Ok(uri) = Uri::try_from(&path) {
                head.uri = uri;
                log.keep_request(head);
            }
            return Err(match HeaderValue::try_from(path) {
                Ok(path) => Elsewhere::Redirect(path),
                Err(_) => Elsewhere::Refused(Error::BadPath),
            });
        }
    };
    let path = changed.map_err(|_| Elsewhere::Refused(Error::BadPath))?;
    head.uri = Uri::from(path.clone());
    log.path = Some(path);
    log.keep_request(head);
    Ok(())
}
