//! A cluster as one event loop sees it: its endpoints and their connections, and which of them is next.
//!
//! What all loops share is in the [`roster`]: how endpoints are, and what is under way. A loop looks at the roster's
//! version once a request, and makes its `view` anew when it has changed.

use std::{
    cell::{Cell, RefCell},
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::HeaderName;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{
    config,
    error::Error,
    metrics::Upstream,
    net::{dial::Way, tls},
    policy::{
        balance::{
            Balance, Loads, peak_ewma,
            subset::{self, Choice, Metadata, Subsets},
        },
        breaker::{Kind, Limits, Priority, trip},
        health as checks, http1, outlier, protocol,
    },
};

mod health;
pub mod host;
pub mod keeper;
pub mod pool;
mod resolve;
pub mod roster;
pub mod usage;
mod view;

pub use host::{Host, Site};
use pool::Pool;
use roster::{Member, Roster};
pub use usage::Permit;
use view::{Question, View};

/// A cluster on one event loop. `B` is the body of the requests sent to it.
pub struct Cluster<B> {
    settings: Arc<Settings>,
    roster: Arc<Roster>,
    /// The roster's version that `layout` is of.
    version: Cell<u64>,
    layout: RefCell<Layout<B>>,
    usage: Rc<usage::Local>,
    random: Rc<RefCell<SmallRng>>,
    metrics: Arc<Upstream>,
}

/// The endpoints, and how they are chosen.
struct Layout<B> {
    members: Arc<Vec<Arc<Member>>>,
    /// In the order of `members`.
    hosts: Vec<Rc<Host<B>>>,
    all: View,
    subsets: Option<Chosen>,
}

/// Endpoints that are chosen by their metadata.
struct Chosen {
    subsets: Subsets,
    /// In the order of the subsets; made when first asked.
    views: Vec<Option<View>>,
    default: Option<View>,
}

/// What a cluster is, with the addresses of its endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Its name.
    pub name: Arc<str>,
    /// How its endpoints are found.
    pub discovery: config::Discovery,
    /// Its endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How requests are spread.
    pub balance: Balance,
    /// Which endpoints are usable.
    pub spread: config::Spread,
    /// Endpoints chosen by their metadata.
    pub subsets: Option<subset::Settings>,
    /// What it may have under way.
    pub limits: Limits,
    /// A breaker that opens on failures.
    pub trip: Option<trip::Settings>,
    /// Endpoints whose answers are bad are put aside.
    pub outlier: Option<outlier::Settings>,
    /// Endpoints are asked whether they are well.
    pub health: Vec<checks::Check>,
    /// How connections are made.
    pub way: Way,
    /// An idle connection is closed after this.
    pub idle_timeout: Option<Duration>,
    /// Which HTTP version is spoken.
    pub protocol: protocol::Upstream,
    /// Bounds of HTTP/2 connections.
    pub http2: protocol::Http2,
    /// How HTTP/1 is spoken.
    pub http1: http1::Http1,
    /// A connection is closed after so many requests.
    pub max_requests: Option<u64>,
    /// See [`config::Cluster::kept_body`].
    pub kept_body: Option<u64>,
    /// TLS is begun on connections.
    pub tls: Option<Arc<tls::Client>>,
    /// See [`config::Cluster::sockets`].
    pub sockets: Vec<Option<Arc<tls::Client>>>,
}

impl Settings {
    /// The TLS that is begun on connections to this endpoint; `None`: they are plain.
    pub fn tls_of(&self, endpoint: &Endpoint) -> Option<&Arc<tls::Client>> {
        match endpoint.socket {
            Some(socket) => self.sockets.get(socket)?.as_ref(),
            None => self.tls.as_ref(),
        }
    }

    /// The header that names endpoints in TLS, where there is one.
    pub fn sni_header(&self) -> Option<&HeaderName> {
        let all = self.sockets.iter().flatten().chain(&self.tls);
        all.into_iter().find_map(|tls| tls.sni_header())
    }

    /// The TLS that is begun on connections to this endpoint, and the name of its own that is asked for there.
    fn secured<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> (Option<&'a Arc<tls::Client>>, Option<&'a str>) {
        let tls = self.tls_of(endpoint);
        let own_name = tls.filter(|tls| tls.settings().auto_host_sni);
        let name = own_name.map(|_| &*endpoint.hostname);
        (tls, name.filter(|name| !name.is_empty()))
    }

