//! Builtin services, so that a first run needs nothing else.
//!
//! A builtin is one service of an [`App`]: an HTTP/1.1 server on a `current_thread` runtime in a thread of its own. It
//! reaches its peers by `MESHBED_<PEER>_URL`, as any other service of a scenario does, and carries `traceparent` and
//! `x-request-id` inward.

use std::collections::BTreeMap;
use std::fmt;
use std::net::TcpListener;

pub mod planted;
pub mod shop;

mod latency;
mod peers;
mod reply;
mod server;
mod trace;
mod uuid;

pub use server::Running;

/// Which builtin to start, as a scenario names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builtin {
    /// A name in [`APPS`].
    pub app: String,
    /// One of the app's versions.
    pub version: String,
    /// The id of the service in the scenario; it selects the service of the app. A shadow takes the id of the service
    /// it stands beside.
    pub service: String,
}

/// An application of several services that call one another.
#[derive(Debug, Clone, Copy)]
pub struct App {
    /// The name a scenario uses.
    pub name: &'static str,
    /// Versions, the oldest first.
    pub versions: &'static [&'static str],
    /// The services it consists of, the entry first.
    pub services: &'static [Service],
    /// What a later version does otherwise than the first.
    pub differences: &'static [Difference],
}

/// One service of an [`App`].
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// The id that a scenario must give it.
    pub id: &'static str,
    /// The services it calls; each must be among its `calls` in the scenario.
    pub peers: &'static [&'static str],
}

/// A planted, documented difference of a version.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// The version that has it.
    pub version: &'static str,
    /// The service at which it shows.
    pub service: &'static str,
    /// The endpoints at which it shows, templated.
    pub endpoints: &'static [&'static str],
    /// What differs, in a clause.
    pub what: &'static str,
}

/// Every builtin application.
pub const APPS: &[App] = &[shop::APP, planted::APP];

/// Why a builtin cannot be started.
#[derive(Debug)]
pub enum Error {
    /// No such app.
    App(String),
    /// The app has no such version.
    Version(&'static App, String),
    /// The app has no such service.
    Service(&'static App, String),
    /// The authority that its peers' certificates are of cannot be believed.
    Trust(String),
    /// The environment lacks the address of a peer: service and peer.
    Peer(&'static str, &'static str),
    /// A peer's address cannot be used: variable, value.
    Url(String, String),
    /// The thread or its runtime could not be made.
    Start(std::io::Error),
}

/// The variable with the certificate of the authority that peers at `https://` are believed by, PEM.
pub const CA: &str = "MESHBED_CA_PEM";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(name) => {
                let known: Vec<_> = APPS.iter().map(|app| app.name).collect();
                write!(
                    f,
                    "unknown builtin app `{name}`; accepted: {}",
                    known.join(", ")
                )
            }
            Self::Version(app, version) => {
                write!(
                    f,
                    "builtin app `{}` has no version `{version}`; accepted: {}",
                    app.name,
                    app.versions.join(", ")
                )
            }
            Self::Service(app, id) => {
                let known: Vec<_> = app.services.iter().map(|service| service.id).collect();
                write!(
                    f,
                    "builtin app `{}` has no service `{id}`; accepted ids: {}",
                    app.name,
                    known.join(", ")
                )
            }
            Self::Peer(service, peer) => write!(
                f,
                "builtin service `{service}` needs {}, which is set when `{peer}` is among its `calls`",
                peers::variable(peer)
            ),
            Self::Trust(why) => write!(f, "{CA} cannot be believed: {why}"),
            Self::Url(variable, value) => {
                write!(f, "{variable} is `{value}`, accepted: http://HOST:PORT")
            }
            Self::Start(_) => f.write_str("cannot start the thread of a builtin service"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(source) => Some(source),
            _ => None,
        }
    }
}

/// Looks a builtin up without starting it: what [`start`] would refuse by name, this refuses too.
pub fn find(spec: &Builtin) -> Result<(&'static App, &'static Service), Error> {
    let app = APPS
        .iter()
        .find(|app| app.name == spec.app)
        .ok_or_else(|| Error::App(spec.app.clone()))?;
    if !app.versions.contains(&spec.version.as_str()) {
        return Err(Error::Version(app, spec.version.clone()));
    }
    let service = app
        .services
        .iter()
        .find(|service| service.id == spec.service);
    let service = service.ok_or_else(|| Error::Service(app, spec.service.clone()))?;
    Ok((app, service))
}

