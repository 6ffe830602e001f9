//! The metrics that an expression may name: what each needs, its unit, and how it is read off the measurements.

use crate::{
    event::{Changed, Flags, Id},
    expr::Unit,
    measure::{Cell, Class, Filter, Kind, Measured, Subject, Window},
    shadow::MIN_STRUCTURAL,
    stats::{histogram::Histogram, paired::LEAST_SAMPLES, proportion, quantile::Quantile},
};

/// A metric as an expression names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name, as in [`Metric`]'s table: `p99`, `service.p99`, `diffs.material`, `flags.DI`, `error_share`.
    pub name: String,
    /// The service, shadow or, for the generator's own metrics, nothing.
    pub of: Option<Id>,
    /// Only requests like these.
    pub filter: Filter,
    /// The phase named by `@phase`.
    pub phase: Option<Id>,
}

/// What a metric amounts to over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// A number that enough data stands behind.
    Known {
        /// In the metric's unit.
        value: f64,
        /// 95 % interval, where the metric has one.
        interval: Option<(f64, f64)>,
        /// Samples behind it.
        n: u64,
    },
    /// Too little data to call it known.
    NoData {
        /// What it would be, by the little there is.
        value: Option<f64>,
        /// Samples there are.
        have: u64,
        /// Samples it needs.
        need: u64,
    },
}

/// Something that metrics can be read off: the measurements of a run, or a table in a test.
pub trait Metrics {
    /// Reads one metric over a window of intended time.
    fn read(&self, metric: &Metric, windows: &[Window]) -> Reading;
}

/// What a metric is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A service: `p99[shop]`.
    Service,
    /// A shadow: `diffs[candidate].material`.
    Shadow,
    /// The generator: `lateness.p99`, `overflow`.
    Nothing,
}

/// What is known of a metric before it is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// What its number counts.
    pub unit: Unit,
    /// What it is about.
    pub of: Of,
    /// Samples that it takes to call it known.
    pub needs: u64,
    /// How it is read.
    pub read: Read,
}

/// How a metric is read off the measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Read {
    /// A number of the service's tally.
    Tally(Counter),
    /// Requests per second of the window.
    Rps,
    /// Errors per request.
    ErrorShare,
    /// Mean number under way, by Little's law: the sum of the latencies over the length of the window.
    InFlight,
    /// Requests with a response flag.
    Flag(Flags),
    /// A statistic of a latency; the kind `None` is response time for a driven service, else service time.
    Latency(Option<Kind>, Statistic),
    /// The generator's lateness.
    Lateness(Quantile),
    /// Requests that waited for `max_in_flight`.
    Overflow,
    /// Replicas that were ejected.
    Ejections,
    /// Times that a breaker opened.
    BreakersOpened,
    /// A number of the shadow's tally.
    Shadow(ShadowCounter),
    /// Candidate minus primary, request by request.
    Delta(Quantile),
    /// Whether the shadow is slower than its primary.
    Speed,
}

/// A number of a service's tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Requests.
    Requests,
    /// Requests that reached the service's own sidecar.
    Attempts,
    /// Tries after the first.
    Retries,
    /// Errors.
    Errors,
    /// Bytes of the answers' bodies.
    Bytes,
}

/// A number of a shadow's tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowCounter {
    /// Requests that its sample chose.
    Mirrored,
    /// Of those, copies not sent.
    Shed,
    /// Of those, answers compared.
    Compared,
    /// Distinct (endpoint, path, kind) that differ beyond noise.
    Material,
    /// Distinct (endpoint, path, kind) that differ as the control's do.
    Noise,
    /// Answers that differ at all, after the ignore rules.
    Pairs,
}

/// A statistic of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// The least.
    Min,
    /// The mean.
    Mean,
    /// The greatest.
    Max,
    /// A quantile.
    Quantile(Quantile),
}

/// A row of the table of metrics.
#[derive(Debug)]
pub struct Row {
    /// The name; `pNN` stands for any percentile, `FLAG` for any response flag.
    pub name: &'static str,
    /// What it is, for the manual.
    pub help: &'static str,
    spec: Form,
}

