//! Where the requests come from.

use super::{
    Arrival, Connections, Part, Rewrite, Source, SourceKind, Template,
    resolve::{Ids, Resolver},
    value::{Item, Value},
};

/// Connections of a source of generated requests, unless it says otherwise.
const POOL: u32 = 64;

impl Resolver<'_> {
    pub(super) fn traffic(&mut self, ids: &Ids) -> Vec<Source> {
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
                .filter_map(template)
                .collect(),
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

fn template(item: &Item) -> Option<Template> {
    let mut headers = item.pairs("headers");
    let body = match item.get("body") {
        None => Vec::new(),
        Some(body) => match (body.get("json").map(|json| &json.value), body.text("text")) {
            (Some(Value::Json(json, _)), _) => {
                let named = headers
                    .iter()
                    .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                if !named {
                    headers.push(("content-type".to_owned(), "application/json".to_owned()));
                }
                json.to_string().into_bytes()
            }
            (_, Some(text)) => text.as_bytes().to_vec(),
            _ => Vec::new(),
        },
    };
    Some(Template {
        weight: item.whole("weight")? as u32,
        method: item.text("method")?.to_owned(),
        path: item.text("path")?.to_owned(),
        headers,
        body,
    })
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
