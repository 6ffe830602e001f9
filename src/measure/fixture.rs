//! A small run for tests: `shop` is driven, calls `pay`, and has a candidate and a control.

use std::sync::Arc;

use super::*;
use crate::event::{Answered, Attempt, Difference, Flags, Hit, MirrorOutcome};
use crate::stats::margins::Margins;

pub(crate) fn setup() -> Setup {
    let window = |from: u64, to: u64| Window {
        begin_us: from * 1_000_000,
        end_us: to * 1_000_000,
    };
    Setup {
        phases: vec![
            ("warmup".into(), window(0, 1), false),
            ("steady".into(), window(1, 3), true),
            ("fault".into(), window(3, 5), true),
        ],
        driven: vec!["shop".into()],
        opaque: Vec::new(),
        services: vec!["shop".into(), "pay".into()],
        faults: vec!["slow".into()],
        shadows: vec!["candidate".into(), "control".into()],
        control: Some("control".into()),
        uncontrolled: Vec::new(),
        timed: true,
        alpha: 0.01,
        margins: Margins::default(),
        min_effect: 0.001,
        filters: vec![(
            "shop".into(),
            Filter {
                status: Some(5),
                method: None,
                path: Some("/cart/*".into()),
            },
        )],
        errors: ErrorRule::default(),
    }
}

pub(crate) fn request(ordinal: u64, intended_us: u64, response_us: u64, status: u16) -> RunEvent {
    request_with(ordinal, intended_us, response_us, |request| {
        request.status = Some(status);
    })
}

pub(crate) fn request_to(
    ordinal: u64,
    path: &str,
    intended_us: u64,
    response_us: u64,
    status: u16,
) -> RunEvent {
    request_with(ordinal, intended_us, response_us, |request| {
        request.status = Some(status);
        path.clone_into(&mut request.path);
    })
}

pub(crate) fn request_with(
    ordinal: u64,
    intended_us: u64,
    response_us: u64,
    change: impl FnOnce(&mut Request),
) -> RunEvent {
    let mut request = Request {
        ordinal,
        source: "main".into(),
        service: "shop".into(),
        connection: 1,
        intended_us,
        released_us: intended_us + 40,
        sent_us: Some(intended_us + 60),
        done_us: intended_us + response_us,
        method: "GET".into(),
        path: "/cart/1".into(),
        status: Some(200),
        complete: true,
        grpc_status: None,
        why: None,
        bytes_out: 0,
        bytes_in: 12,
        flags: Flags::default(),
    };
    change(&mut request);
    RunEvent::Request(Arc::new(request))
}

pub(crate) fn hop(
    caller: &str,
    service: &str,
    side: u8,
    change: impl FnOnce(&mut Hop),
) -> RunEvent {
    let mut hop = Hop {
        ordinal: 0,
        side,
        intended_ms: Some(1_500),
        n: 0,
        scheduled: true,
        caller: caller.into(),
        service: service.into(),
        inbound: false,
        method: "GET".into(),
        path: "/pay/1?x=1".into(),
        start_us: 1_500_100,
        us: 800,
        status: Some(200),
        complete: true,
        flags: Flags::default(),
        bytes_in: 0,
        bytes_out: 7,
        considered: Vec::new(),
        hits: Vec::new(),
        attempts: vec![Attempt {
            endpoint: Some("127.0.0.1:1".into()),
            us: 700,
            status: Some(200),
            why: None,
        }],
    };
    change(&mut hop);
    RunEvent::Hop(Arc::new(hop))
}

pub(crate) fn hit(fault: &str, effect: &'static str) -> Hit {
    Hit {
        attempt: 0,
        fault: fault.into(),
        u: Some(0.25),
        p: Some(0.5),
        effect,
        asked_us: Some(400_000),
        actual_us: Some(400_100),
        status: None,
        why: None,
    }
}

/// A compared answer to a request that was due then; primary and shadow took so long, in µs.
pub(crate) fn timed(shadow: &str, ordinal: u64, at_ms: u32, us: (u64, u64)) -> RunEvent {
    let RunEvent::Mirror(mirror) = mirror(shadow, ordinal, &[]) else {
        unreachable!("a mirror is made");
    };
    let mut mirror = Arc::unwrap_or_clone(mirror);
    mirror.intended_ms = Some(at_ms);
    for (answered, us) in [(&mut mirror.primary, us.0), (&mut mirror.answer, us.1)] {
        if let Some(answered) = answered {
            answered.us = us;
        }
    }
    RunEvent::Mirror(Arc::new(mirror))
}

/// A compared answer, 150 µs slower than the primary's, that differs in these places.
pub(crate) fn mirror(shadow: &str, ordinal: u64, differences: &[(&str, &'static str)]) -> RunEvent {
    let answered = |us| Answered {
        status: 200,
        us,
        sha256: "ab".into(),
    };
    RunEvent::Mirror(Arc::new(Mirror {
        t_us: 1_600_000,
        ordinal,
        intended_ms: Some(1_500),
        n: 0,
        caller: CLIENT.into(),
        service: "shop".into(),
        shadow: shadow.into(),
        method: "GET".into(),
        path: format!("/cart/{ordinal}"),
        endpoint: "GET /cart/{id}".into(),
        first: "primary",
        outcome: MirrorOutcome::Compared,
        why: None,
        primary: Some(answered(1_000)),
        answer: Some(answered(1_150)),
        differences: differences
            .iter()
            .map(|(path, kind)| Difference {
                path: (*path).into(),
                at: (*path).into(),
                kind,
                primary: Some(1.into()),
                shadow: None,
                rule: None,
                shape: None,
            })
            .collect(),
        asked: None,
    }))
}
