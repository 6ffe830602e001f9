//! pcapng: blocks, in sections that each have a byte order and interfaces of their own.
//!
//! Packets come from enhanced, simple, and (obsolete) packet blocks; every other kind is passed over by its length.

use super::{Endian, Format, Frame, Frames, PACKET_MAX};
use crate::capture::Error;
use crate::capture::input::Input;

pub(super) const FORMAT: Format = Format {
    name: "pcapng",
    extensions: &["pcapng", "ntar"],
    sniff,
    open,
};

/// The type of a section header; a palindrome, so that it reads the same in either byte order.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;
/// Type, length, and the length again at the end.
const FRAMING: u32 = 12;
/// The largest block that is held in memory: a packet and its options.
const BLOCK_MAX: u32 = PACKET_MAX + (1 << 16);
/// More interfaces than any capture has; a bound on what a damaged file may make us hold.
const INTERFACES_MAX: usize = 1 << 16;

struct PcapNg {
    input: Input,
    endian: Endian,
    interfaces: Vec<Interface>,
    /// The time of the packet before, for simple packets, which have none.
    at: u64,
}

#[derive(Clone, Copy)]
struct Interface {
    link: u32,
    snaplen: u32,
    resolution: Resolution,
    /// Seconds to add to every time.
    shift: i64,
}

/// What a unit of time is.
#[derive(Clone, Copy)]
enum Resolution {
    /// So many units are a second.
    PerSecond(u64),
    /// Finer than 64 bits can count in a second.
    TooFine,
}

fn sniff(begins: &[u8]) -> bool {
    begins.get(..4) == Some(&[0x0a, 0x0d, 0x0d, 0x0a])
        && order(begins.get(8..12).unwrap_or_default()).is_some()
}

/// The byte order by the magic number in a section header.
fn order(magic: &[u8]) -> Option<Endian> {
    match magic {
        [0x4d, 0x3c, 0x2b, 0x1a] => Some(Endian::Little),
        [0x1a, 0x2b, 0x3c, 0x4d] => Some(Endian::Big),
        _ => None,
    }
}

fn open(input: Input) -> Result<Box<dyn Frames>, Error> {
    let mut file = PcapNg {
        input,
        endian: Endian::Little,
        interfaces: Vec::new(),
        at: 0,
    };
    // Up to the first packet nothing can come but headers, so a file with a broken first section fails here.
    file.section()?;
    Ok(Box::new(file))
}

/// A packet inside a block's body.
struct Place {
    at: u64,
    link: u32,
    begin: usize,
    length: usize,
}

impl PcapNg {
    /// Reads a section header, which sets the byte order and forgets the interfaces.
    fn section(&mut self) -> Result<(), Error> {
        let offset = self.input.offset();
        let head = self.input.need(12, "section header")?;
        let Some(endian) = order(head.get(8..12).unwrap_or_default()) else {
            return Err(self.input.malformed(
                offset + 8,
                "a section without the byte-order magic 1a2b3c4d".into(),
            ));
        };
        let length = endian.u32(head, 4);
        self.endian = endian;
        self.interfaces.clear();
        self.check_length(offset, length, 28)?;
        let rest = self.input.need(4, "section header")?;
        let major = endian.u16(rest, 0);
        if major != 1 {
            return Err(self.input.malformed(
                offset + 12,
                format!("pcapng version {major}, accepted is 1"),
            ));
        }
        self.input.skip(u64::from(length) - 20, "section header")?;
        self.trailer(offset, length)
    }

