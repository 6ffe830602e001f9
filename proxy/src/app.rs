//! Assembly: a configuration and its dependencies in, a running proxy out.
//!
//! The shape that others may count on:
//!
//! ```text
//! Proxy::start(config, Deps { observer, workers, numbers }) -> Result<Handle, StartError>   // all listeners are bound when it returns
//! Handle::addresses()        name of listener -> bound address (for port 0)
//! Handle::publish(config)    swaps the configuration on every event loop; Err(problems): the old one stays
//! Handle::metrics()          Prometheus text, all event loops merged
//! Handle::cpu()              CPU time of the event loops so far
//! Handle::leave()            accepts still, and ends each connection with its next answer
//! Handle::drain(within)      stops accepting, waits for what is under way, at most so long
//! Handle::shutdown()         ends at once; also on drop
//! ```

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    task::spawn_local,
    time::Instant,
};

use crate::{
    admin,
    cluster::keeper::Keeper,
    config::{Config, Problem},
    drain::{Drain, Phase, Watch},
    http::core::Core,
    listener,
    metrics::{Registry, report::Extra},
    net::{
        h1::behind,
        listen::{self, How},
        numbers::Numbers,
        timer::Timer,
        tls::Shown,
    },
    observe::{Observer, Silent},
    snapshot::{Lasting, Publisher, Reader, Snapshot},
};

/// How often idle upstream connections are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// What a proxy needs besides its configuration.
pub struct Deps {
    /// Who is told of requests.
    pub observer: Arc<dyn Observer>,
    /// Event loops, each a thread; at least one is started.
    pub workers: usize,
    /// Numbers of connections, where somebody tells them.
    pub numbers: Numbers,
}

/// A proxy, to be started.
#[derive(Debug)]
pub struct Proxy;

/// A running proxy. Dropping it ends it at once.
pub struct Handle {
    addresses: BTreeMap<Arc<str>, SocketAddr>,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    threads: Vec<JoinHandle<()>>,
}

/// What the handle, the event loops and the admin port share.
struct Shared {
    bound: Vec<(Arc<str>, SocketAddr)>,
    publisher: Publisher,
    lasting: Lasting,
    registry: Arc<Registry>,
    drain: Drain,
    quit: tokio::sync::watch::Sender<bool>,
    publishing: Mutex<()>,
    started: Instant,
    workers: usize,
    well: AtomicBool,
    bootstrap: OnceLock<Arc<serde_json::Value>>,
    keeper: Keeper,
}

/// An event loop's thread, as the kernel knows it; 0: it has not begun.
type Worker = Arc<AtomicU32>;

/// Why a proxy could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The configuration cannot be used.
    Config(Vec<Problem>),
    /// A listener could not be bound.
    Bind {
        /// Its name; `admin` for the admin port.
        listener: String,
        /// Where it was to listen.
        address: SocketAddr,
        /// Why it cannot.
        cause: io::Error,
    },
    /// A thread or its runtime could not be had.
    Worker(io::Error),
}

impl Default for Deps {
    fn default() -> Self {
        Self {
            observer: Arc::new(Silent),
            workers: 1,
            numbers: Numbers::default(),
        }
    }
}

impl Proxy {
    /// Starts a proxy: when it returns, all listeners are bound and connections to them are served.
    pub fn start(config: Config, deps: Deps) -> Result<Handle, StartError> {
        let Deps {
            observer,
            workers,
            numbers,
        } = deps;
        let count = workers.max(1);
        let mut bound = Vec::new();
        let mut sockets: Vec<Vec<(usize, TcpListener)>> = (0..count).map(|_| Vec::new()).collect();
        for (index, listener) in config.listeners.iter().enumerate() {
            let how = How {
                backlog: listener.backlog.unwrap_or(listen::BACKLOG),
                freebind: listener.freebind,
            };
            let mut open = |at: SocketAddr| {
                let (address, of_listener) = bind(&listener.name, at, count, how)?;
                for (of_worker, socket) in sockets.iter_mut().zip(of_listener) {
                    of_worker.push((index, socket));
                }
                Ok(address)
            };
            bound.push((Arc::clone(&listener.name), open(listener.address)?));
            for more in &listener.more_addresses {
                open(*more)?;
            }
        }
        let admin = config
            .admin
            .map(|address| bind("admin", address, 1, How::default()))
            .transpose()?;
        let registry = Arc::<Registry>::default();
        let lasting = Lasting::new(Arc::clone(&observer), Arc::clone(&registry));
        let snapshot = Snapshot::compile(config, &bound, &lasting).map_err(StartError::Config)?;
        let mut addresses: BTreeMap<_, _> = bound.iter().cloned().collect();
        let shared = Arc::new(Shared {
            bound,
            publisher: Publisher::new(snapshot),
            lasting,
            registry,
            drain: Drain::default(),
            quit: tokio::sync::watch::Sender::new(false),
            publishing: Mutex::default(),
            started: Instant::now(),
            workers: count,
            well: AtomicBool::new(true),
            bootstrap: OnceLock::new(),
            keeper: Keeper::default(),
        });
        shared.registry.certificates(shared.lasting.tls.metrics());
        let mut handle = Handle {
            addresses: BTreeMap::new(),
            shared: Arc::clone(&shared),
            workers: Vec::new(),
            threads: Vec::new(),
        };
        // Nobody is served before the first health checks have come in.
        let snapshot = shared.publisher.current();
        let kept = shared.keeper.keep(&snapshot.rosters);
        kept.map_err(StartError::Worker)?;
        for (index, sockets) in sockets.into_iter().enumerate() {
            let worker = Worker::default();
            let plan = Plan {
                worker: Arc::clone(&worker),
                sockets,
                observer: Arc::clone(&observer),
                registry: Arc::clone(&shared.registry),
                watch: shared.drain.watch(),
                numbers: numbers.clone(),
                reader: shared.publisher.reader(),
            };
            handle.workers.push(worker);
            handle.spawn(&format!("proxy-{index}"), move |runtime| plan.run(runtime))?;
        }
        if let Some((address, sockets)) = admin {
            addresses.insert("admin".into(), address);
            let watch = shared.drain.watch();
            handle.spawn("proxy-admin", move |runtime| {
                admin::run(runtime, sockets, watch, Arc::new(Controls(shared)));
            })?;
        }
        handle.addresses = addresses;
        Ok(handle)
    }
}

