//! Phases, and when faults are switched.

use std::time::Duration;

use meshbed_proxy::{
    policy::fault::{
        Fault as Request, Place,
        abort::{Abort, GRPC},
        delay::Delay,
        rewrite::Rewrite,
        throttle::Throttle,
        truncate::Truncate,
    },
    unit::{ByteSize, Share, show_duration},
};

use super::{
    Fault, FaultKind, Phase, Select, Service, protocol_of,
    resolve::{Ids, Resolver},
    value::{Item, Value},
};
use crate::{event::Id, measure::CLIENT};

/// Longest timeline: trace ids hold the intended time as 32 bits of milliseconds; half of that leaves room for stragglers.
const LONGEST: Duration = Duration::from_hours(24 * 24);

/// Most windows of a repeated fault: each is a row that every request is held against.
const MAX_WINDOWS: u64 = 10_000;

impl Resolver<'_> {
    pub(super) fn phases(&mut self) -> Vec<Phase> {
        let Some(list) = self.root.get("phases") else {
            return Vec::new();
        };
        if list.items().is_empty() {
            self.tell(
                list,
                "there is no phase",
                "at least one, as in `{ id: steady, for: 20s }`; or leave `phases` out",
            );
        }
        let mut phases = Vec::new();
        let mut begin_us = 0;
        for item in list.items() {
            let Some(length) = item.get("for") else {
                continue;
            };
            let length_us = self.whole_millis(length).unwrap_or(1_000);
            if length_us == 0 {
                self.tell(length, "a phase of no length", "more than `0s`");
            }
            let (Some(id), Some(record)) = (item.id("id"), item.flag("record")) else {
                continue;
            };
            phases.push(Phase {
                id: id.clone(),
                begin_us,
                end_us: begin_us + length_us,
                record,
            });
            begin_us += length_us;
        }
        if u128::from(begin_us) > LONGEST.as_micros() {
            self.tell(list, "the timeline is too long", "at most 24 days");
        }
        if !phases.is_empty() && !phases.iter().any(|phase| phase.record) {
            self.tell(
                list,
                "no phase is recorded",
                "leave `record: false` out of one of them",
            );
        }
        phases
    }

    /// A duration in µs, which must be whole milliseconds: requests belong to windows by their intended millisecond.
    fn whole_millis(&mut self, item: &Item) -> Option<u64> {
        let duration = item.as_duration()?;
        if !duration.as_nanos().is_multiple_of(1_000_000) {
            self.tell(
                item,
                "the duration is finer than the timeline",
                "whole milliseconds",
            );
            return None;
        }
        Some(duration.as_micros() as u64)
    }

    pub(super) fn faults(
        &mut self,
        ids: &Ids,
        phases: &[Phase],
        services: &[Service],
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        for item in self.root.list("faults") {
            let ends = self.ends(item, ids);
            let during = self.reference(item, "during", "phase", &ids.phases);
            let phase = during
                .as_ref()
                .and_then(|during| phases.iter().find(|phase| phase.id == *during));
            let windows = phase.and_then(|phase| self.windows(item, phase));
            let select = self.select(item);
            let kind = self.fault_kind(item);
            if let (Some((target, _)), Some(kind)) = (&ends, &kind) {
                self.fits(item, kind, protocol_of(services, target));
            }
            let matcher = Self::matcher(item.get("match"));
            if let (
                Some(id),
                Some((target, from)),
                Some(during),
                Some(windows),
                Some(kind),
                Some(ttl),
            ) = (
                item.id("id"),
                ends,
                during,
                windows,
                kind,
                item.duration("ttl"),
            ) {
                faults.push(Fault {
                    id: id.clone(),
                    target,
                    from,
                    during,
                    windows,
                    select,
                    matcher,
                    max_active: item.whole("max_active").map(|number| number as u32),
                    ttl,
                    place: match item.text("place") {
                        Some("attempt") => Place::Attempt,
                        _ => Place::Request,
                    },
                    kind,
                });
            }
        }
        faults
    }

    /// Whose calls to whom.
    fn ends(&mut self, item: &Item, ids: &Ids) -> Option<(Id, Option<Id>)> {
        let target = self.reference(item, "target", "service", &ids.services);
        let mut callers = ids.services.clone();
        callers.push(CLIENT.into());
        let from = self.reference(item, "from", "service", &callers);
        let target = target?;
        let at = item.get("target")?;
        if !ids.is_reached(&target) {
            self.tell(
                at,
                format!("nothing calls the service `{target}`"),
                "the fault would meet no request; services that traffic goes to, or that another `calls`, can be broken",
            );
            return None;
        }
        if let (Some(from), Some(at)) = (&from, item.get("from"))
            && !ids.does_call(from, &target)
        {
            let help = format!(
                "the fault would meet no request; list `{target}` in the `calls` of `{from}`, or leave `from` out"
            );
            self.tell(at, format!("`{from}` does not call `{target}`"), help);
        }
        Some((target, from))
    }

    /// When a fault is active, in ms of intended time.
    fn windows(&mut self, item: &Item, phase: &Phase) -> Option<Vec<(u32, u32)>> {
        let at = item.get("at").and_then(|at| self.whole_millis(at))?;
        let length = phase.end_us - phase.begin_us;
        let room = Duration::from_micros(length);
        if at >= length {
            let begins = item.get("at")?;
            self.tell(
                begins,
                format!("the fault begins after the phase `{}` has ended", phase.id),
                format!(
                    "less than `+{}`, the length of the phase",
                    show_duration(room)
                ),
            );
            return None;
        }
        let lasts = match item.get("for") {
            None => length - at,
            Some(lasts) => {
                let micros = self.whole_millis(lasts)?;
                if micros == 0 {
                    self.tell(lasts, "a fault of no length", "more than `0s`");
                    return None;
                }
                if at + micros > length {
                    self.tell(
                        lasts,
                        format!(
                            "the fault ends {} after its phase `{}`",
                            show_duration(Duration::from_micros(at + micros - length)),
                            phase.id
                        ),
                        format!(
                            "`at` and `for` together at most {}, the length of the phase",
                            show_duration(room)
                        ),
                    );
                    return None;
                }
                micros
            }
        };
        let begin = phase.begin_us + at;
        let end = begin + lasts;
        let millis = |micros: u64| (micros / 1_000) as u32;
        let Some(repeat) = item.get("repeat") else {
            return Some(vec![(millis(begin), millis(end))]);
        };
        let every = repeat
            .get("every")
            .and_then(|every| self.whole_millis(every))?;
        let each = repeat.get("for").and_then(|each| self.whole_millis(each))?;
        if each == 0 || each >= every || lasts / every > MAX_WINDOWS {
            self.tell(
                repeat,
                "the fault would never pause, never be on, or be switched too often",
                format!("`for` above 0 and below `every`; at most {MAX_WINDOWS} times"),
            );
            return None;
        }
        Some(
            (0..=lasts / every)
                .map(|time| begin + time * every)
                .filter(|start| *start < end)
                .map(|start| (millis(start), millis((start + each).min(end))))
                .collect(),
        )
    }

    fn select(&mut self, item: &Item) -> Select {
        let given: Vec<&Item> = ["percent", "first", "every"]
            .iter()
            .filter_map(|key| item.get(key))
            .collect();
        if let [_, second, ..] = given.as_slice() {
            self.tell(
                second,
                "more than one of `percent`, `first` and `every`",
                "one of them says which requests are chosen",
            );
        }
        let share = item.share("percent").unwrap_or(Share::ALL);
        if let (Some(percent), true) = (item.get("percent"), share == Share::NONE) {
            self.tell(
                percent,
                "a fault that chooses no request",
                "more than `0%`; or leave the fault out",
            );
        }
        if let Some(ramp) = item.get("ramp") {
            if let Some(other) = item.get("first").or_else(|| item.get("every")) {
                self.tell(other, "`ramp` is for `percent`", "leave one of them out");
            }
            if let (Some(from), Some(over)) = (ramp.share("from"), ramp.duration("over")) {
                return Select::Ramp(from, over, share);
            }
        }
        if let Some(first) = item.whole("first") {
            return Select::First(first);
        }
        match item.whole("every") {
            Some(every) => Select::Every(every),
            None => Select::Share(share),
        }
    }

    fn fault_kind(&mut self, item: &Item) -> Option<FaultKind> {
        self.connection_kind(item)
            .or_else(|| self.request_kind(item).map(FaultKind::Request))
    }

    fn request_kind(&mut self, item: &Item) -> Option<Request> {
        if let Some(abort) = item.get("abort") {
            return self.abort(abort).map(Request::Abort);
        }
        if let Some(throttle) = item.get("throttle") {
            return self.throttle(throttle.get("rate")?).map(Request::Throttle);
        }
        if let Some(truncate) = item.get("truncate") {
            let after = truncate.size("after")?.0;
            return Some(Request::Truncate(Truncate { after }));
        }
        if let Some(rewrite) = item.get("rewrite") {
            return Some(Request::Rewrite(Rewrite {
                status: rewrite.whole("status").map(|status| status as u16),
                headers: rewrite.pairs("headers"),
                body: rewrite.text("body").map(str::to_owned),
            }));
        }
        let delay = self.delay(item.get("delay")?)?;
        Some(match item.text("of") {
            Some("response") => Request::DelayAnswer(delay),
            _ => Request::Delay(delay),
        })
    }

    fn abort(&mut self, item: &Item) -> Option<Abort> {
        if let Some(name) = item.get("grpc") {
            let code = Abort::grpc_code(name.as_text()?);
            if code.is_none() {
                self.tell(
                    name,
                    format!("`{}` is not a gRPC status", name.as_text()?),
                    format!("one of {}", GRPC.map(|name| format!("`{name}`")).join(", ")),
                );
            }
            return code.map(Abort::Grpc);
        }
        if item.has("stream") {
            return Some(Abort::Reset);
        }
        if let Some(goaway) = item.get("goaway") {
            if item.flag("goaway") != Some(true) {
                self.tell(goaway, "a fault that does nothing", "`true`");
            }
            return Some(Abort::GoAway);
        }
        Some(Abort::Status {
            status: item.whole("status")? as u16,
            body: item.text("body").map(str::to_owned),
        })
    }

    fn throttle(&mut self, item: &Item) -> Option<Throttle> {
        self.bytes_per_second(item)
            .map(|bytes_per_second| Throttle { bytes_per_second })
    }

    /// `64KiB/s`.
    pub(super) fn bytes_per_second(&mut self, item: &Item) -> Option<u64> {
        let text = item.as_text()?;
        let size = text
            .strip_suffix("/s")
            .and_then(|size| ByteSize::parse(size).ok())
            .filter(|size| size.0 > 0);
        if size.is_none() {
            self.tell(
                item,
                format!("`{text}` is not a rate of bytes"),
                "a size a second such as `64KiB/s`",
            );
        }
        size.map(|size| size.0)
    }

    fn delay(&mut self, delay: &Item) -> Option<Delay> {
        if let Some(fixed) = delay.as_duration() {
            if fixed.is_zero() {
                self.tell(delay, "a delay of no length", "more than `0s`");
            }
            return Some(Delay::Fixed(fixed));
        }
        Some(
            if let Some(Value::Span(low, high)) = delay.get("uniform").map(|span| &span.value) {
                Delay::Uniform {
                    low: *low,
                    high: *high,
                }
            } else if let Some(normal) = delay.get("normal") {
                Delay::Normal {
                    mean: normal.duration("mean")?,
                    sd: normal.duration("sd")?,
                }
            } else if let Some(exponential) = delay.get("exponential") {
                Delay::Exponential {
                    mean: exponential.duration("mean")?,
                }
            } else if let Some(pareto) = delay.get("pareto") {
                Delay::Pareto {
                    scale: pareto.duration("scale")?,
                    shape: pareto.number("shape")?,
                }
            } else {
                self.table(delay.get("table")?)?
            },
        )
    }

    /// A table of quantiles.
    fn table(&mut self, table: &Item) -> Option<Delay> {
        let mut points: Vec<(f64, Duration)> = Vec::new();
        for (key, item) in table.entries() {
            let percentile = key
                .name
                .strip_prefix('p')
                .and_then(|digits| digits.parse::<f64>().ok())
                .filter(|percentile| (0.0..=100.0).contains(percentile));
            match (percentile, item.as_duration()) {
                (Some(percentile), Some(duration)) => points.push((percentile / 100.0, duration)),
                (None, _) => self.tell(
                    item,
                    format!("`{}` is not a percentile", key.name),
                    "`p0` to `p100`",
                ),
                _ => {}
            }
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if points.is_empty() {
            self.tell(
                table,
                "a table without a percentile",
                "as in `{ p50: 5ms, p99: 80ms }`",
            );
            return None;
        }
        if !points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1) {
            self.tell(
                table,
                "higher percentiles must not be shorter",
                "durations that grow with the percentile",
            );
            return None;
        }
        Some(Delay::Table(points))
    }
}
