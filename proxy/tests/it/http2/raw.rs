//! A client of HTTP/2 that sends frames by hand.

use std::net::SocketAddr;

use super::super::support::Wire;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Of `DATA` and `HEADERS`: the last; of `SETTINGS` and `PING`: an answer.
pub(crate) const END: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// How the other side took what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It left the connection, with this code.
    GoAway(u32),
    /// It reset the stream, with this code.
    Reset(u32),
    /// It answered the stream.
    Answered,
    /// It closed without a word.
    Closed,
}

/// A connection.
pub(crate) struct Raw {
    pub(crate) wire: Wire,
}

impl Raw {
    /// Connects, and sends the preface and these settings.
    pub(crate) fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut wire = Wire::connect(address);
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        wire.send(frame(SETTINGS, 0, 0, settings));
        Self { wire }
    }

    /// The next frame; `None`: the other side has closed.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let head = self.wire.up_to(9);
        if head.len() < 9 {
            return None;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = self.wire.up_to(length);
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// What becomes of the stream, or of the connection with it.
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(frame) = self.frame() {
            match frame.kind {
                GOAWAY => return Outcome::GoAway(code(&frame.payload[4..])),
                RST_STREAM if frame.stream == stream => {
                    return Outcome::Reset(code(&frame.payload));
                }
                HEADERS if frame.stream == stream => return Outcome::Answered,
                _ => {}
            }
        }
        Outcome::Closed
    }
}

fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header section: literals that are not indexed (RFC 7541 §6.2.2).
pub(crate) fn block(rows: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in rows {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// With a prefix of seven bits (RFC 7541 §5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        return out.push(value as u8);
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// A request's head: these after the pseudo headers that every request has.
pub(crate) fn request(stream: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    let mut rows = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "shop.test"),
    ];
    rows.extend(more);
    frame(HEADERS, flags | END_HEADERS, stream, &block(&rows))
}
