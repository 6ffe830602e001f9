//! Numbers as they are read, all event loops merged, and how they are written for Prometheus.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use super::{block::Value, count::BOUNDS_US};

/// A number of one thing, all event loops merged.
pub(super) enum Sample {
    Number {
        block: Named,
        stat: &'static str,
        kind: &'static str,
        value: u64,
    },
    Codes {
        block: Named,
        stat: &'static str,
        counts: BTreeMap<u16, u64>,
    },
    Durations {
        block: Named,
        stat: &'static str,
        buckets: Vec<u64>,
        sum_us: u64,
    },
}

/// What stands between a block's name and what its numbers have besides before their own names, where there is any.
const WITHIN: char = '\u{1f}';
/// The label of that.
const INNER: &str = "envoy_ext_authz_prefix";

/// The name of a block whose numbers are `NAME.kind.INNER.number`.
pub(super) fn within(name: &str, inner: &str) -> Arc<str> {
    if inner.is_empty() {
        return name.into();
    }
    format!("{name}{WITHIN}{inner}").into()
}

/// What a sample is of.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) prefix: &'static str,
    pub(super) label: &'static str,
    pub(super) name: Arc<str>,
}

impl Sample {
    pub(super) fn new(block: Named, stat: &'static str, value: &Value<'_>) -> Self {
        match value {
            Value::Counter(_) | Value::Gauge(_) => Self::Number {
                block,
                stat,
                kind: match value {
                    Value::Gauge(_) => "gauge",
                    _ => "counter",
                },
                value: 0,
            },
            Value::Codes(_) => Self::Codes {
                block,
                stat,
                counts: BTreeMap::new(),
            },
            Value::Histogram(histogram) => Self::Durations {
                block,
                stat,
                buckets: vec![0; histogram.buckets.len()],
                sum_us: 0,
            },
        }
    }

    pub(super) fn add(&mut self, more: &Value<'_>) {
        match (self, more) {
            (Self::Number { value, .. }, Value::Counter(more) | Value::Gauge(more)) => {
                *value += more;
            }
            (Self::Codes { counts, .. }, Value::Codes(more)) => {
                for (status, count) in more.get() {
                    *counts.entry(status).or_default() += count;
                }
            }
            (
                Self::Durations {
                    buckets, sum_us, ..
                },
                Value::Histogram(more),
            ) => {
                for (bucket, more) in buckets.iter_mut().zip(&more.buckets) {
                    *bucket += more.get();
                }
                *sum_us += more.sum_us.get();
            }
            _ => {}
        }
    }

    pub(super) fn remember(&self, before: &mut BTreeMap<String, u64>) {
        match self {
            Self::Number {
                block,
                stat,
                kind: "counter",
                value,
            } => {
                before.insert(block.dotted(stat), *value);
            }
            Self::Codes {
                block,
                stat,
                counts,
            } => {
                for (status, count) in counts {
                    before.insert(block.dotted(&format!("{stat}_{status}")), *count);
                }
            }
            Self::Number { .. } | Self::Durations { .. } => {}
        }
    }

    pub(super) fn subtract(&mut self, before: &BTreeMap<String, u64>) {
        match self {
            Self::Number {
                block, stat, value, ..
            } => {
                if let Some(before) = before.get(&block.dotted(stat)) {
                    *value = value.saturating_sub(*before);
                }
            }
            Self::Codes {
                block,
                stat,
                counts,
            } => {
                for (status, count) in counts {
                    if let Some(before) = before.get(&block.dotted(&format!("{stat}_{status}"))) {
                        *count = count.saturating_sub(*before);
                    }
                }
            }
            Self::Durations { .. } => {}
        }
    }

    pub(super) fn write(&self, families: &mut BTreeMap<String, (&'static str, String)>) {
        match self {
            Self::Number {
                block,
                stat,
                kind,
                value,
            } => {
                let (stat, class) = without_class(stat);
                let name = prometheus_name(block.prefix, &stat);
                let labels = block.labels(class);
                let (_, lines) = families
                    .entry(name.clone())
                    .or_insert((kind, String::new()));
                let _ = writeln!(lines, "{name}{{{labels}}} {value}");
            }
            Self::Codes {
                block,
                stat,
                counts,
            } => {
                let name = prometheus_name(block.prefix, stat);
                let labels = block.labels(None);
                for (status, count) in counts {
                    let (_, lines) = families
                        .entry(name.clone())
                        .or_insert(("counter", String::new()));
                    let _ = writeln!(
                        lines,
                        "{name}{{envoy_response_code=\"{status}\",{labels}}} {count}"
                    );
                }
            }
            Self::Durations {
                block,
                stat,
                buckets,
                sum_us,
            } => {
                let name = prometheus_name(block.prefix, stat);
                let labels = block.labels(None);
                let (_, lines) = families
                    .entry(name.clone())
                    .or_insert(("histogram", String::new()));
                let mut count = 0;
                for (at, bucket) in buckets.iter().enumerate() {
                    count += bucket;
                    let bound = BOUNDS_US
                        .get(at)
                        .map_or_else(|| "+Inf".to_owned(), |us| (*us as f64 / 1e3).to_string());
                    let _ = writeln!(lines, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
                }
                let sum = *sum_us as f64 / 1e3;
                let _ = writeln!(lines, "{name}_sum{{{labels}}} {sum}");
                let _ = writeln!(lines, "{name}_count{{{labels}}} {count}");
            }
        }
    }
}

impl Named {
    /// `cluster.NAME.upstream_rq_total`.
    pub(super) fn dotted(&self, stat: &str) -> String {
        if let Some((name, inner)) = self.name.split_once(WITHIN)
            && let Some((kind, stat)) = stat.split_once('.')
        {
            return format!("{}.{name}.{kind}.{inner}.{stat}", self.prefix);
        }
        format!("{}.{}.{stat}", self.prefix, self.name)
    }

    fn labels(&self, class: Option<char>) -> String {
        let quoted = |name: &str| name.replace('\\', "\\\\").replace('"', "\\\"");
        let label = match self.name.split_once(WITHIN) {
            Some((name, inner)) => {
                let mut labels = [
                    format!("{}=\"{}\"", self.label, quoted(name)),
                    format!("{INNER}=\"{}\"", quoted(inner)),
                ];
                // As Envoy has them.
                labels.sort_unstable();
                labels.join(",")
            }
            None => format!("{}=\"{}\"", self.label, quoted(&self.name)),
        };
        match class {
            Some(class) => format!("envoy_response_code_class=\"{class}\",{label}"),
            None => label,
        }
    }
}

/// Envoy makes a label of the class: `upstream_rq_2xx` is `upstream_rq_xx` with the class 2.
fn without_class(stat: &str) -> (String, Option<char>) {
    if let Some(start) = stat.strip_suffix("xx")
        && let Some(class) = start.chars().next_back().filter(char::is_ascii_digit)
        && let Some(start) = start.strip_suffix(class)
    {
        return (format!("{start}xx"), Some(class));
    }
    (stat.to_owned(), None)
}

/// Ours that Envoy has not begin with `meshbed_`.
fn prometheus_name(prefix: &str, stat: &str) -> String {
    let owner = match prefix {
        "http" | "cluster" | "connection_limit" | "listener" | "tcp" | "http_local_rate_limit" => {
            "envoy"
        }
        _ => "meshbed",
    };
    format!("{owner}_{prefix}_{}", stat.replace('.', "_"))
}
