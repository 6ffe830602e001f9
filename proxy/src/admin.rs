//! The admin port: Envoy's paths, as far as there is something to say.

use std::{
    convert::Infallible,
    fmt::Write,
    net::{SocketAddr, TcpListener},
    sync::Arc,
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
    metrics::Registry,
    snapshot::Snapshot,
};

/// What the admin port may ask and do.
pub trait Controls: Send + Sync + 'static {
    /// The configuration now.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// All counts.
    fn registry(&self) -> &Registry;
    /// Where listeners are bound.
    fn addresses(&self) -> &[(Arc<str>, SocketAddr)];
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
    let query = request.uri().query().unwrap_or_default();
    let change = request.method() == Method::POST;
    match request.uri().path() {
        "/ready" => ready(watch),
        "/config_dump" => json_answer(&config_dump(&controls.snapshot().config)),
        "/clusters" => plain(clusters(&controls.snapshot())),
        "/listeners" => plain(listeners(controls.addresses())),
        "/stats" if query.contains("format=prometheus") => prometheus(controls),
        "/stats" => plain(controls.registry().text()),
        "/stats/prometheus" => prometheus(controls),
        "/drain_listeners" | "/quitquitquit" | "/reopen_logs" if !change => status(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed, use POST\n",
        ),
        "/drain_listeners" => {
            controls.drain();
            plain("OK\n".to_owned())
        }
        "/reopen_logs" => {
            controls.reopen_logs();
            plain("OK\n".to_owned())
        }
        "/quitquitquit" => {
            controls.quit();
            plain("OK\n".to_owned())
        }
        "/" => plain(PATHS.to_owned()),
        _ => status(StatusCode::NOT_FOUND, "invalid path. admin commands are:\n"),
    }
}

const PATHS: &str = "/clusters\n/config_dump\n/drain_listeners (POST)\n/listeners\n/quitquitquit (POST)\n/ready\n/reopen_logs (POST)\n/stats\n/stats/prometheus\n";

/// Envoy's words.
fn ready(watch: &Watch) -> Response<Full<Bytes>> {
    match *watch.phase.borrow() {
        Phase::Serving => plain("LIVE\n".to_owned()),
        Phase::Draining | Phase::Stopped => status(StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n"),
    }
}

fn prometheus(controls: &dyn Controls) -> Response<Full<Bytes>> {
    plain(controls.registry().prometheus())
}

fn clusters(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for roster in &snapshot.rosters {
        let name = &roster.settings().name;
        for member in roster.members().iter() {
            let (address, weight) = (member.address, member.endpoint.weight);
            let priority = member.endpoint.priority;
            let _ = writeln!(text, "{name}::{address}::weight::{weight}");
            let _ = writeln!(text, "{name}::{address}::priority::{priority}");
            let _ = writeln!(text, "{name}::{address}::health_flags::{}", member.flags());
        }
    }
    text
}

fn listeners(addresses: &[(Arc<str>, SocketAddr)]) -> String {
    let mut text = String::new();
    for (name, address) in addresses {
        let _ = writeln!(text, "{name}::{address}");
    }
    text
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