    /// Reads one block that is no section header. `head` is its type and length.
    fn block(&mut self, offset: u64, kind: u32, length: u32) -> Result<Option<Place>, Error> {
        self.check_length(offset, length, FRAMING)?;
        match kind {
            INTERFACE => self.held(offset, length, "interface block", 8)?,
            PACKET | ENHANCED => self.held(offset, length, "packet block", 20)?,
            SIMPLE => self.held(offset, length, "packet block", 4)?,
            _ => {
                self.input.skip(u64::from(length - FRAMING), "block")?;
                self.trailer(offset, length)?;
                return Ok(None);
            }
        }
        let endian = self.endian;
        let body = self.input.peek((length - FRAMING) as usize);
        match kind {
            INTERFACE => {
                let interface = interface(endian, body);
                if self.interfaces.len() == INTERFACES_MAX {
                    let what = format!("more than {INTERFACES_MAX} interfaces in a section");
                    return Err(self.input.malformed(offset, what));
                }
                self.interfaces.push(interface);
                Ok(None)
            }
            SIMPLE => {
                let original = endian.u32(body, 0);
                let interface = self.interface(offset, 0)?;
                let kept = if interface.snaplen == 0 {
                    original
                } else {
                    original.min(interface.snaplen)
                };
                let length = (kept as usize).min(body.len() - 4);
                Ok(Some(Place {
                    at: self.at,
                    link: interface.link,
                    begin: 4,
                    length,
                }))
            }
            _ => {
                let number = if kind == PACKET {
                    u32::from(endian.u16(body, 0))
                } else {
                    endian.u32(body, 0)
                };
                let ticks = u64::from(endian.u32(body, 4)) << 32 | u64::from(endian.u32(body, 8));
                let length = endian.u32(body, 12) as usize;
                let room = body.len() - 20;
                let interface = self.interface(offset, number)?;
                if length > room {
                    let what =
                        format!("a packet of {length} bytes in a block with room for {room}");
                    return Err(self.input.malformed(offset, what));
                }
                self.at = interface.time(ticks);
                Ok(Some(Place {
                    at: self.at,
                    link: interface.link,
                    begin: 20,
                    length,
                }))
            }
        }
    }

    /// Makes the body of a block available to peek at, and checks that it has at least `least` bytes.
    fn held(
        &mut self,
        offset: u64,
        length: u32,
        what: &'static str,
        least: u32,
    ) -> Result<(), Error> {
        if !(FRAMING + least..=BLOCK_MAX).contains(&length) {
            let what = format!(
                "a {what} of {length} bytes, accepted are {} to {BLOCK_MAX}",
                FRAMING + least
            );
            return Err(self.input.malformed(offset, what));
        }
        let wanted = (length - 8) as usize;
        let found = self.input.fill(wanted)?;
        if found < wanted {
            return Err(self
                .input
                .truncated(offset, what, u64::from(length), found as u64 + 8));
        }
        Ok(())
    }

    fn check_length(&self, offset: u64, length: u32, least: u32) -> Result<(), Error> {
        if length < least || !length.is_multiple_of(4) {
            let what =
                format!("a block of {length} bytes, accepted is a multiple of 4 from {least}");
            return Err(self.input.malformed(offset, what));
        }
        Ok(())
    }

    /// Reads the length at the end of a block, which must repeat the one at its beginning.
    fn trailer(&mut self, offset: u64, length: u32) -> Result<(), Error> {
        let end = self.input.need(4, "block")?;
        let again = self.endian.u32(end, 0);
        if again != length {
            let what =
                format!("a block that says {length} bytes at its beginning and {again} at its end");
            return Err(self.input.malformed(offset, what));
        }
        Ok(())
    }

    fn interface(&self, offset: u64, number: u32) -> Result<Interface, Error> {
        self.interfaces
            .get(number as usize)
            .copied()
            .ok_or_else(|| {
                let what = format!(
                    "a packet of interface {number} in a section that has described {}",
                    self.interfaces.len()
                );
                self.input.malformed(offset, what)
            })
    }
}

impl Frames for PcapNg {
    fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        loop {
            let offset = self.input.offset();
            if self.input.fill(8)? == 0 {
                return Ok(None);
            }
            // The type of a section header must be seen before its byte order is known.
            if self.endian.u32(self.input.peek(4), 0) == SECTION {
                self.section()?;
                continue;
            }
            let endian = self.endian;
            let head = self.input.need(8, "block header")?;
            let (kind, length) = (endian.u32(head, 0), endian.u32(head, 4));
            let place = self.block(offset, kind, length)?;
            let body = (length - FRAMING) as usize;
            match place {
                Some(place) => {
                    // The trailer is checked before the body is lent out: both are in the buffer.
                    let again =
                        endian.u32(self.input.peek(body + 4).get(body..).unwrap_or_default(), 0);
                    if again != length {
                        let what = format!(
                            "a block that says {length} bytes at its beginning and {again} at its end"
                        );
                        return Err(self.input.malformed(offset, what));
                    }
                    let bytes = self.input.need(body + 4, "packet block")?;
                    let data = bytes
                        .get(place.begin..place.begin + place.length)
                        .unwrap_or_default();
                    return Ok(Some(Frame {
                        at: place.at,
                        link: place.link,
                        data,
                    }));
                }
                None if kind == INTERFACE => {
                    self.input.skip(body as u64, "interface block")?;
                    self.trailer(offset, length)?;
                }
                None => {}
            }
        }
    }
}

