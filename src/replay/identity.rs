//! Which request of which run this is, in the form that services carry inward: a trace id.

use http::HeaderValue;

use crate::event::Micros;

/// The trace id of a primary's request: run (40 bits) ‖ side 0 (8) ‖ intended time in ms (32) ‖ ordinal (48).
pub fn trace_id(run: u64, intended_us: Micros, ordinal: u64) -> u128 {
    let run = u128::from(run & ((1 << 40) - 1));
    let intended_ms = u128::from(u32::try_from(intended_us / 1000).unwrap_or(u32::MAX));
    let ordinal = u128::from(ordinal & ((1 << 48) - 1));
    (run << 88) | (intended_ms << 48) | ordinal
}

/// `traceparent` and `x-request-id`, the trace id in the form of a UUID. The span is the ordinal + 1, as it must not be 0.
pub fn headers(run: u64, intended_us: Micros, ordinal: u64) -> Option<(HeaderValue, HeaderValue)> {
    let id = format!("{:032x}", trace_id(run, intended_us, ordinal));
    let traceparent = format!("00-{id}-{:016x}-01", ordinal.wrapping_add(1));
    let mut uuid = String::with_capacity(36);
    for (place, digit) in id.chars().enumerate() {
        if [8, 12, 16, 20].contains(&place) {
            uuid.push('-');
        }
        uuid.push(digit);
    }
    Some((
        HeaderValue::try_from(traceparent).ok()?,
        HeaderValue::try_from(uuid).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_id_holds_run_side_time_and_ordinal() {
        let id = trace_id(0x12_3456_789a, 1_999, 0xabc);
        assert_eq!(format!("{id:032x}"), "123456789a0000000001000000000abc");
        // 40 bits of the run, 32 of the time and 48 of the ordinal are all there is.
        let full = trace_id(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(format!("{full:032x}"), "ffffffffff00ffffffffffffffffffff");
    }

    #[test]
    fn the_request_id_is_the_trace_id_as_a_uuid() {
        let (traceparent, request_id) = headers(0x12_3456_789a, 1_999, 0xabc).unwrap();
        assert_eq!(
            traceparent,
            "00-123456789a0000000001000000000abc-0000000000000abd-01"
        );
        assert_eq!(request_id, "12345678-9a00-0000-0001-000000000abc");
    }
}
