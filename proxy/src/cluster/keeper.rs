//! What is done for clusters apart from their requests, once for all event loops, on a thread of its own: endpoints are
//! asked for their health, names are resolved, ejections end. The thread begins when a configuration first needs it.

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use rand::RngExt;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc as channel,
    task::{AbortHandle, spawn_local},
};

use super::{health, resolve, roster::Roster};
use crate::config::Discovery;

/// A start does not wait longer for first checks and addresses: a service may be started after us.
const PATIENCE: Duration = Duration::from_secs(30);

/// The thread, where there is one.
#[derive(Debug, Default)]
pub struct Keeper(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    orders: channel::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

/// What is cared for from now on.
struct Order {
    rosters: Vec<Arc<Roster>>,
    /// Told when all that is new has been looked at once.
    looked: mpsc::Sender<()>,
}

impl Keeper {
    /// From now on cares for these rosters, and no others. Waits until what is new was looked at once.
    pub fn keep(&self, rosters: &[Arc<Roster>]) -> io::Result<()> {
        let rosters: Vec<_> = rosters
            .iter()
            .filter(|it| needs_care(it))
            .cloned()
            .collect();
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rosters.is_empty() && running.is_none() {
            return Ok(());
        }
        if running.is_none() {
            *running = Some(Running::start()?);
        }
        let (looked, all) = mpsc::channel();
        if let Some(running) = &*running {
            // A thread that has gone cares for nothing; there is nothing to wait for either.
            let _ = running.orders.send(Order { rosters, looked });
        }
        drop(running);
        // Ends when everybody who could tell has dropped their end.
        while all.recv_timeout(PATIENCE).is_ok() {}
        Ok(())
    }

    /// Cares for nothing any more.
    pub fn stop(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { orders, thread }) = running {
            drop(orders);
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

fn needs_care(roster: &Roster) -> bool {
    let settings = roster.settings();
    !settings.health.is_empty()
        || settings.outlier.is_some()
        || settings.discovery != Discovery::Static
}

impl Running {
    fn start() -> io::Result<Self> {
        let (orders, coming) = channel::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("proxy-keeper".to_owned())
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                if let Ok(runtime) = runtime {
                    runtime.block_on(run(coming));
                    // A name that is being looked up is not waited for.
                    runtime.shutdown_background();
                }
            })?;
        Ok(Self { orders, thread })
    }
}

async fn run(mut orders: channel::UnboundedReceiver<Order>) {
    let mut cared: Vec<(Arc<Roster>, Care)> = Vec::new();
    while let Some(Order { rosters, looked }) = orders.recv().await {
        cared.retain(|(roster, _)| rosters.iter().any(|it| Arc::ptr_eq(it, roster)));
        for roster in rosters {
            if !cared.iter().any(|(it, _)| Arc::ptr_eq(it, &roster)) {
                let care = Care::begin(&roster, &looked);
                cared.push((roster, care));
            }
        }
    }
}

/// The care for one roster, until it is dropped.
struct Care {
    tasks: Vec<AbortHandle>,
}

impl Care {
    fn begin(roster: &Arc<Roster>, looked: &mpsc::Sender<()>) -> Self {
        let mut tasks = Vec::new();
        let mut spawn = |task: AbortHandle| tasks.push(task);
        if let Some(outlier) = roster.settings().outlier {
            let roster = Arc::clone(roster);
            let inspect = async move {
                let mut ticks = tokio::time::interval(outlier.interval);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                // The first comes at once.
                ticks.tick().await;
                loop {
                    ticks.tick().await;
                    roster.inspect(|| rand::rng().random());
                }
            };
            spawn(spawn_local(inspect).abort_handle());
        }
        let (roster, looked) = (Arc::clone(roster), looked.clone());
        let watch = async move {
            let checks = Rc::new(Checks::default());
            checks.attend(&roster, true, Some(&looked));
            let changed = |first| checks.attend(&roster, first, None);
            resolve::run(&roster, looked, &changed).await;
            // Checks end with this task.
            std::future::pending::<()>().await;
        };
        spawn(spawn_local(watch).abort_handle());
        Self { tasks }
    }
}

impl Drop for Care {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The health checks of the endpoints of a roster.
#[derive(Default)]
struct Checks(std::cell::RefCell<HashMap<SocketAddr, AbortHandle>>);

impl Checks {
    /// Begins those of endpoints that have come, ends those of endpoints that have gone. `first`: the roster has begun with
    /// those that have come.
    fn attend(&self, roster: &Arc<Roster>, first: bool, looked: Option<&mpsc::Sender<()>>) {
        let Some(check) = roster.settings().health.first() else {
            return;
        };
        let members = roster.members();
        let mut running = self.0.borrow_mut();
        running.retain(|address, task| {
            let stays = members.iter().any(|member| member.address == *address);
            if !stays {
                task.abort();
            }
            stays
        });
        for member in members.iter().filter(|it| !it.endpoint.health_unchecked) {
            running.entry(member.address).or_insert_with(|| {
                let watch = health::watch(
                    Arc::clone(roster),
                    Arc::clone(member),
                    check.clone(),
                    first,
                    looked.cloned(),
                );
                spawn_local(watch).abort_handle()
            });
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        for task in self.0.borrow().values() {
            task.abort();
        }
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("rosters", &self.rosters.len())
            .finish_non_exhaustive()
    }
}
