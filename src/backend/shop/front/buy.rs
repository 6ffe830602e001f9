//! Carts, sessions, orders.

use bytes::Bytes;
use http::header::{HeaderValue, LOCATION, SET_COOKIE};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Outcome, PAGE, parse, passed, stamped};
use crate::backend::latency::LogNormal;
use crate::backend::reply::{self, Reply};
use crate::backend::shop::{Ask, Shop, Version, session};
use crate::backend::uuid;

const LOGIN: LogNormal = LogNormal::from_micros(6_000, 0.3);

pub(super) async fn cart(shop: &Shop, id: &str, ask: &Ask) -> Outcome {
    by_cart(shop, Method::GET, &format!("/carts/{id}"), None, ask).await
}

pub(super) async fn add(shop: &Shop, id: &str, ask: &mut Ask) -> Outcome {
    let line = ask.json().await?.to_string().into();
    by_cart(
        shop,
        Method::POST,
        &format!("/carts/{id}/items"),
        Some(line),
        ask,
    )
    .await
}

pub(super) async fn remove(shop: &Shop, id: &str, sku: &str, ask: &Ask) -> Outcome {
    by_cart(
        shop,
        Method::DELETE,
        &format!("/carts/{id}/items/{sku}"),
        None,
        ask,
    )
    .await
}

pub(super) async fn login(shop: &Shop, ask: &mut Ask) -> Outcome {
    let form = ask.json().await?;
    shop.work("login", LOGIN, ask).await;
    let user = form.get("user").and_then(Value::as_str).unwrap_or_default();
    if user.is_empty() || !user.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(reply::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_user",
            "`user` must be letters and digits",
        ));
    }
    let token = session::issue(user, shop.noise(u64::MAX));
    let cookie = HeaderValue::from_str(&format!("session={token}; Path=/; HttpOnly; SameSite=Lax"));
    let mut reply = stamped(
        shop,
        StatusCode::OK,
        json!({ "user": user, "cart": cart_of(user) }),
        ask,
    );
    if let Ok(cookie) = cookie {
        reply.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(reply)
}

pub(super) async fn account(shop: &Shop, ask: &Ask) -> Outcome {
    shop.work("account", PAGE, ask).await;
    let user = signed_in(ask)?;
    let orders: Vec<_> = (0..3)
        .map(|number| uuid::of(format!("order {user} {number}").as_bytes()))
        .collect();
    Ok(stamped(
        shop,
        StatusCode::OK,
        json!({ "user": user, "cart": cart_of(&user), "orders": orders }),
        ask,
    ))
}

/// Buys a cart: reads it, pays, and says which order it became.
pub(super) async fn checkout(shop: &Shop, ask: &mut Ask) -> Outcome {
    let form = ask.json().await?;
    shop.work("checkout", PAGE, ask).await;
    let user = signed_in(ask)?;
    let card = form.get("card").and_then(Value::as_str).unwrap_or_default();
    let id = form
        .get("cart")
        .and_then(Value::as_str)
        .map_or_else(|| cart_of(&user), str::to_owned);
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(reply::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_cart",
            "`cart` must be letters and digits",
        ));
    }
    let held = shop
        .call("cart", Method::GET, &format!("/carts/{id}"), None, ask)
        .await?;
    if !held.status.is_success() {
        return Ok(passed(held));
    }
    let total = parse(&held)?.get("total").cloned().unwrap_or_default();
    let payment = json!({ "amount": total, "card": card }).to_string();
    let paid = shop
        .call(
            "payments",
            Method::POST,
            &format!("/pay/{id}"),
            Some(payment.into()),
            ask,
        )
        .await?;
    if !paid.status.is_success() {
        return Ok(passed(paid));
    }
    let order = uuid::of(format!("order {user} {id}").as_bytes());
    let body = json!({ "order": order, "user": user, "cart": id, "total": total, "payment": parse(&paid)? });
    let mut reply = stamped(shop, StatusCode::CREATED, body, ask);
    if let Ok(location) = HeaderValue::from_str(&format!("/orders/{order}")) {
        reply.headers_mut().insert(LOCATION, location);
    }
    Ok(reply)
}

pub(super) async fn order(shop: &Shop, id: &str, ask: &Ask) -> Outcome {
    shop.work("order", PAGE, ask).await;
    let answer = shop
        .call("payments", Method::GET, &format!("/orders/{id}"), None, ask)
        .await?;
    if !answer.status.is_success() {
        return Ok(passed(answer));
    }
    let mut order = parse(&answer)?;
    if let (Version::V2, Some(fields)) = (shop.version, order.as_object_mut()) {
        fields.insert("status".to_owned(), json!("confirmed"));
    }
    Ok(stamped(shop, StatusCode::OK, order, ask))
}

/// Takes a body of any length and says what it was.
pub(super) async fn upload(shop: &Shop, ask: &mut Ask) -> Outcome {
    let (mut bytes, mut hash) = (0_u64, Xxh3::new());
    while let Some(frame) = ask.body.frame().await {
        let frame = frame.map_err(|_| {
            reply::error(StatusCode::BAD_REQUEST, "cut_short", "the body ended early")
        })?;
        if let Ok(data) = frame.into_data() {
            bytes += data.len() as u64;
            hash.update(&data);
        }
    }
    shop.work("upload", PAGE, ask).await;
    Ok(stamped(
        shop,
        StatusCode::CREATED,
        json!({ "bytes": bytes, "xxh3": format!("{:016x}", hash.digest()) }),
        ask,
    ))
}

/// Has `cart` do it, and hands its answer on.
async fn by_cart(
    shop: &Shop,
    method: Method,
    target: &str,
    body: Option<Bytes>,
    ask: &Ask,
) -> Outcome {
    shop.work("cart", PAGE, ask).await;
    let answer = shop.call("cart", method, target, body, ask).await?;
    if !answer.status.is_success() || answer.body.is_empty() {
        return Ok(passed(answer));
    }
    let location = answer.headers.get(LOCATION).cloned();
    let mut reply = stamped(shop, answer.status, parse(&answer)?, ask);
    if let Some(location) = location {
        reply.headers_mut().insert(LOCATION, location);
    }
    Ok(reply)
}

fn signed_in(ask: &Ask) -> Result<String, Reply> {
    let refusal = || {
        reply::error(
            StatusCode::UNAUTHORIZED,
            "no_session",
            "sign in at POST /login",
        )
    };
    session::user(ask.headers()).ok_or_else(refusal)
}

fn cart_of(user: &str) -> String {
    format!("{:08x}", xxh3_64(user.as_bytes()) as u32)
}
