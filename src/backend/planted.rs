//! The app `planted`: one service, made to be told from itself.
//!
//! | endpoint | answer |
//! |---|---|
//! | `GET /orders/{id}` | an order with three lines |
//! | `GET /users/{id}` | a user with three roles |
//! | `GET /healthz` | 200 |
//!
//! ids are any text; anything else is answered 404.
//!
//! **Noise.** Every answer carries the fields of [`NOISY`]: an id, a time and a number that no two answers share.
//!
//! **Version 2** gives another answer than version 1 to six requests in a hundred, one in a hundred for each [`Plant`], and
//! no request meets two of them. Which is a pure function of the request: [`planted`] of its method, its target (path and
//! query) and, if it carries our trace context, its ordinal; so a test can name the very requests, and any two instances of
//! version 2 differ from version 1 in the same ones.
//!
//! Without trace context (traffic that is no schedule's) the target alone decides: it is the variety of the ids that makes
//! the hundred then.

use std::cell::Cell;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::latency::{self, LogNormal};
use super::reply::{self, Reply};
use super::trace::Trace;
use super::uuid;
use super::{App, Difference, Service};

/// The endpoints at which the differences show.
const ENDPOINTS: &[&str] = &["GET /orders/{id}", "GET /users/{id}"];

/// The app as a table.
pub const APP: App = App {
    name: "planted",
    versions: &["v1", "v2"],
    services: &[Service {
        id: "planted",
        peers: &[],
    }],
    differences: DIFFERENCES,
};

/// What version 2 does otherwise than version 1, each in 1 % of the answers.
pub const DIFFERENCES: &[Difference] = &[
    planted_at("`total` is 1 more"),
    planted_at("`tax` is missing"),
    planted_at("`count` is a text instead of a number"),
    planted_at("`items` come in reverse order"),
    planted_at("`content-type` has a charset"),
    planted_at("the status is 202 instead of 200"),
];

/// Fields that differ from answer to answer within one version, with the reason.
pub const NOISY: &[(&str, &str)] = &[
    ("$.request_id", "a random UUID"),
    ("$.served_at", "the time of the answer, in microseconds"),
    ("$.meta.load", "a random number"),
    ("header:x-served-id", "a random UUID"),
];

/// How long an answer takes.
const ANSWER: LogNormal = LogNormal::from_micros(500, 0.4);

const fn planted_at(what: &'static str) -> Difference {
    Difference {
        version: "v2",
        service: "planted",
        endpoints: ENDPOINTS,
        what,
    }
}

/// A planted difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// `$.total` is 1 more.
    Value,
    /// `$.tax` is missing.
    Missing,
    /// `$.count` is a text.
    Type,
    /// `$.items` are reversed.
    Order,
    /// `content-type` is `application/json; charset=utf-8`.
    Header,
    /// 202 instead of 200.
    Status,
}

/// What version 2 does otherwise in answering a request: `xxh3_64` of `"METHOD TARGET"`, seeded with the ordinal (0 where
/// there is none), modulo 100; 0 to 5 are the plants in their order.
pub fn planted(method: &str, target: &str, ordinal: Option<u64>) -> Option<Plant> {
    let key = format!("{method} {target}");
    match xxh3_64_with_seed(key.as_bytes(), ordinal.unwrap_or_default()) % 100 {
        0 => Some(Plant::Value),
        1 => Some(Plant::Missing),
        2 => Some(Plant::Type),
        3 => Some(Plant::Order),
        4 => Some(Plant::Header),
        5 => Some(Plant::Status),
        _ => None,
    }
}

/// The service, at work.
#[derive(Debug)]
pub(super) struct Planted {
    candidate: bool,
    seed: u64,
    /// Requests so far: the ordinal of one that carries none, and part of the noise.
    arrivals: Cell<u64>,
    started: (Timestamp, Instant),
}

impl Planted {
    pub(super) fn new(version: &str, seed: u64) -> Self {
        Self {
            candidate: version == "v2",
            seed,
            arrivals: Cell::new(0),
            started: (Timestamp::now(), Instant::now()),
        }
    }

    /// A number that no two answers share, of whatever instance.
    fn noise(&self) -> u64 {
        let (wall, monotonic) = self.started;
        let now = wall.as_nanosecond() as u64;
        let now = now.wrapping_add(monotonic.elapsed().as_nanos() as u64);
        xxh3_64_with_seed(
            &now.to_le_bytes(),
            self.arrivals.get() ^ (u64::from(std::process::id()) << 32),
        )
    }

    fn served_at(&self) -> String {
        let (wall, monotonic) = self.started;
        let elapsed = i64::try_from(monotonic.elapsed().as_micros()).unwrap_or(i64::MAX);
        let micros = wall.as_microsecond().saturating_add(elapsed);
        Timestamp::from_microsecond(micros)
            .unwrap_or(wall)
            .to_string()
    }
}