fn bind(
    name: &str,
    address: SocketAddr,
    count: usize,
    how: How,
) -> Result<(SocketAddr, Vec<TcpListener>), StartError> {
    listen::bind(address, count, how).map_err(|cause| StartError::Bind {
        listener: name.to_owned(),
        address,
        cause,
    })
}

impl Handle {
    /// Where each listener is bound; the admin port is `admin`.
    pub fn addresses(&self) -> &BTreeMap<Arc<str>, SocketAddr> {
        &self.addresses
    }

    /// Where a listener is bound.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.get(listener).copied()
    }

    /// Swaps the configuration: requests that begin after it returns are served by it, those under way end by theirs. The
    /// listeners and their addresses must be the same. On an error the old one stays.
    pub fn publish(&self, config: Config) -> Result<(), Vec<Problem>> {
        self.shared.publish(config)
    }

    /// All counts, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        self.shared.registry.prometheus()
    }

    /// CPU time that the event loops have used.
    pub fn cpu(&self) -> Duration {
        self.workers
            .iter()
            .map(|worker| cpu_of(worker.load(Ordering::Acquire)))
            .sum()
    }

    /// Takes connections still, and ends each with its next answer, or by a `GOAWAY`: one that waits for its client's next
    /// request is not closed, which could cross that request. Returns at once.
    pub fn leave(&self) {
        self.shared.drain.enter(Phase::Leaving);
    }

    /// Stops accepting, lets requests under way end, at most for so long. Whether all have ended. Blocks the thread.
    pub fn drain(&self, within: Duration) -> bool {
        self.shared.drain.enter(Phase::Draining);
        self.shared.drain.wait(within)
    }

    /// Tells the admin port the file that the configuration was read from; the first one stays.
    pub fn describe(&self, bootstrap: serde_json::Value) {
        let _ = self.shared.bootstrap.set(Arc::new(bootstrap));
    }

    /// Writes the access log lines that wait in memory.
    pub fn flush_logs(&self) {
        self.shared.lasting.sinks.flush();
    }

    /// Opens the access logs' files again, after they have been moved away.
    pub fn reopen_logs(&self) {
        self.shared.lasting.sinks.reopen();
    }

    /// Ends when somebody has asked the admin port to quit.
    pub async fn asked_to_quit(&self) {
        let mut quit = self.shared.quit.subscribe();
        let _ = quit.wait_for(|quit| *quit).await;
    }

    /// Ends at once: connections are closed, threads have ended when it returns.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.shared.drain.enter(Phase::Stopped);
        self.shared.keeper.stop();
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
        self.shared.lasting.sinks.flush();
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce(&LocalRuntime) + Send + 'static,
    ) -> Result<(), StartError> {
        let (built, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Made on its thread, which it must not leave: no task needs to be `Send`, and none pays for a `LocalSet`.
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        let _ = built.send(Ok(()));
                        work(&runtime);
                        behind::write_out();
                    }
                    Err(cause) => {
                        let _ = built.send(Err(cause));
                    }
                }
            })
            .map_err(StartError::Worker)?;
        self.threads.push(thread);
        // The thread says one of both before it can end.
        told.recv().unwrap_or(Ok(())).map_err(StartError::Worker)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn publish(&self, config: Config) -> Result<(), Vec<Problem>> {
        // Two who publish at once must not overtake one another between compiling and swapping.
        let _one = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let problems = self.moved(&config);
        if !problems.is_empty() {
            return Err(problems);
        }
        let snapshot = Snapshot::compile(config, &self.bound, &self.lasting)?;
        if let Err(cause) = self.keeper.keep(&snapshot.rosters) {
            return Err(vec![Problem {
                path: "clusters".to_owned(),
                what: format!("they cannot be cared for: {cause}"),
            }]);
        }
        self.publisher.publish(snapshot);
        Ok(())
    }

    /// Listeners that are to be elsewhere than they are.
    fn moved(&self, config: &Config) -> Vec<Problem> {
        let running = &self.publisher.current().config;
        let mut problems = Vec::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let before = running
                .listeners
                .iter()
                .find(|before| before.name == listener.name);
            let bound = self.bound.iter().find(|(name, _)| *name == listener.name);
            let Some((before, (_, bound))) = before.zip(bound) else {
                continue;
            };
            if listener.address != before.address && listener.address != *bound {
                problems.push(Problem {
                    path: format!("listeners[{index}].address"),
                    what: format!(
                        "the listener `{}` cannot move from {bound} to {} while the proxy runs",
                        listener.name, listener.address
                    ),
                });
            }
        }
        problems
    }
}

