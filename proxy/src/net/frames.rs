//! A look at the frames of HTTP/2 as they pass, in both directions: what a peer may send so many of that answering them
//! is work for nothing is counted here, since `h2` bounds only what costs it memory. Pure: it sees bytes.

use crate::policy::protocol::Http2;

/// Length of a frame's header (RFC 9113 §4.1).
const HEADER: usize = 9;
/// Length of a client's preface (RFC 9113 §3.4).
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

/// What a client's connection has seen.
#[derive(Debug)]
pub struct Watch {
    bounds: Http2,
    inbound: Frames,
    outbound: Frames,
    streams: u64,
    last_stream: u32,
    empty: u64,
    priorities: u64,
    updates: u64,
    data_sent: u64,
    /// Frames that ask for one of ours, since all of ours were written last.
    control: u64,
    in_head: bool,
    violation: Option<Violation>,
    /// Streams that the peer has reset, and those that were reset here.
    resets: [u64; 2],
}

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Too many `PING` and `SETTINGS` frames whose answers wait to be read.
    Control,
    /// Too many frames without content.
    Empty,
    /// Too many `PRIORITY` frames.
    Priority,
    /// Too many `WINDOW_UPDATE` frames.
    WindowUpdate,
    /// A request that is malformed.
    Message,
    /// A frame whose length is not its kind's (RFC 9113 §4.2), which `h2` knows no code of its own for.
    Size,
}

/// Frames of one direction: their headers, and the first bytes of what they carry.
#[derive(Debug)]
struct Frames {
    skip: usize,
    head: [u8; HEADER + 4],
    have: usize,
    want: usize,
}

/// A frame.
struct Frame {
    kind: u8,
    flags: u8,
    length: usize,
    stream: u32,
    /// Where it has so many: the first four bytes of its payload.
    code: Option<[u8; 4]>,
}

impl Watch {
    /// A connection that begins with a client's preface.
    pub fn new(bounds: Http2) -> Self {
        Self {
            bounds,
            inbound: Frames::after(PREFACE),
            outbound: Frames::after(0),
            streams: 0,
            last_stream: 0,
            empty: 0,
            priorities: 0,
            updates: 0,
            data_sent: 0,
            control: 0,
            in_head: false,
            violation: None,
            resets: [0, 0],
        }
    }

    /// The peer has sent these. Whether it may go on.
    pub fn read(&mut self, bytes: &[u8]) -> bool {
        let mut inbound = std::mem::replace(&mut self.inbound, Frames::after(0));
        inbound.see(bytes, |frame| self.came(frame));
        self.inbound = inbound;
        self.violation.is_none()
    }

    /// We send these.
    pub fn written(&mut self, bytes: &[u8]) {
        let mut outbound = std::mem::replace(&mut self.outbound, Frames::after(0));
        outbound.see(bytes, |frame| self.goes(frame));
        self.outbound = outbound;
    }

    /// All that was sent has gone out.
    pub fn drained(&mut self) {
        self.control = 0;
    }

    /// Why the connection is to end.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// The peer is in the midst of a header section.
    pub fn in_head(&self) -> bool {
        self.in_head
    }

    /// Streams that the peer has begun.
    pub fn streams(&self) -> u64 {
        self.streams
    }

    /// Streams that the peer has reset, and those that were reset here, since this was asked last.
    pub fn take_resets(&mut self) -> [u64; 2] {
        std::mem::take(&mut self.resets)
    }

    fn came(&mut self, frame: &Frame) {
        let bounds = &self.bounds;
        if !frame.has_its_length() {
            self.fail(Violation::Size);
            return;
        }
        match frame.kind {
            HEADERS => {
                // Trailers begin no stream.
                if frame.stream > self.last_stream {
                    self.last_stream = frame.stream;
                    self.streams += 1;
                }
                self.in_head = frame.flags & END_HEADERS == 0;
            }
            CONTINUATION => self.in_head = frame.flags & END_HEADERS == 0,
            PRIORITY => {
                self.priorities += 1;
                if self.priorities > u64::from(bounds.max_priority_frames) * (1 + self.streams) {
                    self.fail(Violation::Priority);
                }
            }
            WINDOW_UPDATE => {
                self.updates += 1;
                let data = u64::from(bounds.max_window_updates) * self.data_sent;
                // Envoy's formula: a few at first, and a few a stream.
                if self.updates > 5 + 2 * (self.streams + data) {
                    self.fail(Violation::WindowUpdate);
                }
            }
            PING | SETTINGS if frame.flags & ACK == 0 => {
                self.control += 1;
                if self.control > u64::from(bounds.max_control_frames) {
                    self.fail(Violation::Control);
                }
            }
            RST_STREAM => self.resets[0] += 1,
            _ => {}
        }
        if matches!(frame.kind, DATA | HEADERS | CONTINUATION) {
            if frame.length > 0 || frame.flags & END_STREAM != 0 {
                self.empty = 0;
            } else {
                self.empty += 1;
                if self.empty > u64::from(self.bounds.max_empty_frames) {
                    self.fail(Violation::Empty);
                }
            }
        }
    }