/// How the rest of a name, after what the row fixes, becomes a [`Spec`].
#[derive(Debug)]
enum Form {
    Fixed(Spec),
    Percentile(fn(Quantile) -> Spec),
    Flag,
}

/// All metrics.
pub const METRICS: &[Row] = &[
    fixed(
        "requests",
        "requests",
        spec(Unit::Count, Of::Service, 0, Read::Tally(Counter::Requests)),
    ),
    fixed(
        "rps",
        "requests per second of the window",
        spec(Unit::PerSecond, Of::Service, 0, Read::Rps),
    ),
    fixed(
        "attempts",
        "requests that reached the service's own sidecar, retries included",
        spec(Unit::Count, Of::Service, 1, Read::Tally(Counter::Attempts)),
    ),
    fixed(
        "retries",
        "tries after the first",
        spec(Unit::Count, Of::Service, 1, Read::Tally(Counter::Retries)),
    ),
    fixed(
        "errors",
        "errors, as `errors:` says",
        spec(Unit::Count, Of::Service, 1, Read::Tally(Counter::Errors)),
    ),
    fixed(
        "error_share",
        "errors per request",
        spec(Unit::Share, Of::Service, 1, Read::ErrorShare),
    ),
    fixed(
        "bytes",
        "bytes of the answers' bodies",
        spec(Unit::Bytes, Of::Service, 1, Read::Tally(Counter::Bytes)),
    ),
    fixed(
        "in_flight",
        "mean number of requests under way: sum of their times over the length of the window",
        spec(Unit::Count, Of::Service, 1, Read::InFlight),
    ),
    fixed(
        "min",
        "least time",
        spec(
            Unit::Micros,
            Of::Service,
            1,
            Read::Latency(None, Statistic::Min),
        ),
    ),
    fixed(
        "mean",
        "mean time",
        spec(
            Unit::Micros,
            Of::Service,
            1,
            Read::Latency(None, Statistic::Mean),
        ),
    ),
    fixed(
        "max",
        "greatest time",
        spec(
            Unit::Micros,
            Of::Service,
            1,
            Read::Latency(None, Statistic::Max),
        ),
    ),
    percentile(
        "pNN",
        "response time for a driven service, else service time",
        |quantile| latency(None, quantile),
    ),
    percentile(
        "service.pNN",
        "service time: from the sending to the last byte",
        |quantile| latency(Some(Kind::Service), quantile),
    ),
    percentile(
        "inbound.pNN",
        "the service's own time, at its own sidecar",
        |quantile| latency(Some(Kind::Inbound), quantile),
    ),
    Row {
        name: "flags.FLAG",
        help: "requests with this response flag (Envoy's: DI, FI, UF, UT, …)",
        spec: Form::Flag,
    },
    fixed(
        "mirrored",
        "requests that the shadow's sample chose",
        shadow(0, ShadowCounter::Mirrored),
    ),
    fixed(
        "shed",
        "chosen requests whose copy was not sent",
        shadow(1, ShadowCounter::Shed),
    ),
    fixed(
        "compared",
        "pairs of answers compared",
        shadow(1, ShadowCounter::Compared),
    ),
    fixed(
        "diffs.material",
        "distinct (endpoint, path, kind) that differ beyond noise",
        // Fewer pairs could not call a difference, whatever it were.
        shadow(MIN_STRUCTURAL, ShadowCounter::Material),
    ),
    fixed(
        "diffs.noise",
        "distinct (endpoint, path, kind) that differ as the control's do",
        shadow(1, ShadowCounter::Noise),
    ),
    fixed(
        "diffs.pairs",
        "pairs of answers that differ, after the ignore rules",
        shadow(1, ShadowCounter::Pairs),
    ),
    percentile(
        "delta.pNN",
        "candidate minus primary, request by request",
        |quantile| {
            spec(
                Unit::Micros,
                Of::Shadow,
                quantile.needs(),
                Read::Delta(quantile),
            )
        },
    ),
    percentile("lateness.pNN", "the generator's own delay", |quantile| {
        spec(
            Unit::Micros,
            Of::Nothing,
            quantile.needs(),
            Read::Lateness(quantile),
        )
    }),
    fixed(
        "overflow",
        "requests that waited because max_in_flight were under way",
        spec(Unit::Count, Of::Nothing, 0, Read::Overflow),
    ),
    fixed(
        "compare",
        "whether the shadow is slower than its primary: `improved`, `same` or `regressed`",
        spec(Unit::Verdict, Of::Shadow, LEAST_SAMPLES, Read::Speed),
    ),
    fixed(
        "ejections",
        "replicas ejected for their answers",
        spec(Unit::Count, Of::Service, 0, Read::Ejections),
    ),
    fixed(
        "breaker_opened",
        "times a breaker opened",
        spec(Unit::Count, Of::Service, 0, Read::BreakersOpened),
    ),
];

