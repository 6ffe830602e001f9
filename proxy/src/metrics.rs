//! Counts per event loop, merged when somebody asks; the names are Envoy's. Each block is written by one thread, so
//! counting is a plain load and store.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

mod codes;
pub mod report;

pub use codes::Codes;
use report::Selection;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that goes up and down; negative on one event loop never.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// Durations by Envoy's buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS_US.len() + 1],
    sum_us: Counter,
}

/// Envoy's default bucket bounds, from 0.5 ms to 3,600 s.
const BOUNDS_US: [u64; 19] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0
            .store(self.get().saturating_add(1), Ordering::Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0
            .store(self.get().saturating_sub(1), Ordering::Relaxed);
    }

    /// So many now.
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// How many now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// One more duration.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_US
            .iter()
            .position(|bound| us <= *bound)
            .unwrap_or(BOUNDS_US.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.inc();
        }
        self.sum_us.add(us);
    }
}

/// What a field of a block is, to those who read it.
enum Value<'a> {
    Counter(u64),
    Gauge(u64),
    Histogram(&'a Histogram),
    Codes(&'a Codes),
}

trait Read {
    fn value(&self) -> Value<'_>;
}

impl Read for Counter {
    fn value(&self) -> Value<'_> {
        Value::Counter(self.get())
    }
}

impl Read for Gauge {
    fn value(&self) -> Value<'_> {
        Value::Gauge(self.get())
    }
}

impl Read for Histogram {
    fn value(&self) -> Value<'_> {
        Value::Histogram(self)
    }
}

impl Read for Codes {
    fn value(&self) -> Value<'_> {
        Value::Codes(self)
    }
}

/// A block of counts that one thing has on one event loop.
trait Block: Default {
    /// What comes before a field's name, and the label whose value is the block's name.
    const PREFIX: &'static str;
    const LABEL: &'static str;

    fn visit<'a>(&'a self, see: &mut dyn FnMut(&'static str, Value<'a>));
}