impl super::server::Answer for Planted {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let arrival = self.arrivals.get();
        self.arrivals.set(arrival.wrapping_add(1));
        let path = request.uri().path();
        if path == "/healthz" {
            return reply::json(StatusCode::OK, &json!({ "status": "ok" }));
        }
        let found = match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            Some((kind @ ("orders" | "users"), id)) if !id.is_empty() && !id.contains('/') => {
                Some((kind, id))
            }
            _ => None,
        };
        let Some((kind, id)) = found else {
            return reply::error(
                StatusCode::NOT_FOUND,
                "not_found",
                "accepted: /orders/ID, /users/ID",
            );
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return reply::error(StatusCode::METHOD_NOT_ALLOWED, "method", "accepted: GET");
        }
        let ordinal = Trace::of(request.headers()).ordinal();
        let target = request
            .uri()
            .path_and_query()
            .map_or(path, |target| target.as_str());
        let plant = planted(request.method().as_str(), target, ordinal).filter(|_| self.candidate);
        let draw = latency::draw(self.seed, "planted", kind, ordinal.unwrap_or(arrival));
        tokio::time::sleep(ANSWER.at(draw)).await;
        let noise = self.noise();
        let mut body = thing(kind, id);
        body.insert(
            "request_id".to_owned(),
            uuid::of(&noise.to_le_bytes()).into(),
        );
        body.insert("served_at".to_owned(), self.served_at().into());
        body.insert("meta".to_owned(), json!({ "load": noise % 10_000 }));
        grow(body, plant, noise)
    }
}

/// What an id stands for: a function of it, without state.
fn thing(kind: &str, id: &str) -> Map<String, Value> {
    let hash = xxh3_64(id.as_bytes());
    let items: [&str; 3] = match kind {
        "orders" => ["lamp", "chair", "clock"],
        _ => ["reader", "editor", "owner"],
    };
    let total = 100 + hash % 9_900;
    [
        ("kind", Value::from(kind)),
        ("id", Value::from(id)),
        ("total", Value::from(total)),
        ("tax", Value::from(total / 5)),
        ("count", Value::from(1 + hash % 7)),
        ("items", Value::from(items.to_vec())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Makes the answer, with what is planted in it.
fn grow(mut body: Map<String, Value>, plant: Option<Plant>, noise: u64) -> Reply {
    match plant {
        Some(Plant::Value) => {
            if let Some(total) = body.get_mut("total") {
                *total = Value::from(total.as_u64().unwrap_or_default() + 1);
            }
        }
        Some(Plant::Missing) => {
            body.shift_remove("tax");
        }
        Some(Plant::Type) => {
            if let Some(count) = body.get_mut("count") {
                *count = Value::from(count.to_string());
            }
        }
        Some(Plant::Order) => {
            if let Some(Value::Array(items)) = body.get_mut("items") {
                items.reverse();
            }
        }
        Some(Plant::Header | Plant::Status) | None => {}
    }
    let status = if plant == Some(Plant::Status) {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let mut reply = reply::json(status, &Value::Object(body));
    if plant == Some(Plant::Header) {
        reply.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
    }
    if let Ok(id) = HeaderValue::from_str(&uuid::of(&noise.rotate_left(17).to_le_bytes())) {
        reply.headers_mut().insert("x-served-id", id);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn answered(plant: Option<Plant>, noise: u64) -> (u16, String, Value) {
        let reply = grow(thing("orders", "17"), plant, noise);
        let status = reply.status().as_u16();
        let content_type = reply.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        (status, content_type, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn each_difference_is_planted_in_one_request_of_a_hundred() {
        let plants = [
            Plant::Value,
            Plant::Missing,
            Plant::Type,
            Plant::Order,
            Plant::Header,
            Plant::Status,
        ];
        for plant in plants {
            let by_ordinal = (0..20_000)
                .filter(|ordinal| planted("GET", "/orders/1", Some(*ordinal)) == Some(plant))
                .count();
            let by_target = (0..20_000)
                .filter(|id| planted("GET", &format!("/orders/{id}"), None) == Some(plant))
                .count();
            // 200 expected; 4 sigma is 56.
            for count in [by_ordinal, by_target] {
                assert!((144..=256).contains(&count), "{plant:?}: {count}");
            }
        }
    }

    #[tokio::test]
    async fn each_plant_changes_what_it_says_and_nothing_else() {
        let (status, content_type, plain) = answered(None, 1).await;
        assert_eq!((status, content_type.as_str()), (200, "application/json"));
        let with = |change: &dyn Fn(&mut Value)| {
            let mut value = plain.clone();
            change(&mut value);
            value
        };
        let total = plain["total"].as_u64().unwrap();
        let count = plain["count"].as_u64().unwrap();
        let expected = [
            (Plant::Value, with(&|one| one["total"] = json!(total + 1))),
            (
                Plant::Missing,
                with(&|one| drop(one.as_object_mut().unwrap().shift_remove("tax"))),
            ),
            (
                Plant::Type,
                with(&|one| one["count"] = json!(count.to_string())),
            ),
            (
                Plant::Order,
                with(&|one| one["items"] = json!(["clock", "chair", "lamp"])),
            ),
            (Plant::Header, plain.clone()),
            (Plant::Status, plain.clone()),
        ];
        for (plant, body) in expected {
            let (status, content_type, found) = answered(Some(plant), 1).await;
            assert_eq!(found, body, "{plant:?}");
            assert_eq!(status == 202, plant == Plant::Status);
            assert_eq!(
                content_type.ends_with("charset=utf-8"),
                plant == Plant::Header
            );
        }
    }
}
