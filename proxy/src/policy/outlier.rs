//! Passive health checks: an endpoint whose answers are bad is put aside for a while (ejected). Counting is in a
//! [`Monitor`] that any thread may feed; deciding in a [`Detector`]. All of it as Envoy.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Its settings. Shares are percents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// So many 5xx one after the other; `None`: they don't count.
    pub consecutive_5xx: u32,
    /// So many 502, 503, 504 one after the other.
    pub consecutive_gateway: u32,
    /// So many local failures (no connection, no answer) one after the other.
    pub consecutive_local: u32,
    /// Local failures are counted apart from answers.
    pub split: bool,
    /// How often ejections are ended, and rates compared.
    pub interval: Duration,
    /// An ejection lasts so long, times the number of ejections so far.
    pub base: Duration,
    /// And at most so long.
    pub longest: Duration,
    /// And up to so much longer, by a draw.
    pub jitter: Duration,
    /// At most so much of the cluster is ejected.
    pub most: u32,
    /// One endpoint may be ejected whatever `most` says.
    pub always_one: bool,
    /// A health check that succeeds ends an ejection.
    pub ends_with_check: bool,
    /// How often an ejection for each reason is carried out.
    pub enforcing: Enforcing,
    /// Endpoints whose success rate is far below the others'.
    pub success_rate: Rate,
    /// How far: mean - factor × deviation, in thousandths.
    pub deviation: u32,
    /// Endpoints of which too much fails.
    pub failure_rate: Rate,
    /// How much, in percent.
    pub failure_threshold: u32,
}

/// How often an ejection is carried out, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforcing {
    /// For consecutive 5xx.
    pub consecutive_5xx: u32,
    /// For consecutive gateway failures.
    pub gateway: u32,
    /// For consecutive local failures.
    pub local: u32,
    /// For a low success rate.
    pub success_rate: u32,
    /// For a low success rate of connecting.
    pub local_success_rate: u32,
    /// For failures above the threshold.
    pub failure_rate: u32,
    /// For local failures above the threshold.
    pub local_failure_rate: u32,
}

/// When rates are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least so many endpoints have enough requests.
    pub hosts: u32,
    /// Enough: so many in an interval.
    pub volume: u32,
}

impl Default for Settings {
    /// Envoy's.
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway: 5,
            consecutive_local: 5,
            split: false,
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            longest: Duration::from_mins(5),
            jitter: Duration::ZERO,
            most: 10,
            always_one: false,
            ends_with_check: true,
            enforcing: Enforcing {
                consecutive_5xx: 100,
                gateway: 0,
                local: 100,
                success_rate: 100,
                local_success_rate: 100,
                failure_rate: 0,
                local_failure_rate: 0,
            },
            success_rate: Rate {
                hosts: 5,
                volume: 100,
            },
            deviation: 1_900,
            failure_rate: Rate {
                hosts: 5,
                volume: 50,
            },
            failure_threshold: 85,
        }
    }
}

/// What became of a try at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with this status.
    Status(u16),
    /// A connection was made.
    Connected,
    /// No connection could be made, or it broke.
    Failed,
    /// No answer came in time.
    Timeout,
}

/// Why an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Consecutive 5xx.
    Consecutive5xx,
    /// Consecutive gateway failures.
    ConsecutiveGateway,
    /// Consecutive local failures.
    ConsecutiveLocal,
    /// Its success rate is far below the others'.
    SuccessRate,
    /// Its rate of local successes is far below the others'.
    LocalSuccessRate,
    /// Too much of it fails.
    FailureRate,
    /// Too much of it fails locally.
    LocalFailureRate,
}

impl Reason {
    /// Envoy's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGateway => "consecutive_gateway_failure",
            Self::ConsecutiveLocal => "consecutive_local_origin_failure",
            Self::SuccessRate => "success_rate",
            Self::LocalSuccessRate => "local_origin_success_rate",
            Self::FailureRate => "failure_percentage",
            Self::LocalFailureRate => "local_origin_failure_percentage",
        }
    }
}

