//! Pages to look at.

use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{Outcome, PAGE, forget_tax, parse, passed, stamped};
use crate::backend::peers::Answer;
use crate::backend::reply;
use crate::backend::shop::{Ask, SLOWER, Shop, Version, goods, not_found};

/// Lines of `GET /feed`.
const FEED: u32 = 20;

/// A page in HTML; without the catalogue it has no offers.
pub(super) async fn home(shop: &Shop, ask: &Ask) -> Outcome {
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

pub(super) async fn catalog(shop: &Shop, ask: &Ask) -> Outcome {
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

pub(super) async fn search(shop: &Shop, ask: &Ask) -> Outcome {
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
pub(super) async fn feed(shop: &Shop, ask: &Ask) -> Outcome {
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

pub(super) async fn item(shop: &Shop, id: &str, ask: &Ask) -> Outcome {
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

pub(super) async fn moved(shop: &Shop, id: &str, ask: &Ask) -> Outcome {
    shop.work("old", PAGE, ask).await;
    let location = HeaderValue::from_str(&format!("/item/{id}")).map_err(|_| not_found())?;
    let mut reply = reply::empty(StatusCode::MOVED_PERMANENTLY);
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}

/// A list of items of the catalogue, as clients see it.
fn shown(shop: &Shop, answer: &Answer, ask: &Ask) -> Outcome {
    Ok(stamped(shop, answer.status, parse(answer)?, ask))
}