    fn goes(&mut self, frame: &Frame) {
        match frame.kind {
            DATA => self.data_sent += 1,
            RST_STREAM => {
                self.resets[1] += 1;
                // Ours are `INTERNAL_ERROR` and the like; this one tells of what the peer has sent.
                if !self.bounds.stream_error && frame.code == Some(PROTOCOL_ERROR) {
                    self.fail(Violation::Message);
                }
            }
            _ => {}
        }
    }

    fn fail(&mut self, why: Violation) {
        self.violation.get_or_insert(why);
    }
}

impl Frame {
    fn has_its_length(&self) -> bool {
        match self.kind {
            SETTINGS if self.flags & ACK != 0 => self.length == 0,
            SETTINGS => self.length.is_multiple_of(6),
            PING => self.length == 8,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            _ => true,
        }
    }
}

impl Frames {
    fn after(skip: usize) -> Self {
        Self {
            skip,
            head: [0; HEADER + 4],
            have: 0,
            want: HEADER,
        }
    }

    fn see(&mut self, mut bytes: &[u8], mut frame: impl FnMut(&Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let take = bytes.len().min(self.want - self.have);
            let (Some(place), Some(taken)) = (
                self.head.get_mut(self.have..self.have + take),
                bytes.get(..take),
            ) else {
                return;
            };
            place.copy_from_slice(taken);
            self.have += take;
            bytes = bytes.get(take..).unwrap_or_default();
            if self.have < self.want {
                return;
            }
            let [l0, l1, l2, kind, flags, s0, s1, s2, s3, code @ ..] = self.head;
            let length = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
            if self.want == HEADER && kind == RST_STREAM && length >= 4 {
                // Its code is looked at too.
                self.want = HEADER + 4;
                continue;
            }
            let seen = self.want - HEADER;
            frame(&Frame {
                kind,
                flags,
                length,
                stream: u32::from_be_bytes([s0, s1, s2, s3]),
                code: (seen > 0).then_some(code),
            });
            self.skip = length - seen;
            self.have = 0;
            self.want = HEADER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    fn watch() -> Watch {
        let mut watch = Watch::new(Http2::default());
        assert!(watch.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        watch
    }

    /// How many of these may come before the connection is to end, and why it is.
    fn until(bytes: &[u8]) -> (usize, Option<Violation>) {
        let mut watch = watch();
        let count = (0..10_000).take_while(|_| watch.read(bytes)).count();
        (count, watch.violation())
    }

    #[test]
    fn each_flood_ends_at_its_bound() {
        for (bytes, expected) in [
            (frame(PING, 0, &[0; 8]), (1_000, Some(Violation::Control))),
            (frame(SETTINGS, 0, &[]), (1_000, Some(Violation::Control))),
            (frame(PING, ACK, &[0; 8]), (10_000, None)),
            (frame(DATA, 0, &[]), (1, Some(Violation::Empty))),
            (frame(DATA, END_STREAM, &[]), (10_000, None)),
            (frame(DATA, 0, &[1]), (10_000, None)),
            (frame(CONTINUATION, 0, &[]), (1, Some(Violation::Empty))),
            (
                frame(PRIORITY, 0, &[0; 5]),
                (100, Some(Violation::Priority)),
            ),
            (
                frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
                (5, Some(Violation::WindowUpdate)),
            ),
        ] {
            assert_eq!(until(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn frames_are_seen_however_they_are_cut() {
        let all = [
            frame(DATA, 0, &[7; 30]),
            frame(DATA, 0, &[]),
            frame(DATA, 0, &[]),
        ]
        .concat();
        for size in 1..all.len() {
            let mut watch = watch();
            for piece in all.chunks(size) {
                watch.read(piece);
            }
            assert_eq!(
                watch.violation(),
                Some(Violation::Empty),
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn answers_that_are_read_make_room_for_more() {
        let mut watch = watch();
        for _ in 0..10_000 {
            assert!(watch.read(&frame(PING, 0, &[0; 8])));
            watch.drained();
        }
    }

    #[test]
    fn a_malformed_request_ends_the_connection_unless_it_is_to_end_its_stream() {
        let reset = frame(RST_STREAM, 0, &PROTOCOL_ERROR);
        let mut strict = watch();
        strict.written(&frame(RST_STREAM, 0, &[0, 0, 0, 2]));
        assert_eq!(strict.violation(), None);
        strict.written(&reset);
        assert_eq!(strict.violation(), Some(Violation::Message));
        assert_eq!(strict.take_resets(), [0, 2]);
        let mut lax = Watch::new(Http2 {
            stream_error: true,
            ..Http2::default()
        });
        lax.written(&reset);
        assert_eq!(lax.violation(), None);
    }

    #[test]
    fn a_head_is_open_until_its_last_frame() {
        let mut watch = watch();
        watch.read(&frame(HEADERS, END_STREAM, &[1]));
        assert!(watch.in_head());
        watch.read(&frame(CONTINUATION, END_HEADERS, &[1]));
        assert!(!watch.in_head());
    }
}
