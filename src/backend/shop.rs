//! The app `shop`: a small web shop of four services.
//!
//! ```text
//!            ┌──────────┐      ┌─────────┐
//! client ──► │   shop   │ ───► │ catalog │ ◄─┐
//!            │ (front)  │      └─────────┘   │
//!            │          │ ───► ┌─────────┐   │
//!            │          │      │  cart   │ ──┘
//!            │          │ ───► ├─────────┤
//!            └──────────┘      │payments │
//!                              └─────────┘
//! ```
//!
//! | service | endpoints |
//! |---|---|
//! | `shop` | `GET / /catalog /search /feed /item/{id} /old/{id} /cart/{id} /account /orders/{id}`, `POST /login /cart/{id}/items /checkout /upload`, `DELETE /cart/{id}/items/{id}` |
//! | `catalog` | `GET /items /items/{id}` |
//! | `cart` | `GET /carts/{id}`, `POST /carts/{id}/items`, `DELETE /carts/{id}/items/{id}` |
//! | `payments` | `POST /pay/{id}`, `GET /orders/{id}` |
//!
//! every one answers `GET /healthz`.
//!
//! **Same request, same answer.** The shop keeps no state: what an item costs, what a cart holds, whether a payment is
//! declined is a function of its id, so that an answer depends on the request and the version alone, in whatever order
//! requests come. Only the fields in [`NOISY`] differ from answer to answer, as such fields do in real services.
//!
//! **Latency** is log-normal for each operation, drawn on the seed and the request's ordinal, so
//! that the same request takes the same time in every instance of a version.
//!
//! **Version 2** differs from version 1 in what [`DIFFERENCES`] lists, and in nothing else:
//! - `tax` is missing from each item whose sku satisfies [`lacks_tax`] (30 of the 480, one in 16), in
//!   `GET /item/{id}`, `GET /catalog`, `GET /search`, `GET /feed` and `GET /cart/{id}`;
//! - `GET /orders/{id}` says `"status": "confirmed"` where version 1 says `"paid"`;
//! - `GET /catalog` takes [`SLOWER`] longer.
//!
//! **A peer that fails** never hangs its caller: a refused or broken connection is answered with 502, a silence beyond
//! five seconds with 504, a 5xx with 503; where a page is worth something without the peer, it comes degraded and says
//! so (`"degraded": ["catalog"]`).

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::latency::{self, LogNormal};
use super::peers::{Answer, Failure, Peers};
use super::reply::{self, Reply};
use super::trace::Trace;
use super::{App, Difference, Service};

mod cart;
mod catalog;
mod front;
mod goods;
mod payments;
mod session;

pub use goods::lacks_tax;

/// The app as a table.
pub const APP: App = App {
    name: "shop",
    versions: &["v1", "v2"],
    services: &[
        Service {
            id: "shop",
            peers: &["catalog", "cart", "payments"],
        },
        Service {
            id: "catalog",
            peers: &[],
        },
        Service {
            id: "cart",
            peers: &["catalog"],
        },
        Service {
            id: "payments",
            peers: &[],
        },
    ],
    differences: DIFFERENCES,
};

/// What version 2 does otherwise than version 1.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        version: "v2",
        service: "shop",
        endpoints: &[
            "GET /item/{id}",
            "GET /catalog",
            "GET /search",
            "GET /feed",
            "GET /cart/{id}",
        ],
        what: "`tax` is missing from items whose sku hash is a multiple of 16",
    },
    Difference {
        version: "v2",
        service: "shop",
        endpoints: &["GET /orders/{id}"],
        what: "`status` is \"confirmed\" instead of \"paid\"",
    },
    Difference {
        version: "v2",
        service: "shop",
        endpoints: &["GET /catalog"],
        what: "takes 20 ms longer",
    },
];

/// Fields that differ from answer to answer within one version, with the reason.
pub const NOISY: &[(&str, &str)] = &[
    ("$.trace_id", "the trace id of the request it answers"),
    ("$.served_at", "the time of the answer"),
    (
        "$.viewers",
        "how many others look at the item just now: random",
    ),
];

/// How much longer version 2 takes over `GET /catalog`.
pub const SLOWER: Duration = Duration::from_millis(20);

/// The most a request body may hold; more is answered with 413.
const BODY_LIMIT: usize = 1 << 20;

/// A version of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The baseline.
    V1,
    /// The candidate, with its [`DIFFERENCES`].
    V2,
}