/// The counts of one endpoint. A success costs two loads where nothing failed lately, and two additions.
#[derive(Debug, Default)]
pub struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    consecutive_local: AtomicU32,
    answers: Volume,
    local: Volume,
}

#[derive(Debug, Default)]
struct Volume {
    all: AtomicU32,
    good: AtomicU32,
}

impl Monitor {
    /// Counts an outcome: the reasons for an ejection, if it was one failure too many.
    pub fn count(&self, outcome: Outcome, settings: &Settings) -> [Option<Reason>; 2] {
        match outcome {
            Outcome::Status(status) => self.answer(status, settings),
            Outcome::Connected if settings.split => {
                self.local.count(true);
                reset(&self.consecutive_local);
                [None; 2]
            }
            Outcome::Connected => [None; 2],
            Outcome::Failed | Outcome::Timeout if settings.split => {
                self.local.count(false);
                let reached = reaches(&self.consecutive_local, settings.consecutive_local);
                [reached.then_some(Reason::ConsecutiveLocal), None]
            }
            Outcome::Failed => self.answer(503, settings),
            Outcome::Timeout => self.answer(504, settings),
        }
    }

    fn answer(&self, status: u16, settings: &Settings) -> [Option<Reason>; 2] {
        let failed = (500..600).contains(&status);
        self.answers.count(!failed);
        if !failed {
            reset(&self.consecutive_5xx);
            reset(&self.consecutive_gateway);
            return [None; 2];
        }
        let gateway = if matches!(status, 502..=504) {
            reaches(&self.consecutive_gateway, settings.consecutive_gateway)
        } else {
            reset(&self.consecutive_gateway);
            false
        };
        let any = reaches(&self.consecutive_5xx, settings.consecutive_5xx);
        [
            gateway.then_some(Reason::ConsecutiveGateway),
            any.then_some(Reason::Consecutive5xx),
        ]
    }

    fn forget(&self, reason: Reason) {
        match reason {
            Reason::Consecutive5xx => reset(&self.consecutive_5xx),
            Reason::ConsecutiveGateway => reset(&self.consecutive_gateway),
            Reason::ConsecutiveLocal => reset(&self.consecutive_local),
            _ => {}
        }
    }
}

impl Volume {
    fn count(&self, good: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        if good {
            self.good.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there were since the last time, and how much of them was good, in percent.
    fn take(&self) -> (u32, f64) {
        let (all, good) = (
            self.all.swap(0, Ordering::Relaxed),
            self.good.swap(0, Ordering::Relaxed),
        );
        (all, 100.0 * f64::from(good) / f64::from(all.max(1)))
    }
}

fn reset(count: &AtomicU32) {
    if count.load(Ordering::Relaxed) != 0 {
        count.store(0, Ordering::Relaxed);
    }
}

fn reaches(count: &AtomicU32, limit: u32) -> bool {
    count.fetch_add(1, Ordering::Relaxed) + 1 == limit
}

/// What is remembered of one endpoint's ejections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    ejected: Option<Duration>,
    backoff: u32,
    jitter: Duration,
}

impl Record {
    /// It is ejected.
    pub fn is_ejected(&self) -> bool {
        self.ejected.is_some()
    }
}

/// What became of an ejection that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Ejected,
    /// Too many are ejected already.
    Overflow,
    /// It was ejected already, or a draw decided against it.
    Spared,
}

/// Decides, for one cluster. Times are since any fixed moment.
#[derive(Debug, Clone, Copy)]
pub struct Detector {
    settings: Settings,
}

