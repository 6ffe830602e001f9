//! An answer given instead of the upstream's.

use bytes::Bytes;
use http::StatusCode;

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["abort: { status: 503, body: text }"];

/// The body where none is set; Envoy's.
pub const BODY: &str = "fault filter abort";

/// What a chosen request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body; `None`: Envoy's `fault filter abort`.
    pub body: Option<String>,
}

/// An [`Abort`], ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, plain text.
    pub body: Bytes,
}

impl Abort {
    /// The answer; the error says which statuses are accepted.
    pub fn reply(&self) -> Result<Reply, String> {
        let status = Some(self.status)
            .filter(|status| (200..600).contains(status))
            .and_then(|status| StatusCode::from_u16(status).ok())
            .ok_or_else(|| {
                format!(
                    "the status {} of an abort must be from 200 to 599",
                    self.status
                )
            })?;
        Ok(Reply {
            status,
            body: self
                .body
                .clone()
                .map_or(Bytes::from_static(BODY.as_bytes()), Bytes::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_envoys_body_unless_it_has_its_own() {
        for (body, expected) in [
            (None, "fault filter abort"),
            (Some("no"), "no"),
            (Some(""), ""),
        ] {
            let abort = Abort {
                status: 503,
                body: body.map(str::to_owned),
            };
            let reply = abort.reply().unwrap();
            assert_eq!(
                (reply.status.as_u16(), &*reply.body),
                (503, expected.as_bytes())
            );
        }
    }

    #[test]
    fn a_status_that_no_answer_has_is_refused() {
        for status in [0, 100, 199, 600, 1000] {
            let error = Abort { status, body: None }.reply().unwrap_err();
            assert_eq!(
                error,
                format!("the status {status} of an abort must be from 200 to 599")
            );
        }
    }
}
