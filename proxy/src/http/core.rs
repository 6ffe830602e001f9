//! What one event loop owns: its view of the configuration, its connections, its timer, its counts.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fmt,
    rc::Rc,
    sync::Arc,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{body::Upload, client::Client, h2::Workers, shadow::Shadow};
use crate::{
    cluster::Cluster,
    drain::{Hold, Phase, Watch},
    metrics::{
        Authz, ClusterAuthz, ConnectionLimit, Downstream, Fault, Listener as Accepting,
        ListenerTls, RateLimit, Registry, Tcp,
    },
    net::{numbers::Numbers, stock::Stock, timer::Timer},
    observe::Observer,
    snapshot::{Reader, Route, Snapshot, hosts::RouteId},
};

/// One event loop's own.
pub struct Core {
    /// Its timer.
    pub timer: Timer,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// Its tasks that serve requests of HTTP/2.
    pub workers: Rc<Workers>,
    /// Numbers that connections were opened with.
    pub numbers: Numbers,
    /// What the proxy is doing, as far as its connections were told.
    pub phase: Cell<Phase>,
    registry: Arc<Registry>,
    watch: Watch,
    reader: RefCell<Reader>,
    current: RefCell<Rc<Local>>,
    /// What connections are passed on with.
    pub stock: Stock,
    known: RefCell<Known>,
    handshakes: RefCell<HashMap<Arc<str>, Arc<ListenerTls>>>,
    faults: RefCell<HashMap<Arc<str>, Arc<Fault>>>,
    rate_limits: RefCell<HashMap<Arc<str>, Arc<RateLimit>>>,
    authz: RefCell<ByTwo<Authz>>,
    cluster_authz: RefCell<ByTwo<ClusterAuthz>>,
    clients: RefCell<BTreeMap<u64, Rc<Client>>>,
    next_client: Cell<u64>,
    random: RefCell<SmallRng>,
}

/// The configuration as an event loop sees it: the snapshot, and what it owns of each cluster and mirror.
#[derive(Debug)]
pub struct Local {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// In the snapshot's order.
    pub clusters: Vec<Rc<Cluster<Upload>>>,
    /// In the snapshot's order.
    pub shadows: Vec<Rc<Shadow>>,
    /// The counts of the snapshot's listeners.
    pub accepting: Vec<Arc<Accepting>>,
    /// The counts of the snapshot's HTTP connection managers.
    pub downstream: Vec<Arc<Downstream>>,
    /// The counts of the snapshot's TCP proxies.
    pub tcp: Vec<Arc<Tcp>>,
}

/// Blocks of counts, by two names.
type ByTwo<B> = HashMap<Box<str>, HashMap<Box<str>, Arc<B>>>;

/// The block of these names; nothing is allocated for one that there is.
fn of_two<B>(
    all: &mut ByTwo<B>,
    outer: &str,
    inner: &str,
    make: impl FnOnce() -> Arc<B>,
) -> Arc<B> {
    if let Some(block) = all.get(outer).and_then(|all| all.get(inner)) {
        return Arc::clone(block);
    }
    let block = make();
    let all = all.entry(outer.into()).or_default();
    all.insert(inner.into(), Arc::clone(&block));
    block
}

/// Blocks of counts, by name: a configuration that comes back finds its own.
#[derive(Debug, Default)]
struct Known {
    downstream: HashMap<Arc<str>, Arc<Downstream>>,
    tcp: HashMap<Arc<str>, Arc<Tcp>>,
    connection_limits: HashMap<Arc<str>, Arc<ConnectionLimit>>,
}

