//! `shop`: what clients see. It asks the other services and puts pages together.
#![expect(
    clippy::result_large_err,
    reason = "a refusal is an answer, moved as often as any other"
)]

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::goods::{self, lacks_tax};
use super::{Ask, Shop, Version, not_found};
use crate::backend::latency::LogNormal;
use crate::backend::peers::Answer;
use crate::backend::reply::{self, Reply};

mod browse;
mod buy;

/// What putting a page together takes by itself.
const PAGE: LogNormal = LogNormal::from_micros(1_000, 0.4);

/// A reply either way: a refusal ends the work early.
type Outcome = Result<Reply, Reply>;

pub(super) async fn answer(shop: &Shop, mut ask: Ask) -> Reply {
    let method = match ask.head.method.clone() {
        Method::HEAD => Method::GET,
        method => method,
    };
    let segments = ask.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let outcome = match (&method, segments.as_slice()) {
        (&Method::GET, []) => browse::home(shop, &ask).await,
        (&Method::GET, ["catalog"]) => browse::catalog(shop, &ask).await,
        (&Method::GET, ["search"]) => browse::search(shop, &ask).await,
        (&Method::GET, ["feed"]) => browse::feed(shop, &ask).await,
        (&Method::GET, ["item", id]) => browse::item(shop, id, &ask).await,
        (&Method::GET, ["old", id]) => browse::moved(shop, id, &ask).await,
        (&Method::GET, ["cart", id]) => buy::cart(shop, id, &ask).await,
        (&Method::POST, ["cart", id, "items"]) => buy::add(shop, id, &mut ask).await,
        (&Method::DELETE, ["cart", id, "items", sku]) => buy::remove(shop, id, sku, &ask).await,
        (&Method::POST, ["login"]) => buy::login(shop, &mut ask).await,
        (&Method::GET, ["account"]) => buy::account(shop, &ask).await,
        (&Method::POST, ["checkout"]) => buy::checkout(shop, &mut ask).await,
        (&Method::GET, ["orders", id]) => buy::order(shop, id, &ask).await,
        (&Method::POST, ["upload"]) => buy::upload(shop, &mut ask).await,
        _ => Err(not_found()),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

/// JSON with the fields that tell one answer from another, and without what the version leaves out.
fn stamped(shop: &Shop, status: StatusCode, mut body: Value, ask: &Ask) -> Reply {
    forget_tax(shop.version, &mut body);
    if let Some(fields) = body.as_object_mut() {
        fields.insert("trace_id".to_owned(), json!(ask.trace.id()));
        fields.insert("served_at".to_owned(), json!(shop.served_at()));
    }
    reply::json(status, &body)
}

/// Version 2 forgets the tax of some items, wherever they are shown.
fn forget_tax(version: Version, body: &mut Value) {
    if version < Version::V2 {
        return;
    }
    let forget = |fields: &mut Map<String, Value>| {
        let sku = fields
            .get("sku")
            .and_then(Value::as_str)
            .and_then(goods::sku);
        if sku.is_some_and(lacks_tax) {
            fields.shift_remove("tax");
        }
    };
    if let Some(fields) = body.as_object_mut() {
        forget(fields);
        let items = fields.get_mut("items").and_then(Value::as_array_mut);
        items
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
            .for_each(forget);
    }
}

/// A peer's refusal, handed on.
fn passed(answer: Answer) -> Reply {
    if answer.body.is_empty() {
        return reply::empty(answer.status);
    }
    let mut reply = reply::typed(answer.status, "application/json", answer.body);
    if let Some(kind) = answer.headers.get(CONTENT_TYPE) {
        reply.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    reply
}

fn parse(answer: &Answer) -> Result<Value, Reply> {
    serde_json::from_slice(&answer.body).map_err(|_| {
        reply::error(
            StatusCode::BAD_GATEWAY,
            "bad_answer",
            "a peer's answer is not JSON",
        )
    })
}