const fn fixed(name: &'static str, help: &'static str, spec: Spec) -> Row {
    Row {
        name,
        help,
        spec: Form::Fixed(spec),
    }
}

const fn percentile(name: &'static str, help: &'static str, spec: fn(Quantile) -> Spec) -> Row {
    Row {
        name,
        help,
        spec: Form::Percentile(spec),
    }
}

const fn spec(unit: Unit, of: Of, needs: u64, read: Read) -> Spec {
    Spec {
        unit,
        of,
        needs,
        read,
    }
}

const fn shadow(needs: u64, counter: ShadowCounter) -> Spec {
    spec(Unit::Count, Of::Shadow, needs, Read::Shadow(counter))
}

fn latency(kind: Option<Kind>, quantile: Quantile) -> Spec {
    spec(
        Unit::Micros,
        Of::Service,
        quantile.needs(),
        Read::Latency(kind, Statistic::Quantile(quantile)),
    )
}

impl Row {
    /// The specification of this name, if the row is for it.
    fn matches(&self, name: &str) -> Option<Spec> {
        match &self.spec {
            Form::Fixed(spec) => (self.name == name).then_some(*spec),
            Form::Percentile(spec) => {
                let percentile = name.strip_prefix(self.name.strip_suffix("NN")?)?;
                Quantile::parse(percentile).map(spec)
            }
            Form::Flag => {
                let flag = name.strip_prefix(self.name.strip_suffix("FLAG")?)?;
                let flag = Flags::named(flag)?;
                Some(spec(Unit::Count, Of::Service, 1, Read::Flag(flag)))
            }
        }
    }
}

/// What is known of the metric of this name; `None`: there is none.
pub fn known(name: &str) -> Option<Spec> {
    METRICS.iter().find_map(|row| row.matches(name))
}

/// Names of all metrics, as patterns, for messages.
pub fn names() -> impl Iterator<Item = &'static str> {
    METRICS.iter().map(|row| row.name)
}

impl Metrics for Measured {
    fn read(&self, metric: &Metric, windows: &[Window]) -> Reading {
        let Some(Spec { needs, read, .. }) = known(&metric.name) else {
            return Reading::none(0);
        };
        let of = metric.of.as_ref();
        match (read, of) {
            (Read::Lateness(quantile), _) => {
                quantile_of(self.generator(windows).latency(Kind::Lateness), quantile)
            }
            (Read::Overflow, _) => Reading::count(self.overflow(windows), 0),
            (Read::Ejections, Some(service)) => {
                Reading::count(self.changes(service, windows, Changed::ejects), 0)
            }
            (Read::BreakersOpened, Some(service)) => {
                Reading::count(self.changes(service, windows, Changed::opens), 0)
            }
            (Read::Shadow(counter), Some(shadow)) => {
                shadow_counter(self, shadow, windows, counter, needs)
            }
            (Read::Delta(quantile), Some(shadow)) => delta(self, shadow, windows, quantile),
            (Read::Speed, Some(shadow)) => speed(self, shadow, windows, needs),
            // Counted as none, they would be a figure that nobody has taken.
            (_, Some(service)) if self.is_unseen(service) => Reading::none(needs.max(1)),
            (read, Some(service)) => {
                let subject = Subject {
                    filter: metric.filter.clone(),
                    ..Subject::primary(service)
                };
                service_metric(
                    read,
                    needs,
                    &self.over(&subject, windows),
                    self.is_driven(service),
                    windows,
                )
            }
            (_, None) => Reading::none(needs),
        }
    }
}