macro_rules! block {
    ($(#[$about:meta])* $name:ident, $prefix:literal, $label:literal, {
        $($(#[$doc:meta])* $field:ident: $kind:ident = $stat:literal,)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl Block for $name {
            const PREFIX: &'static str = $prefix;
            const LABEL: &'static str = $label;

            fn visit<'a>(&'a self, see: &mut dyn FnMut(&'static str, Value<'a>)) {
                $(see($stat, self.$field.value());)*
            }
        }
    };
}

block!(
    /// Of a listener, before anything is read.
    Listener, "listener", "envoy_listener_address", {
    /// Connections accepted.
    connections: Counter = "downstream_cx_total",
    /// Connections open.
    connections_active: Gauge = "downstream_cx_active",
    /// Connections that could not be accepted.
    accept_failures: Counter = "downstream_cx_accept_fail",
    /// Connections closed, since no filter chain was for them.
    no_chain: Counter = "no_filter_chain_match",
    /// Connections that had not shown in time what their chain is chosen by.
    filter_timeouts: Counter = "downstream_pre_cx_timeout",
    /// Connections closed by their client before that.
    filter_closed: Counter = "downstream_listener_filter_remote_close",
    /// Connections closed for what they showed.
    filter_errors: Counter = "downstream_listener_filter_error",
    }
);

block!(
    /// Of an HTTP connection manager.
    Downstream, "http", "envoy_http_conn_manager_prefix", {
    /// Connections accepted.
    connections: Counter = "downstream_cx_total",
    /// Connections open.
    connections_active: Gauge = "downstream_cx_active",
    /// Connections that speak HTTP/2.
    http2_connections: Counter = "downstream_cx_http2_total",
    /// Connections of HTTP/2 that were left for too many `PING` and `SETTINGS` frames.
    control_floods: Counter = "http2.outbound_control_flood",
    /// For too many frames without content.
    empty_floods: Counter = "http2.inbound_empty_frames_flood",
    /// For too many `PRIORITY` frames.
    priority_floods: Counter = "http2.inbound_priority_frames_flood",
    /// For too many `WINDOW_UPDATE` frames.
    window_floods: Counter = "http2.inbound_window_update_frames_flood",
    /// For a malformed request.
    messaging_errors: Counter = "http2.rx_messaging_error",
    /// Requests of HTTP/2 whose headers are too large.
    header_overflows: Counter = "http2.header_overflow",
    /// Requests of HTTP/2 that never began: their head was refused.
    refused: Counter = "http2.rq_refused",
    /// For resetting most of their streams as soon as they began.
    premature_resets: Counter = "downstream_rq_too_many_premature_resets",
    /// Streams that clients have reset.
    resets_received: Counter = "http2.rx_reset",
    /// Streams that were reset here.
    resets_sent: Counter = "http2.tx_reset",
    /// Connections closed for what they sent.
    protocol_errors: Counter = "downstream_cx_protocol_error",
    /// Connections closed for being idle.
    idle_timeouts: Counter = "downstream_cx_idle_timeout",
    /// Bytes read from clients.
    bytes_read: Counter = "downstream_cx_rx_bytes_total",
    /// Bytes written to clients.
    bytes_written: Counter = "downstream_cx_tx_bytes_total",
    /// Requests.
    requests: Counter = "downstream_rq_total",
    /// Requests under way.
    requests_active: Gauge = "downstream_rq_active",
    /// Requests whose client vanished.
    remote_resets: Counter = "downstream_rq_rx_reset",
    /// Requests whose stream was idle too long.
    stream_idle_timeouts: Counter = "downstream_rq_idle_timeout",
    /// Requests that did not come in time.
    request_timeouts: Counter = "downstream_rq_timeout",
    /// Requests without a route.
    no_route: Counter = "no_route",
    /// Requests that policies allow.
    rbac_allowed: Counter = "rbac.allowed",
    /// Requests that they do not allow.
    rbac_denied: Counter = "rbac.denied",
    /// Requests that policies would allow that are only tried.
    rbac_shadow_allowed: Counter = "rbac.shadow_allowed",
    /// Requests that they would not allow.
    rbac_shadow_denied: Counter = "rbac.shadow_denied",
    /// Requests that a route answered or sent elsewhere.
    answered_here: Counter = "rq_direct_response",
    /// Redirects of upstreams that were not followed: they lead to no place of the web,
    redirects_bad_location: Counter = "passthrough_internal_redirect_bad_location",
    /// from one scheme to the other,
    redirects_unsafe_scheme: Counter = "passthrough_internal_redirect_unsafe_scheme",
    /// come after too many,
    redirects_too_many: Counter = "passthrough_internal_redirect_too_many_redirects",
    /// to where there is no route,
    redirects_no_route: Counter = "passthrough_internal_redirect_no_route",
    /// or a condition says no.
    redirects_condition: Counter = "passthrough_internal_redirect_predicate",
    /// Answers 1xx.
    class_1: Counter = "downstream_rq_1xx",
    /// Answers 2xx.
    class_2: Counter = "downstream_rq_2xx",
    /// Answers 3xx.
    class_3: Counter = "downstream_rq_3xx",
    /// Answers 4xx.
    class_4: Counter = "downstream_rq_4xx",
    /// Answers 5xx.
    class_5: Counter = "downstream_rq_5xx",
    /// Answers in all.
    completed: Counter = "downstream_rq_completed",
    /// Time to serve a request.
    time: Histogram = "downstream_rq_time",
    /// Requests that found the adaptive bound reached.
    concurrency_blocked: Counter = "adaptive_concurrency.gradient_controller.rq_blocked",
    /// Requests that admission control turned away.
    admission_rejected: Counter = "admission_control.rq_rejected",
    /// Delays injected.
    delays: Counter = "fault.delays_injected",
    /// Aborts injected.
    aborts: Counter = "fault.aborts_injected",
    /// Faults not injected for `max_active`.
    fault_overflow: Counter = "fault.faults_overflow",
    /// Faults under way.
    faults_active: Gauge = "fault.active_faults",
    }
);

block!(
    /// Of a listener's TLS handshakes.
    ListenerTls, "listener", "envoy_listener_address", {
    /// TLS handshakes that were done.
    tls_handshakes: Counter = "ssl.handshake",
    /// Of them, those that went on with an earlier session.
    tls_resumed: Counter = "ssl.session_reused",
    /// Of them, those whose peer showed no certificate.
    tls_no_certificate: Counter = "ssl.no_certificate",
    /// Connections that failed for what was sent.
    tls_errors: Counter = "ssl.connection_error",
    /// Peers that showed no certificate, but must.
    tls_fail_no_certificate: Counter = "ssl.fail_verify_no_cert",
    /// Certificates whose chain is not believed.
    tls_fail_chain: Counter = "ssl.fail_verify_error",
    /// Certificates that have none of the names asked for.
    tls_fail_name: Counter = "ssl.fail_verify_san",
    /// Certificates whose digest is not one of those asked for.
    tls_fail_digest: Counter = "ssl.fail_verify_cert_hash",
    /// Handshakes by TLS 1.2.
    tls_1_2: Counter = "ssl.versions.TLSv1.2",
    /// Handshakes by TLS 1.3.
    tls_1_3: Counter = "ssl.versions.TLSv1.3",
    /// Handshakes spoilt by a fault; they are in none of the other counts.
    tls_spoilt: Counter = "ssl.faults_injected",
    }
);

block!(
    /// Of the files that certificates are read from.
    Certificates, "certificates", "meshbed_certificates", {
    /// Contexts whose files had changed and were read again.
    reloads: Counter = "reloads",
    /// Contexts whose files had changed and cannot be used.
    failures: Counter = "reload_failures",
    }
);

block!(
    /// Of a limit on connections.
    ConnectionLimit, "connection_limit", "envoy_connection_limit_prefix", {
    /// Connections that were one too many.
    limited: Counter = "limited_connections",
    /// Connections under it.
    active: Gauge = "active_connections",
    }
);

block!(
    /// Of a TCP proxy.
    Tcp, "tcp", "envoy_tcp_prefix", {
    /// Connections to be passed on.
    connections: Counter = "downstream_cx_total",
    /// Connections to a cluster that there is not.
    no_cluster: Counter = "downstream_cx_no_route",
    /// Bytes read from clients.
    bytes_read: Counter = "downstream_cx_rx_bytes_total",
    /// Bytes written to clients.
    bytes_written: Counter = "downstream_cx_tx_bytes_total",
    /// Connections closed for being idle.
    idle_timeouts: Counter = "idle_timeout",
    /// Connections closed for their age.
    max_durations: Counter = "max_downstream_connection_duration",
    }
);

block!(
    /// Of a cluster.
    Upstream, "cluster", "envoy_cluster_name", {
    /// Connections made or tried.
    connections: Counter = "upstream_cx_total",
    /// Connections open.
    connections_active: Gauge = "upstream_cx_active",
    /// Connections made that speak HTTP/2.
    http2_connections: Counter = "upstream_cx_http2_total",
    /// Connections that took all the requests they may.
    max_requests: Counter = "upstream_cx_max_requests",
    /// Connections closed since a ping was not answered.
    keepalive_timeouts: Counter = "http2.keepalive_timeout",
    /// Connections that could not be made.
    connect_failures: Counter = "upstream_cx_connect_fail",
    /// Connections that could not be made in time.
    connect_timeouts: Counter = "upstream_cx_connect_timeout",
    /// Idle connections closed for their age.
    idle_timeouts: Counter = "upstream_cx_idle_timeout",
    /// Requests for which there was no endpoint.
    none_healthy: Counter = "upstream_cx_none_healthy",
    /// Requests for which all endpoints were considered, since too few are healthy.
    panics: Counter = "lb_healthy_panic",
    /// Requests refused, since the cluster had too much under way.
    overflows: Counter = "upstream_rq_pending_overflow",
    /// Connections not made, since the cluster had too many.
    connection_overflows: Counter = "upstream_cx_overflow",
    /// Requests that wait for a connection.
    pending: Gauge = "upstream_rq_pending_active",
    /// Requests sent, or tried to be.
    requests: Counter = "upstream_rq_total",
    /// Requests under way.
    requests_active: Gauge = "upstream_rq_active",
    /// Requests that were sent again on another connection, since theirs had been closed while idle.
    stale_connections: Counter = "upstream_rq_stale_connection",
    /// Requests that timed out.
    timeouts: Counter = "upstream_rq_timeout",
    /// Attempts whose own time was over.
    per_try_timeouts: Counter = "upstream_rq_per_try_timeout",
    /// Retries.
    retries: Counter = "upstream_rq_retry",
    /// Requests that had an answer in the end, after retries.
    retry_successes: Counter = "upstream_rq_retry_success",
    /// Requests that were tried as often as their policy lets them, in vain.
    retries_exhausted: Counter = "upstream_rq_retry_limit_exceeded",
    /// Redirects of endpoints that were followed here.
    redirects_followed: Counter = "upstream_internal_redirect_succeeded_total",
    /// Redirects of endpoints that might have been, and were left to the client.
    redirects_passed: Counter = "upstream_internal_redirect_failed_total",
    /// Retries that the cluster's bound on them held back.
    retry_overflows: Counter = "upstream_rq_retry_overflow",
    /// Requests that the endpoint broke off.
    resets: Counter = "upstream_rq_rx_reset",
    /// Answers 1xx.
    class_1: Counter = "upstream_rq_1xx",
    /// Answers 2xx.
    class_2: Counter = "upstream_rq_2xx",
    /// Answers 3xx.
    class_3: Counter = "upstream_rq_3xx",
    /// Answers 4xx.
    class_4: Counter = "upstream_rq_4xx",
    /// Answers 5xx.
    class_5: Counter = "upstream_rq_5xx",
    /// TLS handshakes that were done.
    tls_handshakes: Counter = "ssl.handshake",
    /// Of them, those that went on with an earlier session.
    tls_resumed: Counter = "ssl.session_reused",
    /// Of them, those whose peer showed no certificate.
    tls_no_certificate: Counter = "ssl.no_certificate",
    /// Connections that failed for what was sent.
    tls_errors: Counter = "ssl.connection_error",
    /// Peers that showed no certificate, but must.
    tls_fail_no_certificate: Counter = "ssl.fail_verify_no_cert",
    /// Certificates whose chain is not believed.
    tls_fail_chain: Counter = "ssl.fail_verify_error",
    /// Certificates that have none of the names asked for.
    tls_fail_name: Counter = "ssl.fail_verify_san",
    /// Certificates whose digest is not one of those asked for.
    tls_fail_digest: Counter = "ssl.fail_verify_cert_hash",
    /// Handshakes by TLS 1.2.
    tls_1_2: Counter = "ssl.versions.TLSv1.2",
    /// Handshakes by TLS 1.3.
    tls_1_3: Counter = "ssl.versions.TLSv1.3",
    /// Answers in all.
    completed: Counter = "upstream_rq_completed",
    /// Answers by status.
    codes: Codes = "upstream_rq",
    /// Time from the sending of a request to the end of its answer.
    time: Histogram = "upstream_rq_time",
    }
);

block!(
    /// Of the endpoints of a cluster, over all event loops.
    Membership, "cluster", "envoy_cluster_name", {
    /// Endpoints.
    total: Gauge = "membership_total",
    /// Endpoints that are healthy.
    healthy: Gauge = "membership_healthy",
    /// Endpoints that are degraded.
    degraded: Gauge = "membership_degraded",
    /// Endpoints put aside for their answers.
    ejections: Counter = "outlier_detection.ejections_enforced_total",
    /// Endpoints that are put aside.
    ejections_active: Gauge = "outlier_detection.ejections_active",
    /// Endpoints not put aside, since too many are.
    ejections_overflow: Counter = "outlier_detection.ejections_overflow",
    /// Names of endpoints resolved, or tried to be.
    resolutions: Counter = "update_attempt",
    /// Names of endpoints that could not be resolved.
    resolutions_failed: Counter = "update_failure",
    /// Health checks.
    checks: Counter = "health_check.attempt",
    /// Health checks that succeeded.
    checks_good: Counter = "health_check.success",
    /// Health checks that failed.
    checks_bad: Counter = "health_check.failure",
    }
);

block!(
    /// Of a mirror.
    Mirroring, "mirror", "meshbed_mirror", {
    /// Requests chosen.
    chosen: Counter = "rq_chosen",
    /// Copies sent, or tried to be.
    sent: Counter = "rq_sent",
    /// Copies under way.
    active: Gauge = "rq_active",
    /// Copies that were answered in full.
    answered: Counter = "rq_answered",
    /// Copies not sent: too many under way, and no queue.
    shed_in_flight: Counter = "rq_shed.in_flight",
    /// Copies not sent: the queue was full, or they waited too long in it.
    shed_queue: Counter = "rq_shed.queue",
    /// Copies not sent: connecting failed a moment ago.
    shed_connect_backoff: Counter = "rq_shed.connect_backoff",
    /// Copies not sent: the body was too long.
    shed_request_body: Counter = "rq_shed.request_body",
    /// Copies that failed: no connection.
    failed_connect: Counter = "rq_failed.connect",
    /// Copies that failed: the connection broke.
    failed_reset: Counter = "rq_failed.reset",
    /// Copies that failed: not answered in time.
    failed_timeout: Counter = "rq_failed.timeout",
    /// Copies that failed: the answer is not HTTP.
    failed_protocol: Counter = "rq_failed.protocol",
    /// Copies with nothing to compare with: the primary gave no answer.
    skipped_primary_failed: Counter = "rq_skipped.primary_failed",
    /// Copies with nothing to compare with: the client left.
    skipped_client_left: Counter = "rq_skipped.client_left",
    /// Requests that ask for an upgrade, which have no copies.
    skipped_upgrade: Counter = "rq_skipped.upgrade",
    /// Copies of requests that may change something.
    skipped_unsafe: Counter = "rq_skipped.unsafe",
    }
);

block!(
    /// Of a fault rule.
    Fault, "fault", "meshbed_fault", {
    /// Choices that were done.
    applied: Counter = "rq_applied",
    /// Choices after an earlier terminal effect.
    superseded: Counter = "rq_superseded",
    /// Choices beyond `max_active`.
    capped: Counter = "rq_capped",
    /// Choices whose client left before they were done.
    abandoned: Counter = "rq_abandoned",
    }
);

block!(
    /// Of a local rate limit.
    RateLimit, "http_local_rate_limit", "envoy_local_http_ratelimit_prefix", {
    /// Requests that were counted.
    enabled: Counter = "enabled",
    /// Requests for which there was a token.
    ok: Counter = "ok",
    /// Requests for which there was none.
    rate_limited: Counter = "rate_limited",
    /// Requests that were refused for it.
    enforced: Counter = "enforced",
    }
);

impl Downstream {
    /// The counter of an answer's class.
    pub fn class(&self, status: u16) -> &Counter {
        match status / 100 {
            1 => &self.class_1,
            2 => &self.class_2,
            3 => &self.class_3,
            4 => &self.class_4,
            _ => &self.class_5,
        }
    }
}

impl Upstream {
    /// An answer with this status.
    pub fn answered(&self, status: u16) {
        self.class(status).inc();
        self.codes.inc(status);
        self.completed.inc();
    }

    /// The counter of an answer's class.
    pub fn class(&self, status: u16) -> &Counter {
        match status / 100 {
            1 => &self.class_1,
            2 => &self.class_2,
            3 => &self.class_3,
            4 => &self.class_4,
            _ => &self.class_5,
        }
    }
}

/// All blocks of a proxy.
#[derive(Debug, Default)]
pub struct Registry {
    listener: Family<Listener>,
    listener_tls: Family<ListenerTls>,
    certificates: Family<Certificates>,
    downstream: Family<Downstream>,
    connection_limit: Family<ConnectionLimit>,
    tcp: Family<Tcp>,
    upstream: Family<Upstream>,
    membership: Family<Membership>,
    mirroring: Family<Mirroring>,
    fault: Family<Fault>,
    rate_limit: Family<RateLimit>,
    /// Counters, by name, as they were when they were reset.
    before: Mutex<BTreeMap<String, u64>>,
}

/// The blocks of one kind, by name; one an event loop.
#[derive(Debug)]
struct Family<B>(Mutex<BTreeMap<Arc<str>, Vec<Arc<B>>>>);

impl<B> Default for Family<B> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl Registry {
    /// A new block for a listener on an event loop.
    pub fn listener(&self, name: &Arc<str>) -> Arc<Listener> {
        self.listener.add(name)
    }

    /// A new block for a listener's handshakes on an event loop.
    pub fn listener_tls(&self, name: &Arc<str>) -> Arc<ListenerTls> {
        self.listener_tls.add(name)
    }

    /// A block for the certificates' files that there is already.
    pub fn certificates(&self, block: Arc<Certificates>) {
        self.certificates.put(&Arc::from("files"), block);
    }

    /// A new block for an HTTP connection manager on an event loop.
    pub fn downstream(&self, name: &Arc<str>) -> Arc<Downstream> {
        self.downstream.add(name)
    }

    /// A new block for a limit on connections on an event loop.
    pub fn connection_limit(&self, name: &Arc<str>) -> Arc<ConnectionLimit> {
        self.connection_limit.add(name)
    }

    /// A new block for a TCP proxy on an event loop.
    pub fn tcp(&self, name: &Arc<str>) -> Arc<Tcp> {
        self.tcp.add(name)
    }

    /// A new block for a cluster on an event loop.
    pub fn upstream(&self, name: &Arc<str>) -> Arc<Upstream> {
        self.upstream.add(name)
    }

    /// A new block for the endpoints of a cluster.
    pub fn membership(&self, name: &Arc<str>) -> Arc<Membership> {
        self.membership.add(name)
    }

    /// A new block for a mirror on an event loop.
    pub fn mirroring(&self, name: &Arc<str>) -> Arc<Mirroring> {
        self.mirroring.add(name)
    }

    /// A new block for a fault rule on an event loop.
    pub fn fault(&self, name: &Arc<str>) -> Arc<Fault> {
        self.fault.add(name)
    }

    /// A new block for a rate limit on an event loop.
    pub fn rate_limit(&self, name: &Arc<str>) -> Arc<RateLimit> {
        self.rate_limit.add(name)
    }

    /// All of it in Prometheus' text format.
    pub fn prometheus(&self) -> String {
        self.prometheus_of(&Selection::default(), &[])
    }

    /// Counters begin anew. What event loops count is theirs alone to write, so what it was is remembered.
    pub fn reset_counters(&self) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before.clear();
        for sample in self.all() {
            sample.remember(&mut before);
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let mut samples = self.all();
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if !before.is_empty() {
            for sample in &mut samples {
                sample.subtract(&before);
            }
        }
        samples
    }

    fn all(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.listener.samples(&mut samples);
        self.listener_tls.samples(&mut samples);
        self.certificates.samples(&mut samples);
        self.downstream.samples(&mut samples);
        self.connection_limit.samples(&mut samples);
        self.tcp.samples(&mut samples);
        self.upstream.samples(&mut samples);
        self.membership.samples(&mut samples);
        self.mirroring.samples(&mut samples);
        self.fault.samples(&mut samples);
        self.rate_limit.samples(&mut samples);
        samples
    }
}

/// A number of one thing, all event loops merged.
enum Sample {
    Number {
        block: Named,
        stat: &'static str,
        kind: &'static str,
        value: u64,
    },
    Codes {
        block: Named,
        stat: &'static str,
        counts: BTreeMap<u16, u64>,
    },
    Durations {
        block: Named,
        stat: &'static str,
        buckets: Vec<u64>,
        sum_us: u64,
    },
}

/// What a sample is of.
#[derive(Clone)]
struct Named {
    prefix: &'static str,
    label: &'static str,
    name: Arc<str>,
}

impl<B: Block> Family<B> {
    fn add(&self, name: &Arc<str>) -> Arc<B> {
        let block = Arc::new(B::default());
        self.put(name, Arc::clone(&block));
        block
    }

    fn put(&self, name: &Arc<str>, block: Arc<B>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(Arc::clone(name))
            .or_default()
            .push(block);
    }

    fn samples(&self, samples: &mut Vec<Sample>) {
        let blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, blocks) in blocks.iter() {
            let named = Named {
                prefix: B::PREFIX,
                label: B::LABEL,
                name: Arc::clone(name),
            };
            let mut merged: BTreeMap<&'static str, Sample> = BTreeMap::new();
            for block in blocks {
                block.visit(&mut |stat, value| {
                    merged
                        .entry(stat)
                        .or_insert_with(|| Sample::new(named.clone(), stat, &value))
                        .add(&value);
                });
            }
            samples.extend(merged.into_values());
        }
    }
}

