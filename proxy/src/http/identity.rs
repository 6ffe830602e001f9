//! Which request of the schedule this is: contract's trace id, run (40 bits) ‖ side (8) ‖ intended time in ms (32) ‖
//! ordinal (48).

use std::sync::atomic::Ordering;

use http::HeaderValue;

use crate::{
    observe::Identity,
    snapshot::{Http, calls::Call},
};

/// A trace id of ours, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scheduled {
    run: u64,
    side: u8,
    intended_ms: u32,
    ordinal: u64,
}

/// The request's identity: the schedule's if its trace id is of this run, else that of its arrival.
pub(super) fn of(
    listener: &Http,
    run: Option<u64>,
    traceparent: Option<&HeaderValue>,
    method: &str,
    path: &str,
) -> Identity {
    let scheduled = run.and_then(|run| {
        let trace = traceparent.and_then(|value| parse(value.as_bytes()))?;
        (trace.run == run).then_some(trace)
    });
    let Some(trace) = scheduled else {
        return Identity {
            ordinal: listener.arrivals.fetch_add(1, Ordering::Relaxed),
            side: 0,
            intended_ms: None,
            n: 0,
            scheduled: false,
        };
    };
    let n = listener.calls.as_ref().map_or(0, |calls| {
        calls.count(&Call {
            side: trace.side,
            ordinal: trace.ordinal,
            due_ms: trace.intended_ms,
            method,
            path,
        })
    });
    Identity {
        ordinal: trace.ordinal,
        side: trace.side,
        intended_ms: Some(trace.intended_ms),
        n,
        scheduled: true,
    }
}

/// The same `traceparent` on another side; `None`: it is not one.
pub(super) fn with_side(traceparent: &[u8], side: u8) -> Option<HeaderValue> {
    parse(traceparent)?;
    let mut bytes = traceparent.to_vec();
    let digits = format!("{side:02x}");
    bytes.get_mut(SIDE)?.copy_from_slice(digits.as_bytes());
    HeaderValue::from_bytes(&bytes).ok()
}

/// W3C trace context: `version-traceid-parentid-flags`, in lower-case hexadecimal digits.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// The digits of the side.
const SIDE: std::ops::Range<usize> = 13..15;

fn parse(traceparent: &[u8]) -> Option<Scheduled> {
    if traceparent.len() < 55
        || traceparent.get(2) != Some(&b'-')
        || traceparent.get(35) != Some(&b'-')
    {
        return None;
    }
    let mut id = 0_u128;
    for digit in traceparent.get(TRACE_ID)? {
        id = id << 4 | u128::from(nibble(*digit)?);
    }
    Some(Scheduled {
        run: (id >> 88) as u64,
        side: (id >> 80) as u8,
        intended_ms: (id >> 48) as u32,
        ordinal: id as u64 & 0xffff_ffff_ffff,
    })
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &[u8] = b"00-00000000fe02000003e80000000001c8-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_id_of_ours_names_run_side_time_and_ordinal() {
        assert_eq!(
            parse(TRACE),
            Some(Scheduled {
                run: 0xfe,
                side: 2,
                intended_ms: 1000,
                ordinal: 456,
            })
        );
        for wrong in [
            &b""[..],
            b"00-00000000FE02000003e80000000001c8-00f067aa0ba902b7-01",
            b"00-00000000fe02000003e80000000001c8",
            b"00_00000000fe02000003e80000000001c8-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_side_is_replaced_alone() {
        let other = with_side(TRACE, 0xab).unwrap();
        assert_eq!(
            other,
            "00-00000000feab000003e80000000001c8-00f067aa0ba902b7-01"
        );
    }
}
