//! What the shop sells and what its carts hold: functions of ids, without state.

use serde_json::{Value, json};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The first sku.
const FIRST: u32 = 1000;

/// How many items there are.
pub(super) const ITEMS: u32 = 480;

/// Items on one page of the catalogue.
pub(super) const PAGE: u32 = 12;

const COLOURS: [&str; 8] = [
    "black", "white", "oak", "walnut", "steel", "brass", "green", "blue",
];
const THINGS: [&str; 12] = [
    "lamp", "chair", "shelf", "kettle", "mug", "teapot", "bench", "clock", "mirror", "stool",
    "vase", "blanket",
];
const TAGS: [&str; 10] = [
    "new",
    "sale",
    "indoor",
    "outdoor",
    "handmade",
    "recycled",
    "gift",
    "bulky",
    "fragile",
    "bestseller",
];

/// Whether version 2 forgets the `tax` of an item: `xxh3_64` of the sku's digits is a multiple of 16.
pub fn lacks_tax(sku: u32) -> bool {
    xxh3_64(sku.to_string().as_bytes()).is_multiple_of(16)
}

/// The sku in a path, if the shop has it.
pub(super) fn sku(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|sku| (FIRST..FIRST + ITEMS).contains(sku))
}

/// Price and tax of an item, in cents.
pub(super) fn price(sku: u32) -> (u64, u64) {
    let price = 199 + hash("price", sku) % 24_900;
    let rate = if hash("rate", sku).is_multiple_of(5) {
        7
    } else {
        19
    };
    (price, (price * rate + 50) / 100)
}

/// An item, whole.
pub(super) fn item(sku: u32) -> Value {
    let (price, tax) = price(sku);
    let name = format!(
        "{} {}",
        pick(&COLOURS, hash("colour", sku)),
        pick(&THINGS, hash("thing", sku))
    );
    let tags: Vec<_> = TAGS
        .iter()
        .enumerate()
        .filter(|(bit, _)| (hash("tags", sku) >> (bit * 3)).is_multiple_of(8))
        .map(|(_, tag)| tag)
        .collect();
    json!({
        "sku": sku.to_string(),
        "name": name,
        "price": euros(price),
        "tax": euros(tax),
        "currency": "EUR",
        "tags": tags,
        "stock": hash("stock", sku) % 40,
        "rating": { "average": (hash("rating", sku) % 41) as f64 / 10.0 + 1.0, "count": hash("ratings", sku) % 900 },
        "images": [format!("/img/{sku}-1.jpg"), format!("/img/{sku}-2.jpg")],
        "description": format!("The {name} for every day. Ships within {} days.", hash("days", sku) % 9 + 1),
    })
}

/// The skus on a page of the catalogue, from 1; beyond the last page there are none.
pub(super) fn page(number: u32) -> Vec<u32> {
    let begin = number.saturating_sub(1).saturating_mul(PAGE).min(ITEMS);
    let end = begin.saturating_add(PAGE).min(ITEMS);
    (FIRST + begin..FIRST + end).collect()
}

/// What a search finds: up to eight skus.
pub(super) fn search(words: &str) -> Vec<u32> {
    let seed = xxh3_64(words.to_lowercase().as_bytes());
    (0..seed % 9)
        .map(|place| any(xxh3_64_with_seed(&place.to_le_bytes(), seed)))
        .collect()
}

/// What a cart holds: one to six lines of sku and quantity.
pub(super) fn cart(id: &str) -> Vec<(u32, u64)> {
    let seed = xxh3_64_with_seed(id.as_bytes(), 1);
    let mut held: Vec<(u32, u64)> = Vec::new();
    for place in 0..=seed % 6 {
        let draw = xxh3_64_with_seed(&place.to_le_bytes(), seed);
        let sku = any(draw);
        if held.iter().all(|(other, _)| *other != sku) {
            held.push((sku, (draw >> 40) % 3 + 1));
        }
    }
    held
}

/// Whether the bank declines the payment for a cart: one cart in 50.
pub(super) fn declined(cart: &str) -> bool {
    xxh3_64_with_seed(cart.as_bytes(), 2).is_multiple_of(50)
}

/// Cents as an amount with two decimals.
pub(super) fn euros(cents: u64) -> f64 {
    cents as f64 / 100.0
}

fn any(draw: u64) -> u32 {
    FIRST + (draw % u64::from(ITEMS)) as u32
}

fn hash(what: &str, sku: u32) -> u64 {
    xxh3_64_with_seed(what.as_bytes(), u64::from(sku))
}

fn pick(words: &[&'static str], draw: u64) -> &'static str {
    words
        .get((draw % words.len().max(1) as u64) as usize)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_every_item_once() {
        let pages: Vec<u32> = (1..=40).flat_map(page).collect();
        assert_eq!(pages, (1000..1480).collect::<Vec<_>>());
        assert!(page(41).is_empty());
        assert!(page(u32::MAX).is_empty());
    }

    #[test]
    fn one_item_in_sixteen_lacks_its_tax_in_version_2() {
        assert_eq!((1000..1480).filter(|sku| lacks_tax(*sku)).count(), 30);
    }

    #[test]
    fn a_cart_holds_one_to_six_different_items() {
        for id in 0..500 {
            let held = cart(&id.to_string());
            assert!((1..=6).contains(&held.len()));
            assert!(
                held.iter()
                    .all(|(sku, count)| (1000..1480).contains(sku) && (1..=3).contains(count))
            );
        }
    }
}