impl Sample {
    fn new(block: Named, stat: &'static str, value: &Value<'_>) -> Self {
        match value {
            Value::Counter(_) | Value::Gauge(_) => Self::Number {
                block,
                stat,
                kind: match value {
                    Value::Gauge(_) => "gauge",
                    _ => "counter",
                },
                value: 0,
            },
            Value::Codes(_) => Self::Codes {
                block,
                stat,
                counts: BTreeMap::new(),
            },
            Value::Histogram(histogram) => Self::Durations {
                block,
                stat,
                buckets: vec![0; histogram.buckets.len()],
                sum_us: 0,
            },
        }
    }

    fn add(&mut self, more: &Value<'_>) {
        match (self, more) {
            (Self::Number { value, .. }, Value::Counter(more) | Value::Gauge(more)) => {
                *value += more;
            }
            (Self::Codes { counts, .. }, Value::Codes(more)) => {
                for (status, count) in more.get() {
                    *counts.entry(status).or_default() += count;
                }
            }
            (
                Self::Durations {
                    buckets, sum_us, ..
                },
                Value::Histogram(more),
            ) => {
                for (bucket, more) in buckets.iter_mut().zip(&more.buckets) {
                    *bucket += more.get();
                }
                *sum_us += more.sum_us.get();
            }
            _ => {}
        }
    }