impl Detector {
    /// Decides by these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Ejects an endpoint for a reason; `draw` is from 0 to 1.
    pub fn eject(
        &self,
        records: &mut [Record],
        monitors: &[&Monitor],
        index: usize,
        reason: Reason,
        now: Duration,
        draw: f64,
    ) -> Verdict {
        let settings = &self.settings;
        if let Some(monitor) = monitors.get(index) {
            monitor.forget(reason);
        }
        let active = records.iter().filter(|record| record.is_ejected()).count();
        let share = 100.0 * (active + 1) as f64 / records.len().max(1) as f64;
        let Some(record) = records.get_mut(index).filter(|it| !it.is_ejected()) else {
            return Verdict::Spared;
        };
        let allowed =
            share <= f64::from(settings.most.min(100)) || (settings.always_one && active == 0);
        if !allowed {
            return Verdict::Overflow;
        }
        if draw * 100.0 >= f64::from(settings.enforcing.of(reason)) {
            return Verdict::Spared;
        }
        record.ejected = Some(now);
        // The fraction of the draw that the percentage leaves is as random as the draw.
        record.jitter = settings.jitter.mul_f64((draw * 1e4).fract());
        if settings.base * record.backoff < settings.longest + settings.base {
            record.backoff += 1;
        }
        Verdict::Ejected
    }

    /// An interval has passed: which ejections have ended.
    pub fn end(&self, records: &mut [Record], now: Duration) -> Vec<usize> {
        let settings = &self.settings;
        let mut ended = Vec::new();
        for (index, record) in records.iter_mut().enumerate() {
            match record.ejected {
                None => record.backoff = record.backoff.saturating_sub(1),
                Some(since) => {
                    let lasts = (settings.base * record.backoff).min(settings.longest);
                    if lasts + record.jitter <= now.saturating_sub(since) {
                        record.ejected = None;
                        ended.push(index);
                    }
                }
            }
        }
        ended
    }

    /// A health check has succeeded: whether that ends an ejection.
    pub fn checked(&self, record: &mut Record) -> bool {
        self.settings.ends_with_check && record.ejected.take().is_some()
    }

    /// An interval has passed: whose rates are too low, and why. The counts begin anew.
    pub fn outliers(&self, records: &[Record], monitors: &[&Monitor]) -> Vec<(usize, Reason)> {
        let mut found = Vec::new();
        let volume: fn(&Monitor) -> &Volume = |monitor| &monitor.answers;
        let local: fn(&Monitor) -> &Volume = |monitor| &monitor.local;
        for (of, low, failing) in [
            (volume, Reason::SuccessRate, Reason::FailureRate),
            (local, Reason::LocalSuccessRate, Reason::LocalFailureRate),
        ] {
            let rates: Vec<_> = monitors
                .iter()
                .map(|monitor| of(monitor).take())
                .enumerate()
                .filter(|(index, _)| records.get(*index).is_some_and(|it| !it.is_ejected()))
                .map(|(index, (volume, rate))| (index, volume, rate))
                .collect();
            self.compare(&rates, low, failing, &mut found);
        }
        found
    }

    fn compare(
        &self,
        rates: &[(usize, u32, f64)],
        low: Reason,
        failing: Reason,
        found: &mut Vec<(usize, Reason)>,
    ) {
        let settings = &self.settings;
        let enough = |rate: Rate| -> Vec<(usize, f64)> {
            let busy: Vec<_> = rates
                .iter()
                .filter(|(_, volume, _)| *volume >= rate.volume.max(1))
                .map(|(index, _, rate)| (*index, *rate))
                .collect();
            if busy.len() >= rate.hosts.max(1) as usize {
                busy
            } else {
                Vec::new()
            }
        };
        let successes = enough(settings.success_rate);
        let count = successes.len().max(1) as f64;
        let mean = successes.iter().map(|(_, rate)| rate).sum::<f64>() / count;
        let variance = successes
            .iter()
            .map(|(_, rate)| (rate - mean).powi(2))
            .sum::<f64>()
            / count;
        let threshold = mean - f64::from(settings.deviation) / 1_000.0 * variance.sqrt();
        for (index, rate) in successes {
            if rate < threshold {
                found.push((index, low));
            }
        }
        for (index, rate) in enough(settings.failure_rate) {
            if 100.0 - rate >= f64::from(settings.failure_threshold) {
                found.push((index, failing));
            }
        }
    }
}

