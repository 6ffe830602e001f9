//! Lets through only so much, by how it went before.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::{Reply, now};
use crate::{
    http::log::Log,
    observe::Flags,
    snapshot::pressure::{Adaptive, Admission},
};

/// A request that such a filter wants to know the end of.
#[derive(Debug)]
pub enum Watched {
    /// How long it took.
    Adaptive(Arc<Adaptive>, Instant),
    /// What it was answered.
    Admission(Arc<Admission>),
}

/// Bounds what is under way.
pub(super) fn bound(log: &mut Log, adaptive: &Arc<Adaptive>) -> Option<Reply> {
    if adaptive.begin(now()) {
        let watched = Watched::Adaptive(Arc::clone(adaptive), Instant::now());
        log.watched.push(watched);
        return None;
    }
    log.client.metrics.concurrency_blocked.inc();
    Some(Reply {
        status: adaptive.status,
        body: Bytes::from_static(b"reached concurrency limit"),
        grpc_status: None,
        headers: Vec::new(),
        flags: Flags::default(),
        details: "reached_concurrency_limit".into(),
    })
}

/// Turns the request away, if it is its lot.
pub(super) fn admit(log: &mut Log, admission: &Arc<Admission>) -> Option<Reply> {
    let core = &log.client.core;
    let enabled = admission.enabled.get();
    if enabled <= 0.0 || (enabled < 1.0 && core.chance() >= enabled) {
        return None;
    }
    let rejects = admission.rejects(now());
    if rejects <= 0.0 || core.chance() >= rejects {
        log.watched.push(Watched::Admission(Arc::clone(admission)));
        return None;
    }
    log.client.metrics.admission_rejected.inc();
    Some(Reply {
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: Bytes::new(),
        grpc_status: None,
        headers: Vec::new(),
        flags: Flags::default(),
        details: "denied_by_admission_control".into(),
    })
}

impl Watched {
    /// The request has ended: with this status, if it was answered, and in full or not.
    pub fn end(self, status: Option<StatusCode>, complete: bool, at: Instant) {
        match self {
            Self::Adaptive(adaptive, begun) => {
                let took = complete.then(|| at.saturating_duration_since(begun));
                adaptive.end(took.filter(|took| *took > Duration::ZERO), now());
            }
            Self::Admission(admission) => {
                if let Some(status) = status {
                    admission.count(status, now());
                }
            }
        }
    }
}
