//! Gathers a whole request before it goes on.

use std::{future::poll_fn, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, Version, header, request};
use http_body::Body;
use tokio::time::Instant;

use super::Reply;
use crate::{error::Error, http::log::Log, net::body::Incoming, observe::Flags};

/// Reads the body to its end. The request's length is known then, and is told; one that is longer than `most` is
/// answered 413.
pub(super) async fn gather(
    log: &mut Log,
    head: &mut request::Parts,
    body: &mut Incoming,
    most: u64,
) -> Result<Option<Reply>, Error> {
    if body.is_end_stream() {
        return Ok(None);
    }
    let held = match hold(log, body, most, false).await? {
        Ok(held) => held,
        Err(reply) => return Ok(Some(reply)),
    };
    head.headers.remove(header::TRANSFER_ENCODING);
    let length = HeaderValue::from(held.data.len());
    head.headers.insert(header::CONTENT_LENGTH, length);
    *body = Incoming::whole(held.data);
    Ok(None)
}

/// What came of a body.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// It.
    pub data: Bytes,
    /// What follows it, if that has come, too.
    pub trailers: Option<HeaderMap>,
}

/// Reads the body: to its end, or, where a part is enough, until there are `most` bytes. The answer of one that is too
/// long is the inner error.
pub(super) async fn hold(
    log: &mut Log,
    body: &mut Incoming,
    most: u64,
    part: bool,
) -> Result<Result<Held, Reply>, Error> {
    let client = log.client.clone();
    let mut whole = Gathered::Nothing;
    let mut trailers = None;
    let mut length = 0;
    while !part || length < most {
        let next = client
            .in_time(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)))
            .await?;
        let Some(frame) = next else { break };
        let data = match frame?.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        length += data.len() as u64;
        if length > most && !part {
            log.count_in(length);
            return Ok(Err(too_long(log.version)));
        }
        client.moved(Instant::now());
        whole.add(data);
    }
    Ok(Ok(Held {
        data: whole.into_bytes(),
        trailers,
    }))
}

/// Most bodies come in one piece, which needs no copy.
enum Gathered {
    Nothing,
    Piece(Bytes),
    Pieces(BytesMut),
}

impl Gathered {
    fn add(&mut self, data: Bytes) {
        *self = match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => Self::Piece(data),
            Self::Piece(first) => {
                let mut pieces = BytesMut::with_capacity(first.len() + data.len());
                pieces.extend_from_slice(&first);
                pieces.extend_from_slice(&data);
                Self::Pieces(pieces)
            }
            Self::Pieces(mut pieces) => {
                pieces.extend_from_slice(&data);
                Self::Pieces(pieces)
            }
        };
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::Piece(piece) => piece,
            Self::Pieces(pieces) => pieces.freeze(),
        }
    }
}

/// HTTP/1 clients are told that the connection ends, even if the rest of the body is there already: Envoy looks no further.
fn too_long(version: Version) -> Reply {
    let close = (header::CONNECTION, HeaderValue::from_static("close"));
    let ends = version < Version::HTTP_2;
    Reply {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        body: Bytes::from_static(b"Payload Too Large"),
        grpc_status: None,
        headers: ends.then_some(close).into_iter().collect(),
        flags: Flags::default(),
        details: "request_payload_too_large".into(),
    }
}
