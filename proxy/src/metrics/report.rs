//! What is told of the counts, and how: Envoy's `/stats` as text or JSON, or Prometheus' text format.

use std::{collections::BTreeMap, fmt::Write};

use regex::Regex;
use serde_json::{Value as Json, json};

use super::{Registry, count::BOUNDS_US, sample::Sample};

/// Which numbers are told.
#[derive(Debug, Default)]
pub struct Selection {
    /// Only those that were ever counted.
    pub used_only: bool,
    /// Only those whose name this finds something in.
    pub filter: Option<Regex>,
    /// The filter finds those that are left out.
    pub inverted: bool,
    /// Only these.
    pub kind: Option<Kind>,
}

/// Kinds of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations.
    Histogram,
}

/// A number that belongs to no block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Its name, such as `server.uptime`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How much it is.
    pub value: u64,
}

/// A number, or durations, by name.
#[derive(Debug)]
struct Stat {
    name: String,
    kind: Kind,
    value: u64,
    durations: Option<Durations>,
}

#[derive(Debug)]
struct Durations {
    buckets: Vec<u64>,
}

/// Envoy's, in percent.
const QUANTILES: [f64; 10] = [0., 25., 50., 75., 90., 95., 99., 99.5, 99.9, 100.];

impl Selection {
    fn takes(&self, stat: &Stat) -> bool {
        let used = stat.value > 0
            || stat
                .durations
                .as_ref()
                .is_some_and(|durations| durations.buckets.iter().any(|count| *count > 0));
        (used || !self.used_only)
            && self.kind.is_none_or(|kind| kind == stat.kind)
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.is_match(&stat.name) != self.inverted)
    }
}

impl Registry {
    /// Envoy's `/stats`: a line a number, then the histograms.
    pub fn text(&self, selection: &Selection, extra: &[Extra]) -> String {
        let mut numbers = String::new();
        let mut histograms = String::new();
        for stat in self.selected(selection, extra) {
            match &stat.durations {
                None => {
                    let _ = writeln!(numbers, "{}: {}", stat.name, stat.value);
                }
                Some(durations) => {
                    let _ = writeln!(histograms, "{}: {}", stat.name, durations.summary());
                }
            }
        }
        numbers + &histograms
    }

    /// Envoy's `/stats?format=json`.
    pub fn json(&self, selection: &Selection, extra: &[Extra]) -> Json {
        let mut stats = Vec::new();
        let mut histograms = Vec::new();
        for stat in self.selected(selection, extra) {
            match &stat.durations {
                None => stats.push(json!({"name": stat.name, "value": stat.value})),
                Some(durations) => {
                    let values: Vec<_> = QUANTILES
                        .iter()
                        .map(|percent| json!({"cumulative": durations.quantile(*percent), "interval": null}))
                        .collect();
                    histograms.push(json!({"name": stat.name, "values": values}));
                }
            }
        }
        if !histograms.is_empty() {
            stats.push(json!({"histograms": {
                "supported_quantiles": QUANTILES,
                "computed_quantiles": histograms,
            }}));
        }
        json!({ "stats": stats })
    }

    /// Prometheus' text format.
    pub fn prometheus_of(&self, selection: &Selection, extra: &[Extra]) -> String {
        let mut families: BTreeMap<String, (&'static str, String)> = BTreeMap::new();
        for sample in self.samples() {
            if sample.stats().iter().any(|stat| selection.takes(stat)) {
                sample.write(&mut families);
            }
        }
        for extra in extra {
            let stat = Stat::from(extra);
            if selection.takes(&stat) {
                let name = format!("envoy_{}", stat.name.replace('.', "_"));
                let kind = match stat.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge | Kind::Histogram => "gauge",
                };
                let line = format!("{name}{{}} {}\n", stat.value);
                families.insert(name, (kind, line));
            }
        }
        let mut text = String::new();
        for (name, (kind, lines)) in families {
            let _ = write!(text, "# TYPE {name} {kind}\n{lines}");
        }
        text
    }

    fn selected(&self, selection: &Selection, extra: &[Extra]) -> Vec<Stat> {
        let mut stats: Vec<_> = self
            .samples()
            .iter()
            .flat_map(Sample::stats)
            .chain(extra.iter().map(Stat::from))
            .filter(|stat| selection.takes(stat))
            .collect();
        stats.sort_by(|a, b| a.name.cmp(&b.name));
        stats
    }
}

impl From<&Extra> for Stat {
    fn from(extra: &Extra) -> Self {
        Self {
            name: extra.name.clone(),
            kind: extra.kind,
            value: extra.value,
            durations: None,
        }
    }
}

