//! How late requests are let go, as JSON: `pacing bare|replay RATE SECONDS`.
//!
//! `bare` is the floor of this machine: a loop over absolute deadlines without timer slack that does nothing else, written
//! against the system alone. `replay` drives a schedule against a server in this process. `benches/replay.py` runs both in
//! turn and holds one against the other.
#![expect(
    clippy::unwrap_used,
    reason = "a program that measures may fail loudly"
)]

use std::{
    collections::BTreeMap, net::SocketAddr, num::NonZeroU64, sync::Arc, thread, time::Duration,
};

use hdrhistogram::Histogram;
use meshbed::{
    replay::{self, AHEAD, Drive, schedule},
    scenario::{Arrival, Connections, Protocol, Rewrite, Source, SourceKind, Template},
};
use meshbed_proxy::{draw::Seed, unit::Rate};
use rustix::{
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().unwrap_or_default();
    let (mode, rate, seconds) = (argument(), argument(), argument());
    let (Ok(rate), Ok(seconds)) = (rate.parse::<u32>(), seconds.parse::<u32>()) else {
        eprintln!("usage: pacing bare|replay RATE SECONDS");
        std::process::exit(2);
    };
    let result = if mode == "bare" {
        bare(rate, seconds)
    } else {
        replay(rate, seconds)
    };
    println!("{result}");
}

/// A loop over absolute deadlines.
fn bare(rate: u32, seconds: u32) -> serde_json::Value {
    set_current_timer_slack(NonZeroU64::new(1)).unwrap();
    let mut late = Histogram::<u64>::new(3).unwrap();
    let begin = now_ns() + 10_000_000;
    for index in 0..u64::from(rate * seconds) {
        let due = begin + index * 1_000_000_000 / u64::from(rate);
        let until = Timespec {
            tv_sec: (due / 1_000_000_000) as i64,
            tv_nsec: (due % 1_000_000_000) as i64,
        };
        clock_nanosleep_absolute(ClockId::Monotonic, &until).unwrap();
        late.record((now_ns() - due) / 1000).unwrap();
    }
    serde_json::json!({
        "p50_us": late.value_at_quantile(0.5),
        "p99_us": late.value_at_quantile(0.99),
        "max_us": late.max(),
    })
}

fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A schedule at this rate, evenly spaced, against a server that answers 1 KB at once.
fn replay(rate: u32, seconds: u32) -> serde_json::Value {
    let target = serve();
    let source = Source {
        protocol: Protocol::Http,
        id: "main".into(),
        to: "server".into(),
        kind: SourceKind::Generate {
            rate: Rate::per_second(f64::from(rate)).unwrap(),
            arrival: Arrival::Constant,
            requests: vec![Template {
                weight: 1,
                method: "GET".to_owned(),
                path: "/".to_owned(),
                headers: Vec::new(),
                body: Vec::new(),
            }],
        },
        connections: Connections::Pool(64),
        max_in_flight: 2000,
        timeout: Duration::from_secs(30),
        rewrite: Rewrite::default(),
    };
    let length_us = u64::from(seconds) * 1_000_000;
    let schedule = schedule::from_sources(&[source], Seed(7), length_us).unwrap();
    let drive = Drive {
        targets: BTreeMap::from([("server".into(), target)]),
        run: 1,
        origin: Instant::now() + 2 * AHEAD,
        tls: BTreeMap::new(),
        numbers: None,
    };
    let driving = replay::start(Arc::new(schedule), &drive, drop).unwrap();
    let totals = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(driving.join())
        .unwrap();
    serde_json::json!({
        "p50_us": totals.lateness_us.p50,
        "p99_us": totals.lateness_us.p99,
        "max_us": totals.lateness_us.max,
        "blocked_p99_us": totals.blocked_us.p99,
        "drift_us": totals.drift_us,
        "cpu": totals.cpu,
        "done": totals.stats.done,
        "planned": u64::from(rate * seconds),
    })
}

/// A server on a thread of its own.
fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap()
            .block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream));
                }
            });
    });
    address
}

/// Answers one request after the other; each comes in one piece, without a body.
async fn answer(mut stream: TcpStream) {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n".to_vec();
    answer.resize(answer.len() + 1024, b'x');
    let mut request = [0; 4096];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}
