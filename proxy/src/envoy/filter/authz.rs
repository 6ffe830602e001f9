//! The filter that asks another service whether requests may go on.

use envoy_types::pb::envoy::{
    config::core::v3::{GrpcService, HeaderValue, grpc_service::TargetSpecifier, http_uri},
    extensions::filters::http::ext_authz::v3::{
        BufferSettings, ExtAuthz, ExtAuthzPerRoute, HttpService, ext_authz::Services,
        ext_authz_per_route::Override,
    },
    r#type::matcher::v3::ListStringMatcher,
};
use std::time::Duration;

use super::{
    super::{Notes, route},
    duration, share, unless_zero,
};
use crate::{
    policy::{
        authz::{Body, OnError, Route, Service, Settings, grpc, web},
        headers::{Addition, Append, Mutation, Mutations},
        matcher::Text,
    },
    unit::Share,
};

/// How long an answer may take, where the file does not say.
const TIMEOUT: Duration = Duration::from_millis(200);
/// What requests are refused with that nobody has decided on, where the file does not say.
const FORBIDDEN: u16 = 403;

/// `None`: it cannot be read, and the notes say why.
pub(super) fn convert(it: &ExtAuthz, path: &str, notes: &mut Notes) -> Option<Settings> {
    let asked = match &it.services {
        Some(Services::HttpService(service)) => {
            let path = format!("{path}.http_service");
            let (cluster, timeout) = server(service, &path, notes)?;
            let web = web(service, &path, notes);
            (cluster, timeout, Service::Web(web))
        }
        Some(Services::GrpcService(service)) => call(it, service, path, notes)?,
        None => {
            notes.invalid(path, "a `grpc_service` or an `http_service` is needed");
            return None;
        }
    };
    let (cluster, timeout, service) = asked;
    let older = match &it.services {
        Some(Services::HttpService(service)) => older(service),
        _ => None,
    };
    if older.is_some() && it.allowed_headers.is_some() {
        let what = "it is said in `http_service`, too";
        notes.invalid(format!("{path}.allowed_headers"), what);
    }
    let allowed = match (older, &it.allowed_headers) {
        (Some(list), _) => {
            let path = "http_service.authorization_request.allowed_headers";
            Some((list, path))
        }
        (None, list) => list.as_ref().map(|list| (list, "allowed_headers")),
    };
    let enabled = it.filter_enabled.as_ref();
    if enabled.is_some_and(|enabled| enabled.default_value.is_none()) {
        notes.invalid(
            format!("{path}.filter_enabled.default_value"),
            "it is needed",
        );
    }
    let denies = it.deny_at_disable.as_ref();
    if denies.is_some_and(|flag| flag.default_value.is_none()) {
        notes.invalid(
            format!("{path}.deny_at_disable.default_value"),
            "it is needed",
        );
    }
    let body = it.with_request_body.as_ref();
    let status = status(it, path, notes);
    Some(Settings {
        stat_prefix: it.stat_prefix.clone(),
        cluster,
        timeout,
        service,
        enabled: enabled.map_or(Share::ALL, |enabled| share(enabled.default_value)),
        refuses_others: denies
            .and_then(|flag| flag.default_value)
            .is_some_and(|flag| flag.value),
        on_error: if it.failure_mode_allow {
            OnError::Allow {
                told: it.failure_mode_allow_header_add,
            }
        } else {
            OnError::Refuse
        },
        error_status: status,
        body: body.and_then(|body| self::body(*body, &format!("{path}.with_request_body"), notes)),
        allowed: allowed.map(|(list, field)| names(list, &format!("{path}.{field}"), notes)),
        disallowed: it
            .disallowed_headers
            .as_ref()
            .map_or_else(Vec::new, |list| {
                names(list, &format!("{path}.disallowed_headers"), notes)
            }),
        reroutes: it.clear_route_cache,
    })
}

/// What requests are refused with that nobody has decided on.
fn status(it: &ExtAuthz, path: &str, notes: &mut Notes) -> u16 {
    let Some(status) = it.status_on_error else {
        return FORBIDDEN;
    };
    let code = u16::try_from(status.code).ok();
    code.filter(|code| (200..600).contains(code))
        .unwrap_or_else(|| {
            let what = format!("the status {} must be from 200 to 599", status.code);
            notes.invalid(format!("{path}.status_on_error.code"), what);
            FORBIDDEN
        })
}

#[expect(
    deprecated,
    reason = "files in use still have the older place, and Envoy takes it"
)]
fn older(it: &HttpService) -> Option<&ListStringMatcher> {
    it.authorization_request.as_ref()?.allowed_headers.as_ref()
}

/// What a route says.
pub(super) fn of_route(it: ExtAuthzPerRoute, path: &str, notes: &mut Notes) -> Route {
    let settings = match it.r#override {
        Some(Override::Disabled(true)) => {
            return Route {
                off: true,
                ..Route::default()
            };
        }
        Some(Override::CheckSettings(settings)) => settings,
        // It switches a filter on that is off elsewhere.
        Some(Override::Disabled(false)) => return Route::default(),
        None => {
            notes.invalid(path, "`disabled` or `check_settings` is needed");
            return Route::default();
        }
    };
    let path = format!("{path}.check_settings");
    if settings.disable_request_body_buffering && settings.with_request_body.is_some() {
        let what = "not with `disable_request_body_buffering`";
        notes.invalid(format!("{path}.with_request_body"), what);
    }
    let body = settings.with_request_body;
    Route {
        off: false,
        context: settings.context_extensions.into_iter().collect(),
        body: body.and_then(|body| self::body(body, &format!("{path}.with_request_body"), notes)),
        bodiless: settings.disable_request_body_buffering,
    }
}

