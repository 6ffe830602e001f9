//! The admin port: Envoy's paths, as far as there is something to say.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{runtime::LocalRuntime, task::spawn_local};

use crate::{
    config::{
        Action, Address, Chain, Cluster, ClusterName, Config, HttpManager, Listener, Serve, Target,
    },
    drain::{Phase, Watch},
    metrics::{Registry, report::Extra},
    net::tls::Shown,
    policy::format::clock::Clock,
    snapshot::Snapshot,
};

mod command;
mod dump;
mod listing;
mod query;
mod server;

use query::Query;
pub use server::Server;

/// What the admin port may ask and do.
pub trait Controls: Send + Sync + 'static {
    /// The configuration now.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// All counts.
    fn registry(&self) -> &Registry;
    /// Where listeners are bound.
    fn addresses(&self) -> &[(Arc<str>, SocketAddr)];
    /// What the process is.
    fn server(&self) -> Server;
    /// The file that the configuration was read from, as JSON; `None`: it came otherwise.
    fn bootstrap(&self) -> Option<Arc<Value>>;
    /// The certificates in use.
    fn certificates(&self) -> Vec<Shown>;
    /// Counts that are of no block.
    fn extra(&self) -> Vec<Extra>;
    /// Whether the proxy says that it is well.
    fn set_well(&self, well: bool);
    /// Opens the access logs' files again.
    fn reopen_logs(&self);
    /// Connections are taken no more.
    fn drain(&self);
    /// Somebody wants the proxy to end.
    fn quit(&self);
}

/// Serves the admin port until the proxy ends.
pub fn run(
    runtime: &LocalRuntime,
    sockets: Vec<TcpListener>,
    mut watch: Watch,
    controls: Arc<dyn Controls>,
) {
    runtime.block_on(async move {
        for socket in sockets {
            spawn_local(accept(socket, watch.clone(), Arc::clone(&controls)));
        }
        let _ = watch.phase.wait_for(|phase| *phase == Phase::Stopped).await;
    });
}

async fn accept(
    socket: TcpListener,
    watch: Watch,
    controls: Arc<dyn Controls>,
) -> std::io::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket)?;
    loop {
        let Ok((tcp, _)) = socket.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let (watch, controls) = (watch.clone(), Arc::clone(&controls));
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer(&request, &watch, &*controls);
            async move { Ok::<_, Infallible>(answer) }
        });
        spawn_local(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(tcp), service),
        );
    }
}

fn answer(
    request: &Request<Incoming>,
    watch: &Watch,
    controls: &dyn Controls,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let Some(command) = command::find(path) else {
        let text = format!("invalid path. {}", command::help());
        return status(StatusCode::NOT_FOUND, &text);
    };
    let method = request.method();
    if command.changes && method != Method::POST {
        let text = format!("Method {method} not allowed, POST required.");
        return status(StatusCode::METHOD_NOT_ALLOWED, &text);
    }
    let query = Query::read(request.uri().query().unwrap_or_default());
    reply(path, &query, watch, controls)
        .unwrap_or_else(|told| status(StatusCode::BAD_REQUEST, &told))
}

/// The answer of a path that there is; the error: what of the query cannot be.
fn reply(
    path: &str,
    query: &Query,
    watch: &Watch,
    controls: &dyn Controls,
) -> Result<Response<Full<Bytes>>, String> {
    let json = query.get("format") == Some("json");
    Ok(match path {
        "/ready" => ready(watch, controls),
        "/server_info" => {
            let bootstrap = controls.bootstrap();
            json_answer(&server(watch, controls).info(bootstrap.as_deref()))
        }
        "/memory" => json_answer(&server::memory_json()),
        "/certs" => json_answer(&certificates(controls)),
        "/config_dump" => dumped(query, controls)?,
        "/clusters" => {
            let (snapshot, names) = (controls.snapshot(), query.regex("filter")?);
            if json {
                json_answer(&listing::clusters_json(&snapshot, names.as_ref()))
            } else {
                plain(listing::clusters(&snapshot, names.as_ref()))
            }
        }
        "/listeners" if json => json_answer(&listing::listeners_json(controls.addresses())),
        "/listeners" => plain(listing::listeners(controls.addresses())),
        "/stats" | "/stats/prometheus" => stats(path, query, watch, controls)?,
        "/runtime" => json_answer(&json!({"entries": {}, "layers": []})),
        "/init_dump" => json_answer(&json!({})),
        "/hot_restart_version" => plain("disabled".to_owned()),
        "/logging" => plain("active loggers:\n  main: info\n".to_owned()),
        "/" | "/help" => plain(command::help()),
        other => {
            act(other, controls);
            plain("OK\n".to_owned())
        }
    })
}

