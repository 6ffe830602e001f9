//! A value that was held against its [`Kind`](super::key::Kind): typed, defaults filled in, still with its place.

use std::{net::SocketAddr, time::Duration};

use jiff::civil::Date;
use meshbed_proxy::unit::{ByteSize, Rate, Share, show_duration};
use serde_json::{Map, Value as Json};

use super::{problem::Place, yaml::Key};
use crate::{event::Id, expr::Unit};

/// A value, where it stands, and how it is shown.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) at: Place,
    /// `faults[slow-payments].percent`.
    pub(super) path: String,
    pub(super) value: Value,
    /// Typed by the user, not filled in.
    pub(super) given: bool,
    /// What may be shown of a text: variables of the environment are left as written.
    pub(super) shown: Option<String>,
    /// For each character of a text, how far right of the place it stands; empty: not known.
    pub(super) columns: Vec<u32>,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Id(Id),
    Flag(bool),
    Whole(u64),
    Number(f64),
    Duration(Duration),
    Rate(Rate),
    Size(ByteSize),
    Share(Share),
    Span(Duration, Duration),
    Bound(f64, Unit),
    Address(SocketAddr),
    Date(Date),
    /// What it is, and what may be shown of it.
    Json(Json, Json),
    List(Vec<Item>),
    Map(Vec<(Key, Item)>),
    /// It is wrong, and that has been said.
    Bad,
}

impl Item {
    /// The value of a key; `None`: not there, or wrong.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.name == name)
                .map(|(_, item)| item)
                .filter(|item| !matches!(item.value, Value::Bad)),
            _ => None,
        }
    }

    /// Whether the user typed this key.
    pub(super) fn has(&self, name: &str) -> bool {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .any(|(key, item)| key.name == name && item.given),
            _ => false,
        }
    }

    pub(super) fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The items of the list at a key.
    pub(super) fn list(&self, name: &str) -> &[Self] {
        self.get(name).map_or(&[], Self::items)
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Id(id) => Some(id),
            _ => None,
        }
    }

    pub(super) fn as_id(&self) -> Option<&Id> {
        match &self.value {
            Value::Id(id) => Some(id),
            _ => None,
        }
    }

    pub(super) fn as_duration(&self) -> Option<Duration> {
        match self.value {
            Value::Duration(duration) => Some(duration),
            _ => None,
        }
    }

    pub(super) fn as_share(&self) -> Option<Share> {
        match self.value {
            Value::Share(share) => Some(share),
            _ => None,
        }
    }

    pub(super) fn as_whole(&self) -> Option<u64> {
        match self.value {
            Value::Whole(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Self::as_text)
    }

    pub(super) fn id(&self, name: &str) -> Option<&Id> {
        self.get(name).and_then(Self::as_id)
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        self.get(name).and_then(Self::as_duration)
    }

    pub(super) fn share(&self, name: &str) -> Option<Share> {
        self.get(name).and_then(Self::as_share)
    }

    pub(super) fn whole(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(Self::as_whole)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(Self::as_number)
    }

    pub(super) fn size(&self, name: &str) -> Option<ByteSize> {
        match self.get(name)?.value {
            Value::Size(size) => Some(size),
            _ => None,
        }
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    /// The texts of the list at a key.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.list(name)
            .iter()
            .filter_map(Self::as_text)
            .map(str::to_owned)
            .collect()
    }

    /// The texts of the map at a key, in file order.
    pub(super) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        self.get(name)
            .map_or(&[][..], Self::entries)
            .iter()
            .filter_map(|(key, item)| Some((key.name.clone(), item.as_text()?.to_owned())))
            .collect()
    }

    /// Where a character of its text stands; the whole where that is not known.
    pub(super) fn place_in(&self, begin: usize, length: usize) -> Place {
        let end = begin + length.max(1) - 1;
        match (self.columns.get(begin), self.columns.get(end)) {
            (Some(first), Some(last)) => Place {
                column: self.at.column + first,
                width: (last.saturating_sub(*first)) + 1,
                ..self.at
            },
            // Past the last character: what is missing stands there.
            (None, None) if begin == self.columns.len() && begin > 0 => Place {
                column: self.at.column + self.columns.last().copied().unwrap_or(0) + 1,
                width: 1,
                ..self.at
            },
            _ => self.at,
        }
    }

    /// The value with its units, for the report.
    pub(super) fn json(&self) -> Json {
        if let (Value::Text(_), Some(shown)) = (&self.value, &self.shown) {
            return Json::String(shown.clone());
        }
        match &self.value {
            Value::Text(text) => Json::String(text.clone()),
            Value::Id(id) => Json::String(id.to_string()),
            Value::Flag(flag) => Json::Bool(*flag),
            Value::Whole(number) => Json::from(*number),
            Value::Number(number) => number_json(*number),
            Value::Duration(duration) => Json::String(show_duration(*duration)),
            Value::Rate(rate) => Json::String(rate.to_string()),
            Value::Size(size) => Json::String(size.to_string()),
            Value::Share(share) => Json::String(share.to_string()),
            Value::Span(begin, end) => Json::String(format!(
                "{}..{}",
                show_duration(*begin),
                show_duration(*end)
            )),
            Value::Bound(number, unit) => Json::String(crate::expr::show_literal(*number, *unit)),
            Value::Address(address) => Json::String(address.to_string()),
            Value::Date(date) => Json::String(date.to_string()),
            Value::Json(_, shown) => shown.clone(),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, item)| (key.name.clone(), item.json()))
                    .collect::<Map<_, _>>(),
            ),
            Value::Bad => Json::Null,
        }
    }
}

/// A number as people write it: 1 rather than 1.0.
fn number_json(number: f64) -> Json {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        Json::from(number as i64)
    } else {
        Json::from(number)
    }
}
