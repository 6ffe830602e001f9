//! Peers that speak raw bytes, a proxy between them, and what it has told.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use meshbed_proxy::{
    app::{Deps, Handle, Proxy},
    config::{
        Action, Address, Cluster, Config, Endpoint, Forward, HttpManager, Listener, Route,
        VirtualHost,
    },
    draw::Seed,
    envoy::{Options, read},
    observe::{Flags, Hit, Identity, Mirrored, Observer, Record},
    policy::matcher::{How, Matcher, Text},
};

/// Longer than anything in these tests takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A peer's end of a connection.
pub(crate) struct Wire {
    pub(crate) tcp: TcpStream,
    buffer: Vec<u8>,
}

/// A message as it came: head as text, body without its framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Wire {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self {
            tcp,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.tcp.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends, whether or not the other side still listens.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.tcp.write_all(bytes.as_ref()).is_ok()
    }

    /// A message; `None`: the other side has closed before one began.
    pub(crate) fn message(&mut self) -> Option<Message> {
        self.message_to("GET")
    }

    /// An answer to a request with this method.
    pub(crate) fn message_to(&mut self, method: &str) -> Option<Message> {
        let head = self.head()?;
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let is_answer = head.starts_with("HTTP/");
        let bodiless = is_answer
            && (method == "HEAD" || status.starts_with('1') || status == "204" || status == "304");
        let body = if bodiless {
            String::new()
        } else if header(&head, "transfer-encoding").as_deref() == Some("chunked") {
            self.chunks()
        } else if let Some(length) = header(&head, "content-length") {
            let body = self.exactly(length.parse().unwrap());
            String::from_utf8(body).unwrap()
        } else if is_answer {
            String::from_utf8(self.rest()).unwrap()
        } else {
            String::new()
        };
        Some(Message { head, body })
    }

    /// A head, with its last line break; `None`: the other side has closed.
    pub(crate) fn head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                assert!(
                    self.buffer.is_empty(),
                    "closed within a head: {}",
                    String::from_utf8_lossy(&self.buffer)
                );
                return None;
            }
        };
        let rest = self.buffer.split_off(end);
        let head = std::mem::replace(&mut self.buffer, rest);
        Some(String::from_utf8(head).unwrap())
    }

    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(
                self.more(),
                "closed {} bytes early",
                length - self.buffer.len()
            );
        }
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// So many bytes, or fewer where the other side closes before.
    pub(crate) fn up_to(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length && self.more() {}
        let rest = self.buffer.split_off(length.min(self.buffer.len()));
        std::mem::replace(&mut self.buffer, rest)
    }

    /// All that comes until the other side closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.buffer)
    }

    fn chunks(&mut self) -> String {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            body.extend(self.exactly(length));
            self.line();
            if length == 0 {
                return String::from_utf8(body).unwrap();
            }
        }
    }

    pub(crate) fn line(&mut self) -> String {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at + 2;
            }
            assert!(self.more(), "closed within a line");
        };
        let rest = self.buffer.split_off(end);
        String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap()
    }

    fn more(&mut self) -> bool {
        let mut piece = vec![0; 64 << 10];
        match self.tcp.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => {
                self.buffer.extend_from_slice(&piece[..length]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    /// Closes so that the other side sees a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.tcp)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A service: each connection is served by a thread of its own.
pub(crate) fn service(serve: impl Fn(Wire) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let (tcp, serve) = (tcp.unwrap(), Arc::clone(&serve));
            thread::spawn(move || serve(Wire::new(tcp)));
        }
    });
    address
}

/// A service that answers every request with its head and body as the answer's body.
pub(crate) fn echo() -> SocketAddr {
    service(|mut wire| {
        while let Some(request) = wire.message() {
            let text = format!("{}{}", request.head, request.body);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            if !wire.try_send(answer) {
                return;
            }
        }
    })
}