impl Reading {
    fn none(need: u64) -> Self {
        Self::NoData {
            value: None,
            have: 0,
            need,
        }
    }

    fn count(value: u64, n: u64) -> Self {
        Self::exactly(value as f64, n)
    }

    fn exactly(value: f64, n: u64) -> Self {
        Self::Known {
            value,
            interval: None,
            n,
        }
    }
}

/// A metric of a service, off what was measured of it.
fn service_metric(
    read: Read,
    needs: u64,
    cell: &Cell,
    driven: bool,
    windows: &[Window],
) -> Reading {
    let tally = &cell.tally;
    let seconds = windows.iter().map(Window::length_us).sum::<u64>() as f64 / 1e6;
    let kind = if driven {
        Kind::Response
    } else {
        Kind::Service
    };
    let requests = tally.requests;
    match read {
        Read::Latency(kind_asked, statistic) => {
            let latency = cell.latency(kind_asked.unwrap_or(kind));
            match statistic {
                Statistic::Quantile(quantile) => quantile_of(latency, quantile),
                Statistic::Min => value_of(latency, |latency| latency.min().map(|us| us as f64)),
                Statistic::Max => value_of(latency, |latency| latency.max().map(|us| us as f64)),
                Statistic::Mean => value_of(latency, Histogram::mean),
            }
        }
        Read::Tally(Counter::Attempts) if tally.attempts < needs => Reading::none(needs),
        Read::Tally(Counter::Attempts) => Reading::count(tally.attempts, tally.attempts),
        _ if requests < needs => Reading::none(needs),
        Read::Rps if seconds > 0.0 => Reading::exactly(requests as f64 / seconds, requests),
        Read::InFlight if seconds > 0.0 => {
            let total = cell.latency(kind).map_or(0.0, Histogram::sum);
            Reading::exactly(total / 1e6 / seconds, requests)
        }
        Read::ErrorShare => Reading::Known {
            value: tally.errors as f64 / requests as f64,
            interval: Some(proportion::wilson(tally.errors, requests)),
            n: requests,
        },
        Read::Flag(flag) => Reading::count(tally.flagged(flag), requests),
        Read::Tally(counter) => {
            let value = match counter {
                Counter::Requests => tally.requests,
                Counter::Attempts => tally.attempts,
                Counter::Retries => tally.retries,
                Counter::Errors => tally.errors,
                Counter::Bytes => tally.bytes,
            };
            Reading::count(value, requests)
        }
        _ => Reading::none(needs),
    }
}

fn value_of(latency: Option<&Histogram>, read: impl Fn(&Histogram) -> Option<f64>) -> Reading {
    match latency.and_then(|latency| Some((read(latency)?, latency.count()))) {
        Some((value, n)) => Reading::exactly(value, n),
        None => Reading::none(1),
    }
}

fn quantile_of(latency: Option<&Histogram>, quantile: Quantile) -> Reading {
    let n = latency.map_or(0, Histogram::count);
    by_rank(quantile, n, |rank| {
        latency?.value_at(rank).map(|us| us as f64)
    })
}

/// A quantile with its interval, off ranked values.
fn by_rank(quantile: Quantile, n: u64, at: impl Fn(u64) -> Option<f64>) -> Reading {
    let need = quantile.needs();
    let value = (n > 0).then(|| at(quantile.rank(n))).flatten();
    match value {
        Some(value) if n >= need => {
            let (low, high) = quantile.interval_ranks(n);
            let interval = low.and_then(&at).zip(high.and_then(&at));
            Reading::Known { value, interval, n }
        }
        value => Reading::NoData {
            value,
            have: n,
            need,
        },
    }
}

