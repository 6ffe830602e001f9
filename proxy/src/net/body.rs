//! Bodies as a peer sends them, whatever the protocol of its connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{h1, h2};
use crate::{
    error::{Error, Side},
    policy::grpc::web,
};

/// The body of a client's request, or of an upstream's answer, as it comes.
#[derive(Debug)]
pub struct Incoming(Source);

#[derive(Debug)]
enum Source {
    Empty,
    Request(h1::server::Request),
    Answer(h1::client::Answer),
    Whole(Bytes),
    /// With the side that sends it. Its window is opened again by what is taken out of it.
    Stream(h2::Recv, Side),
    Decoded(Box<(Incoming, web::Decoder)>),
    Begun(Box<Begun>),
}

/// A body whose beginning is here already.
#[derive(Debug)]
struct Begun {
    data: Bytes,
    /// What follows it, if that is here, too.
    trailers: Option<HeaderMap>,
    rest: Incoming,
    /// How much of it is to come in all, if that is known.
    left: Option<u64>,
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

    /// This, which was taken out of the body, comes once more before the rest of it; `length` is what was known of the
    /// whole body's length.
    pub fn put_back(&mut self, data: Bytes, trailers: Option<HeaderMap>, length: Option<u64>) {
        let rest = std::mem::replace(self, Self::empty());
        *self = Self(Source::Begun(Box::new(Begun {
            data,
            trailers,
            rest,
            left: length,
        })));
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
            // The body of a stream's request is sent by itself.
            Source::Empty
            | Source::Request(_)
            | Source::Whole(_)
            | Source::Stream(..)
            | Source::Decoded(_)
            | Source::Begun(_) => Ok(()),
        }
    }

    /// From here on it is what its base64 stands for.
    pub fn decode(&mut self) {
        let inner = std::mem::replace(self, Self::empty());
        *self = Self(Source::Decoded(Box::new((inner, web::Decoder::default()))));
    }

    /// A body of HTTP/2, sent by that side, if there is one.
    pub fn stream(body: Option<h2::Recv>, side: Side) -> Self {
        body.map_or_else(Self::empty, |body| Self(Source::Stream(body, side)))
    }
}

fn poll_stream(
    body: &mut h2::Recv,
    side: Side,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
    let frame = ready!(body.poll_frame(cx));
    Poll::Ready(frame.map(|frame| {
        frame.map_err(|error| match side {
            Side::Downstream => error.of_client(),
            Side::Upstream | Side::Proxy => error.of_upstream(),
        })
    }))
}

fn poll_decoded(
    (body, decoder): &mut (Incoming, web::Decoder),
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
    let Some(frame) = ready!(Pin::new(body).poll_frame(cx)) else {
        return Poll::Ready((!decoder.is_done()).then_some(Err(Error::BadBody)));
    };
    let decoded = frame.and_then(|frame| match frame.into_data() {
        Ok(data) => match decoder.read(&data) {
            Ok(data) => Ok(Frame::data(data.into())),
            Err(web::Invalid) => Err(Error::BadBody),
        },
        Err(frame) => Ok(frame),
    });
    Poll::Ready(Some(decoded))
}

impl Begun {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = if !self.data.is_empty() {
            Frame::data(std::mem::take(&mut self.data))
        } else if let Some(trailers) = self.trailers.take() {
            Frame::trailers(trailers)
        } else {
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            }
        };
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none() && self.rest.is_end_stream()
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
            Source::Stream(body, side) => poll_stream(body, *side, cx),
            Source::Decoded(decoded) => poll_decoded(decoded, cx),
            Source::Begun(begun) => begun.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Request(body) => body.is_end_stream(),
            Source::Answer(body) => body.is_end_stream(),
            Source::Whole(body) => body.is_empty(),
            Source::Stream(body, _) => body.is_end_stream(),
            Source::Decoded(decoded) => decoded.0.is_end_stream() && decoded.1.is_done(),
            Source::Begun(begun) => begun.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Request(body) => body.size_hint(),
            Source::Answer(body) => body.size_hint(),
            Source::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Source::Stream(body, _) if body.is_end_stream() => SizeHint::with_exact(0),
            Source::Stream(body, _) => body
                .left()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Decoded(_) => SizeHint::default(),
            Source::Begun(begun) => begun
                .left
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