/// What the admin port may do.
struct Controls(Arc<Shared>);

impl admin::Controls for Controls {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.publisher.current()
    }

    fn registry(&self) -> &Registry {
        &self.0.registry
    }

    fn addresses(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.0.bound
    }

    fn server(&self) -> admin::Server {
        admin::Server {
            uptime: self.0.started.elapsed(),
            workers: self.0.workers,
            listeners: self.0.bound.len(),
            clusters: self.0.publisher.current().clusters.len(),
            draining: !self.0.well.load(Ordering::Relaxed),
        }
    }

    fn bootstrap(&self) -> Option<Arc<serde_json::Value>> {
        self.0.bootstrap.get().cloned()
    }

    fn certificates(&self) -> Vec<Shown> {
        self.0.lasting.tls.shown()
    }

    fn extra(&self) -> Vec<Extra> {
        self.0.lasting.sinks.counts().stats()
    }

    fn set_well(&self, well: bool) {
        self.0.well.store(well, Ordering::Relaxed);
    }

    fn reopen_logs(&self) {
        self.0.lasting.sinks.reopen();
    }

    fn drain(&self) {
        self.0.drain.enter(Phase::Draining);
    }

    fn quit(&self) {
        self.0.quit.send_replace(true);
    }
}

/// What an event loop is started with.
struct Plan {
    worker: Worker,
    /// Each with the index of its listener.
    sockets: Vec<(usize, TcpListener)>,
    observer: Arc<dyn Observer>,
    registry: Arc<Registry>,
    watch: Watch,
    numbers: Numbers,
    reader: Reader,
}

impl Plan {
    fn run(self, runtime: &LocalRuntime) {
        let id = rustix::thread::gettid().as_raw_nonzero().get();
        self.worker.store(id.unsigned_abs(), Ordering::Release);
        // An event loop without its timer could not keep any deadline; this fails only for want of descriptors.
        let ended = runtime.block_on(self.serve());
        debug_assert!(ended.is_ok(), "the event loop's timer could not be made");
    }

    async fn serve(self) -> io::Result<()> {
        let timer = Timer::new()?;
        spawn_local(timer.clone().run());
        spawn_local(behind::run());
        let mut watch = self.watch.clone();
        let core = Rc::new(Core::new(
            timer,
            self.observer,
            self.registry,
            self.watch.clone(),
            self.numbers,
            self.reader,
        ));
        for (index, socket) in self.sockets {
            spawn_local(listener::run(
                Rc::clone(&core),
                index,
                socket,
                self.watch.clone(),
            ));
        }
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                _ = sweep.tick() => core.sweep(),
                changed = watch.phase.changed() => {
                    let phase = *watch.phase.borrow_and_update();
                    if changed.is_err() || phase == Phase::Stopped {
                        return Ok(());
                    }
                    core.turn(phase);
                }
            }
        }
    }
}

/// CPU time of a thread of this process, by its kernel id.
fn cpu_of(thread: u32) -> Duration {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let nanos = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => {
                f.write_str("the configuration cannot be used")?;
                for problem in problems {
                    write!(f, "\n  {problem}")?;
                }
                Ok(())
            }
            Self::Bind {
                listener,
                address,
                cause,
            } => {
                write!(f, "listener `{listener}` cannot listen on {address}: ")?;
                match cause.kind() {
                    io::ErrorKind::AddrInUse => f.write_str("the address is in use"),
                    _ => write!(f, "{cause}"),
                }
            }
            Self::Worker(cause) => write!(f, "an event loop cannot be started: {cause}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(_) => None,
            Self::Bind { cause, .. } | Self::Worker(cause) => Some(cause),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
