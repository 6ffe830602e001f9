//! Asks a service whether a request may go on.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use http_body::Body;
use tokio::time::Instant;

use super::{Ended, Refusal, buffer};
use crate::{
    error::Error,
    http::{bound, edit::OfRequest, log::Log, reply::SERVICE_TIME, route, view},
    net::{body::Incoming, tls},
    policy::{
        authz::{
            self, Beginning, Changes, CompiledService, Denial, OnError, Verdict,
            grpc::{Circumstances, End},
        },
        format::Format,
        headers::Render,
    },
    snapshot::{
        authz::Authz,
        filters::{Filter, Filters},
    },
};

mod call;

/// Why a request was refused, as Envoy's `%RESPONSE_CODE_DETAILS%`.
const DENIED: &str = "ext_authz_denied";
/// The same, where nobody has decided.
const ERROR: &str = "ext_authz_error";
/// Tells an upstream that nobody has decided.
const FAILED: &str = "x-envoy-auth-failure-mode-allowed";
/// How much is looked at of a body that is not sent on.
const MOST_UNSENT: u64 = 1 << 20;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Asked {
    /// It goes on.
    Passed,
    /// It goes on, by a route that was looked up anew.
    Elsewhere,
    /// It does not.
    Ended(Ended),
}

/// What services that were asked do to an answer, by who they are.
#[derive(Debug, Default)]
pub struct Answers(Vec<(Arc<authz::Compiled>, Box<Changes>)>);

/// Makes values from a client's request.
struct OfClient<'a> {
    log: &'a Log,
    head: &'a request::Parts,
}

/// Asks the service; changes the request as it says.
pub(super) async fn ask(
    log: &mut Log,
    head: &mut request::Parts,
    body: &mut Incoming,
    authz: &Authz,
) -> Result<Asked, Error> {
    let settings = &authz.service.settings;
    // As Envoy: of a request that goes nowhere nobody is asked.
    if authz.route.off || log.route.is_none() {
        return Ok(Asked::Passed);
    }
    let enabled = settings.enabled.get();
    if enabled < 1.0 && (enabled <= 0.0 || log.client.core.chance() >= enabled) {
        counts(log, authz).disabled.inc();
        let refused = settings.refuses_others;
        let denial = refused.then(|| refuse(authz.service.error_status, Denial::default(), ERROR));
        return Ok(denial.map_or(Asked::Passed, Asked::Ended));
    }
    if settings.on_error == (OnError::Allow { told: true }) {
        // Only the proxy knows.
        head.headers.remove(FAILED);
    }
    let told = authz.route.body(settings.body);
    let told = told.filter(|_| !body.is_end_stream() && !is_tunnel(head));
    let mut beginning = None;
    if let Some(most) = told {
        let length = body.size_hint().exact();
        match buffer::hold(log, body, most.most.into(), most.partial).await? {
            Err(reply) => return Ok(Asked::Ended(Ended::Answered(reply))),
            Ok(held) => {
                if body.is_end_stream() {
                    log.client.request_complete(Instant::now());
                }
                body.put_back(held.data.clone(), held.trailers, length);
                beginning = Some(held.data);
            }
        }
    }
    let Some(verdict) = decide(log, head, beginning, authz).await? else {
        // Clients choose what they send: errors that may pass are the service's alone.
        counts(log, authz).errors.inc();
        if let Some(of_cluster) = cluster_counts(log, authz) {
            of_cluster.errors.inc();
        }
        count_unsent(log, body).await;
        let status = authz.service.error_status;
        return Ok(Asked::Ended(refuse(status, Denial::default(), ERROR)));
    };
    Ok(match verdict {
        Verdict::Allowed(changes) => {
            counts(log, authz).ok.inc();
            if let Some(of_cluster) = cluster_counts(log, authz) {
                of_cluster.ok.inc();
            }
            changes.apply(head);
            let anew = settings.reroutes && changes.may_reroute();
            if !changes.spares_answer() {
                let answers = log.authz.get_or_insert_default();
                answers.0.push((Arc::clone(&authz.service), changes));
            }
            if anew {
                reroute(log, head);
                Asked::Elsewhere
            } else {
                Asked::Passed
            }
        }
        Verdict::Denied(denial) => {
            counts(log, authz).denied.inc();
            if let Some(of_cluster) = cluster_counts(log, authz) {
                of_cluster.denied.inc();
            }
            let status = denial.status.unwrap_or(StatusCode::FORBIDDEN);
            if let Some(cluster) = log.cluster() {
                cluster.metrics().answered(status.as_u16());
            }
            count_unsent(log, body).await;
            Asked::Ended(refuse(status, denial, DENIED))
        }
        Verdict::Failed(denial) => failed(log, head, body, authz, denial).await,
    })
}

