//! Asks endpoints for their health.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::TokioIo;
use rand::RngExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::spawn_local,
    time::timeout,
};

use super::{
    Settings,
    roster::{Flag, Member, Roster},
};
use crate::{
    error::Error,
    metrics::Upstream,
    net::{dial, io::Stream, tls},
    observe::What,
    policy::health::{Check, Finding, Http, Probe, Tally},
};

/// Longest answer that is read.
const LONGEST: usize = 1 << 20;

/// Asks one endpoint again and again. `first`: the roster has begun with it, so what is found first counts at once, if
/// nothing good was known of it. `looked` is dropped after the first time.
pub(super) async fn watch(
    roster: Arc<Roster>,
    member: Arc<Member>,
    check: Check,
    first: bool,
    looked: Option<mpsc::Sender<()>>,
) {
    let mut looked = looked;
    let failed = member.state.has(Flag::FailedCheck);
    let mut first = first && failed;
    let mut tally = if failed {
        Tally::default()
    } else {
        Tally::healthy()
    };
    let mut prober = Prober::new(&roster, &member, &check);
    if !check.initial_jitter.is_zero() {
        let draw: f64 = rand::rng().random();
        tokio::time::sleep(check.initial_jitter.mul_f64(draw)).await;
    }
    loop {
        let finding = prober.ask(&check).await;
        if tally.is_healthy() && member.state.has(Flag::FailedCheck) {
            // Its own answer has said so meanwhile.
            tally = Tally::unhealthy();
        }
        let metrics = roster.metrics();
        metrics.checks.inc();
        if matches!(finding, Finding::Well | Finding::Degraded) {
            metrics.checks_good.inc();
        } else {
            metrics.checks_bad.inc();
        }
        tally.count(finding, &check);
        tell(&roster, &member, tally, finding, first);
        first = false;
        looked.take();
        let interval = tally.interval(&check, roster.is_used());
        let draws = [rand::rng().random(), rand::rng().random()];
        tokio::time::sleep(check.jittered(interval, draws)).await;
    }
}

/// What was found is held against the endpoint, or no more.
fn tell(roster: &Roster, member: &Member, tally: Tally, finding: Finding, first: bool) {
    let before = member.wellness();
    // One change: nobody is to see a part of it, and none of it is to wait for the rest.
    let flags = [
        (Flag::Degraded, finding == Finding::Degraded),
        (Flag::Unchecked, false),
        (Flag::FailedCheck, !tally.is_healthy()),
    ];
    let [.., new] = if first {
        let new = roster.note(member, flags);
        // Whoever waits for it is to see it.
        roster.publish();
        new
    } else {
        roster.flag_all(member, flags)
    };
    let after = member.wellness();
    if new || before != after {
        let why = match finding {
            Finding::Well => "check succeeded",
            Finding::Degraded => "check says degraded",
            Finding::Unwell => "check answered badly",
            Finding::Failed => "check failed",
        };
        let address = Some(member.address);
        roster.tell(What::Health, address, before.name(), after.name(), why);
    }
    if tally.is_healthy() && matches!(finding, Finding::Well | Finding::Degraded) {
        roster.checked(member);
    }
}

/// Asks one endpoint.
struct Prober {
    settings: Arc<Settings>,
    tls: Option<Arc<tls::Client>>,
    address: SocketAddr,
    /// The host that is asked for.
    host: String,
    sender: Option<Sender>,
}

/// Spawns tasks on this thread.
#[derive(Clone, Copy)]
struct Here;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

