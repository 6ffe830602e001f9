//! Frames (RFC 9113 §4 and §6).

/// Length of a frame's head.
pub(super) const HEAD: usize = 9;

/// What a frame carries at most, both ways: HTTP/2's least, as Envoy.
pub(super) const MOST: usize = 16 << 10;

/// What a client sends first (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The kinds of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// Their flags.
pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 1;
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;
    pub(in super::super) const PADDED: u8 = 8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Settings (RFC 9113 §6.5.2, RFC 8441 §3).
pub(super) mod setting {
    pub(in super::super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in super::super) const ENABLE_PUSH: u16 = 2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(in super::super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// The head that the bytes begin with.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, id @ ..] = *bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind,
            flags,
            stream: u32::from_be_bytes(id) & (u32::MAX >> 1),
        })
    }

    pub(super) fn write(self) -> [u8; HEAD] {
        let [_, l0, l1, l2] = (self.length as u32).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// RFC 9113 §4.2: the kinds that have one length.
    pub(super) fn has_its_length(self) -> bool {
        match self.kind {
            kind::SETTINGS if self.has(flag::ACK) => self.length == 0,
            kind::SETTINGS => self.length.is_multiple_of(6),
            kind::PING => self.length == 8,
            kind::PRIORITY => self.length == 5,
            kind::RST_STREAM | kind::WINDOW_UPDATE => self.length == 4,
            kind::GOAWAY => self.length >= 8,
            _ => true,
        }
    }
}

/// The number that the payload begins with.
pub(super) fn number(payload: &[u8]) -> u32 {
    payload
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// What a frame carries without its padding (RFC 9113 §6.1); `None`: the padding is longer than the frame.
pub(super) fn unpadded(head: Head, payload: &[u8]) -> Option<&[u8]> {
    if !head.has(flag::PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// A frame of a few bytes.
pub(super) fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = payload.len();
    let head = Head {
        length,
        kind,
        flags,
        stream,
    };
    out.extend_from_slice(&head.write());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let head = Head {
            length: 0x01_02_03,
            kind: kind::GOAWAY,
            flags: 0xa5,
            stream: 0x7abc_def0,
        };
        assert_eq!(Head::read(&head.write()), Some(head));
        assert_eq!(Head::read(&[0; 8]), None);
        // RFC 9113 §4.1: the first bit is none of the number's.
        let reserved = Head::read(&[0, 0, 0, 0, 0, 0xff, 0, 0, 1]).unwrap();
        assert_eq!(reserved.stream, 0x7f00_0001);
    }

    #[test]
    fn padding_is_taken_off() {
        let head = |flags| Head {
            length: 0,
            kind: kind::DATA,
            flags,
            stream: 1,
        };
        assert_eq!(unpadded(head(0), b"\x01ab"), Some(&b"\x01ab"[..]));
        assert_eq!(unpadded(head(flag::PADDED), b"\x01ab"), Some(&b"a"[..]));
        assert_eq!(unpadded(head(flag::PADDED), b"\x02ab"), Some(&b""[..]));
        assert_eq!(unpadded(head(flag::PADDED), b"\x03ab"), None);
        assert_eq!(unpadded(head(flag::PADDED), b""), None);
    }
}
