//! The endpoints of a cluster, as all event loops share them: who they are, and how they are. Whatever changes in it
//! gives it a new version, by which the loops see that they must look again.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{Endpoint, Settings, usage::Usage};
use crate::{
    config::Status,
    metrics::Membership,
    observe::{Change, Observer, What},
    policy::{
        breaker::trip::{self, Trip},
        outlier::{Detector, Monitor, Outcome, Reason, Record, Verdict},
    },
};

/// The endpoints of a cluster.
pub struct Roster {
    settings: Arc<Settings>,
    members: ArcSwap<Vec<Arc<Member>>>,
    version: AtomicU64,
    /// When changes of health that wait are to count, in milliseconds of [`now`]; 0: none wait.
    due: AtomicU64,
    /// The last ones, by priority.
    merging: Mutex<Vec<Merge>>,
    usage: Arc<Usage>,
    /// It has had a request.
    used: AtomicBool,
    trip: Option<Mutex<Trip>>,
    /// Ejections are decided one after the other.
    deciding: Mutex<()>,
    metrics: Arc<Membership>,
    observer: Arc<dyn Observer>,
}

/// An endpoint.
#[derive(Debug)]
pub struct Member {
    /// Where it is.
    pub address: SocketAddr,
    /// What is said of it.
    pub endpoint: Arc<Endpoint>,
    /// What it is hashed by.
    pub key: String,
    /// How it is.
    pub state: Arc<State>,
}

/// How an endpoint is; it outlives configurations.
#[derive(Debug, Default)]
pub struct State {
    flags: AtomicU32,
    /// Those that count.
    shown: AtomicU32,
    /// Since when it is healthy, in milliseconds of [`now`].
    healthy_since: AtomicU64,
    monitor: Monitor,
    record: Mutex<Record>,
}

/// Changes of the health of a priority's endpoints, in milliseconds of [`now`].
#[derive(Debug)]
struct Merge {
    priority: u32,
    /// When the last ones counted.
    last: Option<u64>,
    /// When those that wait are to count.
    due: Option<u64>,
}

/// How well an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wellness {
    /// Well.
    Healthy,
    /// To be used where healthy ones do not suffice.
    Degraded,
    /// Not to be used.
    Unhealthy,
}

impl Wellness {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is held against an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Its health checks fail.
    FailedCheck,
    /// It is ejected.
    Ejected,
    /// It says that it is degraded.
    Degraded,
    /// It was not checked yet.
    Unchecked,
}

impl Flag {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Time since the process began to ask.
pub fn now() -> Duration {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGIN.elapsed()
}

fn millis() -> u64 {
    now().as_millis() as u64
}

impl Roster {
    /// The roster of a cluster; what is known of endpoints that stay is taken from its predecessor.
    pub fn new(
        settings: Arc<Settings>,
        before: Option<&Self>,
        metrics: Arc<Membership>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let trip = settings.trip.map(|trip| Mutex::new(Trip::new(trip)));
        let roster = Self {
            members: ArcSwap::default(),
            version: AtomicU64::new(0),
            due: AtomicU64::new(0),
            merging: Mutex::default(),
            usage: before.map_or_else(Arc::default, |before| Arc::clone(&before.usage)),
            used: AtomicBool::new(before.is_some_and(|it| it.used.load(Ordering::Relaxed))),
            trip,
            deciding: Mutex::default(),
            metrics,
            observer,
            settings,
        };
        let known = before.map(Self::members);
        let mut found = Vec::new();
        for endpoint in &roster.settings.endpoints {
            match (endpoint.address, &endpoint.name) {
                (Some(address), _) => found.push((address, Arc::clone(endpoint))),
                // What the name was resolved to before, until it is resolved again.
                (None, Some((name, port))) => found.extend(
                    known
                        .iter()
                        .flat_map(|known| known.iter())
                        .filter(|member| {
                            member.endpoint.name.as_ref() == Some(&(Arc::clone(name), *port))
                        })
                        .map(|member| (member.address, Arc::clone(endpoint))),
                ),
                (None, None) => {}
            }
        }
        roster.set(found, known.as_ref().map_or(&[], |known| known.as_slice()));
        roster
    }

