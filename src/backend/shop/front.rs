//! `shop`: what clients see. It asks the other services and puts pages together.
#![expect(
    clippy::result_large_err,
    reason = "a refusal is an answer, moved as often as any other"
)]

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, SET_COOKIE,
};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::goods::{self, lacks_tax};
use super::{Ask, SLOWER, Shop, Version, not_found, session};
use crate::backend::latency::LogNormal;
use crate::backend::peers::Answer;
use crate::backend::reply::{self, Reply};

const PAGE: LogNormal = LogNormal::from_micros(1_000, 0.4);
const LOGIN: LogNormal = LogNormal::from_micros(6_000, 0.3);

/// Lines of `GET /feed`.
const FEED: u32 = 20;

pub(super) async fn answer(shop: &Shop, mut ask: Ask) -> Reply {
    let method = match ask.head.method.clone() {
        Method::HEAD => Method::GET,
        method => method,
    };
    let segments = ask.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let outcome = match (&method, segments.as_slice()) {
        (&Method::GET, []) => home(shop, &ask).await,
        (&Method::GET, ["catalog"]) => catalog(shop, &ask).await,
        (&Method::GET, ["search"]) => search(shop, &ask).await,
        (&Method::GET, ["feed"]) => feed(shop, &ask).await,
        (&Method::GET, ["item", id]) => item(shop, id, &ask).await,
        (&Method::GET, ["old", id]) => moved(shop, id, &ask).await,
        (&Method::GET, ["cart", id]) => {
            cart(shop, Method::GET, &format!("/carts/{id}"), None, &ask).await
        }
        (&Method::POST, ["cart", id, "items"]) => add(shop, id, &mut ask).await,
        (&Method::DELETE, ["cart", id, "items", sku]) => {
            cart(
                shop,
                Method::DELETE,
                &format!("/carts/{id}/items/{sku}"),
                None,
                &ask,
            )
            .await
        }
        (&Method::POST, ["login"]) => login(shop, &mut ask).await,
        (&Method::GET, ["account"]) => account(shop, &ask).await,
        (&Method::POST, ["checkout"]) => checkout(shop, &mut ask).await,
        (&Method::GET, ["orders", id]) => order(shop, id, &ask).await,
        (&Method::POST, ["upload"]) => upload(shop, &mut ask).await,
        _ => Err(not_found()),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

type Outcome = Result<Reply, Reply>;

/// A page in HTML; without the catalogue it has no offers.
async fn home(shop: &Shop, ask: &Ask) -> Outcome {
    shop.work("home", PAGE, ask).await;
    let offers = match shop
        .call("catalog", Method::GET, "/items?q=today", None, ask)
        .await
    {
        Ok(answer) => parse(&answer)?
            .get("items")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let line = |offer: &Value| {
        let text = |field: &str| match offer.get(field) {
            Some(Value::String(text)) => text.clone(),
            other => other.map(Value::to_string).unwrap_or_default(),
        };
        let (sku, name, price) = (text("sku"), text("name"), text("price"));
        format!("<li><a href=\"/item/{sku}\">{name}</a> {price}\n")
    };
    let list: String = offers.iter().map(line).collect();
    let page = format!("<!doctype html>\n<title>The shop</title>\n<ul>\n{list}</ul>\n");
    Ok(reply::typed(
        StatusCode::OK,
        "text/html; charset=utf-8",
        page,
    ))
}

async fn catalog(shop: &Shop, ask: &Ask) -> Outcome {
    shop.work("catalog", PAGE, ask).await;
    if shop.version >= Version::V2 {
        tokio::time::sleep(SLOWER).await;
    }
    let page = ask.query("page").unwrap_or("1");
    let answer = shop
        .call(
            "catalog",
            Method::GET,
            &format!("/items?page={page}"),
            None,
            ask,
        )
        .await?;
    shown(shop, &answer, ask)
}

async fn search(shop: &Shop, ask: &Ask) -> Outcome {
    shop.work("search", PAGE, ask).await;
    let Some(words) = ask.query("q") else {
        return Err(reply::error(
            StatusCode::BAD_REQUEST,
            "no_query",
            "the parameter `q` is required",
        ));
    };
    let answer = shop
        .call(
            "catalog",
            Method::GET,
            &format!("/items?q={words}"),
            None,
            ask,
        )
        .await?;
    shown(shop, &answer, ask)
}

/// The stock list of a page, a line an item.
async fn feed(shop: &Shop, ask: &Ask) -> Outcome {
    shop.work("feed", PAGE, ask).await;
    let from = ask.query("from").and_then(goods::sku).unwrap_or(1000);
    let skus: Vec<_> = (from..from + FEED).map(|sku| sku.to_string()).collect();
    let answer = shop
        .call(
            "catalog",
            Method::GET,
            &format!("/items?skus={}", skus.join(",")),
            None,
            ask,
        )
        .await?;
    let mut list = parse(&answer)?;
    forget_tax(shop.version, &mut list);
    let items = list
        .get_mut("items")
        .and_then(Value::as_array_mut)
        .map(std::mem::take)
        .unwrap_or_default();
    Ok(reply::lines(items))
}

async fn item(shop: &Shop, id: &str, ask: &Ask) -> Outcome {
    shop.work("item", PAGE, ask).await;
    let answer = shop
        .call("catalog", Method::GET, &format!("/items/{id}"), None, ask)
        .await?;
    if !answer.status.is_success() {
        return Ok(passed(answer));
    }
    let tag = format!("\"{:016x}\"", xxh3_64(&answer.body));
    let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
    let mut reply = if ask.headers().get(IF_NONE_MATCH) == Some(&tag) {
        reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut item = parse(&answer)?;
        if let Some(fields) = item.as_object_mut() {
            fields.insert("viewers".to_owned(), json!(shop.noise(60)));
        }
        stamped(shop, StatusCode::OK, item, ask)
    };
    reply.headers_mut().insert(ETAG, tag);
    reply
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    Ok(reply)
}

async fn moved(shop: &Shop, id: &str, ask: &Ask) -> Outcome {
    shop.work("old", PAGE, ask).await;
    let location = HeaderValue::from_str(&format!("/item/{id}")).map_err(|_| not_found())?;
    let mut reply = reply::empty(StatusCode::MOVED_PERMANENTLY);
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}

async fn cart(
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

async fn add(shop: &Shop, id: &str, ask: &mut Ask) -> Outcome {
    let line = ask.json().await?;
    cart(
        shop,
        Method::POST,
        &format!("/carts/{id}/items"),
        Some(line.to_string().into()),
        ask,
    )
    .await
}

async fn login(shop: &Shop, ask: &mut Ask) -> Outcome {
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

async fn account(shop: &Shop, ask: &Ask) -> Outcome {
    shop.work("account", PAGE, ask).await;
    let user = signed_in(ask)?;
    let orders: Vec<_> = (0..3)
        .map(|number| goods::uuid(&format!("order {user} {number}")))
        .collect();
    Ok(stamped(
        shop,
        StatusCode::OK,
        json!({ "user": user, "cart": cart_of(&user), "orders": orders }),
        ask,
    ))
}

/// Buys a cart: reads it, pays, and says which order it became.
async fn checkout(shop: &Shop, ask: &mut Ask) -> Outcome {
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
    let order = goods::uuid(&format!("order {user} {id}"));
    let body = json!({ "order": order, "user": user, "cart": id, "total": total, "payment": parse(&paid)? });
    let mut reply = stamped(shop, StatusCode::CREATED, body, ask);
    if let Ok(location) = HeaderValue::from_str(&format!("/orders/{order}")) {
        reply.headers_mut().insert(LOCATION, location);
    }
    Ok(reply)
}

async fn order(shop: &Shop, id: &str, ask: &Ask) -> Outcome {
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
async fn upload(shop: &Shop, ask: &mut Ask) -> Outcome {
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

/// A list of items of the catalogue, as clients see it.
fn shown(shop: &Shop, answer: &Answer, ask: &Ask) -> Outcome {
    Ok(stamped(shop, answer.status, parse(answer)?, ask))
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
