//! What listeners and their chains count.

use super::{
    block::{Block, Read, Value, block},
    count::{Counter, Gauge, Histogram},
};

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
    /// Requests that need no token, or have a good one.
    jwt_allowed: Counter = "jwt_authn.allowed",
    /// Requests that were refused for their tokens.
    jwt_denied: Counter = "jwt_authn.denied",
    /// Preflights that need none.
    jwt_preflights: Counter = "jwt_authn.cors_preflight_bypassed",
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