impl Core {
    /// An event loop's own, for the reader's current snapshot.
    pub fn new(
        timer: Timer,
        observer: Arc<dyn Observer>,
        registry: Arc<Registry>,
        watch: Watch,
        numbers: Numbers,
        mut reader: Reader,
    ) -> Self {
        let snapshot = Arc::clone(reader.load());
        let known = RefCell::default();
        let local = Local::build(snapshot, &registry, &timer, &known, None);
        Self {
            timer,
            observer,
            workers: Rc::default(),
            numbers,
            phase: Cell::new(Phase::Serving),
            watch,
            reader: RefCell::new(reader),
            current: RefCell::new(Rc::new(local)),
            stock: Stock::default(),
            known,
            handshakes: RefCell::default(),
            faults: RefCell::default(),
            rate_limits: RefCell::default(),
            authz: RefCell::default(),
            cluster_authz: RefCell::default(),
            clients: RefCell::default(),
            next_client: Cell::new(0),
            random: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
            registry,
        }
    }

    /// The current configuration. What is loaded stays valid for as long as it is held.
    pub fn local(&self) -> Rc<Local> {
        let mut reader = self.reader.borrow_mut();
        let snapshot = reader.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(snapshot, &current.snapshot) {
            let next = Rc::new(Local::build(
                Arc::clone(snapshot),
                &self.registry,
                &self.timer,
                &self.known,
                Some(&current),
            ));
            let successors = current.snapshot.successors(&next.snapshot);
            for client in self.clients.borrow().values() {
                client.succeed(&successors, &current);
            }
            *current = next;
        }
        Rc::clone(&current)
    }

    /// The counts of a limit on connections.
    pub fn connection_limit(&self, name: &Arc<str>) -> Arc<ConnectionLimit> {
        let mut known = self.known.borrow_mut();
        let block = known
            .connection_limits
            .entry(Arc::clone(name))
            .or_insert_with(|| self.registry.connection_limit(name));
        Arc::clone(block)
    }

    /// The counts of a listener's handshakes, by the name of its statistics.
    pub fn handshakes(&self, listener: &Arc<str>) -> Arc<ListenerTls> {
        let mut known = self.handshakes.borrow_mut();
        if let Some(known) = known.get(listener) {
            return Arc::clone(known);
        }
        let block = self.registry.listener_tls(listener);
        known.insert(Arc::clone(listener), Arc::clone(&block));
        block
    }

    /// The counts of a fault rule.
    pub fn fault(&self, id: &Arc<str>) -> Arc<Fault> {
        let mut faults = self.faults.borrow_mut();
        if let Some(fault) = faults.get(id) {
            return Arc::clone(fault);
        }
        let fault = self.registry.fault(id);
        faults.insert(Arc::clone(id), Arc::clone(&fault));
        fault
    }

    /// The counts of a rate limit.
    pub fn rate_limit(&self, name: &Arc<str>) -> Arc<RateLimit> {
        let mut limits = self.rate_limits.borrow_mut();
        if let Some(limit) = limits.get(name) {
            return Arc::clone(limit);
        }
        let limit = self.registry.rate_limit(name);
        limits.insert(Arc::clone(name), Arc::clone(&limit));
        limit
    }

    /// The counts of a filter that asks a service, of an HTTP connection manager: by the prefixes of both.
    pub fn authz(&self, manager: &str, filter: &str) -> Arc<Authz> {
        let made = || self.registry.authz(manager, filter);
        of_two(&mut self.authz.borrow_mut(), manager, filter, made)
    }

    /// The counts of such a filter, of the cluster that its requests go to.
    pub fn cluster_authz(&self, cluster: &str, filter: &str) -> Arc<ClusterAuthz> {
        let made = || self.registry.cluster_authz(cluster, filter);
        of_two(&mut self.cluster_authz.borrow_mut(), cluster, filter, made)
    }

    /// Somebody is busy: a drain waits for it.
    pub fn hold(&self) -> Hold {
        self.watch.hold()
    }

    /// 128 bits that nobody needs to guess or repeat: request ids.
    pub fn random(&self) -> u128 {
        self.random.borrow_mut().random()
    }

    /// A number in [0, 1) that nobody needs to repeat: jitter.
    pub fn chance(&self) -> f64 {
        self.random.borrow_mut().random()
    }