fn delta(measured: &Measured, shadow: &Id, windows: &[Window], quantile: Quantile) -> Reading {
    let delta = measured.shadows().over(shadow, windows).delta;
    by_rank(quantile, delta.count(), |rank| {
        delta.value_at(rank).map(|us| us as f64)
    })
}

/// What is open is not known, however many pairs there are.
fn speed(measured: &Measured, shadow: &Id, windows: &[Window], need: u64) -> Reading {
    let have = measured.shadows().pairs(shadow, windows);
    match measured.speed(shadow, windows).called() {
        Some(called) => Reading::exactly(called.number(), have),
        None => Reading::NoData {
            value: None,
            have,
            need,
        },
    }
}

fn shadow_counter(
    measured: &Measured,
    shadow: &Id,
    windows: &[Window],
    counter: ShadowCounter,
    needs: u64,
) -> Reading {
    let mirrored = measured.shadows().over(shadow, windows);
    let have = match counter {
        ShadowCounter::Mirrored | ShadowCounter::Shed | ShadowCounter::Compared => mirrored.chosen,
        ShadowCounter::Pairs => mirrored.compared,
        ShadowCounter::Material | ShadowCounter::Noise => mirrored.paired,
    };
    if have < needs {
        return Reading::NoData {
            value: None,
            have,
            need: needs,
        };
    }
    let value = match counter {
        ShadowCounter::Mirrored => mirrored.chosen,
        ShadowCounter::Shed => mirrored.shed.values().sum(),
        ShadowCounter::Compared => mirrored.compared,
        ShadowCounter::Pairs => mirrored.different,
        ShadowCounter::Material => measured.classified(&mirrored, Class::Material),
        ShadowCounter::Noise => measured.classified(&mirrored, Class::Noise),
    };
    Reading::count(value, have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::fixture::{mirror, request, setup, timed};

    fn read(measured: &Measured, name: &str, of: Option<&str>) -> Reading {
        let metric = Metric {
            name: name.into(),
            of: of.map(Into::into),
            filter: Filter::default(),
            phase: None,
        };
        measured.read(&metric, &measured.recorded())
    }

    #[test]
    fn names_are_known_with_unit_and_need() {
        let rows = [
            ("p99", Some((Unit::Micros, Of::Service, 1000))),
            ("p99.9", Some((Unit::Micros, Of::Service, 10_000))),
            ("service.p50", Some((Unit::Micros, Of::Service, 20))),
            ("inbound.p90", Some((Unit::Micros, Of::Service, 100))),
            ("flags.DI", Some((Unit::Count, Of::Service, 1))),
            ("error_share", Some((Unit::Share, Of::Service, 1))),
            ("diffs.material", Some((Unit::Count, Of::Shadow, 5))),
            ("delta.p50", Some((Unit::Micros, Of::Shadow, 20))),
            ("lateness.p99", Some((Unit::Micros, Of::Nothing, 1000))),
            ("compare", Some((Unit::Verdict, Of::Shadow, 1000))),
            ("p100", None),
            ("flags.XX", None),
            ("p", None),
            ("latency", None),
        ];
        for (name, expected) in rows {
            let found = known(name).map(|spec| (spec.unit, spec.of, spec.needs));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn quantiles_are_known_from_enough_samples_on() {
        let mut measured = Measured::new(setup());
        for ordinal in 0..19 {
            measured.add(&request(ordinal, 1_000_000 + ordinal, 1000 + ordinal, 200));
        }
        let too_few = Reading::NoData {
            value: Some(1009.0),
            have: 19,
            need: 20,
        };
        assert_eq!(read(&measured, "p50", Some("shop")), too_few);
        measured.add(&request(19, 1_000_019, 1019, 200));
        // Ranks 6 and 15 of 20 enclose the median with 95.9 %.
        let known = Reading::Known {
            value: 1009.0,
            interval: Some((1005.0, 1014.0)),
            n: 20,
        };
        assert_eq!(read(&measured, "p50", Some("shop")), known);
    }

    #[test]
    fn counts_and_shares_are_those_of_the_recorded_phases() {
        let mut measured = Measured::new(setup());
        measured.add(&request(0, 0, 1000, 500));
        for ordinal in 1..=8 {
            measured.add(&request(
                ordinal,
                2_000_000,
                1000,
                if ordinal == 1 { 503 } else { 200 },
            ));
        }
        let value = |name| match read(&measured, name, Some("shop")) {
            Reading::Known { value, .. } => value,
            Reading::NoData { .. } => f64::NAN,
        };
        assert_eq!(
            (value("requests"), value("errors"), value("error_share")),
            (8.0, 1.0, 0.125)
        );
        // Four seconds are recorded; 8 requests of 1 ms.
        assert_eq!(
            (value("rps"), value("in_flight"), value("bytes")),
            (2.0, 0.002, 96.0)
        );
        assert!(value("attempts").is_nan(), "no sidecar told of any");
    }

    #[test]
    fn nothing_is_never_nought() {
        let measured = Measured::new(setup());
        for (name, of) in [
            ("errors", "shop"),
            ("error_share", "shop"),
            ("max", "shop"),
            ("flags.DI", "pay"),
            ("diffs.material", "candidate"),
            ("shed", "candidate"),
        ] {
            let reading = read(&measured, name, Some(of));
            assert!(
                matches!(
                    reading,
                    Reading::NoData {
                        value: None,
                        have: 0,
                        ..
                    }
                ),
                "{name}: {reading:?}"
            );
        }
        assert_eq!(
            read(&measured, "requests", Some("shop")),
            Reading::count(0, 0)
        );
    }

    #[test]
    fn a_service_that_speaks_bytes_has_no_requests_to_count() {
        let opaque = |driven: &[&str]| {
            let driven = driven.iter().map(|id| (*id).into()).collect();
            let opaque = vec!["pay".into()];
            let measured = Measured::new(crate::measure::Setup {
                driven,
                opaque,
                ..setup()
            });
            read(&measured, "requests", Some("pay"))
        };
        assert_eq!(opaque(&[]), Reading::none(1));
        assert_eq!(opaque(&["pay"]), Reading::count(0, 0));
    }

    #[test]
    fn a_verdict_is_a_number_once_it_is_known() {
        let window = |end_s: u64| Window {
            begin_us: 0,
            end_us: end_s * 1_000_000,
        };
        let mut measured = Measured::new(setup());
        for ordinal in 0..2_100 {
            let us = 10_000 + ordinal * 7_919 % 300;
            for (shadow, its) in [("candidate", us * 2), ("control", us)] {
                measured.add(&timed(shadow, ordinal, 10 * ordinal as u32, (us, its)));
            }
        }
        let metric = Metric {
            name: "compare".into(),
            of: Some("candidate".into()),
            filter: Filter::default(),
            phase: None,
        };
        let slower = Reading::exactly(1.0, 2_100);
        assert_eq!(measured.read(&metric, &[window(21)]), slower);
        let open = Reading::NoData {
            value: None,
            have: 1_800,
            need: 1_000,
        };
        assert_eq!(measured.read(&metric, &[window(18)]), open);
    }

    #[test]
    fn shadows_are_read_by_pairs() {
        let mut measured = Measured::new(setup());
        for ordinal in 0..6 {
            measured.add(&mirror("candidate", ordinal, &[("$.tax", "missing")]));
            measured.add(&mirror("control", ordinal, &[]));
        }
        let value = |name| read(&measured, name, Some("candidate"));
        assert_eq!(value("diffs.material"), Reading::count(1, 6));
        assert_eq!(value("diffs.noise"), Reading::count(0, 6));
        assert_eq!(value("diffs.pairs"), Reading::count(6, 6));
        assert_eq!(value("shed"), Reading::count(0, 6));
        assert_eq!(
            value("delta.p50"),
            Reading::NoData {
                value: Some(150.0),
                have: 6,
                need: 20
            }
        );
    }
}