/// Does what a path is for.
fn act(path: &str, controls: &dyn Controls) {
    match path {
        "/drain_listeners" => controls.drain(),
        "/healthcheck/fail" => controls.set_well(false),
        "/healthcheck/ok" => controls.set_well(true),
        "/reopen_logs" => controls.reopen_logs(),
        "/reset_counters" => controls.registry().reset_counters(),
        "/quitquitquit" => controls.quit(),
        other => debug_assert!(false, "{other} is a command that nothing does"),
    }
}

/// Envoy's words.
fn ready(watch: &Watch, controls: &dyn Controls) -> Response<Full<Bytes>> {
    let server = server(watch, controls);
    let code = if server.draining {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    status(code, &format!("{}\n", server.state()))
}

fn server(watch: &Watch, controls: &dyn Controls) -> Server {
    let server = controls.server();
    let serving = *watch.phase.borrow() == Phase::Serving;
    Server {
        draining: server.draining || !serving,
        ..server
    }
}

fn stats(
    path: &str,
    query: &Query,
    watch: &Watch,
    controls: &dyn Controls,
) -> Result<Response<Full<Bytes>>, String> {
    let selection = query.selection()?;
    let registry = controls.registry();
    let mut extra = controls.extra();
    extra.extend(server(watch, controls).stats());
    let format = query.get("format").unwrap_or("text");
    Ok(match (path, format) {
        ("/stats/prometheus", _) | (_, "prometheus") => {
            plain(registry.prometheus_of(&selection, &extra))
        }
        (_, "json") => json_line(&registry.json(&selection, &extra)),
        (_, "text") => plain(registry.text(&selection, &extra)),
        (_, other) => {
            return Err(format!("format {other} is not text, json or prometheus\n"));
        }
    })
}

fn dumped(query: &Query, controls: &dyn Controls) -> Result<Response<Full<Bytes>>, String> {
    let Some(bootstrap) = controls.bootstrap() else {
        return Ok(json_answer(&config_dump(&controls.snapshot().config)));
    };
    let names = query.regex("name_regex")?;
    let dump = dump::of(
        &bootstrap,
        query.get("resource"),
        names.as_ref(),
        query.get("mask"),
    );
    Ok(match dump {
        Ok(dump) => json_answer(&dump),
        Err(missing) => status(StatusCode::NOT_FOUND, &missing),
    })
}

fn certificates(controls: &dyn Controls) -> Value {
    let certificates = controls.certificates();
    let them = certificates.iter().map(|shown| {
        let names = |kind: &str, names: &[String]| {
            let kind = kind.to_owned();
            names
                .iter()
                .map(move |name| json!({(kind.clone()): name}))
                .collect::<Vec<_>>()
        };
        let facts = &shown.facts;
        let mut all = names("uri", &facts.uris);
        all.extend(names("dns", &facts.dns));
        json!({"cert_chain": [{
            "path": shown.source,
            "serial_number": facts.serial,
            "subject_alt_names": all,
            "valid_from": seconds(facts.not_before),
            "expiration_time": seconds(facts.not_after),
        }]})
    });
    json!({"certificates": them.collect::<Vec<_>>()})
}

/// A time in RFC 3339.
fn seconds(since_epoch: i64) -> String {
    let mut out = Vec::new();
    let since = Duration::from_secs(since_epoch.max(0).unsigned_abs());
    if let Ok(clock) = Clock::compile("%Y-%m-%dT%H:%M:%SZ") {
        clock.write(since, &mut out);
    }
    String::from_utf8(out).unwrap_or_default()
}

fn config_dump(config: &Config) -> Value {
    json!({
        "seed": config.seed.0,
        "run": config.run.map(|run| format!("{run:010x}")),
        "listeners": config.listeners.iter().map(listener).collect::<Vec<_>>(),
        "clusters": config.clusters.iter().map(cluster).collect::<Vec<_>>(),
    })
}

fn listener(listener: &Listener) -> Value {
    json!({
        "name": &*listener.name,
        "address": listener.address.to_string(),
        "caller": listener.place.as_ref().map(|place| &*place.caller),
        "service": listener.place.as_ref().map(|place| &*place.service),
        "chains": listener.chains.iter().map(chain).collect::<Vec<_>>(),
        "default_chain": listener.default_chain.as_ref().map(chain),
    })
}

fn chain(chain: &Chain) -> Value {
    json!({
        "name": chain.name,
        "match": format!("{:?}", chain.matches),
        "http": match &chain.serve {
            Serve::Http(manager) => http(manager),
            Serve::Tcp(_) => Value::Null,
        },
        "tcp": match &chain.serve {
            Serve::Http(_) => Value::Null,
            Serve::Tcp(proxy) => json!({
                "stat_prefix": proxy.stat_prefix,
                "clusters": proxy.clusters.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect::<Vec<_>>(),
            }),
        },
    })
}

fn http(manager: &HttpManager) -> Value {
    let hosts = manager.virtual_hosts.iter().map(|host| {
        json!({
            "name": host.name,
            "domains": host.domains,
            "routes": host.routes.iter().map(|route| json!({
                "name": route.name,
                "match": format!("{:?}", route.matcher),
                "action": action(&route.action),
                "faults": route.faults.as_ref().map(|rules| faults(rules)),
            })).collect::<Vec<_>>(),
        })
    });
    json!({
        "stat_prefix": manager.stat_prefix,
        "virtual_hosts": hosts.collect::<Vec<_>>(),
        "faults": faults(&manager.faults),
    })
}

fn faults(rules: &[crate::policy::fault::Rule]) -> Value {
    rules
        .iter()
        .map(|rule| json!({"id": &*rule.id, "rule": rule.name, "kind": format!("{:?}", rule.kind), "select": format!("{:?}", rule.select)}))
        .collect()
}

fn action(action: &Action) -> Value {
    match action {
        Action::Respond { status, body } => json!({"status": status, "body": body}),
        Action::Redirect { status, to } => json!({"status": status, "redirect": format!("{to:?}")}),
        Action::Nothing => json!({}),
        Action::Forward(forward) => json!({
            "clusters": forward.clusters.iter().map(target).collect::<Vec<_>>(),
            "timeout_ms": forward.timeout.map(|timeout| timeout.as_millis() as u64),
            "mirrors": forward.mirrors.iter().map(|mirror| json!({
                "id": mirror.id,
                "cluster": mirror.cluster,
                "share": mirror.share.get(),
            })).collect::<Vec<_>>(),
        }),
    }
}

fn target(target: &Target) -> Value {
    match &target.cluster {
        ClusterName::Fixed(name) => json!({"name": name, "weight": target.weight}),
        ClusterName::Header(name) => json!({"header": name, "weight": target.weight}),
    }
}

fn cluster(cluster: &Cluster) -> Value {
    let endpoints = cluster.endpoints.iter().map(|endpoint| {
        let address = match &endpoint.address {
            Address::Socket(address) => address.to_string(),
            Address::Listener(name) => format!("listener {name}"),
            Address::Name(name, port) => format!("{name}:{port}"),
        };
        json!({"address": address, "weight": endpoint.weight})
    });
    json!({
        "name": &*cluster.name,
        "connect_timeout_ms": cluster.connect_timeout.as_millis() as u64,
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn plain(text: String) -> Response<Full<Bytes>> {
    typed(StatusCode::OK, "text/plain; charset=UTF-8", text)
}

fn status(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=UTF-8", text.to_owned())
}

fn json_answer(value: &Value) -> Response<Full<Bytes>> {
    typed(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

fn json_line(value: &Value) -> Response<Full<Bytes>> {
    typed(StatusCode::OK, "application/json", value.to_string())
}

fn typed(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, max-age=0"),
    );
    response
}
