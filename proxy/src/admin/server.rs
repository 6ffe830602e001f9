//! What the process is: version, state, uptime, memory.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::metrics::report::{Extra, Kind};

/// The process, as the admin port sees it.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// How long it has run.
    pub uptime: Duration,
    /// Event loops.
    pub workers: usize,
    /// Listeners that take connections.
    pub listeners: usize,
    /// Clusters.
    pub clusters: usize,
    /// It takes no connections any more, or somebody has said that it is not well.
    pub draining: bool,
}

impl Server {
    /// Envoy's name of its state.
    pub(super) fn state(&self) -> &'static str {
        if self.draining { "DRAINING" } else { "LIVE" }
    }

    /// `/server_info`, with the node of the bootstrap.
    pub(super) fn info(&self, bootstrap: Option<&Value>) -> Value {
        let seconds = format!("{}s", self.uptime.as_secs());
        let node = bootstrap.and_then(|bootstrap| bootstrap.get("node"));
        json!({
            "version": concat!("meshbed/", env!("CARGO_PKG_VERSION")),
            "state": self.state(),
            "uptime_current_epoch": seconds,
            "uptime_all_epochs": seconds,
            "hot_restart_version": "disabled",
            "command_line_options": {"concurrency": self.workers, "mode": "Serve", "disable_hot_restart": true},
            "node": node.cloned().unwrap_or_else(|| json!({})),
        })
    }

    /// The counts of the process.
    pub(super) fn stats(&self) -> Vec<Extra> {
        let gauge = |name: &str, value: u64| Extra {
            name: name.to_owned(),
            kind: Kind::Gauge,
            value,
        };
        let memory = memory();
        vec![
            gauge("server.live", u64::from(!self.draining)),
            gauge("server.state", u64::from(self.draining)),
            gauge("server.uptime", self.uptime.as_secs()),
            gauge("server.concurrency", self.workers as u64),
            gauge("server.memory_allocated", memory.data),
            gauge("server.memory_physical_size", memory.resident),
            gauge(
                "listener_manager.total_listeners_active",
                self.listeners as u64,
            ),
            gauge("listener_manager.workers_started", 1),
            gauge("cluster_manager.active_clusters", self.clusters as u64),
            gauge("cluster_manager.warming_clusters", 0),
        ]
    }
}

/// Memory of the process, in bytes, as the kernel counts it.
struct Memory {
    resident: u64,
    data: u64,
}

/// `/memory`.
pub(super) fn memory_json() -> Value {
    let memory = memory();
    json!({
        "allocated": memory.data.to_string(),
        "heap_size": memory.data.to_string(),
        "total_physical_bytes": memory.resident.to_string(),
    })
}

fn memory() -> Memory {
    // proc(5): size resident shared text lib data dirty, in pages.
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = text
        .split(' ')
        .map(|count| count.parse::<u64>().unwrap_or(0));
    let page = rustix::param::page_size() as u64;
    Memory {
        resident: pages.nth(1).unwrap_or(0) * page,
        data: pages.nth(3).unwrap_or(0) * page,
    }
}
