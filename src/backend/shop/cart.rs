//! `cart`: what somebody means to buy. Prices and names come from `catalog`; without it a cart shows bare skus.

use http::header::{HeaderValue, LOCATION};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::goods;
use super::{Ask, Shop, not_found};
use crate::backend::latency::LogNormal;
use crate::backend::reply::{self, Reply};

const READ: LogNormal = LogNormal::from_micros(2_000, 0.4);
const WRITE: LogNormal = LogNormal::from_micros(3_500, 0.5);

pub(super) async fn answer(shop: &Shop, mut ask: Ask) -> Reply {
    let method = ask.head.method.clone();
    let segments = ask.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (&method, segments.as_slice()) {
        (&(Method::GET | Method::HEAD), ["carts", id]) => {
            shop.work("read", READ, &ask).await;
            reply::json(StatusCode::OK, &cart(shop, id, goods::cart(id), &ask).await)
        }
        (&Method::POST, ["carts", id, "items"]) => {
            let line = match ask.json().await {
                Ok(line) => line,
                Err(refusal) => return refusal,
            };
            shop.work("write", WRITE, &ask).await;
            let Some(sku) = line.get("sku").and_then(Value::as_str).and_then(goods::sku) else {
                return reply::error(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "no_item",
                    "`sku` must name an item of the catalogue",
                );
            };
            let quantity = line
                .get("quantity")
                .and_then(Value::as_u64)
                .unwrap_or(1)
                .clamp(1, 99);
            let mut held = goods::cart(id);
            match held.iter_mut().find(|(other, _)| *other == sku) {
                Some((_, count)) => *count += quantity,
                None => held.push((sku, quantity)),
            }
            let mut reply = reply::json(StatusCode::CREATED, &cart(shop, id, held, &ask).await);
            if let Ok(location) = HeaderValue::from_str(&format!("/cart/{id}/items/{sku}")) {
                reply.headers_mut().insert(LOCATION, location);
            }
            reply
        }
        (&Method::DELETE, ["carts", id, "items", sku]) => {
            shop.work("write", WRITE, &ask).await;
            match goods::sku(sku) {
                Some(_) => reply::empty(StatusCode::NO_CONTENT),
                None => reply::error(
                    StatusCode::NOT_FOUND,
                    "no_item",
                    &format!("cart {id} holds no item {sku}"),
                ),
            }
        }
        _ => not_found(),
    }
}

/// A cart with the items it holds as the catalogue has them.
async fn cart(shop: &Shop, id: &str, held: Vec<(u32, u64)>, ask: &Ask) -> Value {
    let skus: Vec<_> = held.iter().map(|(sku, _)| sku.to_string()).collect();
    let known = shop
        .call(
            "catalog",
            Method::GET,
            &format!("/items?skus={}", skus.join(",")),
            None,
            ask,
        )
        .await;
    let known: Option<Value> = known
        .ok()
        .and_then(|answer| serde_json::from_slice(&answer.body).ok());
    let described = |sku: u32| -> Option<Value> {
        let items = known.as_ref()?.get("items")?.as_array()?;
        items
            .iter()
            .find(|item| item.get("sku").and_then(Value::as_str) == Some(&sku.to_string()))
            .cloned()
    };
    let mut cents = 0;
    let mut items = Vec::with_capacity(held.len());
    for (sku, quantity) in held {
        let (price, tax) = goods::price(sku);
        cents += (price + tax) * quantity;
        let mut line = json!({ "sku": sku.to_string(), "quantity": quantity });
        if let (Some(line), Some(item)) = (line.as_object_mut(), described(sku)) {
            for field in ["name", "price", "tax", "tags"] {
                line.insert(
                    field.to_owned(),
                    item.get(field).cloned().unwrap_or_default(),
                );
            }
        }
        items.push(line);
    }
    let mut cart =
        json!({ "id": id, "items": items, "total": goods::euros(cents), "currency": "EUR" });
    if let (None, Some(cart)) = (&known, cart.as_object_mut()) {
        cart.insert("degraded".to_owned(), json!(["catalog"]));
    }
    cart
}