/// Reads an interface description: link type, snap length, and the options that say what a time means.
fn interface(endian: Endian, body: &[u8]) -> Interface {
    const END: u16 = 0;
    const RESOLUTION: u16 = 9;
    const SHIFT: u16 = 14;
    let mut found = Interface {
        link: u32::from(endian.u16(body, 0)),
        snaplen: endian.u32(body, 4),
        resolution: Resolution::PerSecond(1_000_000),
        shift: 0,
    };
    let mut at = 8;
    while at + 4 <= body.len() {
        let (code, length) = (endian.u16(body, at), endian.u16(body, at + 2) as usize);
        let Some(value) = body.get(at + 4..at + 4 + length) else {
            break;
        };
        match (code, value) {
            (END, _) => break,
            (RESOLUTION, [power, ..]) => {
                let base: u64 = if power & 0x80 == 0 { 10 } else { 2 };
                found.resolution = base
                    .checked_pow(u32::from(power & 0x7f))
                    .map_or(Resolution::TooFine, Resolution::PerSecond);
            }
            (SHIFT, value) if value.len() == 8 => {
                let (high, low) = match endian {
                    Endian::Little => (4, 0),
                    Endian::Big => (0, 4),
                };
                found.shift = (u64::from(endian.u32(value, high)) << 32
                    | u64::from(endian.u32(value, low))) as i64;
            }
            _ => {}
        }
        at += 4 + length.next_multiple_of(4);
    }
    found
}

