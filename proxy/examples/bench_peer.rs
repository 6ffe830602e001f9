//! Peers of the benchmarks, cheaper than what is measured between them.
//!
//! ```text
//! bench_peer serve ADDRESS                        answers each request with 1,000 bytes and nginx' headers
//! bench_peer hang ADDRESS                         reads requests and never answers
//! bench_peer load ADDRESS RATE SECONDS CONNS BACKEND [SHADOW]
//!                                                 an open loop of GETs at a fixed rate; latency from the due time, as JSON.
//!                                                 The same loop serves BACKEND and SHADOW, so that the scheduler is not
//!                                                 measured
//! ```

use std::{
    collections::HashMap,
    env, error,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};
use tokio::time::Instant;

type Failure = Box<dyn error::Error>;

const BODY: usize = 1_000;
/// What a plain client within a mesh says; `proxy.py` has wrk say the same.
const REQUEST: &[u8] = b"GET /item HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n\
    Accept-Encoding: gzip\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
/// What nginx says of a file, but for its length.
const HEAD: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: application/octet-stream\r\nLast-Modified: Sat, 21 Nov 2026 11:00:00 GMT\r\nConnection: keep-alive\r\n\
    ETag: \"691f1e30-3e8\"\r\nAccept-Ranges: bytes\r\n";
/// What is asked before this is not counted: connections are being made on all sides.
const WARM_UP: Duration = Duration::from_millis(200);
/// The backend's listener; its connections are numbered from the next on, callers below it.
const BACKEND: u64 = 1 << 32;
/// The shadow's listener, and likewise.
const SHADOW: u64 = 1 << 33;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_peer: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(words: &[&str]) -> Result<(), Failure> {
    match words {
        ["serve", address] => serve(address.parse()?, true),
        ["hang", address] => serve(address.parse()?, false),
        ["load", address, rate, seconds, connections, backend, shadow @ ..] => {
            let backend = Backend::new(backend.parse()?, true, BACKEND)?;
            let shadow = match shadow {
                [] => None,
                [shadow, ..] => Some(Backend::new(shadow.parse()?, true, SHADOW)?),
            };
            let plan = Plan {
                address: address.parse()?,
                rate: rate.parse()?,
                seconds: seconds.parse()?,
                connections: connections.parse()?,
            };
            plan.run(backend, shadow)
        }
        _ => Err(
            "usage: serve ADDRESS | hang ADDRESS | load ADDRESS RATE SECONDS CONNS BACKEND [SHADOW]"
                .into(),
        ),
    }
}

struct Peer {
    tcp: TcpStream,
    /// Bytes of the head's end seen so far: a head may come in pieces.
    matched: usize,
}

/// The server's side.
struct Backend {
    listener: TcpListener,
    answer: Option<String>,
    peers: HashMap<u64, Peer>,
    number: u64,
    next: u64,
    buffer: Vec<u8>,
}

impl Backend {
    fn new(address: SocketAddr, answers: bool, number: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let answer = format!("{HEAD}Content-Length: {BODY}\r\n\r\n{}", "x".repeat(BODY));
        Ok(Self {
            listener,
            answer: answers.then_some(answer),
            peers: HashMap::new(),
            number,
            next: number + 1,
            buffer: vec![0; 64 << 10],
        })
    }

    fn event(&mut self, epoll: &OwnedFd, id: u64) -> Result<(), Failure> {
        if id == self.number {
            while let Ok((tcp, _)) = self.listener.accept() {
                tcp.set_nonblocking(true)?;
                tcp.set_nodelay(true)?;
                watch(epoll, &tcp, self.next)?;
                self.peers.insert(self.next, Peer { tcp, matched: 0 });
                self.next += 1;
            }
        } else if let Some(peer) = self.peers.get_mut(&id) {
            let answer = self.answer.as_ref().map(String::as_bytes);
            if !peer.serve(&mut self.buffer, answer) {
                self.peers.remove(&id);
            }
        }
        Ok(())
    }
}

fn serve(address: SocketAddr, answers: bool) -> Result<(), Failure> {
    let mut backend = Backend::new(address, answers, BACKEND)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    watch(&epoll, &backend.listener, backend.number)?;
    let mut events = Vec::with_capacity(256);
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            backend.event(&epoll, event.data.u64())?;
        }
    }
}

