//! Where the requests come from.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Arrival, Connections, Part, Rewrite, Service, Source, SourceKind, Template, protocol_of,
    resolve::{Ids, Resolver},
    value::{Item, Value},
};

/// Connections of a source of generated requests, unless it says otherwise.
const POOL: u32 = 64;

impl Resolver<'_> {
    pub(super) fn traffic(&mut self, ids: &Ids, services: &[Service]) -> Vec<Source> {
        let topology = self.root.get("topology");
        let entry = topology
            .and_then(|topology| self.reference(topology, "entry", "service", &ids.services));
        let Some(traffic) = self.root.get("traffic") else {
            return Vec::new();
        };
        if traffic.items().is_empty() {
            self.tell(
                traffic,
                "there is no traffic",
                "at least one source with a `trace` or `generate`",
            );
        }
        let mut sources = Vec::new();
        for item in traffic.items() {
            let to = if item.has("to") {
                self.reference(item, "to", "service", &ids.services)
            } else {
                let has_entry = topology.is_some_and(|topology| topology.has("entry"));
                if !has_entry && matches!(item.value, Value::Map(_)) {
                    self.tell(
                        item,
                        "where do these requests go?",
                        "`to: SERVICE` here, or `entry: SERVICE` in `topology`",
                    );
                }
                entry.clone()
            };
            let kind = self.kind(item);
            let connections = self.connections(item, kind.as_ref());
            let rewrite = item.get("rewrite");
            if let (Some(id), Some(to), Some(kind), Some(timeout), Some(max_in_flight)) = (
                item.id("id"),
                to,
                kind,
                item.duration("timeout"),
                item.whole("max_in_flight"),
            ) {
                let trace = item.get("trace");
                let at = trace.and_then(|trace| trace.get("file"));
                let at = at.or_else(|| item.get("generate")).unwrap_or(item);
                self.stands(Part::Source(id.clone()), at);
                sources.push(Source {
                    id: id.clone(),
                    protocol: protocol_of(services, &to),
                    to,
                    kind,
                    connections,
                    max_in_flight: max_in_flight as u32,
                    timeout,
                    rewrite: rewrite.map_or_else(Rewrite::default, rewritten),
                });
            }
        }
        sources
    }

    fn kind(&mut self, item: &Item) -> Option<SourceKind> {
        if let Some(trace) = item.get("trace") {
            let file = trace
                .get("file")
                .and_then(|file| self.existing(file, false));
            return Some(SourceKind::Trace {
                file: file?,
                speed: trace.number("speed")?,
                window: match trace.get("window").map(|window| &window.value) {
                    Some(Value::Span(begin, end)) => Some((*begin, *end)),
                    _ => None,
                },
                loops: trace.whole("loop")? as u32,
                filter: Self::matcher(trace.get("filter")),
            });
        }
        let generate = item.get("generate")?;
        if let Some(requests) = generate.get("requests")
            && requests.items().is_empty()
        {
            self.tell(
                requests,
                "there is no request",
                "at least one, as in `{ path: /items }`",
            );
        }
        let Value::Rate(rate) = generate.get("rate")?.value else {
            return None;
        };
        Some(SourceKind::Generate {
            rate,
            arrival: match generate.text("arrival") {
                Some("poisson") => Arrival::Poisson,
                _ => Arrival::Constant,
            },
            requests: generate
                .list("requests")
                .iter()
                .filter_map(|request| self.template(request))
                .collect(),
        })
    }

    fn template(&mut self, item: &Item) -> Option<Template> {
        let mut headers = item.pairs("headers");
        let body = item.get("body");
        let json = body.and_then(|body| body.get("json"));
        let grpc = body.and_then(|body| body.get("grpc"));
        let body = if let Some(Value::Json(json, _)) = json.map(|json| &json.value) {
            set_unset(&mut headers, &[("content-type", "application/json")]);
            json.to_string().into_bytes()
        } else if let Some(item) = grpc {
            let text = item.as_text().unwrap_or_default();
            set_unset(
                &mut headers,
                &[("content-type", "application/grpc"), ("te", "trailers")],
            );
            if let Ok(message) = STANDARD.decode(text) {
                framed(&message)
            } else {
                self.tell(
                    item,
                    format!("`{text}` is not base64"),
                    "the message's bytes as in `CgR0ZXN0`; empty for an empty message",
                );
                return None;
            }
        } else {
            let text = body.and_then(|body| body.text("text"));
            text.unwrap_or_default().as_bytes().to_vec()
        };
        Some(Template {
            weight: item.whole("weight")? as u32,
            method: item.text("method")?.to_owned(),
            path: item.text("path")?.to_owned(),
            headers,
            body,
        })
    }

    fn connections(&mut self, item: &Item, kind: Option<&SourceKind>) -> Connections {
        let trace = matches!(kind, Some(SourceKind::Trace { .. }));
        match item.get("connections") {
            None if trace => Connections::Recorded,
            None => Connections::Pool(POOL),
            Some(connections) => {
                if let Some(count) = connections.as_whole() {
                    return Connections::Pool(count as u32);
                }
                if matches!(kind, Some(SourceKind::Generate { .. })) {
                    self.tell(
                        connections,
                        "generated requests have no recorded connections",
                        "a number of connections, such as `64`",
                    );
                }
                Connections::Recorded
            }
        }
    }
}

/// Sets headers that the user has not set.
fn set_unset(headers: &mut Vec<(String, String)>, wanted: &[(&str, &str)]) {
    for (name, value) in wanted {
        if !headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            headers.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
}

/// A gRPC message in its frame: not compressed, its length, its bytes (gRPC over HTTP/2, "Length-Prefixed-Message").
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

fn rewritten(item: &Item) -> Rewrite {
    let headers = item.get("headers");
    Rewrite {
        host: item.text("host").map(str::to_owned),
        path: item
            .list("path")
            .iter()
            .filter_map(|rule| {
                Some((
                    rule.text("match")?.to_owned(),
                    rule.text("with")?.to_owned(),
                ))
            })
            .collect(),
        set: headers.map_or_else(Vec::new, |headers| headers.pairs("set")),
        remove: headers.map_or_else(Vec::new, |headers| headers.texts("remove")),
    }
}
