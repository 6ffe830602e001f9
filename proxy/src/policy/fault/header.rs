//! Faults that a request's own headers ask for, where a rule allows it; Envoy's `header_delay`, `header_abort`,
//! `header_limit`.

use std::time::Duration;

use http::HeaderMap;

use super::{
    Effect,
    abort::{End, Reply},
    delay::Delay,
    throttle::Throttle,
};

/// What headers may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// `x-envoy-fault-delay-request`: milliseconds.
    Delay {
        /// What a percentage header counts in: 100, 10,000 or a million.
        of: u32,
    },
    /// `x-envoy-fault-abort-request`: a status; else `x-envoy-fault-abort-grpc-request`.
    Abort {
        /// As above.
        of: u32,
    },
    /// `x-envoy-fault-throughput-response`: KiB a second.
    Throttle {
        /// As above.
        of: u32,
    },
}

impl Header {
    /// What is asked for, and the share that the headers bound it by; `None`: nothing that makes sense.
    pub(super) fn asked(self, headers: &HeaderMap) -> Option<(Effect, Option<f64>)> {
        let number = |name: &str| -> Option<u64> {
            let value = headers.get(name)?.to_str().ok()?;
            value.trim().parse().ok()
        };
        let (effect, percentage, of) = match self {
            Self::Delay { of } => {
                let millis = number("x-envoy-fault-delay-request").filter(|millis| *millis > 0)?;
                let delay = Delay::Fixed(Duration::from_millis(millis));
                let percentage = "x-envoy-fault-delay-request-percentage";
                (Effect::Delay(delay), percentage, of)
            }
            Self::Abort { of } => {
                let http = number("x-envoy-fault-abort-request")
                    .and_then(|status| u16::try_from(status).ok())
                    .and_then(Reply::asked);
                let grpc = || {
                    let status = number("x-envoy-fault-abort-grpc-request")?;
                    u32::try_from(status).ok().map(Reply::asked_grpc)
                };
                let end = End::Reply(http.or_else(grpc)?);
                (
                    Effect::End(end),
                    "x-envoy-fault-abort-request-percentage",
                    of,
                )
            }
            Self::Throttle { of } => {
                let kib = number("x-envoy-fault-throughput-response").filter(|kib| *kib > 0)?;
                let throttle = Throttle {
                    bytes_per_second: kib.saturating_mul(1024),
                };
                let percentage = "x-envoy-fault-throughput-response-percentage";
                (Effect::Throttle(throttle), percentage, of)
            }
        };
        Some((
            effect,
            number(percentage).map(|share| share as f64 / f64::from(of)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn asked(header: Header, pairs: &[(&'static str, &str)]) -> Option<(String, Option<f64>)> {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let (effect, cap) = header.asked(&headers)?;
        let said = match effect {
            Effect::Delay(Delay::Fixed(delay)) => format!("{delay:?}"),
            Effect::End(End::Reply(reply)) => format!("{} {:?}", reply.status, reply.grpc),
            Effect::Throttle(throttle) => throttle.bytes_per_second.to_string(),
            other => panic!("{other:?}"),
        };
        Some((said, cap))
    }

    #[test]
    fn headers_ask_for_delays_aborts_and_rates() {
        let (delay, abort, throttle) = (
            Header::Delay { of: 100 },
            Header::Abort { of: 10_000 },
            Header::Throttle { of: 100 },
        );
        let said = |text: &str| Some((text.to_owned(), None));
        for (header, name, value, expected) in [
            (delay, "x-envoy-fault-delay-request", "300", said("300ms")),
            (delay, "x-envoy-fault-delay-request", "0", None),
            (delay, "x-envoy-fault-delay-request", "soon", None),
            (
                abort,
                "x-envoy-fault-abort-request",
                "507",
                said("507 Insufficient Storage None"),
            ),
            (abort, "x-envoy-fault-abort-request", "600", None),
            (
                abort,
                "x-envoy-fault-abort-grpc-request",
                "5",
                said("200 OK Some(5)"),
            ),
            (
                throttle,
                "x-envoy-fault-throughput-response",
                "2",
                said("2048"),
            ),
            (throttle, "x-envoy-fault-throughput-response", "0", None),
            (delay, "x-envoy-fault-abort-request", "507", None),
        ] {
            assert_eq!(asked(header, &[(name, value)]), expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_percentage_is_of_the_configured_denominator() {
        let both = [
            ("x-envoy-fault-abort-request", "507"),
            ("x-envoy-fault-abort-request-percentage", "25"),
        ];
        let (_, cap) = asked(Header::Abort { of: 10_000 }, &both).unwrap();
        assert_eq!(cap, Some(0.0025));
    }
}