/// Nobody has decided.
async fn failed(
    log: &mut Log,
    head: &mut request::Parts,
    body: &mut Incoming,
    authz: &Authz,
    denial: Option<Denial>,
) -> Asked {
    let (counts, of_cluster) = (counts(log, authz), cluster_counts(log, authz));
    counts.errors.inc();
    if let Some(of_cluster) = &of_cluster {
        of_cluster.errors.inc();
    }
    let OnError::Allow { told } = authz.service.settings.on_error else {
        count_unsent(log, body).await;
        let denial = denial.unwrap_or_default();
        let status = denial.status.unwrap_or(authz.service.error_status);
        return Asked::Ended(refuse(status, denial, ERROR));
    };
    counts.failures_allowed.inc();
    if let Some(of_cluster) = of_cluster {
        of_cluster.failures_allowed.inc();
    }
    if told {
        head.headers
            .insert(FAILED, HeaderValue::from_static("true"));
    }
    Asked::Passed
}

/// What the service says; `None`: of such a request nothing can be asked. The error: the request has ended before.
async fn decide(
    log: &Log,
    head: &request::Parts,
    body: Option<Bytes>,
    authz: &Authz,
) -> Result<Option<Verdict>, Error> {
    let service = &authz.service;
    let asked = authz::Asked {
        head,
        body: body.as_ref().map(|data| beginning(data, authz)),
    };
    let (question, sent) = match &service.service {
        CompiledService::Web(web) => {
            let render = OfRequest {
                log,
                method: &head.method,
                uri: &head.uri,
            };
            let Some(question) = web.question(service, &asked, &render) else {
                return Ok(None);
            };
            let sent = asked.body.map(|told| told.data.len());
            let sent = body
                .as_ref()
                .zip(sent)
                .map(|(data, length)| data.slice(..length));
            (question, sent.unwrap_or_default())
        }
        CompiledService::Grpc(grpc) => {
            let render = OfClient { log, head };
            let of = circumstances(log, body.as_ref(), grpc.wants_certificate());
            let message = grpc.message(service, &asked, &authz.route.context, of);
            (grpc.head(service.settings.timeout, &render), message)
        }
    };
    let begun = Instant::now();
    let call = call::make(log, authz, question, sent);
    let Some(answer) = log.client.in_time(call).await? else {
        return Ok(Some(Verdict::Failed(None)));
    };
    Ok(Some(match &service.service {
        CompiledService::Web(web) => {
            let mut headers = answer.headers;
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            headers.insert(SERVICE_TIME, HeaderValue::from(took));
            web.verdict(answer.status, &headers, answer.body)
        }
        CompiledService::Grpc(_) => authz::grpc::verdict(
            answer.status,
            &answer.headers,
            &answer.body,
            answer.trailers.as_ref(),
        ),
    }))
}

/// What follows the head has no end of its own.
fn is_tunnel(head: &request::Parts) -> bool {
    head.method == Method::CONNECT || head.headers.contains_key(header::UPGRADE)
}

fn beginning<'a>(data: &'a Bytes, authz: &Authz) -> Beginning<'a> {
    let most = authz.route.body(authz.service.settings.body);
    let most = most.map_or(0, |most| most.most as usize);
    Beginning {
        data: data.get(..most).unwrap_or(data),
        partial: data.len() > most,
    }
}

