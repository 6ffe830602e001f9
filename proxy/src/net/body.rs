//! Bodies as a peer sends them, whatever the protocol of its connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::h1;
use crate::error::Error;

/// The body of a client's request, or of an upstream's answer, as it comes.
#[derive(Debug)]
pub struct Incoming(Source);

#[derive(Debug)]
enum Source {
    Empty,
    Request(h1::server::Request),
    Answer(h1::client::Answer),
    Whole(Bytes),
}

impl Incoming {
    /// There is none.
    pub fn empty() -> Self {
        Self(Source::Empty)
    }

    /// The body of an HTTP/1 client's request.
    pub fn request(body: h1::server::Request) -> Self {
        Self(Source::Request(body))
    }

    /// The body of an HTTP/1 upstream's answer.
    pub fn answer(body: h1::client::Answer) -> Self {
        Self(Source::Answer(body))
    }

    /// A body that is here already.
    pub fn whole(body: Bytes) -> Self {
        Self(Source::Whole(body))
    }

    /// The request is taken for an upgrade: what its client sends from here on is another protocol's, until it ends the
    /// connection. Without effect where the request has a body of its own.
    pub fn switch(&self) {
        if let Source::Request(body) = &self.0 {
            body.switch();
        }
    }

    /// Sends on what the client still sends, while nobody can take more of the answer. Its failure is told by the next
    /// frame too.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        match &self.0 {
            Source::Answer(body) => body.poll_upload(cx),
            Source::Empty | Source::Request(_) | Source::Whole(_) => Ok(()),
        }
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
            Source::Empty => Poll::Ready(None),
            Source::Request(body) => Pin::new(body).poll_frame(cx),
            Source::Answer(body) => Pin::new(body).poll_frame(cx),
            Source::Whole(body) => {
                let data = std::mem::take(body);
                Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Request(body) => body.is_end_stream(),
            Source::Answer(body) => body.is_end_stream(),
            Source::Whole(body) => body.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Request(body) => body.size_hint(),
            Source::Answer(body) => body.size_hint(),
            Source::Whole(body) => SizeHint::with_exact(body.len() as u64),
        }
    }
}