    fn remember(&self, before: &mut BTreeMap<String, u64>) {
        match self {
            Self::Number {
                block,
                stat,
                kind: "counter",
                value,
            } => {
                before.insert(block.dotted(stat), *value);
            }
            Self::Codes {
                block,
                stat,
                counts,
            } => {
                for (status, count) in counts {
                    before.insert(block.dotted(&format!("{stat}_{status}")), *count);
                }
            }
            Self::Number { .. } | Self::Durations { .. } => {}
        }
    }

    fn subtract(&mut self, before: &BTreeMap<String, u64>) {
        match self {
            Self::Number {
                block, stat, value, ..
            } => {
                if let Some(before) = before.get(&block.dotted(stat)) {
                    *value = value.saturating_sub(*before);
                }
            }
            Self::Codes {
                block,
                stat,
                counts,
            } => {
                for (status, count) in counts {
                    if let Some(before) = before.get(&block.dotted(&format!("{stat}_{status}"))) {
                        *count = count.saturating_sub(*before);
                    }
                }
            }
            Self::Durations { .. } => {}
        }
    }

    fn write(&self, families: &mut BTreeMap<String, (&'static str, String)>) {
        match self {
            Self::Number {
                block,
                stat,
                kind,
                value,
            } => {
                let (stat, class) = without_class(stat);
                let name = prometheus_name(block.prefix, &stat);
                let labels = block.labels(class);
                let (_, lines) = families
                    .entry(name.clone())
                    .or_insert((kind, String::new()));
                let _ = writeln!(lines, "{name}{{{labels}}} {value}");
            }
            Self::Codes {
                block,
                stat,
                counts,
            } => {
                let name = prometheus_name(block.prefix, stat);
                let labels = block.labels(None);
                for (status, count) in counts {
                    let (_, lines) = families
                        .entry(name.clone())
                        .or_insert(("counter", String::new()));
                    let _ = writeln!(
                        lines,
                        "{name}{{envoy_response_code=\"{status}\",{labels}}} {count}"
                    );
                }
            }
            Self::Durations {
                block,
                stat,
                buckets,
                sum_us,
            } => {
                let name = prometheus_name(block.prefix, stat);
                let labels = block.labels(None);
                let (_, lines) = families
                    .entry(name.clone())
                    .or_insert(("histogram", String::new()));
                let mut count = 0;
                for (at, bucket) in buckets.iter().enumerate() {
                    count += bucket;
                    let bound = BOUNDS_US
                        .get(at)
                        .map_or_else(|| "+Inf".to_owned(), |us| (*us as f64 / 1e3).to_string());
                    let _ = writeln!(lines, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
                }
                let sum = *sum_us as f64 / 1e3;
                let _ = writeln!(lines, "{name}_sum{{{labels}}} {sum}");
                let _ = writeln!(lines, "{name}_count{{{labels}}} {count}");
            }
        }
    }
}

impl Named {
    /// `cluster.NAME.upstream_rq_total`.
    fn dotted(&self, stat: &str) -> String {
        format!("{}.{}.{stat}", self.prefix, self.name)
    }

    fn labels(&self, class: Option<char>) -> String {
        let name = self.name.replace('\\', "\\\\").replace('"', "\\\"");
        let label = format!("{}=\"{name}\"", self.label);
        match class {
            Some(class) => format!("envoy_response_code_class=\"{class}\",{label}"),
            None => label,
        }
    }
}

/// Envoy makes a label of the class: `upstream_rq_2xx` is `upstream_rq_xx` with the class 2.
fn without_class(stat: &str) -> (String, Option<char>) {
    if let Some(start) = stat.strip_suffix("xx")
        && let Some(class) = start.chars().next_back().filter(char::is_ascii_digit)
        && let Some(start) = start.strip_suffix(class)
    {
        return (format!("{start}xx"), Some(class));
    }
    (stat.to_owned(), None)
}

/// Ours that Envoy has not begin with `meshbed_`.
fn prometheus_name(prefix: &str, stat: &str) -> String {
    let owner = match prefix {
        "http" | "cluster" | "connection_limit" | "listener" | "tcp" | "http_local_rate_limit" => {
            "envoy"
        }
        _ => "meshbed",
    };
    format!("{owner}_{prefix}_{}", stat.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_loops_are_merged_and_classes_become_labels() {
        let registry = Registry::default();
        let name: Arc<str> = "v1".into();
        let (one, two) = (registry.upstream(&name), registry.upstream(&name));
        one.requests.add(3);
        two.requests.inc();
        two.class(204).inc();
        one.time.record(Duration::from_micros(500));
        two.time.record(Duration::from_micros(501));
        let text = registry.prometheus();
        for line in [
            "# TYPE envoy_cluster_upstream_rq_total counter\n",
            "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"v1\"} 4\n",
            "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"v1\"} 1\n",
            "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"v1\",le=\"0.5\"} 1\n",
            "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"v1\",le=\"1\"} 2\n",
            "envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"v1\"} 1.001\n",
            "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"v1\"} 2\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(
            registry
                .text(&Selection::default(), &[])
                .contains("cluster.v1.upstream_rq_total: 4\n")
        );
    }
}