/// A service that reads one request and sends these bytes, then closes.
pub(crate) fn once(answer: &'static str) -> SocketAddr {
    service(move |mut wire| {
        wire.message();
        wire.try_send(answer);
    })
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// One listener `main`, whose routes are `/` to the cluster `up` at this address.
pub(crate) fn config(up: SocketAddr) -> Config {
    Config {
        seed: Seed(7),
        run: None,
        listeners: vec![Listener::http(
            "main",
            SocketAddr::from(([127, 0, 0, 1], 0)),
            HttpManager {
                virtual_hosts: vec![VirtualHost {
                    name: "all".to_owned(),
                    domains: vec!["*".to_owned()],
                    routes: vec![route("/", Forward::to("up"))],
                    ..VirtualHost::default()
                }],
                ..HttpManager::default()
            },
        )],
        clusters: vec![cluster("up", &[up])],
        admin: None,
    }
}

pub(crate) fn route(prefix: &str, forward: Forward) -> Route {
    Route {
        name: prefix.to_owned(),
        matcher: Matcher {
            path: Some(Text {
                how: How::Prefix(prefix.to_owned()),
                ignore_case: false,
            }),
            ..Matcher::default()
        },
        action: Action::Forward(forward),
        ..Route::default()
    }
}

pub(crate) fn cluster(name: &str, addresses: &[SocketAddr]) -> Cluster {
    Cluster {
        name: name.into(),
        endpoints: addresses
            .iter()
            .map(|address| Endpoint::at(Address::Socket(*address)))
            .collect(),
        idle_timeout: None,
        ..Cluster::default()
    }
}

/// The only route of [`config`].
pub(crate) fn forward(config: &mut Config) -> &mut Forward {
    match &mut config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes[0].action {
        Action::Forward(forward) => forward,
        _ => panic!("the route forwards"),
    }
}

/// What was told, kept.
#[derive(Default)]
pub(crate) struct Told {
    records: Mutex<Vec<Seen>>,
    mirrored: Mutex<Vec<Mirrored>>,
    more: Condvar,
}

/// A record, kept.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) identity: Identity,
    pub(crate) path: String,
    pub(crate) route: String,
    pub(crate) cluster: String,
    pub(crate) status: Option<u16>,
    pub(crate) complete: bool,
    pub(crate) flags: Flags,
    pub(crate) details: String,
    pub(crate) duration: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) attempts: usize,
    pub(crate) considered: Vec<String>,
    pub(crate) hits: Vec<Hit>,
}

impl Observer for Told {
    fn request(&self, record: &Record<'_>) {
        self.records.lock().unwrap().push(Seen {
            identity: record.identity,
            path: record.path.to_owned(),
            route: record.route.to_owned(),
            cluster: record.cluster.to_owned(),
            status: record.status.map(|status| status.as_u16()),
            complete: record.complete,
            flags: record.flags,
            details: record.details.to_owned(),
            duration: record.duration,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            attempts: record.attempts.len(),
            considered: record.considered.iter().map(ToString::to_string).collect(),
            hits: record.hits.to_vec(),
        });
        self.more.notify_all();
    }

    fn mirrored(&self, mirrored: Mirrored) {
        self.mirrored.lock().unwrap().push(mirrored);
        self.more.notify_all();
    }
}

impl Told {
    /// Waits for so many records, and takes them.
    pub(crate) fn records(&self, count: usize) -> Vec<Seen> {
        let records = self.records.lock().unwrap();
        let (mut records, timeout) = self
            .more
            .wait_timeout_while(records, PATIENCE, |records| records.len() < count)
            .unwrap();
        assert!(!timeout.timed_out(), "{} records of {count}", records.len());
        assert_eq!(records.len(), count, "{records:?}");
        std::mem::take(&mut *records)
    }

    /// Waits for the only record, and takes it.
    pub(crate) fn record(&self) -> Seen {
        self.records(1).remove(0)
    }

    /// Waits for so many mirrored requests, and takes them.
    pub(crate) fn mirrored(&self, count: usize) -> Vec<Mirrored> {
        let mirrored = self.mirrored.lock().unwrap();
        let (mut mirrored, timeout) = self
            .more
            .wait_timeout_while(mirrored, PATIENCE, |mirrored| mirrored.len() < count)
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{} mirrored of {count}",
            mirrored.len()
        );
        assert_eq!(mirrored.len(), count);
        std::mem::take(&mut *mirrored)
    }
}

/// A running proxy and what it tells.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) told: Arc<Told>,
    pub(crate) address: SocketAddr,
}

pub(crate) fn start(config: Config) -> Running {
    start_with(config, 1)
}

pub(crate) fn start_with(config: Config, workers: usize) -> Running {
    let told = Arc::new(Told::default());
    let handle = Proxy::start(
        config,
        Deps {
            observer: Arc::clone(&told) as Arc<dyn Observer>,
            workers,
            ..Deps::default()
        },
    )
    .unwrap();
    let address = handle.address("main").unwrap();
    Running {
        handle,
        told,
        address,
    }
}

/// Started with Envoy's file, which must be taken.
pub(crate) fn start_file(text: &str) -> Running {
    start(read_file(text))
}

/// Nothing in a file is passed over.
pub(crate) const STRICT: Options = Options {
    seed: Seed(7),
    lenient: false,
};

/// What Envoy's file says, which must be taken.
pub(crate) fn read_file(text: &str) -> Config {
    match read(text, STRICT) {
        Ok(loaded) => loaded.config,
        Err(problems) => {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            panic!("{}\n{text}", problems.join("\n"))
        }
    }
}

impl Running {
    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Message {
        let mut wire = self.connect();
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n\r\n"));
        wire.message().unwrap()
    }

    /// The value of a line of the metrics that begins so.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.handle.metrics();
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Waits until a metric is so much.
    pub(crate) fn await_metric(&self, name: &str, value: u64) {
        for _ in 0..2_000 {
            if self.metric(name) == value {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{name} is {} and not {value}", self.metric(name));
    }
}
