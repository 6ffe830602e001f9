//! Counts per event loop, merged when somebody asks; the names are Envoy's. Each block is written by one thread, so
//! counting is a plain load and store.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

mod authz;
mod block;
mod codes;
mod count;
mod downstream;
pub mod report;
mod rule;
mod sample;
mod upstream;

pub use authz::{Authz, ClusterAuthz};
pub use codes::Codes;
pub use count::{Counter, Gauge, Histogram};
pub use downstream::{Certificates, ConnectionLimit, Downstream, Listener, ListenerTls, Tcp};
pub use rule::{Fault, RateLimit};
pub use upstream::{Membership, Mirroring, Upstream};

use block::Block;
use report::Selection;
use sample::{Named, Sample};

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
    authz: Family<Authz>,
    cluster_authz: Family<ClusterAuthz>,
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

    /// A new block on an event loop for a filter that asks a service, of an HTTP connection manager; `inner` tells its
    /// counts from those of others, if it is not empty.
    pub fn authz(&self, name: &str, inner: &str) -> Arc<Authz> {
        self.authz.add(&sample::within(name, inner))
    }

    /// The same, for what it has decided of a cluster's requests.
    pub fn cluster_authz(&self, name: &str, inner: &str) -> Arc<ClusterAuthz> {
        self.cluster_authz.add(&sample::within(name, inner))
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
        self.authz.samples(&mut samples);
        self.cluster_authz.samples(&mut samples);
        samples
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn a_filter_may_have_a_name_of_its_own_within_another_ones() {
        let registry = Registry::default();
        registry.authz("main", "").ok.inc();
        registry.authz("main", "waf").ok.add(2);
        registry.cluster_authz("b1", "waf").denied.add(3);
        let (text, prometheus) = (
            registry.text(&Selection::default(), &[]),
            registry.prometheus(),
        );
        for (stat, line) in [
            (
                "http.main.ext_authz.ok: 1\n",
                "envoy_http_ext_authz_ok{envoy_http_conn_manager_prefix=\"main\"} 1\n",
            ),
            (
                "http.main.ext_authz.waf.ok: 2\n",
                "envoy_http_ext_authz_ok{envoy_ext_authz_prefix=\"waf\",envoy_http_conn_manager_prefix=\"main\"} 2\n",
            ),
            (
                "cluster.b1.ext_authz.waf.denied: 3\n",
                "envoy_cluster_ext_authz_denied{envoy_cluster_name=\"b1\",envoy_ext_authz_prefix=\"waf\"} 3\n",
            ),
        ] {
            assert!(text.contains(stat), "{text}");
            assert!(prometheus.contains(line), "{prometheus}");
        }
    }
}