fn circumstances<'a>(log: &'a Log, body: Option<&Bytes>, certificate: bool) -> Circumstances<'a> {
    let client = &log.client;
    let session = client.tls.as_deref();
    let peer = session.and_then(|session| session.peer.as_ref());
    let local = session.and_then(|session| session.local.as_deref());
    Circumstances {
        id: client.core.random() as u64,
        began: view::wall_clock().map(|now| now.saturating_sub(log.start.elapsed())),
        protocol: view::protocol(log.version).unwrap_or_default(),
        received: body.map_or(0, Bytes::len) as u64,
        source: End {
            address: client.peer,
            principal: peer.map_or("", |peer| principal(peer.facts())),
            certificate: peer
                .filter(|_| certificate)
                .map_or_else(String::new, tls::Peer::url_encoded_pem),
        },
        destination: End {
            address: client.local,
            principal: local.map_or("", principal),
            certificate: String::new(),
        },
        server_name: session
            .and_then(|session| session.sni.as_deref())
            .unwrap_or_default(),
    }
}

/// Who somebody is, by a certificate.
fn principal(facts: &tls::Facts) -> &str {
    let named = facts.uris.first().or(facts.dns.first());
    named.unwrap_or(&facts.subject)
}

fn refuse(status: StatusCode, denial: Denial, details: &'static str) -> Ended {
    Ended::Refused(Box::new(Refusal {
        status,
        denial,
        details,
    }))
}

fn counts(log: &Log, authz: &Authz) -> Arc<crate::metrics::Authz> {
    let manager = log.listener().map_or("", |listener| &listener.stat_prefix);
    let own = &authz.service.settings.stat_prefix;
    log.client.core.authz(manager, own)
}

/// Those of the cluster that the request goes to, if it goes to one.
fn cluster_counts(log: &Log, authz: &Authz) -> Option<Arc<crate::metrics::ClusterAuthz>> {
    let cluster = log.cluster()?;
    let own = &authz.service.settings.stat_prefix;
    Some(log.client.core.cluster_authz(&cluster.settings().name, own))
}

/// As Envoy, what came of the body while the service was asked counts, though nobody is sent it.
async fn count_unsent(log: &mut Log, body: &mut Incoming) {
    let mut bytes = 0;
    poll_fn(|cx| {
        while bytes < MOST_UNSENT
            && let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *body).poll_frame(cx)
        {
            bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        Poll::Ready(())
    })
    .await;
    if bytes > 0 {
        log.count_in(bytes);
    }
}

/// Looks up the route of the request as it is now, and how long that lets it take.
fn reroute(log: &mut Log, head: &request::Parts) {
    let path = head.uri.path_and_query().cloned();
    let host = head.headers.get(header::HOST).cloned();
    // They are told as they came.
    let path = std::mem::replace(&mut log.path, path);
    let host = std::mem::replace(&mut log.authority, host);
    let method = std::mem::replace(&mut log.method, head.method.clone());
    log.cluster = None;
    log.target = 0;
    route(log, head);
    // What its upstream is told of a call's deadline was settled by the first one.
    bound(log, &mut head.headers.clone());
    log.path = path;
    log.authority = host;
    log.method = method;
}

/// Where the filter is in another route's list.
pub(super) fn place(filters: &Filters, authz: &Authz) -> Option<usize> {
    filters.iter().position(
        |filter| matches!(filter, Filter::Authz(it) if Arc::ptr_eq(&it.service, &authz.service)),
    )
}

/// The request has no way to go on by.
pub(super) fn lost(log: &Log, authz: &Authz) -> Ended {
    counts(log, authz).errors.inc();
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    refuse(status, Denial::default(), ERROR)
}

/// Changes the answer as the service has said.
pub(super) fn answer(log: &Log, authz: &Authz, headers: &mut HeaderMap) {
    let Some(answers) = &log.authz else {
        return;
    };
    let mut answers = answers.0.iter();
    if let Some((_, changes)) = answers.find(|(of, _)| Arc::ptr_eq(of, &authz.service)) {
        changes.apply_to_answer(headers);
    }
}

impl Render for OfClient<'_> {
    fn render(&self, format: &Format, _headers: &HeaderMap, out: &mut Vec<u8>) {
        let of = OfRequest {
            log: self.log,
            method: &self.head.method,
            uri: &self.head.uri,
        };
        of.render(format, &self.head.headers, out);
    }
}