    fn pool<B>(&self, member: &Member, metrics: Arc<Upstream>) -> Pool<B> {
        let (tls, name) = self.secured(&member.endpoint);
        let plain = |metrics| {
            Pool::new(member.address, self.way, self.idle_timeout, metrics)
                .over_tls(tls.cloned())
                .named(name)
                .with_http1(self.http1.clone())
        };
        let streams = |metrics| plain(metrics).with_http2(self.http2.clone(), self.max_requests);
        match self.protocol {
            protocol::Upstream::Http2 => streams(metrics),
            protocol::Upstream::Downstream => {
                plain(Arc::clone(&metrics)).with_twin(streams(metrics))
            }
            protocol::Upstream::Alpn => streams(metrics).by_alpn(),
            protocol::Upstream::Http1 => plain(metrics),
        }
    }

    /// Its connections may serve the other.
    fn connects_like(&self, other: &Self) -> bool {
        self.way == other.way
            && self.idle_timeout == other.idle_timeout
            && self.protocol == other.protocol
            && self.http1 == other.http1
            && self.http2 == other.http2
            && self.max_requests == other.max_requests
            && self.tls == other.tls
            && self.sockets == other.sockets
    }
}

/// An endpoint, as the configuration has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where it is; `None`: its name says so.
    pub address: Option<SocketAddr>,
    /// A name that is resolved, and a port.
    pub name: Option<(Arc<str>, u16)>,
    /// See [`config::Endpoint::hostname`].
    pub hostname: Arc<str>,
    /// See [`config::Endpoint::weight`].
    pub weight: u32,
    /// See [`config::Endpoint::priority`].
    pub priority: u32,
    /// See [`config::Endpoint::locality`].
    pub locality: config::Locality,
    /// See [`config::Endpoint::locality_weight`].
    pub locality_weight: u32,
    /// See [`config::Endpoint::status`].
    pub status: config::Status,
    /// See [`config::Endpoint::metadata`].
    pub metadata: Metadata,
    /// See [`config::Endpoint::socket`].
    pub socket: Option<usize>,
    /// See [`config::Endpoint::health_port`].
    pub health_port: Option<u16>,
    /// See [`config::Endpoint::health_hostname`].
    pub health_hostname: Option<Arc<str>>,
    /// See [`config::Endpoint::health_unchecked`].
    pub health_unchecked: bool,
}

/// Which endpoint a request wants.
#[derive(Default)]
pub struct Pick<'a> {
    /// What binds it to an endpoint: the hash of its route's policies.
    pub key: Option<u64>,
    /// What it asks for of an endpoint's metadata.
    pub metadata: Option<&'a Metadata>,
    /// Endpoints that it had rather not: those of earlier tries.
    pub reject: Option<&'a dyn Fn(&Member) -> bool>,
    /// How often another one is sought in place of a rejected one; the last is taken anyhow.
    pub attempts: u32,
    /// Priorities that it had rather not.
    pub elsewhere: Option<Elsewhere<'a>>,
}

/// Envoy's `previous_priorities`.
#[derive(Debug, Clone, Copy)]
pub struct Elsewhere<'a> {
    /// The priorities of earlier tries, in order.
    pub tried: &'a [u32],
    /// They are passed over after each so many tries; above 0.
    pub after: u32,
}

/// Why a request has no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHost {
    /// None is usable.
    Unhealthy,
    /// The cluster's breaker is open.
    Open,
}

impl From<NoHost> for Error {
    fn from(why: NoHost) -> Self {
        match why {
            NoHost::Unhealthy => Self::NoEndpoint,
            NoHost::Open => Self::BreakerOpen,
        }
    }
}

impl<B> Cluster<B> {
    /// The cluster, with the connections of its predecessor.
    pub fn new(roster: Arc<Roster>, metrics: Arc<Upstream>, before: Option<&Self>) -> Self {
        let usage = before
            .map(|before| &before.usage)
            .filter(|usage| Arc::ptr_eq(usage.usage(), roster.usage()))
            .map_or_else(|| roster.usage().local(), Rc::clone);
        let cluster = Self {
            settings: Arc::clone(roster.settings()),
            version: Cell::new(roster.version()),
            layout: RefCell::new(Layout::empty()),
            usage,
            random: before.map_or_else(
                || Rc::new(RefCell::new(SmallRng::from_rng(&mut rand::rng()))),
                |before| Rc::clone(&before.random),
            ),
            roster,
            metrics,
        };
        let layout = {
            let same = before.filter(|it| it.settings.connects_like(&cluster.settings));
            let layout = same.map(|before| before.layout.borrow());
            cluster.lay_out(layout.as_deref())
        };
        cluster.layout.replace(layout);
        cluster
    }

