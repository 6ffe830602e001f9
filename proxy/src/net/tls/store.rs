//! All contexts of a proxy: each is made once, outlives the configurations that name it, and reads its files again when
//! they change.

use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};

use super::{Client, Server, Wrong, facts::Facts, read};
use crate::{
    config::tls::{self, Certificate, Common, Source, Validation},
    metrics::Certificates,
};

/// How often the files are looked at. What has changed is read when it has not changed any more for as long, so that a
/// certificate and its key that are written one after the other are taken together.
const LOOK: Duration = Duration::from_millis(250);

/// All contexts of a proxy.
#[derive(Debug, Default)]
pub struct Store(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    contexts: Mutex<Contexts>,
    metrics: Arc<Certificates>,
}

#[derive(Debug, Default)]
struct Contexts {
    servers: Vec<Weak<Server>>,
    clients: Vec<Weak<Client>>,
    /// By [`Context::id`].
    seen: HashMap<usize, Seen>,
    watching: bool,
}

/// A certificate that is in use.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Where it was read.
    pub source: String,
    /// What it says.
    pub facts: Arc<Facts>,
}

/// A context, whichever side.
enum Context {
    Server(Arc<Server>),
    Client(Arc<Client>),
}

impl Store {
    /// The listener's side with these settings: the one that there is, or a new one.
    pub fn server(&self, settings: &tls::Server) -> Result<Arc<Server>, Wrong> {
        let mut contexts = self.0.contexts();
        let mut known = contexts.servers.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.settings() == settings) {
            return Ok(known);
        }
        // Looked at before they are read: what changes meanwhile is read again.
        let stamps = stamps(&read::resolve(&settings.common)?);
        let server = Arc::new(Server::new(settings.clone())?);
        contexts.servers.retain(|known| known.strong_count() > 0);
        contexts.servers.push(Arc::downgrade(&server));
        self.watch(&mut contexts, &Context::Server(Arc::clone(&server)), stamps);
        Ok(server)
    }

    /// The cluster's side with these settings: the one that there is, or a new one.
    pub fn client(&self, settings: &tls::Client) -> Result<Arc<Client>, Wrong> {
        let mut contexts = self.0.contexts();
        let mut known = contexts.clients.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.settings() == settings) {
            return Ok(known);
        }
        // Looked at before they are read: what changes meanwhile is read again.
        let stamps = stamps(&read::resolve(&settings.common)?);
        let client = Arc::new(Client::new(settings.clone())?);
        contexts.clients.retain(|known| known.strong_count() > 0);
        contexts.clients.push(Arc::downgrade(&client));
        self.watch(&mut contexts, &Context::Client(Arc::clone(&client)), stamps);
        Ok(client)
    }

    /// The certificates that are in use, and where they were read.
    pub fn shown(&self) -> Vec<Shown> {
        let mut all = Vec::new();
        for context in self.0.contexts().all() {
            let (common, facts) = match &context {
                Context::Server(it) => (&it.settings().common, it.shown()),
                Context::Client(it) => (&it.settings().common, it.shown()),
            };
            for (certificate, facts) in common.certificates.iter().zip(facts) {
                let source = match (&certificate.secret, &certificate.chain) {
                    (Some(secret), _) => secret.path.display().to_string(),
                    (None, Source::File(path)) => path.display().to_string(),
                    (None, Source::Inline(_)) => "<inline>".to_owned(),
                };
                all.push(Shown { source, facts });
            }
        }
        all
    }

    /// The counts of its files.
    pub fn metrics(&self) -> Arc<Certificates> {
        Arc::clone(&self.0.metrics)
    }

    fn watch(&self, contexts: &mut Contexts, context: &Context, stamps: Vec<Stamp>) {
        if stamps.is_empty() {
            return;
        }
        let seen = Seen {
            read: stamps.clone(),
            last: stamps,
        };
        contexts.seen.insert(context.id(), seen);
        if contexts.watching {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        // Without the thread the certificates that were read stay.
        contexts.watching = thread::Builder::new()
            .name("proxy-certs".to_owned())
            .spawn(move || watch(&inner))
            .is_ok();
    }
}