impl Peer {
    /// Whether the connection goes on.
    fn serve(&mut self, buffer: &mut [u8], answer: Option<&[u8]>) -> bool {
        let count = match self.tcp.read(buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let heads = heads(buffer.get(..count).unwrap_or_default(), &mut self.matched);
        let Some(answer) = answer else {
            return true;
        };
        (0..heads).all(|_| self.tcp.write_all(answer).is_ok())
    }
}

/// How many heads end in these bytes.
fn heads(bytes: &[u8], matched: &mut usize) -> usize {
    const END: &[u8; 4] = b"\r\n\r\n";
    let mut heads = 0;
    for byte in bytes {
        *matched = match END.get(*matched) {
            Some(expected) if expected == byte => *matched + 1,
            _ => usize::from(*byte == b'\r'),
        };
        if *matched == END.len() {
            heads += 1;
            *matched = 0;
        }
    }
    heads
}

struct Caller {
    tcp: TcpStream,
    /// When the request under way was due.
    due: Option<Instant>,
    left: usize,
}

/// What load there is to be.
struct Plan {
    address: SocketAddr,
    rate: f64,
    seconds: f64,
    connections: u64,
}

impl Plan {
    fn run(&self, mut backend: Backend, mut shadow: Option<Backend>) -> Result<(), Failure> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for served in std::iter::once(&backend).chain(&shadow) {
            watch(&epoll, &served.listener, served.number)?;
        }
        let (rate, seconds) = (self.rate, self.seconds);
        let mut callers = HashMap::new();
        let mut free: Vec<u64> = Vec::new();
        for id in 1..=self.connections {
            let tcp = TcpStream::connect(self.address)?;
            tcp.set_nonblocking(true)?;
            tcp.set_nodelay(true)?;
            watch(&epoll, &tcp, id)?;
            let caller = Caller {
                tcp,
                due: None,
                left: 0,
            };
            callers.insert(id, caller);
            free.push(id);
        }
        let begin = Instant::now();
        let measured = begin + WARM_UP;
        let total = (rate * (seconds + WARM_UP.as_secs_f64())) as u64;
        let due_of = |number: u64| begin + Duration::from_secs_f64(number as f64 / rate);
        let (mut sent, mut waited, mut done) = (0_u64, 0_u64, 0_u64);
        let mut latencies: Vec<u64> = Vec::with_capacity(total as usize);
        let mut events = Vec::with_capacity(256);
        let mut buffer = vec![0; 64 << 10];
        let end = measured + Duration::from_secs_f64(seconds) + Duration::from_secs(2);
        while done < total && Instant::now() < end {
            while sent < total && due_of(sent) <= Instant::now() {
                let Some(caller) = free.pop().and_then(|id| callers.get_mut(&id)) else {
                    waited += 1;
                    break;
                };
                caller.due = Some(due_of(sent));
                caller.left = 0;
                caller.tcp.write_all(REQUEST)?;
                sent += 1;
            }
            let wait = if sent < total && !free.is_empty() {
                due_of(sent).saturating_duration_since(Instant::now())
            } else {
                Duration::from_millis(10)
            };
            // The kernel may wait in whole milliseconds, rounded up: what is nearer is not slept through.
            let wait = if wait < Duration::from_millis(1) {
                Duration::ZERO
            } else {
                wait
            };
            let wait = Timespec {
                tv_sec: wait.as_secs() as i64,
                tv_nsec: i64::from(wait.subsec_nanos()),
            };
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&wait))?;
            for event in events.drain(..) {
                let id = event.data.u64();
                if id >= SHADOW {
                    if let Some(shadow) = &mut shadow {
                        shadow.event(&epoll, id)?;
                    }
                } else if id >= BACKEND {
                    backend.event(&epoll, id)?;
                } else if let Some(caller) = callers.get_mut(&id)
                    && let Some(due) = caller.read(&mut buffer)?
                {
                    if due >= measured {
                        latencies.push(due.elapsed().as_nanos() as u64);
                    }
                    done += 1;
                    free.push(id);
                }
            }
        }
        latencies.sort_unstable();
        let quantile = |q: f64| {
            let at = ((latencies.len() as f64 * q).ceil() as usize).saturating_sub(1);
            latencies.get(at).copied().unwrap_or(0) as f64 / 1e3
        };
        println!(
            "{{\"planned\":{total},\"done\":{},\"waited\":{waited},\"p50_us\":{:.1},\"p90_us\":{:.1},\"p99_us\":{:.1}}}",
            done,
            quantile(0.5),
            quantile(0.9),
            quantile(0.99)
        );
        Ok(())
    }
}

impl Caller {
    /// When the answer is whole: the time at which its request was due.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Instant>, Failure> {
        let count = match self.tcp.read(buffer) {
            Ok(0) => return Err("the connection was closed".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = buffer.get(..count).unwrap_or_default();
        if self.left == 0 {
            let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Err("the answer's head came in pieces".into());
            };
            if !bytes.starts_with(b"HTTP/1.1 200") {
                return Err("the answer is not 200".into());
            }
            self.left = BODY;
            bytes = bytes.get(at + 4..).unwrap_or_default();
        }
        self.left -= self.left.min(bytes.len());
        Ok(if self.left == 0 {
            self.due.take()
        } else {
            None
        })
    }
}

fn watch(epoll: &OwnedFd, source: impl rustix::fd::AsFd, id: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(id);
    Ok(epoll::add(epoll, source, data, epoll::EventFlags::IN)?)
}
