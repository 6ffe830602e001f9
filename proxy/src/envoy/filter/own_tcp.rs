//! Our own faults before a TCP proxy: `meshbed/fault`, as for HTTP, with the kinds of
//! [`policy::fault::tcp`](crate::policy::fault::tcp).

use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;

use super::{
    Notes,
    own::{Fields, fields, fields_of, rate, text},
};
use crate::{
    policy::fault::tcp::{
        Direction, Fault, Rule, Select, bandwidth::Bandwidth, latency::Latency,
        limit_data::LimitData, loss::Loss, slicer::Slicer,
    },
    unit::{ByteSize, Share, parse_duration},
};

/// The rules of a network filter, if it is of ours.
pub(in crate::envoy) fn rules(
    any: &Any,
    name: &str,
    listener: &str,
    path: &str,
    notes: &mut Notes,
) -> Vec<Rule> {
    let Some(fields) = fields(any) else {
        return Vec::new();
    };
    let (mut share, mut direction, mut kinds) = (Share::ALL, Direction::Both, Vec::new());
    for (key, value) in &fields {
        let wrong = match key.as_str() {
            "percent" => {
                let read = text(value).and_then(|text| Share::parse(text).ok());
                read.map(|read| share = read).is_none()
            }
            "direction" => {
                let read = match text(value) {
                    Some("both") => Some(Direction::Both),
                    Some("upstream") => Some(Direction::Upstream),
                    Some("downstream") => Some(Direction::Downstream),
                    _ => None,
                };
                read.map(|read| direction = read).is_none()
            }
            key => {
                let read = fields_of(value).and_then(|fields| kind(key, fields));
                read.map(|read| kinds.push((key.to_owned(), read)))
                    .is_none()
            }
        };
        if wrong {
            notes.invalid(
                format!("{path}.value.{key}"),
                "it is none of `percent`, `direction` and the kinds of the manual, or not written as there",
            );
        }
    }
    let rule = |(key, kind): (String, Fault)| Rule {
        id: Arc::from(format!("{name}.{key}")),
        name: format!("{name}.{key}@{listener}>*"),
        select: Select::Share(share),
        direction,
        kind,
    };
    let rules: Vec<Rule> = kinds.into_iter().map(rule).collect();
    for rule in &rules {
        if let Err(what) = rule.kind.check() {
            notes.invalid(format!("{path}.value"), what);
        }
    }
    rules
}

fn kind(key: &str, fields: &Fields) -> Option<Fault> {
    let time = |name: &str| parse_duration(text(fields.get(name)?)?).ok();
    let size = |name: &str| Some(ByteSize::parse(text(fields.get(name)?)?).ok()?.0);
    // What need not be said is nothing.
    let or_zero = |name: &str| match fields.get(name) {
        None => Some(std::time::Duration::ZERO),
        Some(_) => time(name),
    };
    Some(match key {
        "latency" => Fault::Latency(Latency {
            delay: time("delay")?,
            jitter: or_zero("jitter")?,
        }),
        "bandwidth" => Fault::Bandwidth(Bandwidth {
            bytes_per_second: rate(text(fields.get("rate")?)?)?,
        }),
        "slicer" => Fault::Slicer(Slicer {
            size: size("size")? as usize,
            variation: match fields.get("variation") {
                None => 0,
                Some(_) => size("variation")? as usize,
            },
            pause: or_zero("pause")?,
        }),
        "limit_data" => Fault::LimitData(LimitData {
            bytes: size("bytes")?,
        }),
        "loss" => Fault::Loss(Loss {
            share: Share::parse(text(fields.get("percent")?)?).ok()?,
            rto: time("rto")?,
        }),
        "slow_close" => Fault::SlowClose(time("delay")?),
        "blackhole" => Fault::Blackhole(or_zero("after")?),
        "reset" => Fault::Reset(or_zero("after")?),
        "refuse" => Fault::Refuse,
        "slow_accept" => Fault::SlowAccept(time("delay")?),
        "half_open" => Fault::HalfOpen,
        _ => return None,
    })
}