impl Interface {
    /// Units since the interface's epoch as nanoseconds since the epoch; what does not fit is clipped.
    fn time(&self, ticks: u64) -> u64 {
        let Resolution::PerSecond(units) = self.resolution else {
            return 0;
        };
        let ns = i128::from(ticks) * 1_000_000_000 / i128::from(units)
            + i128::from(self.shift) * 1_000_000_000;
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;

    /// Builds blocks of one byte order.
    struct Blocks {
        big: bool,
    }

    impl Blocks {
        fn n(&self, v: u32) -> [u8; 4] {
            if self.big {
                v.to_be_bytes()
            } else {
                v.to_le_bytes()
            }
        }
        fn h(&self, v: u16) -> [u8; 2] {
            if self.big {
                v.to_be_bytes()
            } else {
                v.to_le_bytes()
            }
        }
        fn block(&self, kind: u32, body: &[u8]) -> Vec<u8> {
            let mut body = body.to_vec();
            body.resize(body.len().next_multiple_of(4), 0);
            let length = self.n(body.len() as u32 + 12);
            [&self.n(kind)[..], &length, &body, &length].concat()
        }
        fn section(&self) -> Vec<u8> {
            self.block(
                0x0a0d_0d0a,
                &[&self.n(0x1a2b_3c4d)[..], &self.h(1), &self.h(0), &[0xff; 8]].concat(),
            )
        }
        fn interface(&self, link: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
            let mut body = [&self.h(link)[..], &self.h(0), &self.n(0)].concat();
            for (code, value) in options {
                body.extend([self.h(*code), self.h(value.len() as u16)].concat());
                body.extend(*value);
                body.resize(body.len().next_multiple_of(4), 0);
            }
            self.block(1, &body)
        }
        fn packet(&self, interface: u32, ticks: u64, data: &[u8]) -> Vec<u8> {
            let n = data.len() as u32;
            let head = [
                self.n(interface),
                self.n((ticks >> 32) as u32),
                self.n(ticks as u32),
                self.n(n),
                self.n(n),
            ];
            self.block(6, &[&head.concat()[..], data].concat())
        }
    }

    #[test]
    fn sections_of_either_byte_order_have_interfaces_of_their_own() {
        let (little, big) = (Blocks { big: false }, Blocks { big: true });
        let file = [
            little.section(),
            little.interface(1, &[(2, b"eth0"), (9, &[9]), (0, b"")]),
            little.interface(101, &[]),
            little.block(0xbad, b"an unknown kind"),
            little.packet(0, 1_700_000_000_000_000_001, b"ns"),
            little.packet(1, 1_700_000_000_000_002, b"us!"),
            big.section(),
            big.interface(276, &[(9, &[0x8a]), (14, &100_i64.to_be_bytes())]),
            big.packet(0, 1024 + 512, b"binary"),
        ]
        .concat();
        let (frames, error) = read(&file);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(
            frames,
            [
                (1_700_000_000_000_000_001, 1, b"ns".to_vec()),
                (1_700_000_000_000_002_000, 101, b"us!".to_vec()),
                (101_500_000_000, 276, b"binary".to_vec()),
            ]
        );
    }

    #[test]
    fn simple_packets_take_the_time_of_the_packet_before() {
        let b = Blocks { big: false };
        let file = [
            b.section(),
            b.interface(1, &[]),
            b.packet(0, 5, b"a"),
            b.block(3, &[&b.n(3)[..], b"xyz"].concat()),
            b.block(
                2,
                &[
                    &b.h(0)[..],
                    &b.h(0),
                    &b.n(0),
                    &b.n(6),
                    &b.n(2),
                    &b.n(2),
                    b"ob",
                ]
                .concat(),
            ),
        ]
        .concat();
        let (frames, error) = read(&file);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(
            frames,
            [
                (5_000, 1, b"a".to_vec()),
                (5_000, 1, b"xyz".to_vec()),
                (6_000, 1, b"ob".to_vec())
            ]
        );
    }

    #[test]
    fn damage_is_named_with_its_offset() {
        let b = Blocks { big: false };
        let (s, i) = (b.section(), b.interface(1, &[]));
        let mut wrong_end = b.packet(0, 1, b"abcd");
        let last = wrong_end.len() - 4;
        wrong_end[last..].copy_from_slice(&b.n(99));
        let mut too_long = b.packet(0, 1, b"abcd");
        too_long[20..24].copy_from_slice(&b.n(400));
        let odd = [b.n(0xbad), b.n(13)].concat();
        let cases: [(&str, Vec<u8>, &str); 5] = [
            (
                "length at the end",
                [s.clone(), i.clone(), wrong_end].concat(),
                "`test` is damaged at offset 48: a block that says 36 bytes at its beginning and 99 at its end",
            ),
            (
                "packet beyond its block",
                [s.clone(), i.clone(), too_long].concat(),
                "`test` is damaged at offset 48: a packet of 400 bytes in a block with room for 4",
            ),
            (
                "no such interface",
                [s.clone(), b.packet(0, 1, b"abcd")].concat(),
                "`test` is damaged at offset 28: a packet of interface 0 in a section that has described 0",
            ),
            (
                "odd length",
                [s.clone(), odd].concat(),
                "`test` is damaged at offset 28: a block of 13 bytes, accepted is a multiple of 4 from 12",
            ),
            (
                "cut packet",
                [s, i, b.packet(0, 1, b"abcd")[..30].to_vec()].concat(),
                "`test` is cut short: the packet block at offset 48 needs 36 bytes, 30 are there",
            ),
        ];
        for (name, bytes, message) in cases {
            assert_eq!(read(&bytes).1.unwrap().to_string(), message, "{name}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_never_gives_half_a_packet() {
        let b = Blocks { big: false };
        let file = [
            b.section(),
            b.interface(1, &[]),
            b.packet(0, 1, b"abcd"),
            b.block(77, b"zz"),
            b.packet(0, 2, b"e"),
        ]
        .concat();
        for cut in 12..file.len() {
            let (frames, error) = read(&file[..cut]);
            assert!(
                frames.iter().all(|f| f.2 == b"abcd" || f.2 == b"e"),
                "cut at {cut}"
            );
            assert_eq!(
                error.is_none(),
                [28, 48, 84, 100].contains(&cut),
                "cut at {cut}: {error:?}"
            );
        }
    }
}