    /// A connection that is told of a drain until it leaves.
    pub fn enter(&self, client: Rc<Client>) -> u64 {
        let id = self.next_client.get();
        self.next_client.set(id + 1);
        self.clients.borrow_mut().insert(id, client);
        id
    }

    /// A connection has ended.
    pub fn leave(&self, id: u64) {
        self.clients.borrow_mut().remove(&id);
    }

    /// Connections end with their next answer (leaving), or when their request is done (draining).
    pub fn turn(&self, phase: Phase) {
        self.phase.set(phase);
        for client in self.clients.borrow().values() {
            client.wake();
        }
    }

    /// Closes upstream connections that were idle too long.
    pub fn sweep(&self) {
        let local = self.local();
        for cluster in &local.clusters {
            cluster.sweep();
        }
    }
}

impl Local {
    fn build(
        snapshot: Arc<Snapshot>,
        registry: &Registry,
        timer: &Timer,
        known: &RefCell<Known>,
        before: Option<&Self>,
    ) -> Self {
        let clusters: Vec<_> = snapshot
            .rosters
            .iter()
            .map(|roster| {
                let name = &roster.settings().name;
                let before = before.and_then(|before| before.cluster_named(name));
                if let Some(same) = before.filter(|before| Arc::ptr_eq(before.roster(), roster)) {
                    return Rc::clone(same);
                }
                let metrics = before.map_or_else(
                    || registry.upstream(name),
                    |before| Arc::clone(before.metrics()),
                );
                Rc::new(Cluster::new(
                    Arc::clone(roster),
                    metrics,
                    before.map(AsRef::as_ref),
                ))
            })
            .collect();
        let shadows = snapshot
            .mirrors
            .iter()
            .map(|mirror| {
                let cluster = mirror.cluster.and_then(|at| clusters.get(at)).cloned();
                let before = before.and_then(|before| {
                    let mut shadows = before.shadows.iter();
                    shadows.find(|shadow| shadow.mirror().id == mirror.id)
                });
                Rc::new(Shadow::new(
                    Arc::clone(mirror),
                    cluster,
                    before.map_or_else(
                        || registry.mirroring(&mirror.id),
                        |before| Arc::clone(before.metrics()),
                    ),
                    timer.clone(),
                    before.map(AsRef::as_ref),
                ))
            })
            .collect();
        let accepting = before.map_or_else(
            || {
                let listeners = snapshot.listeners.iter();
                listeners
                    .map(|listener| registry.listener(&listener.stat_prefix))
                    .collect()
            },
            |before| before.accepting.clone(),
        );
        let mut known = known.borrow_mut();
        let tcp = snapshot
            .tcp
            .iter()
            .map(|tcp| {
                let block = known
                    .tcp
                    .entry(Arc::clone(&tcp.stat_prefix))
                    .or_insert_with(|| registry.tcp(&tcp.stat_prefix));
                Arc::clone(block)
            })
            .collect();
        let downstream = snapshot
            .http
            .iter()
            .map(|http| {
                let block = known
                    .downstream
                    .entry(Arc::clone(&http.stat_prefix))
                    .or_insert_with(|| registry.downstream(&http.stat_prefix));
                Arc::clone(block)
            })
            .collect();
        Self {
            snapshot,
            clusters,
            shadows,
            accepting,
            downstream,
            tcp,
        }
    }

    /// A route of one of its HTTP connection managers.
    pub fn route(&self, http: usize, id: Option<RouteId>) -> Option<&Route> {
        self.snapshot.http.get(http)?.hosts.get(id?)
    }

    fn cluster_named(&self, name: &str) -> Option<&Rc<Cluster<Upload>>> {
        self.clusters
            .iter()
            .find(|cluster| &*cluster.settings().name == name)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("clients", &self.clients.borrow().len())
            .finish_non_exhaustive()
    }
}
