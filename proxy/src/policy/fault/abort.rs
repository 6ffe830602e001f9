//! An answer given instead of the upstream's, or none at all.

use bytes::Bytes;
use http::StatusCode;

/// How it is written in a scenario: one line a form.
pub const EXAMPLES: &[&str] = &[
    "abort: { status: 503, body: text }",
    "abort: { grpc: UNAVAILABLE }",
    "abort: { stream: reset }",
    "abort: { goaway: true }",
];

/// The body where none is set; Envoy's.
pub const BODY: &str = "fault filter abort";

/// gRPC's statuses by name, in the order of their codes.
pub const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What becomes of a chosen request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Abort {
    /// It is answered by a status.
    Status {
        /// The status, 200 to 599.
        status: u16,
        /// The body; `None`: Envoy's `fault filter abort`.
        body: Option<String>,
    },
    /// A gRPC call is answered by a status of its own kind; others by a 200 with the body.
    Grpc(u32),
    /// The stream is reset: HTTP/2's `RST_STREAM`; an HTTP/1 connection is reset.
    Reset,
    /// The connection is left: HTTP/2's `GOAWAY`; an HTTP/1 connection is closed.
    GoAway,
}

/// An [`Abort`], ready to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The request is answered so.
    Reply(Reply),
    /// Its stream is reset.
    Reset,
    /// Its connection is left.
    GoAway,
}

/// An answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, plain text.
    pub body: Bytes,
    /// What a gRPC client is told, where it does not follow from the status.
    pub grpc: Option<u32>,
}

impl Abort {
    /// What is done; the error says which statuses are accepted.
    pub fn end(&self) -> Result<End, String> {
        match self {
            Self::Status { status, body } => Reply::new(*status, body.as_deref()).map(End::Reply),
            Self::Grpc(status) => Ok(End::Reply(Reply::grpc(*status))),
            Self::Reset => Ok(End::Reset),
            Self::GoAway => Ok(End::GoAway),
        }
    }

    /// What it does, in a few words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Status { status, .. } => format!("abort {status}"),
            Self::Grpc(code) => {
                let name = usize::try_from(*code).ok().and_then(|code| GRPC.get(code));
                name.map_or_else(
                    || format!("abort gRPC {code}"),
                    |name| format!("abort {name}"),
                )
            }
            Self::Reset => "reset".to_owned(),
            Self::GoAway => "goaway".to_owned(),
        }
    }

    /// The code of a gRPC status that is named.
    pub fn grpc_code(name: &str) -> Option<u32> {
        let code = GRPC.iter().position(|known| *known == name)?;
        u32::try_from(code).ok()
    }
}

impl End {
    /// The status that the client sees, if it sees one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Reply(reply) => Some(reply.status),
            Self::Reset | Self::GoAway => None,
        }
    }
}

impl Reply {
    /// An answer by status.
    fn new(status: u16, body: Option<&str>) -> Result<Self, String> {
        let status = Some(status)
            .filter(|status| (200..600).contains(status))
            .and_then(|status| StatusCode::from_u16(status).ok())
            .ok_or_else(|| format!("the status {status} of an abort must be from 200 to 599"))?;
        Ok(Self {
            status,
            body: body.map_or(Bytes::from_static(BODY.as_bytes()), |body| {
                Bytes::copy_from_slice(body.as_bytes())
            }),
            grpc: None,
        })
    }

    /// Envoy's answer by a gRPC status, whatever the client speaks.
    fn grpc(status: u32) -> Self {
        Self {
            status: StatusCode::OK,
            body: Bytes::from_static(BODY.as_bytes()),
            grpc: Some(status),
        }
    }

    /// What a header asks for; `None`: no answer has that status.
    pub(super) fn asked(status: u16) -> Option<Self> {
        Self::new(status, None).ok()
    }

    /// What a header asks for.
    pub(super) fn asked_grpc(status: u32) -> Self {
        Self::grpc(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(abort: &Abort) -> Reply {
        match abort.end().unwrap() {
            End::Reply(reply) => reply,
            other => panic!("{other:?} is no answer"),
        }
    }

    #[test]
    fn a_reply_has_envoys_body_unless_it_has_its_own() {
        for (body, expected) in [
            (None, "fault filter abort"),
            (Some("no"), "no"),
            (Some(""), ""),
        ] {
            let abort = Abort::Status {
                status: 503,
                body: body.map(str::to_owned),
            };
            let reply = reply(&abort);
            assert_eq!(
                (reply.status.as_u16(), &*reply.body),
                (503, expected.as_bytes())
            );
        }
    }

    #[test]
    fn a_grpc_status_is_a_200_by_itself() {
        let reply = reply(&Abort::Grpc(14));
        assert_eq!((reply.status.as_u16(), reply.grpc), (200, Some(14)));
        for (name, code) in [("OK", Some(0)), ("UNAVAILABLE", Some(14)), ("ok", None)] {
            assert_eq!(Abort::grpc_code(name), code);
        }
    }

    #[test]
    fn a_status_that_no_answer_has_is_refused() {
        for status in [0, 100, 199, 600, 1000] {
            let error = Abort::Status { status, body: None }.end().unwrap_err();
            assert_eq!(
                error,
                format!("the status {status} of an abort must be from 200 to 599")
            );
        }
    }
}
