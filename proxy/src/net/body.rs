//! Bodies as a peer sends them, whatever the protocol of its connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming as Hyper;

use crate::error::Error;

/// The body of a client's request, or of an upstream's answer, as it comes.
#[derive(Debug)]
pub struct Incoming(Source);

#[derive(Debug)]
enum Source {
    Request(Hyper),
    Answer(Hyper),
    Whole(Bytes),
}

impl Incoming {
    /// The body of a client's request.
    pub fn request(body: Hyper) -> Self {
        Self(Source::Request(body))
    }

    /// The body of an upstream's answer.
    pub fn answer(body: Hyper) -> Self {
        Self(Source::Answer(body))
    }

    /// A body that is here already.
    pub fn whole(body: Bytes) -> Self {
        Self(Source::Whole(body))
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Source::Request(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| Error::downstream(&error)),
            Source::Answer(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| Error::upstream(&error)),
            Source::Whole(body) => {
                let data = std::mem::take(body);
                Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Request(body) | Source::Answer(body) => body.is_end_stream(),
            Source::Whole(body) => body.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Request(body) | Source::Answer(body) => body.size_hint(),
            Source::Whole(body) => SizeHint::with_exact(body.len() as u64),
        }
    }
}