impl Sample {
    fn stats(&self) -> Vec<Stat> {
        let number = |name, kind, value| Stat {
            name,
            kind,
            value,
            durations: None,
        };
        match self {
            Self::Number {
                block,
                stat,
                kind,
                value,
            } => {
                let kind = match *kind {
                    "gauge" => Kind::Gauge,
                    _ => Kind::Counter,
                };
                vec![number(block.dotted(stat), kind, *value)]
            }
            Self::Codes {
                block,
                stat,
                counts,
            } => counts
                .iter()
                .map(|(status, count)| {
                    let name = block.dotted(&format!("{stat}_{status}"));
                    number(name, Kind::Counter, *count)
                })
                .collect(),
            Self::Durations {
                block,
                stat,
                buckets,
                ..
            } => vec![Stat {
                name: block.dotted(stat),
                kind: Kind::Histogram,
                value: 0,
                durations: Some(Durations {
                    buckets: buckets.clone(),
                }),
            }],
        }
    }
}

impl Durations {
    /// In milliseconds, between the bounds of its bucket as if they were spread evenly; `None`: there are none.
    fn quantile(&self, percent: f64) -> Option<f64> {
        let total: u64 = self.buckets.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = percent / 100.0 * total as f64;
        let mut before = 0.0;
        let mut low = 0.0;
        for (at, count) in self.buckets.iter().enumerate() {
            let high = BOUNDS_US.get(at).map_or(low, |us| *us as f64 / 1e3);
            let count = *count as f64;
            if count > 0.0 && before + count >= wanted {
                return Some(low + (high - low) * (wanted - before).max(0.0) / count);
            }
            before += count;
            low = high;
        }
        Some(low)
    }

    fn summary(&self) -> String {
        let mut parts = Vec::new();
        for percent in QUANTILES {
            let Some(value) = self.quantile(percent) else {
                return "No recorded values".to_owned();
            };
            parts.push(format!("P{percent}(nan,{value:.4})"));
        }
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    fn registry() -> Registry {
        let registry = Registry::default();
        let block = registry.upstream(&Arc::from("v1"));
        block.requests.add(3);
        block.answered(503);
        block.time.record(Duration::from_micros(400));
        block.time.record(Duration::from_micros(400));
        block.time.record(Duration::from_micros(900));
        registry
    }

    fn only(filter: &str) -> Selection {
        Selection {
            filter: Some(Regex::new(filter).unwrap()),
            ..Selection::default()
        }
    }

    #[test]
    fn numbers_are_told_by_name_and_histograms_last() {
        let selection = Selection {
            used_only: true,
            ..only("upstream_rq")
        };
        assert_eq!(
            registry().text(&selection, &[]),
            "cluster.v1.upstream_rq_503: 1\ncluster.v1.upstream_rq_5xx: 1\ncluster.v1.upstream_rq_completed: 1\n\
             cluster.v1.upstream_rq_total: 3\ncluster.v1.upstream_rq_time: P0(nan,0.0000) P25(nan,0.1875) P50(nan,0.3750) \
             P75(nan,0.6250) P90(nan,0.8500) P95(nan,0.9250) P99(nan,0.9850) P99.5(nan,0.9925) P99.9(nan,0.9985) P100(nan,1.0000)\n"
        );
        assert!(registry().text(&only("downstream"), &[]).is_empty());
        let inverted = Selection {
            inverted: true,
            ..only("upstream_rq")
        };
        assert!(!registry().text(&inverted, &[]).contains("upstream_rq"));
        let gauges = Selection {
            kind: Some(Kind::Gauge),
            ..only("upstream_rq")
        };
        let text = registry().text(&gauges, &[]);
        assert!(text.contains("upstream_rq_active: 0\n") && !text.contains("upstream_rq_total"));
    }

    #[test]
    fn json_and_prometheus_tell_the_same() {
        let registry = registry();
        let live = Extra {
            name: "server.live".to_owned(),
            kind: Kind::Gauge,
            value: 1,
        };
        assert_eq!(
            registry.json(&only("rq_total|server.live"), std::slice::from_ref(&live)),
            json!({"stats": [{"name": "cluster.v1.upstream_rq_total", "value": 3}, {"name": "server.live", "value": 1}]})
        );
        assert_eq!(
            registry.prometheus_of(&only("rq_503|server.live"), &[live]),
            "# TYPE envoy_cluster_upstream_rq counter\nenvoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"v1\"} 1\n\
             # TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n"
        );
    }

    #[test]
    fn counters_begin_anew_when_they_are_reset() {
        let registry = registry();
        registry.reset_counters();
        let text = registry.text(&only("rq_total|rq_503"), &[]);
        assert_eq!(
            text,
            "cluster.v1.upstream_rq_503: 0\ncluster.v1.upstream_rq_total: 0\n"
        );
        registry.upstream(&Arc::from("v1")).requests.add(2);
        assert!(
            registry
                .text(&only("rq_total"), &[])
                .ends_with("upstream_rq_total: 2\n")
        );
    }
}