/// The cluster of a service of HTTP, and how long it may take.
fn server(it: &HttpService, path: &str, notes: &mut Notes) -> Option<(String, Option<Duration>)> {
    let path = format!("{path}.server_uri");
    let Some(uri) = &it.server_uri else {
        notes.invalid(path, "it is needed");
        return None;
    };
    let Some(http_uri::HttpUpstreamType::Cluster(cluster)) = &uri.http_upstream_type else {
        notes.invalid(format!("{path}.cluster"), "it is needed");
        return None;
    };
    let path = format!("{path}.timeout");
    if uri.timeout.is_none() {
        notes.invalid(&path, "it is needed");
    }
    let timeout = duration(uri.timeout.as_ref(), &path, notes)?;
    Some((cluster.clone(), unless_zero(timeout)))
}

fn web(it: &HttpService, path: &str, notes: &mut Notes) -> web::Settings {
    let request = it.authorization_request.clone().unwrap_or_default();
    let answer = it.authorization_response.clone().unwrap_or_default();
    let add = format!("{path}.authorization_request.headers_to_add");
    let mut list = |it: Option<&ListStringMatcher>, field: &str| {
        let path = format!("{path}.authorization_response.{field}");
        it.map_or_else(Vec::new, |list| names(list, &path, notes))
    };
    web::Settings {
        upstream: list(
            answer.allowed_upstream_headers.as_ref(),
            "allowed_upstream_headers",
        ),
        upstream_append: list(
            answer.allowed_upstream_headers_to_append.as_ref(),
            "allowed_upstream_headers_to_append",
        ),
        client: list(
            answer.allowed_client_headers.as_ref(),
            "allowed_client_headers",
        ),
        client_on_success: list(
            answer.allowed_client_headers_on_success.as_ref(),
            "allowed_client_headers_on_success",
        ),
        path_prefix: path_prefix(it, path, notes),
        add: headers(&request.headers_to_add, Append::Overwrite, &add, notes),
    }
}

fn path_prefix(it: &HttpService, path: &str, notes: &mut Notes) -> String {
    let prefix = &it.path_prefix;
    if !prefix.is_empty()
        && (!prefix.starts_with('/') || http::uri::PathAndQuery::try_from(prefix).is_err())
    {
        let what = format!("`{}` is not a path such as `/check`", prefix.escape_debug());
        notes.invalid(format!("{path}.path_prefix"), what);
    }
    prefix.clone()
}

/// The cluster of a service of gRPC, how long it may take, and how it is called.
fn call(
    all: &ExtAuthz,
    it: &GrpcService,
    path: &str,
    notes: &mut Notes,
) -> Option<(String, Option<Duration>, Service)> {
    let outer = path;
    let path = format!("{path}.grpc_service");
    let Some(TargetSpecifier::EnvoyGrpc(envoy)) = &it.target_specifier else {
        // Also where a file is read leniently: without its service the filter would be left out.
        let field = match it.target_specifier {
            Some(_) => ".google_grpc",
            None => "",
        };
        notes.invalid(format!("{path}{field}"), "an `envoy_grpc` is needed");
        return None;
    };
    if envoy.cluster_name.is_empty() {
        let path = format!("{path}.envoy_grpc.cluster_name");
        notes.invalid(path, "it must not be empty");
    }
    let authority = match envoy.authority.as_str() {
        "" => &envoy.cluster_name,
        authority => authority,
    };
    let settings = grpc::Settings {
        authority: authority.to_owned(),
        metadata: headers(
            &it.initial_metadata,
            Append::Append,
            &format!("{path}.initial_metadata"),
            notes,
        ),
        bytes: all.with_request_body.is_some_and(|body| body.pack_as_bytes),
        certificate: all.include_peer_certificate,
        session: all.include_tls_session,
    };
    if let Err(what) = grpc::Compiled::new(&settings) {
        notes.invalid(format!("{outer}.grpc_service"), what);
        return None;
    }
    let timeout = duration(it.timeout.as_ref(), &format!("{path}.timeout"), notes);
    let timeout = timeout.map_or(Some(TIMEOUT), unless_zero);
    Some((envoy.cluster_name.clone(), timeout, Service::Grpc(settings)))
}

fn body(it: BufferSettings, path: &str, notes: &mut Notes) -> Option<Body> {
    if it.max_request_bytes == 0 {
        notes.invalid(
            format!("{path}.max_request_bytes"),
            "it is needed, and must be above 0",
        );
        return None;
    }
    Some(Body {
        most: it.max_request_bytes,
        partial: it.allow_partial_message,
    })
}

fn names(it: &ListStringMatcher, path: &str, notes: &mut Notes) -> Vec<Text> {
    let path = format!("{path}.patterns");
    if it.patterns.is_empty() {
        notes.invalid(&path, "one at least is needed");
    }
    let patterns = it.patterns.iter().enumerate();
    patterns
        .filter_map(|(index, it)| route::string(it, &format!("{path}[{index}]"), notes))
        .collect()
}

/// Headers of what a service is sent.
fn headers(list: &[HeaderValue], how: Append, path: &str, notes: &mut Notes) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    for (index, it) in list.iter().enumerate() {
        let one = [Mutation::Add(Addition {
            name: it.key.to_ascii_lowercase(),
            value: if it.value.is_empty() {
                String::from_utf8_lossy(&it.raw_value).into_owned()
            } else {
                it.value.clone()
            },
            how,
            keep_empty: false,
        })];
        match Mutations::new(&one) {
            Ok(_) => mutations.extend(one),
            Err(what) => notes.invalid(format!("{path}[{index}]"), what),
        }
    }
    mutations
}
