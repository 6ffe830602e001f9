//! Gathers a whole request before it goes on.

use std::{future::poll_fn, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, Version, header, request};
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
    let client = log.client.clone();
    let mut whole = Gathered::Nothing;
    let mut length = 0;
    loop {
        let next = client
            .in_time(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)))
            .await?;
        let Some(frame) = next else { break };
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        length += data.len() as u64;
        if length > most {
            log.count_in(length);
            return Ok(Some(too_long(log.version)));
        }
        client.moved(Instant::now());
        whole.add(data);
    }
    head.headers.remove(header::TRANSFER_ENCODING);
    head.headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    *body = Incoming::whole(whole.into_bytes());
    Ok(None)
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
