//! Our own faults in an Envoy file: what Envoy has no field for. A filter with
//! `typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: meshbed/fault, value: {…}}`.

use std::collections::BTreeMap;

use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use prost_types::{Struct, Value, value::Kind};

use super::{Notes, Settings};
use crate::{
    config::Fallback,
    policy::fault::{
        Fault, Place, abort::Abort, delay::Delay, rewrite::Rewrite, throttle::Throttle,
        truncate::Truncate,
    },
    unit::{ByteSize, Rate, Share, parse_duration},
};

/// The type of our faults.
pub(in crate::envoy) const FAULT: &str = "meshbed/fault";

/// The type of what is done where a cluster takes nothing.
pub(in crate::envoy) const FALLBACK: &str = "meshbed/fallback";

/// `xds.type.v3.TypedStruct`, which the generated messages lack.
#[derive(Clone, PartialEq, Message)]
struct TypedStruct {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Struct>,
}

/// What a fault of our own does, and to whom.
#[derive(Debug, Clone)]
pub(in crate::envoy) struct Own {
    pub(super) place: Place,
    pub(super) share: Share,
    pub(super) max_active: Option<u32>,
    pub(super) kinds: Vec<(&'static str, Fault)>,
}

/// What is in a filter's settings, if they are of ours.
pub(super) fn fields(any: &Any) -> Option<Fields> {
    if !any.type_url.ends_with("/xds.type.v3.TypedStruct") {
        return None;
    }
    let typed = TypedStruct::decode(any.value.as_slice()).ok()?;
    let ours = typed.type_url.ends_with(FAULT);
    ours.then(|| typed.value.unwrap_or_default().fields)
}

/// Reads a filter's settings, if they are of ours.
pub(super) fn open(any: &Any, path: &str, notes: &mut Notes) -> Option<Own> {
    let fields = fields(any)?;
    let mut reader = Reader {
        path: format!("{path}.value"),
        notes,
    };
    Some(reader.own(&fields))
}

/// Reads a fallback, if it is one: `{ status: 200, body: text }` or `{ cluster: NAME }`; a filter's own may be empty.
pub(super) fn fallback(any: &Any, path: &str, notes: &mut Notes) -> Option<Settings> {
    if !any.type_url.ends_with("/xds.type.v3.TypedStruct") {
        return None;
    }
    let typed = TypedStruct::decode(any.value.as_slice()).ok()?;
    if !typed.type_url.ends_with(FALLBACK) {
        return None;
    }
    let fields = typed.value.unwrap_or_default().fields;
    if fields.is_empty() {
        return Some(Settings::Fallback(None));
    }
    if let Some(cluster) = fields.get("cluster").and_then(text) {
        let fallback = Fallback::Cluster(cluster.to_owned());
        return Some(Settings::Fallback(Some(fallback)));
    }
    let status = fields.get("status").and_then(number).and_then(whole);
    let Some(status) = status.and_then(|status| u16::try_from(status).ok()) else {
        notes.invalid(
            format!("{path}.value"),
            "a `cluster`, or a `status` and a `body`, is needed",
        );
        return Some(Settings::Fallback(None));
    };
    let body = fields.get("body").and_then(text).unwrap_or_default();
    Some(Settings::Fallback(Some(Fallback::Respond {
        status,
        body: body.to_owned(),
    })))
}

struct Reader<'a> {
    path: String,
    notes: &'a mut Notes,
}

pub(super) type Fields = BTreeMap<String, Value>;

