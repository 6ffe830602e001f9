//! What a route does to its requests and their answers: headers at four levels, the host, the path.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request};

use super::{log::Log, reply, view::View};
use crate::{
    net::target,
    policy::{
        format::Format,
        headers::{Render, joined::Of},
    },
    snapshot::{Action, Forward, Route, headers::Level},
};

/// `x-envoy-original-path`.
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// `x-envoy-original-host`.
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
/// `x-forwarded-host`.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Makes values for a request under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfRequest<'a> {
    pub log: &'a Log,
    pub method: &'a Method,
    pub uri: &'a Uri,
}

/// Makes values for an answer on its way to the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfAnswer<'a>(pub &'a Log);

impl Render for OfRequest<'_> {
    fn render(&self, format: &Format, headers: &HeaderMap, out: &mut Vec<u8>) {
        let view = View::of_request(self.log, self.method, self.uri, headers);
        format.render(&view, "", out);
    }
}

impl Render for OfAnswer<'_> {
    fn render(&self, format: &Format, headers: &HeaderMap, out: &mut Vec<u8>) {
        format.render(&View::of_answer(self.0, headers), "", out);
    }

    fn of(&self) -> Of {
        Of::Answer
    }
}

/// Changes a request's head to what is sent on. Values are made from the path and the host as they came.
pub(super) fn request(log: &mut Log, head: &mut request::Parts) {
    let local = Rc::clone(&log.local);
    let Some(route) = local.route(log.http, log.route) else {
        return;
    };
    let Action::Forward(forward) = &route.action else {
        return;
    };
    let quiet = log.listener().is_some_and(|it| it.manager.quiet);
    let mut headers = std::mem::take(&mut head.headers);
    // What is sent on tells of the first try, which is still to come.
    let tries = std::mem::replace(&mut log.tries, 1);
    let render = OfRequest {
        log,
        method: &head.method,
        uri: &head.uri,
    };
    for level in levels(route, log.target) {
        level.request.apply(&mut headers, &render);
    }
    log.tries = tries;
    rewrite_host(forward, log.target, &head.uri, quiet, &mut headers);
    if let Some(rewrite) = &forward.path_rewrite
        && let Some(path) = head.uri.path_and_query()
        && let Ok(uri) = target::made(&rewrite.apply(path.as_str()))
    {
        if !quiet && let Ok(original) = HeaderValue::from_str(path.as_str()) {
            headers.insert(ORIGINAL_PATH, original);
        }
        head.uri = uri;
    }
    head.headers = headers;
    recall(log, head);
}

/// Where the route sends the client; a rewritten path is the request's from then on. Empty where it sends it nowhere.
pub(super) fn redirected(log: &Log, head: &mut request::Parts) -> String {
    let Some(Action::Redirect(_, to)) = log.route().map(|route| &route.action) else {
        return String::new();
    };
    let location = to.location(reply::asked(head));
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let original = HeaderValue::from_str(path);
    if let Some(Ok(uri)) = to.rewritten(path).map(|path| target::made(&path)) {
        head.uri = uri;
        if let Ok(original) = original {
            head.headers.insert(ORIGINAL_PATH, original);
        }
    }
    location
}

/// Keeps the request's head where what is done to the answer looks at it.
pub(super) fn recall(log: &mut Log, head: &request::Parts) {
    if log.route().is_some_and(|route| route.recalls) {
        log.recalled = Some(Box::new(head.clone()));
    }
}

/// Changes an answer's header on its way to the client, the upstream's and ours.
pub(super) fn answer(log: &Log, headers: &mut HeaderMap) {
    let Some(route) = log.route() else {
        return;
    };
    for level in levels(route, log.target) {
        level.answer.apply(headers, &OfAnswer(log));
    }
}

/// The target's own level comes first, also where the most specific of the others has the last word.
fn levels(route: &Route, target: usize) -> impl Iterator<Item = &Level> {
    let own = match &route.action {
        Action::Forward(forward) => forward.targets.get(target).and_then(|it| it.level.as_ref()),
        _ => None,
    };
    own.into_iter().chain(&route.levels).map(|level| &**level)
}

/// A weighted cluster's rewrite, then the route's, which tells what was there before it.
fn rewrite_host(forward: &Forward, target: usize, uri: &Uri, quiet: bool, headers: &mut HeaderMap) {
    let target = forward.targets.get(target).and_then(|it| it.host.clone());
    let by_route = forward.host_rewrite.as_ref();
    if target.is_none() && by_route.is_none() {
        return;
    }
    if let Some(host) = target {
        headers.insert(header::HOST, host);
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    if let Some(host) = by_route.and_then(|rewrite| rewrite.host(headers, path)) {
        replace_host(host, forward.append_forwarded_host, quiet, headers);
    }
}

/// The last of `x-forwarded-host` is this host.
fn was_told(headers: &HeaderMap, host: &HeaderValue) -> bool {
    let known = headers.get(FORWARDED_HOST);
    let last = known.and_then(|known| known.as_bytes().rsplit(|byte| *byte == b',').next());
    last == Some(host.as_bytes())
}

/// Replaces the host, and tells the upstream what it was, unless Envoy's headers are to be kept quiet.
pub(super) fn replace_host(
    host: HeaderValue,
    append_forwarded: bool,
    quiet: bool,
    headers: &mut HeaderMap,
) {
    let Some(original) = headers.insert(header::HOST, host) else {
        return;
    };
    if append_forwarded && !was_told(headers, &original) {
        let known = headers.get(FORWARDED_HOST);
        let value = match known.filter(|known| !known.is_empty()) {
            Some(known) => {
                HeaderValue::from_bytes(&[known.as_bytes(), b",", original.as_bytes()].concat())
            }
            None => Ok(original.clone()),
        };
        if let Ok(value) = value {
            headers.insert(FORWARDED_HOST, value);
        }
    }
    if !quiet {
        headers.insert(ORIGINAL_HOST, original);
    }
}
