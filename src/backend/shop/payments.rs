//! `payments`: takes money, remembers nothing.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::goods;
use super::{Ask, Shop, not_found};
use crate::backend::latency::LogNormal;
use crate::backend::reply::{self, Reply};
use crate::backend::uuid;

const PAY: LogNormal = LogNormal::from_micros(9_000, 0.5);
const READ: LogNormal = LogNormal::from_micros(2_000, 0.4);

pub(super) async fn answer(shop: &Shop, mut ask: Ask) -> Reply {
    let method = ask.head.method.clone();
    let segments = ask.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (&method, segments.as_slice()) {
        (&Method::POST, ["pay", cart]) => {
            let order = match ask.json().await {
                Ok(order) => order,
                Err(refusal) => return refusal,
            };
            shop.work("pay", PAY, &ask).await;
            pay(cart, &order)
        }
        (&(Method::GET | Method::HEAD), ["orders", id]) => {
            shop.work("order", READ, &ask).await;
            let held = goods::cart(id);
            let cents: u64 = held
                .iter()
                .map(|(sku, count)| goods::price(*sku).0 * count)
                .sum();
            reply::json(
                StatusCode::OK,
                &json!({ "id": id, "status": "paid", "total": goods::euros(cents), "currency": "EUR", "lines": held.len() }),
            )
        }
        _ => not_found(),
    }
}

fn pay(cart: &str, order: &Value) -> Reply {
    let (Some(amount), Some(card)) = (
        order.get("amount").and_then(Value::as_f64),
        order.get("card").and_then(Value::as_str),
    ) else {
        return reply::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_payment",
            "`amount` and `card` are required",
        );
    };
    if goods::declined(cart) {
        return reply::error(
            StatusCode::PAYMENT_REQUIRED,
            "declined",
            "the bank declined the payment",
        );
    }
    let last: String = card
        .chars()
        .rev()
        .take(4)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    reply::json(
        StatusCode::CREATED,
        &json!({ "payment": uuid::of(format!("pay {cart}").as_bytes()), "amount": amount, "card": format!("**** {last}"), "status": "captured" }),
    )
}
