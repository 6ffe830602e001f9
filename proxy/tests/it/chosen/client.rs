//! What several tests need: an upstream, a client that speaks plain HTTP/1.1, a configuration, an observer.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meshbed_proxy::{
    app::{Deps, Handle, Proxy},
    config::{
        Action, Address, Cluster, Config, Endpoint, Forward, HttpManager, Listener, Route,
        VirtualHost,
    },
    draw::Seed,
    observe::{Observer, Record},
    policy::fault,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The run that the trace ids of tests name.
pub(crate) const RUN: u64 = 0x1234;

/// A listener `in` before one upstream, with these faults.
pub(crate) fn config(upstream: SocketAddr, seed: u64, faults: Vec<fault::Rule>) -> Config {
    Config {
        seed: Seed(seed),
        run: Some(RUN),
        listeners: vec![Listener::http(
            "in",
            ([127, 0, 0, 1], 0).into(),
            HttpManager {
                virtual_hosts: vec![VirtualHost {
                    name: "all".to_owned(),
                    domains: vec!["*".to_owned()],
                    routes: vec![Route {
                        name: "all".to_owned(),
                        action: Action::Forward(Forward::to("up")),
                        ..Route::default()
                    }],
                    ..VirtualHost::default()
                }],
                faults,
                ..HttpManager::default()
            },
        )],
        clusters: vec![Cluster {
            name: Arc::from("up"),
            endpoints: vec![Endpoint::at(Address::Socket(upstream))],
            idle_timeout: None,
            ..Cluster::default()
        }],
        admin: None,
    }
}

/// A proxy, and the address of its listener `in`.
pub(crate) fn start(
    config: Config,
    workers: usize,
    observer: Arc<dyn Observer>,
) -> (Handle, SocketAddr) {
    let deps = Deps {
        observer,
        workers,
        ..Deps::default()
    };
    let handle = Proxy::start(config, deps).unwrap();
    let address = handle.address("in").unwrap();
    (handle, address)
}

/// An upstream that answers every request 200 `ok`.
pub(crate) async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while head(&mut stream).await.is_some() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// A client's connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(to).await.unwrap()))
    }

    /// Sends a request without a body and reads the whole answer: its status and body.
    pub(crate) async fn get(&mut self, path: &str, headers: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{headers}\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let head = head(&mut self.0).await.unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}

/// The head of a message; `None` at the end of the connection.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// The `traceparent` of a request of the schedule.
pub(crate) fn traceparent(side: u8, intended_ms: u32, ordinal: u64) -> String {
    format!(
        "traceparent: 00-{RUN:010x}{side:02x}{intended_ms:08x}{ordinal:012x}-00f067aa0ba902b7-01\r\n"
    )
}

/// What was said of each request that a rule chose.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) ordinal: u64,
    pub(crate) fault: String,
    pub(crate) u: f64,
    pub(crate) effect: &'static str,
    pub(crate) asked: Option<Duration>,
    pub(crate) flags: String,
}

/// Keeps what it is told.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    hits: Mutex<Vec<Told>>,
    requests: Mutex<u64>,
}

impl Keeper {
    /// Everything chosen so far, by ordinal and fault.
    pub(crate) fn hits(&self) -> Vec<Told> {
        let mut hits = self.hits.lock().unwrap().clone();
        hits.sort_by(|a, b| (a.ordinal, &a.fault).cmp(&(b.ordinal, &b.fault)));
        hits
    }

    pub(crate) fn requests(&self) -> u64 {
        *self.requests.lock().unwrap()
    }
}

impl Observer for Keeper {
    fn request(&self, record: &Record<'_>) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        hits.extend(record.hits.iter().map(|hit| Told {
            ordinal: record.identity.ordinal,
            fault: hit.fault.to_string(),
            u: hit.u,
            effect: hit.effect.name(),
            asked: hit.asked,
            flags: record.flags.to_string(),
        }));
    }
}