impl Reader<'_> {
    fn own(&mut self, fields: &Fields) -> Own {
        let mut own = Own {
            place: Place::Request,
            share: Share::ALL,
            max_active: None,
            kinds: Vec::new(),
        };
        let mut of_response = false;
        for (key, value) in fields {
            match key.as_str() {
                "place" => match text(value) {
                    Some("request") => {}
                    Some("attempt") => own.place = Place::Attempt,
                    _ => self.wrong(key, "`request` or `attempt` is accepted"),
                },
                "percent" => match text(value).map(Share::parse) {
                    Some(Ok(share)) => own.share = share,
                    _ => self.wrong(key, Share::ACCEPTED),
                },
                "max_active" => match number(value).and_then(whole) {
                    Some(most) => own.max_active = Some(most),
                    None => self.wrong(key, "a whole number is accepted"),
                },
                "of" => match text(value) {
                    Some("request") => {}
                    Some("response") => of_response = true,
                    _ => self.wrong(key, "`request` or `response` is accepted"),
                },
                "delay" => match text(value).map(parse_duration) {
                    Some(Ok(delay)) => own.kinds.push(("delay", Fault::Delay(Delay::Fixed(delay)))),
                    _ => self.wrong(key, crate::unit::DURATION_ACCEPTED),
                },
                "abort" => {
                    let abort = fields_of(value).and_then(abort);
                    self.kind(&mut own, "abort", abort.map(Fault::Abort));
                }
                "throttle" => {
                    let rate = fields_of(value).and_then(|it| text(it.get("rate")?)).and_then(rate);
                    let throttle = rate.map(|bytes_per_second| Throttle { bytes_per_second });
                    self.kind(&mut own, "throttle", throttle.map(Fault::Throttle));
                }
                "truncate" => {
                    let after = fields_of(value)
                        .and_then(|it| text(it.get("after")?))
                        .and_then(|it| ByteSize::parse(it).ok());
                    let truncate = after.map(|after| Truncate { after: after.0 });
                    self.kind(&mut own, "truncate", truncate.map(Fault::Truncate));
                }
                "rewrite" => {
                    let rewrite = fields_of(value).map(rewrite);
                    self.kind(&mut own, "rewrite", rewrite.map(Fault::Rewrite));
                }
                _ => self.wrong(
                    key,
                    "it is none of `place`, `percent`, `max_active`, `delay`, `of`, `abort`, `throttle`, `truncate`, `rewrite`",
                ),
            }
        }
        if of_response {
            for (_, kind) in &mut own.kinds {
                if let Fault::Delay(delay) = kind {
                    *kind = Fault::DelayAnswer(delay.clone());
                }
            }
        }
        own
    }

    fn kind(&mut self, own: &mut Own, name: &'static str, fault: Option<Fault>) {
        match fault {
            Some(fault) => own.kinds.push((name, fault)),
            None => self.wrong(name, "it is not written as in the manual"),
        }
    }

    fn wrong(&mut self, key: &str, what: &str) {
        let path = format!("{}.{key}", self.path);
        self.notes.invalid(path, what);
    }
}

fn abort(fields: &Fields) -> Option<Abort> {
    if let Some(status) = fields.get("status") {
        return Some(Abort::Status {
            status: number(status).and_then(whole)?.try_into().ok()?,
            body: fields.get("body").and_then(text).map(str::to_owned),
        });
    }
    if let Some(grpc) = fields.get("grpc") {
        return text(grpc).and_then(Abort::grpc_code).map(Abort::Grpc);
    }
    if fields.get("stream").and_then(text) == Some("reset") {
        return Some(Abort::Reset);
    }
    let goaway = fields.get("goaway").and_then(|value| value.kind.as_ref());
    matches!(goaway, Some(Kind::BoolValue(true))).then_some(Abort::GoAway)
}

fn rewrite(fields: &Fields) -> Rewrite {
    let headers = fields.get("headers").and_then(fields_of);
    Rewrite {
        status: fields
            .get("status")
            .and_then(number)
            .and_then(whole)
            .and_then(|status| status.try_into().ok()),
        headers: headers.map_or_else(Vec::new, |them| {
            them.iter()
                .filter_map(|(name, value)| Some((name.clone(), text(value)?.to_owned())))
                .collect()
        }),
        body: fields.get("body").and_then(text).map(str::to_owned),
    }
}

/// `64KiB/s`, or a number of bytes as a rate of the grammar.
pub(super) fn rate(text: &str) -> Option<u64> {
    let (size, unit) = text.split_once('/')?;
    match ByteSize::parse(size) {
        Ok(size) if unit.trim() == "s" => Some(size.0),
        _ => Rate::parse(text).ok().map(|rate| rate.get() as u64),
    }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value.kind {
        Some(Kind::NumberValue(number)) => Some(number),
        _ => None,
    }
}

fn whole(number: f64) -> Option<u32> {
    let whole = number as u32;
    (f64::from(whole) - number)
        .abs()
        .lt(&f64::EPSILON)
        .then_some(whole)
}

pub(super) fn fields_of(value: &Value) -> Option<&Fields> {
    match &value.kind {
        Some(Kind::StructValue(fields)) => Some(&fields.fields),
        _ => None,
    }
}
