//! Answers of a builtin: a status, headers, a body in one piece or in chunks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;

/// A body that is all there: one piece with a length, or pieces sent chunked.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    left: VecDeque<Bytes>,
    chunked: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.left.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.chunked {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.left.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// An answer on its way out.
pub(super) type Reply = Response<Pieces>;

/// A body of a content type.
pub(super) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = empty(status);
    reply.body_mut().left.push_back(body.into());
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A JSON body.
pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    typed(status, "application/json", value.to_string())
}

/// Newline-delimited JSON, a chunk a line.
pub(super) fn lines(values: impl IntoIterator<Item = Value>) -> Reply {
    let mut reply = empty(StatusCode::OK);
    let left = values
        .into_iter()
        .map(|value| Bytes::from(format!("{value}\n")))
        .collect();
    *reply.body_mut() = Pieces {
        left,
        chunked: true,
    };
    reply.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    reply
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Pieces::default());
    *reply.status_mut() = status;
    reply
}

/// An error as the shop words it: `{"error": {"code": …, "message": …}}`.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    let mut reply = json(
        status,
        &serde_json::json!({ "error": { "code": code, "message": message } }),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}
