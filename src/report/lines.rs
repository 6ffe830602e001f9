//! Events and requests → lines of `events.jsonl` and `requests.jsonl`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::event::{
    Answered, Asked, Connection, Difference, Hop, Mirror, MirrorOutcome, Request, RunEvent,
};

/// A line of `events.jsonl` without its `seq`; requests and hops have none but for what chose them.
pub(super) fn of_event(event: &RunEvent, check_id: impl Fn(usize) -> Option<String>) -> Vec<Value> {
    let line = match event {
        RunEvent::Run { t_us, state } => json!({"t_us": t_us, "kind": "run", "state": state}),
        RunEvent::Phase { t_us, id, begun } => {
            json!({"t_us": t_us, "kind": "phase", "id": &**id, "state": if *begun { "on" } else { "off" }})
        }
        RunEvent::Fault {
            t_us,
            id,
            state,
            by,
        } => {
            json!({"t_us": t_us, "kind": "fault", "id": &**id, "state": state, "by": by})
        }
        // Mirrors have a line of their own.
        RunEvent::Request(_) | RunEvent::Served(_) | RunEvent::Mirror(_) => return Vec::new(),
        RunEvent::Hop(hop) => return hits(hop),
        RunEvent::Connection(connection) => return of_connection(connection),
        RunEvent::Overflow {
            t_us,
            ordinal,
            waited_us,
        } => {
            json!({"t_us": t_us, "kind": "overflow", "ord": ordinal, "waited_us": waited_us})
        }
        RunEvent::Changed(changed) => json!({
            "t_us": changed.t_us, "kind": changed.kind, "service": &*changed.service, "endpoint": changed.endpoint,
            "from": changed.from, "to": changed.to, "why": changed.why,
        }),
        RunEvent::Tick(tick) => json!({
            "t_us": tick.t_us, "kind": "tick", "sec": tick.sec, "planned": tick.planned, "sent": tick.sent,
            "done": tick.done, "late_p99_us": tick.late_p99_us, "in_flight": tick.in_flight,
        }),
        RunEvent::Guard { t_us, when, value } => {
            json!({"t_us": t_us, "kind": "guard", "when": when, "value": value})
        }
        RunEvent::Check {
            t_us,
            index,
            scored,
            provisional,
        } => json!({
            "t_us": t_us, "kind": "check", "index": index, "id": check_id(*index), "outcome": scored.outcome,
            "value": scored.value, "unit": scored.unit, "interval": scored.interval, "n": scored.n,
            "points": scored.points, "why": scored.why, "provisional": provisional,
        }),
        RunEvent::Steady {
            t_us,
            check,
            held,
            value,
        } => {
            json!({"t_us": t_us, "kind": "steady", "check": check, "held": held, "value": value})
        }
        RunEvent::Undo { t_us, what, id, ok } => {
            json!({"t_us": t_us, "kind": "undo", "what": what, "id": id, "ok": ok})
        }
        RunEvent::Note { t_us, text } => json!({"t_us": t_us, "kind": "note", "text": text}),
    };
    vec![line]
}

fn hits(hop: &Hop) -> Vec<Value> {
    let line = |hit: &crate::event::Hit| {
        json!({
            "t_us": hop.start_us, "kind": "hit", "ord": hop.ordinal, "side": hop.side, "n": hop.n, "attempt": hit.attempt,
            "caller": &*hop.caller, "service": &*hop.service, "method": hop.method, "path": without_query(&hop.path),
            "intended_ms": hop.intended_ms, "scheduled": hop.scheduled,
            "fault": &*hit.fault, "u": hit.u, "p": hit.p, "effect": hit.effect, "asked_us": hit.asked_us,
            "actual_us": hit.actual_us, "status": hit.status, "why": hit.why,
        })
    };
    hop.hits.iter().map(line).collect()
}

/// Which faults were drawn for a connection, and which of them chose it. The key of its draws is that of a request with the
/// method `TCP` and no path.
fn of_connection(connection: &Connection) -> Vec<Value> {
    let mut lines = Vec::new();
    if !connection.considered.is_empty() {
        let considered: Vec<&str> = connection.considered.iter().map(|id| &**id).collect();
        lines.push(json!({
            "t_us": connection.t_us, "kind": "connection", "conn": connection.number, "reopenings": connection.reopenings,
            "side": connection.side, "caller": &*connection.caller, "service": &*connection.service,
            "scheduled": connection.numbered, "considered": considered,
        }));
    }
    lines.extend(connection.hits.iter().map(|hit| {
        json!({
            "t_us": connection.t_us, "kind": "hit", "ord": connection.number, "side": connection.side,
            "n": connection.reopenings, "attempt": 0, "caller": &*connection.caller, "service": &*connection.service,
            "method": "TCP", "path": "", "intended_ms": null, "scheduled": connection.numbered, "fault": &*hit.fault,
            "u": hit.u, "p": hit.p, "effect": hit.effect, "asked_us": hit.asked_us, "actual_us": hit.actual_us,
            "status": null, "why": hit.why,
        })
    }));
    lines
}