    /// What it is.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Its endpoints, as all event loops share them.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// Its counts.
    pub fn metrics(&self) -> &Arc<Upstream> {
        &self.metrics
    }

    /// The endpoint that is next for this request.
    pub fn pick(&self, pick: &Pick<'_>) -> Result<Rc<Host<B>>, NoHost> {
        if !self.roster.admit() {
            return Err(NoHost::Open);
        }
        self.refresh();
        let mut layout = self.layout.borrow_mut();
        let layout = &mut *layout;
        let mut found = None;
        for attempt in 0..=pick.attempts {
            let Some(host) = layout.pick(self, pick, attempt) else {
                break;
            };
            let rejected = pick.reject.is_some_and(|reject| reject(&host.site.member));
            found = Some(host);
            if !rejected {
                break;
            }
        }
        found.ok_or(NoHost::Unhealthy)
    }

    /// The connections of the endpoint that is next for a request that is bound by nothing.
    pub fn next(&self) -> Option<Rc<Pool<B>>> {
        let host = self.pick(&Pick::default()).ok()?;
        Some(Rc::clone(&host.pool))
    }

    /// One more of this kind is under way until the permit is dropped; `None`: the limit does not allow it.
    pub fn permit(&self, kind: Kind, priority: Priority) -> Option<Permit> {
        self.usage.admit(kind, priority, &self.settings.limits)
    }

    /// Begins a retry, if the cluster's bound on them lets it.
    pub fn retrying(&self, priority: Priority) -> Option<Permit> {
        self.permit(Kind::Retries, priority)
    }

    /// Closes connections that were idle too long.
    pub fn sweep(&self) {
        for host in &self.layout.borrow().hosts {
            host.pool.sweep();
        }
    }

    fn refresh(&self) {
        let version = self.roster.version();
        if version != self.version.get() {
            self.version.set(version);
            let layout = self.lay_out(Some(&self.layout.borrow()));
            self.layout.replace(layout);
        }
    }

    fn lay_out(&self, before: Option<&Layout<B>>) -> Layout<B> {
        let members = self.roster.members();
        let hosts: Vec<_> = members
            .iter()
            .map(|member| {
                let hosts = before.map_or(&[][..], |before| &before.hosts);
                let same = hosts
                    .iter()
                    .find(|host| host.site.is_of(member, &self.roster));
                same.map_or_else(|| self.new_host(member, hosts), Rc::clone)
            })
            .collect();
        let indexes: Vec<_> = (0..members.len()).collect();
        let weighted = self.settings.spread.locality_weighted;
        let before_all = before.map(|it| &it.all);
        let all = View::new(&self.settings, &members, &indexes, weighted, before_all);
        let subsets = self
            .settings
            .subsets
            .as_ref()
            .filter(|settings| !settings.selectors.is_empty())
            .map(|settings| {
                let metadata = members.iter().map(|member| &member.endpoint.metadata);
                let subsets = Subsets::new(settings, metadata);
                let before = before.and_then(|before| before.subsets.as_ref());
                Chosen::new(&self.settings, &members, subsets, before)
            });
        Layout {
            members,
            hosts,
            all,
            subsets,
        }
    }
}

impl<B> Cluster<B> {
    /// What is known of its address goes on, and so do the connections there, unless TLS is another on them.
    fn new_host(&self, member: &Arc<Member>, before: &[Rc<Host<B>>]) -> Rc<Host<B>> {
        let at_address = || {
            let hosts = before.iter();
            hosts.filter(|host| host.address() == member.address)
        };
        let secured = self.settings.secured(&member.endpoint);
        let alike =
            at_address().find(|host| self.settings.secured(&host.site.member.endpoint) == secured);
        let site = Site::new(
            Arc::clone(member),
            Arc::clone(&self.roster),
            Rc::clone(&self.usage),
            Rc::clone(&self.random),
            alike
                .or_else(|| at_address().next())
                .map(|before| &*before.site),
        );
        let pool = alike.map_or_else(
            || {
                let metrics = Arc::clone(&self.metrics);
                Rc::new(self.settings.pool(member, metrics))
            },
            |before| Rc::clone(&before.pool),
        );
        pool.stand_at(&site);
        Rc::new(Host { site, pool })
    }
}

impl<B> Layout<B> {
    fn empty() -> Self {
        Self {
            members: Arc::default(),
            hosts: Vec::new(),
            all: View::default(),
            subsets: None,
        }
    }