    /// What the cluster is.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What it has under way.
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Its endpoints.
    pub fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.members.load_full()
    }

    /// Changes whenever an endpoint comes, goes, or counts otherwise.
    pub fn version(&self) -> u64 {
        let due = self.due.load(Ordering::Relaxed);
        if due != 0 && millis() >= due {
            self.merge();
        }
        self.version.load(Ordering::Acquire)
    }

    /// It has had a request.
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// It has a request.
    pub fn touch(&self) {
        if !self.is_used() {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// From now on its endpoints are these. Those that stay keep what is known of them.
    pub fn replace(&self, found: Vec<(SocketAddr, Arc<Endpoint>)>) {
        let known = self.members();
        let same = known.len() == found.len()
            && known
                .iter()
                .zip(&found)
                .all(|(member, (address, endpoint))| {
                    member.address == *address && member.endpoint == *endpoint
                });
        if !same {
            self.set(found, &known);
        }
    }

    fn set(&self, found: Vec<(SocketAddr, Arc<Endpoint>)>, known: &[Arc<Member>]) {
        let settings = &self.settings;
        let members: Vec<_> = found
            .into_iter()
            .map(|(address, endpoint)| {
                let before = known.iter().find(|member| member.address == address);
                let state = before.map_or_else(
                    || Arc::new(State::new(!settings.health.is_empty(), &endpoint, settings)),
                    |before| Arc::clone(&before.state),
                );
                if settings.health.is_empty() || endpoint.health_unchecked {
                    for flag in [Flag::FailedCheck, Flag::Degraded, Flag::Unchecked] {
                        state.set(flag, false);
                    }
                }
                if settings.outlier.is_none() {
                    state.set(Flag::Ejected, false);
                    *state.record() = Record::default();
                }
                Arc::new(Member {
                    key: key(address, &endpoint, settings.spread.hash_by_hostname),
                    address,
                    endpoint,
                    state,
                })
            })
            .collect();
        self.members.store(Arc::new(members));
        self.publish();
    }

    /// Holds something against an endpoint, or no more. Whether that is new.
    pub fn flag(&self, member: &Member, flag: Flag, on: bool) -> bool {
        let [new] = self.flag_all(member, [(flag, on)]);
        new
    }

    /// Holds all of these against an endpoint, or no more, as one change. Which of them are new.
    pub fn flag_all<const N: usize>(&self, member: &Member, flags: [(Flag, bool); N]) -> [bool; N] {
        // What is due counts as it was until now.
        self.version();
        let new = self.note(member, flags);
        if new.contains(&true) {
            self.count();
            self.changed(member.endpoint.priority);
        }
        new
    }

    /// The same, but it does not count before [`Roster::publish`].
    pub fn note<const N: usize>(&self, member: &Member, flags: [(Flag, bool); N]) -> [bool; N] {
        let before = member.wellness();
        let new = member.state.set_all(flags);
        if before != Wellness::Healthy && member.wellness() == Wellness::Healthy {
            member
                .state
                .healthy_since
                .store(millis(), Ordering::Relaxed);
        }
        new
    }

    /// A change of health in this priority counts now or, as in Envoy, once the window after the last one is over.
    fn changed(&self, priority: u32) {
        let window = self.settings.spread.merge_window.as_millis() as u64;
        if window == 0 {
            return self.show(|_| true);
        }
        let mut merging = lock(&self.merging);
        // Read under the lock: whoever held it may have let a change count just now.
        let now = millis();
        let place = merging.iter().position(|it| it.priority == priority);
        let place = place.unwrap_or_else(|| {
            merging.push(Merge {
                priority,
                last: None,
                due: None,
            });
            merging.len() - 1
        });
        let Some(merge) = merging.get_mut(place) else {
            return;
        };
        if merge.due.is_some() {
            return;
        }
        if merge
            .last
            .is_some_and(|last| now.saturating_sub(last) <= window)
        {
            merge.due = Some(now + window);
            self.set_due(&merging);
        } else {
            merge.last = Some(now);
            drop(merging);
            self.show(|it| it == priority);
        }
    }

    /// What waits and is due counts.
    fn merge(&self) {
        let now = millis();
        let mut merging = lock(&self.merging);
        let mut over = Vec::new();
        for merge in merging.iter_mut() {
            if merge.due.is_some_and(|due| due <= now) {
                merge.last = merge.due.take();
                over.push(merge.priority);
            }
        }
        self.set_due(&merging);
        drop(merging);
        if !over.is_empty() {
            self.show(|priority| over.contains(&priority));
        }
    }

    fn set_due(&self, merging: &[Merge]) {
        let next = merging.iter().filter_map(|it| it.due).min();
        self.due.store(next.unwrap_or(0), Ordering::Relaxed);
    }

    /// All that is known of the endpoints counts at once.
    pub fn publish(&self) {
        self.count();
        self.show(|_| true);
    }

    /// From now on endpoints of these priorities count as they are.
    fn show(&self, of: impl Fn(u32) -> bool) {
        for member in self.members.load().iter() {
            if of(member.endpoint.priority) {
                let flags = member.state.flags.load(Ordering::Relaxed);
                member.state.shown.store(flags, Ordering::Relaxed);
            }
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Tells the observer of a change.
    pub fn tell(&self, what: What, endpoint: Option<SocketAddr>, from: &str, to: &str, why: &str) {
        self.observer.changed(&Change {
            what,
            cluster: &self.settings.name,
            endpoint,
            from,
            to,
            why,
        });
    }

    /// The counts of its endpoints.
    pub fn metrics(&self) -> &Arc<Membership> {
        &self.metrics
    }

    /// An endpoint's answer says that it is not well: as if its checks had failed, where there are any.
    pub fn fail_check(&self, member: &Member) {
        if self.settings.health.is_empty() || member.endpoint.health_unchecked {
            return;
        }
        let before = member.wellness();
        if self.flag(member, Flag::FailedCheck, true) {
            let (from, to) = (before.name(), member.wellness().name());
            self.tell(
                What::Health,
                Some(member.address),
                from,
                to,
                "its answer says so",
            );
        }
    }

    /// What became of a try at an endpoint; `draw` is from 0 to 1.
    pub fn report(&self, member: &Member, outcome: Outcome, draw: impl Fn() -> f64) {
        let Some(outlier) = &self.settings.outlier else {
            return;
        };
        let reasons = member.state.monitor.count(outcome, outlier);
        for reason in reasons.into_iter().flatten() {
            self.eject(member, reason, draw());
        }
    }

    /// Whether the breaker lets a request pass.
    pub fn admit(&self) -> bool {
        let Some(trip) = &self.trip else {
            return true;
        };
        let (passed, change) = lock(trip).admit(now());
        self.tell_trip(change);
        passed
    }

    /// A request has ended.
    pub fn ended(&self, failed: bool) {
        if let Some(trip) = &self.trip {
            let change = lock(trip).report(failed, now());
            self.tell_trip(change);
        }
    }

    fn tell_trip(&self, change: Option<trip::Change>) {
        if let Some(change) = change {
            self.tell(
                What::Breaker,
                None,
                change.from.name(),
                change.to.name(),
                change.why,
            );
        }
    }

    fn eject(&self, member: &Member, reason: Reason, draw: f64) {
        let Some(outlier) = self.settings.outlier else {
            return;
        };
        let _one = lock(&self.deciding);
        let members = self.members();
        let Some(index) = members
            .iter()
            .position(|other| Arc::ptr_eq(&other.state, &member.state))
        else {
            // It has left.
            return;
        };
        let mut records = records(&members);
        let monitors: Vec<_> = members.iter().map(|it| &it.state.monitor).collect();
        let detector = Detector::new(outlier);
        let verdict = detector.eject(&mut records, &monitors, index, reason, now(), draw);
        keep(&members, &records);
        match verdict {
            Verdict::Ejected => {
                self.flag(member, Flag::Ejected, true);
                self.metrics.ejections.inc();
                self.count_ejected(&members);
                let address = Some(member.address);
                self.tell(What::Ejection, address, "healthy", "ejected", reason.name());
            }
            Verdict::Overflow => self.metrics.ejections_overflow.inc(),
            Verdict::Spared => {}
        }
    }

    /// An interval of the outlier detection has passed; `draw` is from 0 to 1.
    pub fn inspect(&self, draw: impl Fn() -> f64) {
        let Some(outlier) = self.settings.outlier else {
            return;
        };
        let detector = Detector::new(outlier);
        let found = {
            let _one = lock(&self.deciding);
            let members = self.members();
            let mut records = records(&members);
            let ended = detector.end(&mut records, now());
            keep(&members, &records);
            for index in ended {
                if let Some(member) = members.get(index) {
                    self.flag(member, Flag::Ejected, false);
                    let address = Some(member.address);
                    self.tell(What::Ejection, address, "ejected", "healthy", "time passed");
                }
            }
            self.count_ejected(&members);
            let monitors: Vec<_> = members.iter().map(|it| &it.state.monitor).collect();
            let found = detector.outliers(&records, &monitors);
            found
                .into_iter()
                .filter_map(|(index, reason)| Some((Arc::clone(members.get(index)?), reason)))
                .collect::<Vec<_>>()
        };
        for (member, reason) in found {
            self.eject(&member, reason, draw());
        }
    }

    /// A health check of the endpoint has succeeded, which may end its ejection.
    pub fn checked(&self, member: &Member) {
        let Some(outlier) = self.settings.outlier else {
            return;
        };
        let _one = lock(&self.deciding);
        if Detector::new(outlier).checked(&mut member.state.record()) {
            self.flag(member, Flag::Ejected, false);
            self.count_ejected(&self.members());
            let address = Some(member.address);
            self.tell(
                What::Ejection,
                address,
                "ejected",
                "healthy",
                "health check",
            );
        }
    }

    fn count_ejected(&self, members: &[Arc<Member>]) {
        let ejected = members.iter().filter(|it| it.state.has(Flag::Ejected));
        self.metrics.ejections_active.set(ejected.count() as u64);
    }

    fn count(&self) {
        let members = self.members.load();
        let of = |wellness| {
            members
                .iter()
                .filter(|it| it.wellness() == wellness)
                .count() as u64
        };
        self.metrics.total.set(members.len() as u64);
        self.metrics.healthy.set(of(Wellness::Healthy));
        self.metrics.degraded.set(of(Wellness::Degraded));
    }
}

impl Member {
    /// What is held against it, in Envoy's words.
    pub fn flags(&self) -> String {
        let of_status = match self.endpoint.status {
            Status::Healthy => "",
            Status::Unhealthy => "/failed_eds_health",
            Status::Degraded => "/degraded_eds_health",
        };
        let mut text: String = [
            (Flag::FailedCheck, "/failed_active_hc"),
            (Flag::Ejected, "/failed_outlier_check"),
            (Flag::Degraded, "/degraded_active_hc"),
            (Flag::Unchecked, "/pending_active_hc"),
        ]
        .iter()
        .filter(|(flag, _)| self.state.has(*flag))
        .map(|(_, text)| *text)
        .collect();
        text.push_str(of_status);
        if text.is_empty() {
            text.push_str("healthy");
        }
        text
    }

    /// How well it is.
    pub fn wellness(&self) -> Wellness {
        self.wellness_by(self.state.flags.load(Ordering::Relaxed))
    }

    /// How well it counts.
    pub fn shown(&self) -> Wellness {
        self.wellness_by(self.state.shown.load(Ordering::Relaxed))
    }

    fn wellness_by(&self, flags: u32) -> Wellness {
        let failed = Flag::FailedCheck.bit() | Flag::Ejected.bit();
        if flags & failed != 0 || self.endpoint.status == Status::Unhealthy {
            Wellness::Unhealthy
        } else if flags & Flag::Degraded.bit() != 0 || self.endpoint.status == Status::Degraded {
            Wellness::Degraded
        } else {
            Wellness::Healthy
        }
    }
}

impl State {
    fn new(checked: bool, endpoint: &Endpoint, settings: &Settings) -> Self {
        let state = Self::default();
        let checked = checked && !endpoint.health_unchecked;
        state.set(Flag::FailedCheck, checked);
        state.set(
            Flag::Unchecked,
            checked && settings.spread.ignore_new_until_checked,
        );
        state.healthy_since.store(millis(), Ordering::Relaxed);
        state
    }

    /// It is not counted, as it was not checked.
    pub fn is_excluded(&self) -> bool {
        self.shown.load(Ordering::Relaxed) & Flag::Unchecked.bit() != 0
    }

    /// This is held against it.
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.load(Ordering::Relaxed) & flag.bit() != 0
    }

    /// How long it has been healthy.
    pub fn healthy_for(&self) -> Duration {
        let since = Duration::from_millis(self.healthy_since.load(Ordering::Relaxed));
        now().saturating_sub(since)
    }

    fn set(&self, flag: Flag, on: bool) -> bool {
        let [new] = self.set_all([(flag, on)]);
        new
    }

    /// Nobody sees some of them without the others.
    fn set_all<const N: usize>(&self, flags: [(Flag, bool); N]) -> [bool; N] {
        let bits = |held: bool| {
            let of_it = flags.iter().filter(|(_, on)| *on == held);
            of_it.fold(0, |bits, (flag, _)| bits | flag.bit())
        };
        let (on, off) = (bits(true), bits(false));
        let set = |before| Some(before & !off | on);
        let before = self
            .flags
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, set)
            .unwrap_or_else(|unchanged| unchanged);
        flags.map(|(flag, on)| (before & flag.bit() != 0) != on)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn records(members: &[Arc<Member>]) -> Vec<Record> {
    members
        .iter()
        .map(|member| *member.state.record())
        .collect()
}

fn keep(members: &[Arc<Member>], records: &[Record]) {
    for (member, record) in members.iter().zip(records) {
        *member.state.record() = *record;
    }
}

/// What Envoy hashes an endpoint by.
fn key(address: SocketAddr, endpoint: &Endpoint, by_hostname: bool) -> String {
    match endpoint
        .metadata
        .get("hash_key")
        .and_then(|key| key.as_str())
    {
        Some(key) if !key.is_empty() => key.to_owned(),
        _ if by_hostname => endpoint.hostname.as_ref().to_owned(),
        _ => address.to_string(),
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster")
            .field("settings", &self.settings)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{
        cluster::tests::{endpoint, settings},
        observe::Silent,
    };

    const WINDOW: Duration = Duration::from_secs(1);

    /// A roster of one endpoint, whose changes wait for the window.
    fn roster() -> Roster {
        let mut settings = settings(vec![endpoint()]);
        settings.spread.merge_window = WINDOW;
        let observer = Arc::new(Silent);
        Roster::new(Arc::new(settings), None, Arc::default(), observer)
    }

    #[test]
    fn a_change_counts_that_waited_for_one_of_another_thread() {
        let roster = Arc::new(roster());
        let member = Arc::clone(&roster.members()[0]);
        let mut merging = lock(&roster.merging);
        let other = thread::spawn({
            let (roster, member) = (Arc::clone(&roster), Arc::clone(&member));
            move || roster.flag(&member, Flag::Ejected, true)
        });
        // It comes to the lock, and the change that it waits for counts later than it came.
        thread::sleep(Duration::from_millis(100));
        merging.push(Merge {
            priority: 0,
            last: Some(millis()),
            due: None,
        });
        drop(merging);
        assert!(other.join().unwrap());
        // It waits for the window after that one.
        assert_eq!(member.shown(), Wellness::Healthy);
        assert_eq!(member.wellness(), Wellness::Unhealthy);
        assert!(lock(&roster.merging)[0].due.is_some());
    }
}
