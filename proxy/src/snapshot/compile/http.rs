//! HTTP connection managers.

use std::sync::Arc;

use http::HeaderValue;

use super::Compiler;
use crate::{
    config,
    policy::rewrite::Redirect,
    snapshot::{Http, Manager, StripPort, hosts::Hosts, replies::Replies},
};

impl Compiler<'_> {
    pub(super) fn http(
        &mut self,
        path: &str,
        listener: &config::Listener,
        http: &config::HttpManager,
    ) -> Http {
        let mut hosts = Hosts::new(http.routing.ignore_port);
        let filters = self.filters(
            &format!("{path}.filters"),
            &http.filters,
            !http.faults.is_empty(),
        );
        for (at, host) in http.virtual_hosts.iter().enumerate() {
            let path = format!("{path}.virtual_hosts[{at}]");
            let mut routes: Vec<_> = host
                .routes
                .iter()
                .enumerate()
                .filter_map(|(at, route)| {
                    self.route(&format!("{path}.routes[{at}]"), route, http, &filters)
                })
                .collect();
            let plain = host.require_tls.then_some(routes.len());
            if host.require_tls {
                routes.extend(self.route(&path, &to_tls(), http, &filters));
            }
            if let Err(taken) = hosts.add(&host.domains, routes, plain) {
                self.problem(
                    format!("{path}.domains"),
                    format!("the domain `{taken}` is taken by another virtual host"),
                );
            }
        }
        let replies = self.replies(path, &http.local_replies);
        let mut access = self.access_logs(path, &http.access_logs);
        if !replies.is_empty() {
            access.share(replies.headers());
        }
        let server_name = http.server_name.as_deref().and_then(|name| {
            let value = HeaderValue::from_str(name).ok();
            if value.is_none() {
                self.problem(
                    format!("{path}.server_name"),
                    format!("`{name}` is not a header's value"),
                );
            }
            value
        });
        Http {
            name: Arc::clone(&listener.name),
            stat_prefix: http.stat_prefix.as_str().into(),
            place: listener.place.clone(),
            manager: Manager {
                server_name,
                generate_request_id: http.generate_request_id,
                preserve_request_id: http.preserve_request_id,
                answer_request_id: http.answer_request_id,
                origin: http.origin.clone(),
                http1: http.http1.clone(),
                idle_timeout: http.idle_timeout,
                stream_idle_timeout: http.stream_idle_timeout,
                max_stream_duration: http.max_stream_duration,
                request_timeout: http.request_timeout,
                request_headers_timeout: http.request_headers_timeout,
                upgrades: http
                    .upgrades
                    .iter()
                    .map(|upgrade| upgrade.to_ascii_lowercase())
                    .collect(),
                max_request_headers: http.max_request_headers.0 as usize,
                accept_http_10: http.accept_http_10,
                codec: http.codec,
                http2: http.http2.clone(),
                access,
                replies,
                client_cert: http.client_cert,
                path: http.routing.path,
                strip_port: match http.routing.port {
                    config::Port::Keep => None,
                    config::Port::Strip => Some(StripPort::Any),
                    config::Port::StripOwn => {
                        let bound = self.bound.iter().find(|(name, _)| *name == listener.name);
                        let own = bound.map_or(listener.address, |(_, address)| *address);
                        Some(StripPort::Own(own.port()))
                    }
                },
                strip_trailing_dot: http.routing.strip_trailing_dot,
                via: http.signature.via.as_deref().and_then(|via| {
                    let value = HeaderValue::from_str(via).ok();
                    if value.is_none() {
                        let via = via.escape_debug();
                        self.problem(
                            format!("{path}.signature.via"),
                            format!("`{via}` is not a value that a header can have"),
                        );
                    }
                    value
                }),
                server_if_absent: http.signature.server_if_absent,
                quiet: http.signature.quiet,
                respects_expected_timeout: http.signature.respects_expected_timeout,
            },
            hosts,
            filters,
            arrivals: self.lasting.arrivals(&listener.name),
            calls: self.lasting.calls(listener.place.as_ref()),
        }
    }

    fn replies(&mut self, path: &str, settings: &config::LocalReplies) -> Replies {
        Replies::compile(settings).unwrap_or_else(|(index, what)| {
            let place =
                index.map_or_else(|| "format".to_owned(), |index| format!("mappers[{index}]"));
            self.problem(format!("{path}.local_replies.{place}"), what);
            Replies::default()
        })
    }
}

/// The route of plain requests to a host that takes none.
fn to_tls() -> config::Route {
    config::Route {
        action: config::Action::Redirect {
            status: 301,
            to: Redirect {
                scheme: Some("https".to_owned()),
                ..Redirect::default()
            },
        },
        ..config::Route::default()
    }
}