    fn pick(&mut self, cluster: &Cluster<B>, pick: &Pick<'_>, attempt: u32) -> Option<Rc<Host<B>>> {
        let loads = Going { hosts: &self.hosts };
        let settings = &*cluster.settings;
        let random = &mut || cluster.random.borrow_mut().random();
        let mut question = Question {
            settings,
            members: &self.members,
            key: pick.key,
            elsewhere: pick.elsewhere,
            attempt,
            loads: &loads,
            random,
        };
        let found = match (&mut self.subsets, &settings.subsets) {
            (Some(chosen), Some(of)) => {
                chosen.pick(of, pick.metadata, &mut self.all, &mut question)
            }
            _ => self.all.pick(&mut question),
        };
        if found.panic {
            cluster.metrics.panics.inc();
        }
        self.hosts.get(found.host?).map(Rc::clone)
    }
}

impl Chosen {
    fn new(
        settings: &Settings,
        members: &[Arc<Member>],
        subsets: Subsets,
        before: Option<&Self>,
    ) -> Self {
        let aware = settings
            .subsets
            .as_ref()
            .is_some_and(|it| it.locality_weight_aware);
        let weighted = aware && settings.spread.locality_weighted;
        let view = |hosts: &[usize], before: Option<&View>| {
            Some(View::new(settings, members, hosts, weighted, before))
        };
        let views = subsets
            .members()
            .iter()
            .enumerate()
            .map(|(at, hosts)| {
                let before = before.and_then(|before| before.views.get(at)?.as_ref());
                view(hosts, before)
            })
            .collect();
        Self {
            views,
            default: view(
                subsets.default_members(),
                before.and_then(|before| before.default.as_ref()),
            ),
            subsets,
        }
    }

    fn pick(
        &mut self,
        settings: &subset::Settings,
        asked: Option<&Metadata>,
        all: &mut View,
        question: &mut Question<'_>,
    ) -> view::Found {
        let nothing = view::Found {
            host: None,
            panic: false,
        };
        let found = match self.subsets.choose(settings, asked) {
            Choice::Subset(at) => {
                let view = self.views.get_mut(at).and_then(Option::as_mut);
                return view.map_or(nothing, |view| view.pick(question));
            }
            Choice::Any => all.pick(question),
            Choice::Default => match &mut self.default {
                Some(view) if !view.is_empty() => view.pick(question),
                _ => nothing,
            },
            Choice::Nothing => nothing,
        };
        if found.host.is_none() && settings.panic_mode_any {
            return all.pick(question);
        }
        found
    }
}

/// What is going on at the endpoints of a cluster.
struct Going<'a, B> {
    hosts: &'a [Rc<Host<B>>],
}

impl<B> Loads for Going<'_, B> {
    fn active(&self, index: usize) -> u32 {
        self.hosts.get(index).map_or(0, |host| host.site.active())
    }

    fn active_in_all(&self) -> u32 {
        self.hosts.iter().map(|host| host.site.active()).sum()
    }

    fn cost(&self, index: usize, settings: &peak_ewma::Settings) -> f64 {
        self.hosts.get(index).map_or(f64::INFINITY, |host| {
            let average = host.site.average();
            average.cost(host.site.active(), roster::now(), settings)
        })
    }

    fn healthy_for(&self, index: usize) -> Duration {
        self.hosts
            .get(index)
            .map_or(Duration::ZERO, |host| host.site.member.state.healthy_for())
    }
}

impl<B> fmt::Debug for Cluster<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// One that is well.
    pub(crate) fn endpoint() -> Endpoint {
        Endpoint {
            address: Some((Ipv4Addr::LOCALHOST, 80).into()),
            name: None,
            hostname: Arc::from(""),
            weight: 1,
            priority: 0,
            locality: config::Locality::default(),
            locality_weight: 0,
            status: config::Status::default(),
            metadata: Metadata::new(),
            socket: None,
            health_port: None,
            health_hostname: None,
            health_unchecked: false,
        }
    }

    /// Those of a cluster with these endpoints, and Envoy's defaults.
    pub(crate) fn settings(endpoints: Vec<Endpoint>) -> Settings {
        let defaults = config::Cluster::default();
        Settings {
            name: defaults.name,
            discovery: defaults.discovery,
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
            balance: defaults.balance,
            spread: defaults.spread,
            subsets: defaults.subsets,
            limits: defaults.limits,
            trip: defaults.trip,
            outlier: defaults.outlier,
            health: defaults.health,
            way: defaults.connect_timeout.into(),
            idle_timeout: defaults.idle_timeout,
            protocol: defaults.protocol,
            http2: defaults.http2,
            http1: defaults.http1,
            max_requests: defaults.max_requests,
            kept_body: None,
            tls: None,
            sockets: Vec::new(),
        }
    }
}