impl Enforcing {
    fn of(&self, reason: Reason) -> u32 {
        match reason {
            Reason::Consecutive5xx => self.consecutive_5xx,
            Reason::ConsecutiveGateway => self.gateway,
            Reason::ConsecutiveLocal => self.local,
            Reason::SuccessRate => self.success_rate,
            Reason::LocalSuccessRate => self.local_success_rate,
            Reason::FailureRate => self.failure_rate,
            Reason::LocalFailureRate => self.local_failure_rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    fn all() -> Settings {
        Settings {
            most: 100,
            enforcing: Enforcing {
                gateway: 100,
                failure_rate: 100,
                ..Settings::default().enforcing
            },
            ..Settings::default()
        }
    }

    fn counted(settings: &Settings, outcomes: &[Outcome]) -> Vec<Reason> {
        let monitor = Monitor::default();
        outcomes
            .iter()
            .flat_map(|outcome| monitor.count(*outcome, settings))
            .flatten()
            .collect()
    }

    #[test]
    fn failures_count_only_one_after_the_other() {
        use Outcome::{Connected, Failed, Status, Timeout};
        use Reason::{Consecutive5xx, ConsecutiveGateway, ConsecutiveLocal};
        let plain = Settings {
            consecutive_5xx: 3,
            consecutive_gateway: 2,
            consecutive_local: 2,
            ..Settings::default()
        };
        let split = Settings {
            split: true,
            ..plain
        };
        for (settings, outcomes, reasons) in [
            (plain, vec![Status(500); 3], vec![Consecutive5xx]),
            (
                plain,
                vec![Status(500), Status(500), Status(404), Status(500)],
                vec![],
            ),
            (
                plain,
                vec![Status(503); 3],
                vec![ConsecutiveGateway, Consecutive5xx],
            ),
            (
                plain,
                vec![Status(503), Status(500), Status(503)],
                vec![Consecutive5xx],
            ),
            // Without the split, a failure to connect is a 503 and a timeout a 504.
            (plain, vec![Failed, Timeout], vec![ConsecutiveGateway]),
            (
                plain,
                vec![Failed, Connected, Timeout],
                vec![ConsecutiveGateway],
            ),
            (split, vec![Failed, Timeout], vec![ConsecutiveLocal]),
            (split, vec![Failed, Connected, Timeout], vec![]),
            (
                split,
                vec![Status(503), Failed, Status(503)],
                vec![ConsecutiveGateway],
            ),
        ] {
            assert_eq!(counted(&settings, &outcomes), reasons, "{outcomes:?}");
        }
    }

    #[test]
    fn an_ejection_lasts_longer_each_time_and_is_ended_by_the_interval() {
        let detector = Detector::new(all());
        let monitor = Monitor::default();
        let mut records = [Record::default()];
        let eject = |records: &mut [Record], now| {
            detector.eject(records, &[&monitor], 0, Reason::Consecutive5xx, now, 0.5)
        };
        assert_eq!(eject(&mut records, AT(0)), Verdict::Ejected);
        assert_eq!(eject(&mut records, AT(1)), Verdict::Spared);
        assert!(detector.end(&mut records, AT(29)).is_empty());
        assert_eq!(detector.end(&mut records, AT(30)), [0]);
        // The second time it is twice as long.
        assert_eq!(eject(&mut records, AT(31)), Verdict::Ejected);
        assert!(detector.end(&mut records, AT(90)).is_empty());
        assert_eq!(detector.end(&mut records, AT(91)), [0]);
        // Two intervals without an ejection: as at first.
        detector.end(&mut records, AT(101));
        detector.end(&mut records, AT(111));
        assert_eq!(eject(&mut records, AT(120)), Verdict::Ejected);
        assert_eq!(detector.end(&mut records, AT(150)), [0]);
    }

    #[test]
    fn not_more_than_the_share_is_ejected() {
        for (most, always_one, count, ejected) in [
            (10, false, 10, 1),
            (10, false, 9, 0),
            (10, true, 9, 1),
            (50, false, 2, 1),
            (50, false, 4, 2),
            (100, false, 3, 3),
            (0, false, 3, 0),
        ] {
            let detector = Detector::new(Settings {
                most,
                always_one,
                ..all()
            });
            let monitors: Vec<_> = (0..count).map(|_| Monitor::default()).collect();
            let monitors: Vec<_> = monitors.iter().collect();
            let mut records = vec![Record::default(); count];
            for index in 0..count {
                let reason = Reason::Consecutive5xx;
                detector.eject(&mut records, &monitors, index, reason, AT(0), 0.0);
            }
            let found = records.iter().filter(|record| record.is_ejected()).count();
            assert_eq!(found, ejected, "{most} % of {count}, {always_one}");
        }
    }

    #[test]
    fn what_is_not_enforced_is_not_carried_out() {
        let detector = Detector::new(Settings {
            enforcing: Enforcing {
                consecutive_5xx: 30,
                ..all().enforcing
            },
            ..all()
        });
        for (draw, verdict) in [(0.29, Verdict::Ejected), (0.31, Verdict::Spared)] {
            let monitor = Monitor::default();
            let mut records = [Record::default()];
            let reason = Reason::Consecutive5xx;
            let found = detector.eject(&mut records, &[&monitor], 0, reason, AT(0), draw);
            assert_eq!(found, verdict);
        }
    }

    #[test]
    fn a_low_success_rate_is_found_among_enough_endpoints_with_enough_requests() {
        let detector = Detector::new(all());
        for (count, volume, found) in [
            (10, 100, vec![(0, Reason::SuccessRate)]),
            (10, 99, vec![]),
            (4, 100, vec![]),
        ] {
            let monitors: Vec<_> = (0..count).map(|_| Monitor::default()).collect();
            for (index, monitor) in monitors.iter().enumerate() {
                for request in 0..volume {
                    // The first fails a quarter of the time, with a 500.
                    let bad = index == 0 && request % 4 == 0;
                    monitor.count(Outcome::Status(if bad { 500 } else { 200 }), &all());
                }
            }
            let monitors: Vec<_> = monitors.iter().collect();
            let records = vec![Record::default(); count];
            assert_eq!(
                detector.outliers(&records, &monitors),
                found,
                "{count} {volume}"
            );
            // The counts begin anew.
            assert!(detector.outliers(&records, &monitors).is_empty());
        }
    }

    #[test]
    fn endpoints_that_mostly_fail_are_found_where_all_do() {
        let detector = Detector::new(all());
        let monitors: Vec<_> = (0..5).map(|_| Monitor::default()).collect();
        for monitor in &monitors {
            for request in 0..50 {
                monitor.count(Outcome::Status(if request < 5 { 200 } else { 500 }), &all());
            }
        }
        let monitors: Vec<_> = monitors.iter().collect();
        let found = detector.outliers(&[Record::default(); 5], &monitors);
        assert_eq!(found.len(), 5);
        assert!(
            found
                .iter()
                .all(|(_, reason)| *reason == Reason::FailureRate)
        );
    }

    #[test]
    fn a_health_check_ends_an_ejection_unless_told_otherwise() {
        for ends_with_check in [true, false] {
            let detector = Detector::new(Settings {
                ends_with_check,
                ..all()
            });
            let monitor = Monitor::default();
            let mut records = [Record::default()];
            detector.eject(
                &mut records,
                &[&monitor],
                0,
                Reason::FailureRate,
                AT(0),
                0.0,
            );
            assert_eq!(detector.checked(&mut records[0]), ends_with_check);
            assert_eq!(records[0].is_ejected(), !ends_with_check);
        }
    }
}