/// Starts a builtin on a bound listener. `env` holds the addresses of its peers; `seed` moves its latencies
/// and nothing else: what it answers depends on the request and the version alone, but for the fields in
/// [`shop::NOISY`] and [`planted::NOISY`].
pub fn start(
    listener: TcpListener,
    spec: &Builtin,
    env: BTreeMap<String, String>,
    seed: u64,
) -> Result<Running, Error> {
    let (app, service) = find(spec)?;
    if app.name == planted::APP.name {
        let version = spec.version.clone();
        return server::start(listener, move || planted::Planted::new(&version, seed));
    }
    let peers = peers::Peers::from_env(service, env)?;
    let version = shop::Version::named(&spec.version);
    server::start(listener, move || {
        shop::Shop::new(service.id, version, peers, seed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    const TRACE: &str = "traceparent: 00-aaaaaaaaaa0000000abc00000000002a-0000000000000001-01\r\n";

    fn spec(service: &str, version: &str) -> Builtin {
        Builtin {
            app: "shop".into(),
            version: version.into(),
            service: service.into(),
        }
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    /// The four services of the shop, the front first; `broken` is a port where nobody listens.
    fn mall(version: &str, broken: Option<&str>) -> Vec<Running> {
        let listeners: Vec<_> = shop::APP
            .services
            .iter()
            .map(|service| (service.id, listener()))
            .collect();
        let url = |(id, listener): &(&str, TcpListener)| {
            let address = listener.local_addr().unwrap();
            let port = if broken == Some(*id) {
                1
            } else {
                address.port()
            };
            (peers::variable(id), format!("http://127.0.0.1:{port}"))
        };
        let env: BTreeMap<_, _> = listeners.iter().map(url).collect();
        listeners
            .into_iter()
            .map(|(id, at)| start(at, &spec(id, version), env.clone(), 7).unwrap())
            .collect()
    }

    fn ask(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{head} HTTP/1.1\r\nhost: shop\r\n{TRACE}connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (
            answer[9..12].parse().unwrap(),
            answer.split_once("\r\n\r\n").unwrap().1.to_owned(),
        )
    }

    /// An answer without its noisy fields.
    fn content(address: SocketAddr, path: &str) -> serde_json::Value {
        let (status, body) = ask(address, &format!("GET {path}"), "");
        assert_eq!(status, 200, "{path}: {body}");
        let mut value: serde_json::Value = serde_json::from_str(&body).unwrap();
        for (noisy, _) in shop::NOISY {
            value
                .as_object_mut()
                .unwrap()
                .shift_remove(noisy.trim_start_matches("$."));
        }
        value
    }

    #[test]
    fn what_is_unknown_is_named_with_what_is_accepted() {
        let refused = |spec: &Builtin| {
            start(listener(), spec, BTreeMap::new(), 1)
                .unwrap_err()
                .to_string()
        };
        let mut app = spec("shop", "v1");
        app.app = "shpo".into();
        assert_eq!(
            refused(&app),
            "unknown builtin app `shpo`; accepted: shop, planted"
        );
        assert_eq!(
            refused(&spec("shop", "v9")),
            "builtin app `shop` has no version `v9`; accepted: v1, v2"
        );
        assert_eq!(
            refused(&spec("store", "v1")),
            "builtin app `shop` has no service `store`; accepted ids: shop, catalog, cart, payments"
        );
        assert_eq!(
            refused(&spec("cart", "v1")),
            "builtin service `cart` needs MESHBED_CATALOG_URL, which is set when `catalog` is among its `calls`"
        );
        let bad = BTreeMap::from([("MESHBED_CATALOG_URL".to_owned(), "tcp://x".to_owned())]);
        let error = start(listener(), &spec("cart", "v1"), bad, 1)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "MESHBED_CATALOG_URL is `tcp://x`, accepted: http://HOST:PORT"
        );
    }

    #[test]
    fn equal_requests_get_equal_answers_but_for_the_noisy_fields() {
        let (first, second) = (mall("v1", None), mall("v1", None));
        for path in [
            "/item/1042",
            "/catalog?page=3",
            "/cart/7",
            "/orders/7",
            "/search?q=lamp",
        ] {
            assert_eq!(
                content(first[0].address(), path),
                content(second[0].address(), path),
                "{path}"
            );
        }
    }

    #[test]
    fn version_2_differs_exactly_as_documented() {
        let (v1, v2) = (mall("v1", None), mall("v2", None));
        let (old, new) = (v1[0].address(), v2[0].address());
        let forgotten = (1000..1480).find(|sku| shop::lacks_tax(*sku)).unwrap();
        let kept = (1000..1480).find(|sku| !shop::lacks_tax(*sku)).unwrap();
        let (path, other) = (format!("/item/{forgotten}"), format!("/item/{kept}"));
        assert!(content(old, &path).get("tax").is_some());
        let mut expected = content(old, &path);
        expected.as_object_mut().unwrap().shift_remove("tax");
        assert_eq!(content(new, &path), expected);
        assert_eq!(content(new, &other), content(old, &other));
        let mut expected = content(old, "/orders/9");
        assert_eq!(expected["status"], "paid");
        expected["status"] = "confirmed".into();
        assert_eq!(content(new, "/orders/9"), expected);
    }

    #[test]
    fn a_refusing_peer_is_answered_for_at_once() {
        let no_payments = mall("v1", Some("payments"));
        let (status, body) = ask(no_payments[0].address(), "GET /orders/1", "");
        assert_eq!(
            (status, body.contains("payments is unreachable")),
            (502, true),
            "{body}"
        );
        let no_catalog = mall("v1", Some("catalog"));
        let cart = content(no_catalog[0].address(), "/cart/7");
        assert_eq!(cart["degraded"], serde_json::json!(["catalog"]));
        assert!(
            cart["items"]
                .as_array()
                .is_some_and(|items| !items.is_empty())
        );
        let (status, body) = ask(no_catalog[0].address(), "GET /", "");
        assert_eq!((status, body.contains("<li>")), (200, false), "{body}");
    }

    #[test]
    fn a_request_that_is_no_json_is_refused() {
        let mall = mall("v1", None);
        assert_eq!(ask(mall[0].address(), "POST /login", "user=ann").0, 400);
        assert_eq!(ask(mall[0].address(), "POST /checkout", "{}").0, 401);
        assert_eq!(ask(mall[0].address(), "PATCH /cart/1", "{}").0, 404);
    }

    #[test]
    fn stop_ends_open_connections_and_frees_the_port() {
        let mall = mall("v1", None);
        let address = mall[0].address();
        let mut open = TcpStream::connect(address).unwrap();
        open.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        assert!(open.read(&mut [0; 512]).unwrap() > 0);
        let began = tokio::time::Instant::now();
        mall.into_iter().for_each(Running::stop);
        assert!(
            began.elapsed() < std::time::Duration::from_millis(400),
            "four services, 100 ms each at most"
        );
        assert!(matches!(open.read(&mut [0; 512]), Ok(0) | Err(_)));
        TcpListener::bind(address).unwrap();
    }
}