/// A connection that HTTP is spoken on.
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Prober {
    fn new(roster: &Roster, member: &Member, check: &Check) -> Self {
        let settings = Arc::clone(roster.settings());
        let endpoint = &member.endpoint;
        let tls = settings.tls_of(endpoint).cloned();
        let mut address = member.address;
        if let Some(port) = endpoint.health_port {
            address.set_port(port);
        }
        let asked = match &check.probe {
            Probe::Http(http) => http.host.as_str(),
            Probe::Grpc { authority, .. } => authority.as_str(),
            Probe::Tcp { .. } => "",
        };
        let host = match &endpoint.health_hostname {
            _ if !asked.is_empty() => asked,
            Some(host) => host,
            None => &settings.name,
        };
        Self {
            host: host.to_owned(),
            settings,
            tls,
            address,
            sender: None,
        }
    }

    async fn ask(&mut self, check: &Check) -> Finding {
        let asked = match &check.probe {
            Probe::Http(http) => timeout(check.timeout, self.ask_http(http)).await,
            Probe::Grpc { service, .. } => timeout(check.timeout, self.ask_grpc(service)).await,
            Probe::Tcp { send, receive } => {
                timeout(check.timeout, self.ask_tcp(send, receive)).await
            }
        };
        let finding = asked.ok().flatten().unwrap_or(Finding::Failed);
        if !check.reuse_connection || finding == Finding::Failed {
            self.sender = None;
        }
        finding
    }

    async fn dial(&self, http2: bool) -> Result<Stream, Error> {
        // The probe's own timeout bounds it.
        let within = dial::Way {
            within: Duration::from_hours(1),
            ..self.settings.way
        };
        let Some(tls) = &self.tls else {
            let tcp = dial::connect(self.address, within).await?;
            return Ok(Stream::new(tcp, Arc::default()));
        };
        let offered: &[&'static [u8]] = if http2 { &[b"h2"] } else { &[b"http/1.1"] };
        let uncounted = Upstream::default();
        let dialled = dial::connect_tls(self.address, within, tls, None, offered, &uncounted);
        Ok(dialled.await?.0)
    }

    async fn connect(&mut self, two: bool) -> Option<()> {
        if self.sender.as_ref().is_some_and(Sender::is_open) {
            return Some(());
        }
        let io = TokioIo::new(self.dial(two).await.ok()?);
        self.sender = Some(if two {
            let (sender, connection) = http2::handshake(Here, io).await.ok()?;
            spawn_local(connection);
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.ok()?;
            spawn_local(connection);
            Sender::One(sender)
        });
        Some(())
    }

    async fn ask_http(&mut self, http: &Http) -> Option<Finding> {
        self.connect(http.http2).await?;
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::from_bytes(http.method.as_bytes()).ok()?;
        *request.uri_mut() = self.uri(&http.path, http.http2)?;
        let headers = request.headers_mut();
        if !http.http2 {
            headers.insert(header::HOST, HeaderValue::from_str(&self.host).ok()?);
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static("Envoy/HC"));
        for name in &http.remove_headers {
            headers.remove(name);
        }
        for (name, value) in &http.set_headers {
            headers.append(
                HeaderName::try_from(name).ok()?,
                HeaderValue::try_from(value).ok()?,
            );
        }
        let answer = self.sender.as_mut()?.send(request).await?;
        let status = answer.status().as_u16();
        let degraded = answer.headers().contains_key("x-envoy-degraded");
        let closes = answer
            .headers()
            .get(header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        read(answer.into_body()).await?;
        if closes {
            self.sender = None;
        }
        Some(match http.finding(status) {
            Finding::Well if degraded => Finding::Degraded,
            finding => finding,
        })
    }

    async fn ask_grpc(&mut self, service: &str) -> Option<Finding> {
        self.connect(true).await?;
        let mut request = Request::new(Full::new(question(service)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri("/grpc.health.v1.Health/Check", true)?;
        let headers = request.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("Envoy/HC"));
        let answer = self.sender.as_mut()?.send(request).await?;
        if answer.status() != 200 {
            return Some(Finding::Unwell);
        }
        let (head, body) = answer.into_parts();
        let body = body.collect().await.ok()?;
        let status = body
            .trailers()
            .and_then(|trailers| trailers.get("grpc-status"))
            .or_else(|| head.headers.get("grpc-status"));
        let ok = status.is_some_and(|status| status == "0");
        Some(if ok && is_serving(&body.to_bytes()) {
            Finding::Well
        } else {
            Finding::Unwell
        })
    }

    async fn ask_tcp(&mut self, send: &[u8], receive: &[Vec<u8>]) -> Option<Finding> {
        let mut stream = self.dial(false).await.ok()?;
        if !send.is_empty() {
            stream.write_all(send).await.ok()?;
        }
        let mut read = Vec::new();
        while !contains(&read, receive) {
            if read.len() > LONGEST || stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
        Some(Finding::Well)
    }

    fn uri(&self, path: &str, two: bool) -> Option<Uri> {
        if !two {
            return path.try_into().ok();
        }
        let scheme = self.tls.as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}{path}", self.host).try_into().ok()
    }
}

impl Sender {
    fn is_open(&self) -> bool {
        match self {
            Self::One(sender) => !sender.is_closed(),
            Self::Two(sender) => !sender.is_closed(),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Option<http::Response<Incoming>> {
        match self {
            Self::One(sender) => {
                poll_fn(|cx| sender.poll_ready(cx)).await.ok()?;
                sender.send_request(request).await.ok()
            }
            Self::Two(sender) => {
                poll_fn(|cx| sender.poll_ready(cx)).await.ok()?;
                sender.send_request(request).await.ok()
            }
        }
    }
}

async fn read(mut body: Incoming) -> Option<()> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.ok()?.data_ref().map_or(0, Bytes::len);
        if length > LONGEST {
            return None;
        }
    }
    Some(())
}

/// The blocks are there, one after the other, whatever is between them.
fn contains(read: &[u8], blocks: &[Vec<u8>]) -> bool {
    let mut rest = read;
    for block in blocks.iter().filter(|block| !block.is_empty()) {
        let at = rest
            .windows(block.len())
            .position(|window| window == block.as_slice());
        let Some(after) = at.and_then(|at| rest.get(at + block.len()..)) else {
            return false;
        };
        rest = after;
    }
    true
}

/// A gRPC message: `HealthCheckRequest { service = 1 }`.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// A gRPC message: `HealthCheckResponse { status = 1 }` with SERVING, which is 1.
fn is_serving(body: &[u8]) -> bool {
    matches!(body, [0, _, _, _, _, 0x08, 0x01, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{
            roster::Wellness,
            tests::{endpoint, settings},
        },
        observe::Silent,
    };

    /// A roster of one endpoint, whose changes wait for the window.
    fn roster() -> Roster {
        let mut settings = settings(vec![endpoint()]);
        settings.health = vec![Check::default()];
        settings.spread.ignore_new_until_checked = true;
        settings.spread.merge_window = Duration::from_mins(1);
        let observer = Arc::new(Silent);
        Roster::new(Arc::new(settings), None, Arc::default(), observer)
    }

    #[test]
    fn all_that_a_check_finds_is_one_change() {
        let roster = roster();
        let member = Arc::clone(&roster.members()[0]);
        tell(&roster, &member, Tally::healthy(), Finding::Degraded, true);
        assert_eq!(member.shown(), Wellness::Degraded);
        // It is not well for a moment because it is not degraded any more.
        tell(&roster, &member, Tally::unhealthy(), Finding::Failed, false);
        assert_eq!(member.shown(), Wellness::Unhealthy);
        // What comes next waits.
        tell(&roster, &member, Tally::healthy(), Finding::Well, false);
        assert_eq!(member.shown(), Wellness::Unhealthy);
        assert_eq!(member.wellness(), Wellness::Healthy);
    }

    #[test]
    fn a_new_endpoint_counts_with_what_its_check_found() {
        let roster = roster();
        let member = Arc::clone(&roster.members()[0]);
        assert!(member.state.is_excluded());
        tell(&roster, &member, Tally::healthy(), Finding::Well, false);
        assert!(!member.state.is_excluded());
        assert_eq!(member.shown(), Wellness::Healthy);
    }

    #[test]
    fn blocks_must_come_in_their_order() {
        let blocks = [b"ab".to_vec(), Vec::new(), b"c".to_vec()];
        for (read, all) in [
            (&b"xxab..c"[..], true),
            (b"abc", true),
            (b"c..ab", false),
            (b"ab", false),
        ] {
            assert_eq!(contains(read, &blocks), all);
        }
        assert!(contains(b"", &[]));
    }

    #[test]
    fn grpc_messages_are_framed() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("shop")[..], b"\0\0\0\0\x06\x0a\x04shop");
        assert!(is_serving(&[0, 0, 0, 0, 2, 8, 1]));
        assert!(!is_serving(&[0, 0, 0, 0, 2, 8, 2]));
        assert!(!is_serving(&[]));
    }
}