/// A line of `events.jsonl` on what became of a copy.
#[derive(Debug, Serialize)]
pub(super) struct MirrorLine<'a> {
    seq: u64,
    t_us: u64,
    kind: &'static str,
    ord: u64,
    n: u32,
    intended_ms: Option<u32>,
    caller: &'a str,
    service: &'a str,
    shadow: &'a str,
    method: &'a str,
    path: &'a str,
    endpoint: &'a str,
    first: &'static str,
    outcome: MirrorOutcome,
    why: Option<&'a str>,
    primary: Option<&'a Answered>,
    answer: Option<&'a Answered>,
    differs: Differs<'a>,
}

/// Where answers differ: path, kind, rule.
#[derive(Debug)]
struct Differs<'a>(&'a [Difference]);

impl Serialize for Differs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Differing))
    }
}

/// One of them; with what its values look like, where that was looked at.
struct Differing<'a>(&'a Difference);

impl Serialize for Differing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(difference) = self;
        let (path, kind, rule) = (&difference.path, difference.kind, &difference.rule);
        let Some(shape) = difference.shape else {
            return (path, kind, rule).serialize(serializer);
        };
        let forms: Vec<_> = shape.forms.names().collect();
        let sizes = shape.sizes.map(|(primary, shadow)| [primary, shadow]);
        let shape =
            json!({"same": shape.same, "forms": forms, "of": shape.of.name(), "sizes": sizes});
        (path, kind, rule, shape).serialize(serializer)
    }
}

/// The line on what became of a copy.
pub(super) fn of_mirror(seq: u64, mirror: &Mirror) -> MirrorLine<'_> {
    MirrorLine {
        seq,
        t_us: mirror.t_us,
        kind: "mirror",
        ord: mirror.ordinal,
        n: mirror.n,
        intended_ms: mirror.intended_ms,
        caller: &mirror.caller,
        service: &mirror.service,
        shadow: &mirror.shadow,
        method: &mirror.method,
        path: &mirror.path,
        endpoint: &mirror.endpoint,
        first: mirror.first,
        outcome: mirror.outcome,
        why: mirror.why.as_deref(),
        primary: mirror.primary.as_ref(),
        answer: mirror.answer.as_ref(),
        differs: Differs(&mirror.differences),
    }
}

/// A line of `requests.jsonl`.
pub(super) fn of_request<'a>(
    request: &Request,
    phase: Option<&str>,
    error: bool,
    hops: impl Iterator<Item = &'a Hop>,
) -> Value {
    let mut hops: Vec<&Hop> = hops.collect();
    hops.sort_by_key(|hop| (hop.start_us, hop.inbound));
    let mut flags: Vec<&str> = request.flags.names().collect();
    for hop in hops
        .iter()
        .filter(|hop| !hop.inbound && hop.side == 0 && hop.service == request.service)
    {
        flags.extend(
            hop.flags
                .names()
                .filter(|name| !flags.contains(name))
                .collect::<Vec<_>>(),
        );
    }
    json!({
        "ord": request.ordinal, "source": &*request.source, "service": &*request.service, "conn": request.connection,
        "phase": phase, "intended_us": request.intended_us, "released_us": request.released_us,
        "sent_us": request.sent_us, "done_us": request.done_us, "method": request.method, "path": request.path,
        "status": request.status, "complete": request.complete, "grpc_status": request.grpc_status,
        "why": request.why, "error": error, "bytes": [request.bytes_in, request.bytes_out], "flags": flags,
        "hops": hops.into_iter().map(of_hop).collect::<Vec<_>>(),
    })
}

/// A line for hops that came after their request's.
pub(super) fn of_late<'a>(ordinal: Option<u64>, hops: impl Iterator<Item = &'a Hop>) -> Value {
    json!({"ord": ordinal, "late": hops.map(of_hop).collect::<Vec<_>>()})
}

fn of_hop(hop: &Hop) -> Value {
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| {
        line.insert(key.to_owned(), value);
    };
    put("caller", hop.caller.as_ref().into());
    put("service", hop.service.as_ref().into());
    put("side", hop.side.into());
    put("inbound", hop.inbound.into());
    put("n", hop.n.into());
    if !hop.scheduled {
        put("arrival", hop.ordinal.into());
    }
    put("intended_ms", hop.intended_ms.into());
    put("method", hop.method.as_str().into());
    put("path", hop.path.as_str().into());
    put("start_us", hop.start_us.into());
    put("us", hop.us.into());
    put("status", hop.status.into());
    put("complete", hop.complete.into());
    put("flags", hop.flags.names().collect());
    put("bytes", json!([hop.bytes_in, hop.bytes_out]));
    put(
        "considered",
        hop.considered.iter().map(|id| Value::from(&**id)).collect(),
    );
    let attempts = hop.attempts.iter().map(|attempt| {
        json!({"endpoint": attempt.endpoint, "us": attempt.us, "status": attempt.status, "why": attempt.why})
    });
    put("attempts", attempts.collect());
    line.into()
}

/// A request of an example. A body that is no text is in base 64.
pub(super) fn of_asked(asked: &Asked) -> Value {
    let (key, body) = match std::str::from_utf8(&asked.body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_base64", STANDARD.encode(&asked.body)),
    };
    json!({"headers": asked.headers, key: body, "body_bytes": asked.length})
}

pub(super) fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}