impl Inner {
    fn contexts(&self) -> MutexGuard<'_, Contexts> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those whose files have changed since they were read, and not since the last look.
    fn changed(&self) -> Vec<Context> {
        let mut contexts = self.contexts();
        let mut all = contexts.all();
        let seen = &mut contexts.seen;
        seen.retain(|id, _| all.iter().any(|context| context.id() == *id));
        all.retain(|context| {
            let Some(seen) = seen.get_mut(&context.id()) else {
                return false;
            };
            let stamps = stamps(&context.resolved());
            let settled = stamps == seen.last;
            let changed = stamps != seen.read;
            seen.last.clone_from(&stamps);
            if settled && changed {
                seen.read = stamps;
            }
            settled && changed
        });
        all
    }
}

impl Contexts {
    fn all(&self) -> Vec<Context> {
        let servers = self.servers.iter().filter_map(Weak::upgrade);
        let clients = self.clients.iter().filter_map(Weak::upgrade);
        servers
            .map(Context::Server)
            .chain(clients.map(Context::Client))
            .collect()
    }
}

impl Context {
    /// Tells it from others that are alive.
    fn id(&self) -> usize {
        match self {
            Self::Server(it) => Arc::as_ptr(it).addr(),
            Self::Client(it) => Arc::as_ptr(it).addr(),
        }
    }

    fn resolved(&self) -> Common {
        match self {
            Self::Server(it) => it.resolved(),
            Self::Client(it) => it.resolved(),
        }
    }

    fn reload(&self) -> Result<(), Wrong> {
        match self {
            Self::Server(it) => it.reload(),
            Self::Client(it) => it.reload(),
        }
    }
}

/// What is remembered of a context's files.
#[derive(Debug)]
struct Seen {
    /// As they were when they were last read.
    read: Vec<Stamp>,
    /// As they were at the last look.
    last: Vec<Stamp>,
}

/// Device, inode, length, time of the last change; `None`: it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn watch(inner: &Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        for context in inner.changed() {
            match context.reload() {
                Ok(()) => inner.metrics.reloads.inc(),
                Err(wrong) => {
                    inner.metrics.failures.inc();
                    eprintln!("warning: the certificates stay as they were: {wrong}");
                }
            }
        }
        drop(inner);
        thread::sleep(LOOK);
    }
}

fn stamps(common: &Common) -> Vec<Stamp> {
    watched(common).iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    let it = std::fs::metadata(path).ok()?;
    Some((it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec()))
}

/// What is looked at: the files, or the folders that are to be watched in their place.
fn watched(common: &Common) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for it in &common.certificates {
        of_certificate(it, &mut paths);
    }
    if let Some(it) = &common.validation {
        of_validation(it, &mut paths);
    }
    paths
}

fn of_certificate(it: &Certificate, paths: &mut Vec<PathBuf>) {
    paths.extend(it.secret.as_ref().map(|secret| secret.path.clone()));
    match &it.watched {
        Some(folder) => paths.push(folder.clone()),
        None => files([&it.chain, &it.key].into_iter().chain(&it.ocsp), paths),
    }
}

fn of_validation(it: &Validation, paths: &mut Vec<PathBuf>) {
    paths.extend(it.secret.as_ref().map(|secret| secret.path.clone()));
    if let Some(folder) = &it.watched {
        paths.push(folder.clone());
        return;
    }
    let domains = it.domains.iter().map(|domain| &domain.roots);
    files(it.trusted_ca.iter().chain(&it.crl).chain(domains), paths);
}

fn files<'a>(sources: impl Iterator<Item = &'a Source>, paths: &mut Vec<PathBuf>) {
    for source in sources {
        if let Source::File(path) = source {
            paths.push(path.clone());
        }
    }
}