impl Version {
    /// The version of a name in [`APP`]'s `versions`; names are checked before.
    pub(super) fn named(name: &str) -> Self {
        if name == "v2" { Self::V2 } else { Self::V1 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// One service of the shop, at work.
#[derive(Debug)]
pub(super) struct Shop {
    service: &'static str,
    version: Version,
    peers: Peers,
    seed: u64,
    /// Requests so far: the ordinal of a request that carries none, and the source of noise.
    arrivals: Cell<u64>,
    started: (Timestamp, Instant),
}

/// A request, its path split.
struct Ask {
    head: Parts,
    body: Incoming,
    trace: Trace,
    ordinal: u64,
}

impl Shop {
    pub(super) fn new(service: &'static str, version: Version, peers: Peers, seed: u64) -> Self {
        Self {
            service,
            version,
            peers,
            seed,
            arrivals: Cell::new(0),
            started: (Timestamp::now(), Instant::now()),
        }
    }
}

impl super::server::Answer for Shop {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let arrival = self.arrivals.get();
        self.arrivals.set(arrival.wrapping_add(1));
        let (head, body) = request.into_parts();
        let trace = Trace::of(&head.headers);
        let ordinal = trace.ordinal().unwrap_or(arrival);
        if head.uri.path() == "/healthz" {
            return reply::json(
                StatusCode::OK,
                &serde_json::json!({ "status": "ok", "service": self.service, "version": self.version.name() }),
            );
        }
        let ask = Ask {
            head,
            body,
            trace,
            ordinal,
        };
        match self.service {
            "catalog" => catalog::answer(self, ask).await,
            "cart" => cart::answer(self, ask).await,
            "payments" => payments::answer(self, ask).await,
            _ => front::answer(self, ask).await,
        }
    }
}

impl Shop {
    /// Takes the time that an operation takes.
    async fn work(&self, operation: &str, latency: LogNormal, ask: &Ask) {
        tokio::time::sleep(latency.at(latency::draw(
            self.seed,
            self.service,
            operation,
            ask.ordinal,
        )))
        .await;
    }

    /// Calls a peer; anything but an answer below 500 is the reply that the caller's client gets.
    async fn call(
        &self,
        peer: &str,
        method: Method,
        target: &str,
        body: Option<Bytes>,
        ask: &Ask,
    ) -> Result<Answer, Reply> {
        match self
            .peers
            .call(peer, method, target, body, &ask.trace)
            .await
        {
            Ok(answer) if answer.status.is_server_error() => Err(reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("{peer}_unavailable"),
                &format!("{peer} answered {}", answer.status.as_u16()),
            )),
            Ok(answer) => Ok(answer),
            Err(failure) => {
                let status = match failure {
                    Failure::Unreachable => StatusCode::BAD_GATEWAY,
                    Failure::Timeout => StatusCode::GATEWAY_TIMEOUT,
                };
                Err(reply::error(
                    status,
                    &format!("{peer}_unavailable"),
                    &format!("{peer} {failure}"),
                ))
            }
        }
    }

    /// The time of an answer: the wall clock at the start, moved by the monotonic one.
    fn served_at(&self) -> String {
        let (wall, monotonic) = self.started;
        let elapsed = i64::try_from(monotonic.elapsed().as_millis()).unwrap_or(i64::MAX);
        let millis = wall.as_millisecond().saturating_add(elapsed);
        Timestamp::from_millisecond(millis)
            .unwrap_or(wall)
            .to_string()
    }

    /// A number below `below` that no two answers share reason to agree on.
    fn noise(&self, below: u64) -> u64 {
        let nanoseconds = self.started.1.elapsed().as_nanos() as u64;
        xxh3_64_with_seed(&nanoseconds.to_le_bytes(), self.arrivals.get()) % below.max(1)
    }
}

impl Ask {
    fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The path's segments, at most five: `/cart/7/items` is `cart`, `7`, `items`.
    fn segments(&self) -> Vec<String> {
        self.head
            .uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .take(5)
            .map(str::to_owned)
            .collect()
    }

    /// A query parameter, as typed: the shop's own parameters need no decoding.
    fn query(&self, name: &str) -> Option<&str> {
        let query = self.head.uri.query()?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The body as JSON; otherwise the refusal.
    async fn json(&mut self) -> Result<serde_json::Value, Reply> {
        let body = Limited::new(&mut self.body, BODY_LIMIT)
            .collect()
            .await
            .map_err(|_| {
                reply::error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    "the body must not exceed 1 MiB",
                )
            })?;
        serde_json::from_slice(&body.to_bytes())
            .map_err(|error| reply::error(StatusCode::BAD_REQUEST, "bad_json", &error.to_string()))
    }
}

/// The reply to a path that no service of the shop has.
fn not_found() -> Reply {
    reply::error(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this path",
    )
}
