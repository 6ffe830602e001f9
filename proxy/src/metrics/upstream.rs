//! What is counted of clusters and mirrors.

use super::{
    block::{Block, Read, Value, block},
    codes::Codes,
    count::{Counter, Gauge, Histogram},
};

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
