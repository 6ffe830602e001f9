//! `catalog`: what is for sale.

use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::goods;
use super::{Ask, Shop, not_found};
use crate::backend::latency::LogNormal;
use crate::backend::reply::{self, Reply};

const ONE: LogNormal = LogNormal::from_micros(1_500, 0.4);
const MANY: LogNormal = LogNormal::from_micros(4_000, 0.5);

pub(super) async fn answer(shop: &Shop, ask: Ask) -> Reply {
    if !matches!(ask.head.method, Method::GET | Method::HEAD) {
        return reply::error(StatusCode::METHOD_NOT_ALLOWED, "method", "accepted: GET");
    }
    let segments = ask.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["items"] => {
            shop.work("items", MANY, &ask).await;
            fresh(reply::json(StatusCode::OK, &many(&ask)))
        }
        ["items", id] => {
            shop.work("item", ONE, &ask).await;
            match goods::sku(id) {
                Some(sku) => fresh(reply::json(StatusCode::OK, &goods::item(sku))),
                None => reply::error(
                    StatusCode::NOT_FOUND,
                    "no_item",
                    &format!("there is no item {id}"),
                ),
            }
        }
        _ => not_found(),
    }
}

/// Items by `skus=1000,1001`, by `q=words`, or by `page=1`.
fn many(ask: &Ask) -> Value {
    let page = ask
        .query("page")
        .and_then(|page| page.parse().ok())
        .unwrap_or(1);
    let skus = match (ask.query("skus"), ask.query("q")) {
        (Some(skus), _) => skus.split(',').filter_map(goods::sku).collect(),
        (None, Some(words)) => goods::search(words),
        (None, None) => goods::page(page),
    };
    let items: Vec<_> = skus.into_iter().map(goods::item).collect();
    json!({ "page": page, "pages": goods::ITEMS.div_ceil(goods::PAGE), "count": items.len(), "items": items })
}

fn fresh(mut reply: Reply) -> Reply {
    reply
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    reply
}
