//! The classic format of libpcap: a header of 24 bytes, then records, in either byte order, times in µs or ns.

use super::{Endian, Format, Frame, Frames, PACKET_MAX};
use crate::capture::Error;
use crate::capture::input::Input;

pub(super) const FORMAT: Format = Format {
    name: "pcap",
    extensions: &["pcap", "cap", "dmp"],
    sniff: |begins| magic(begins).is_some(),
    open,
};

/// The length of the file header.
const HEADER: usize = 24;
/// The length of a record's header.
const RECORD: usize = 16;

struct Pcap {
    input: Input,
    endian: Endian,
    /// Nanoseconds in a unit of the second time field.
    unit: u64,
    link: u32,
}

/// Byte order and time unit by the first four bytes.
fn magic(begins: &[u8]) -> Option<(Endian, u64)> {
    match begins.get(..4)? {
        [0xd4, 0xc3, 0xb2, 0xa1] => Some((Endian::Little, 1_000)),
        [0xa1, 0xb2, 0xc3, 0xd4] => Some((Endian::Big, 1_000)),
        [0x4d, 0x3c, 0xb2, 0xa1] => Some((Endian::Little, 1)),
        [0xa1, 0xb2, 0x3c, 0x4d] => Some((Endian::Big, 1)),
        _ => None,
    }
}

fn open(mut input: Input) -> Result<Box<dyn Frames>, Error> {
    let header = input.need(HEADER, "pcap file header")?;
    // The sniffer has seen the magic number.
    let (endian, unit) = magic(header).unwrap_or((Endian::Little, 1_000));
    let major = endian.u16(header, 4);
    // The upper bits tell the length of a frame check sequence (pcap draft §4).
    let link = endian.u32(header, 20) & 0x0fff_ffff;
    if major != 2 {
        return Err(input.malformed(4, format!("pcap version {major}, accepted is 2")));
    }
    Ok(Box::new(Pcap {
        input,
        endian,
        unit,
        link,
    }))
}

impl Frames for Pcap {
    fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let offset = self.input.offset();
        let Some(record) = self.input.take(RECORD, "packet header")? else {
            return Ok(None);
        };
        let seconds = u64::from(self.endian.u32(record, 0));
        let fraction = u64::from(self.endian.u32(record, 4));
        let length = self.endian.u32(record, 8);
        if length > PACKET_MAX {
            return Err(self.input.malformed(
                offset,
                format!("a packet of {length} bytes, accepted are up to {PACKET_MAX}"),
            ));
        }
        let at = seconds * 1_000_000_000 + fraction * self.unit;
        let link = self.link;
        let data = self.input.need(length as usize, "packet")?;
        Ok(Some(Frame { at, link, data }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;

    fn file(magic: [u8; 4], big: bool, link: u32, records: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let n = |v: u32| {
            if big {
                v.to_be_bytes()
            } else {
                v.to_le_bytes()
            }
        };
        let h = |v: u16| {
            if big {
                v.to_be_bytes()
            } else {
                v.to_le_bytes()
            }
        };
        let mut out = magic.to_vec();
        out.extend([h(2), h(4)].concat());
        out.extend([n(0), n(0), n(65535), n(link)].concat());
        for (s, f, data) in records {
            out.extend([n(*s), n(*f), n(data.len() as u32), n(data.len() as u32)].concat());
            out.extend(*data);
        }
        out
    }

    #[test]
    fn both_byte_orders_and_both_units_are_read() {
        let cases = [
            ("little, µs", [0xd4, 0xc3, 0xb2, 0xa1], false, 1_000),
            ("big, µs", [0xa1, 0xb2, 0xc3, 0xd4], true, 1_000),
            ("little, ns", [0x4d, 0x3c, 0xb2, 0xa1], false, 1),
            ("big, ns", [0xa1, 0xb2, 0x3c, 0x4d], true, 1),
        ];
        for (name, magic, big, unit) in cases {
            let (frames, error) = read(&file(magic, big, 113, &[(7, 5, b"abc"), (8, 0, b"")]));
            assert!(error.is_none(), "{name}: {error:?}");
            assert_eq!(
                frames,
                [
                    (7_000_000_000 + 5 * unit, 113, b"abc".to_vec()),
                    (8_000_000_000, 113, vec![])
                ],
                "{name}"
            );
        }
    }

    #[test]
    fn a_file_cut_anywhere_gives_the_whole_records_then_an_error() {
        let whole = file(
            [0xd4, 0xc3, 0xb2, 0xa1],
            false,
            1,
            &[(1, 0, b"abcd"), (2, 0, b"efgh")],
        );
        for cut in 4..whole.len() {
            let (frames, error) = read(&whole[..cut]);
            assert_eq!(frames.len(), cut.saturating_sub(24) / 20, "cut at {cut}");
            // A cut at a record's end cannot be told from the end.
            assert_eq!(
                error.is_none(),
                cut == 24 || cut == 44,
                "cut at {cut}: {error:?}"
            );
        }
        let (_, error) = read(&whole[..50]);
        assert_eq!(
            error.unwrap().to_string(),
            "`test` is cut short: the packet header at offset 44 needs 16 bytes, 6 are there"
        );
        let (_, error) = read(&whole[..20]);
        assert_eq!(
            error.unwrap().to_string(),
            "`test` is cut short: the pcap file header at offset 0 needs 24 bytes, 20 are there"
        );
    }

    #[test]
    fn an_impossible_length_is_damage() {
        let mut bytes = file([0xd4, 0xc3, 0xb2, 0xa1], false, 1, &[(1, 0, b"abcd")]);
        bytes[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        let (frames, error) = read(&bytes);
        assert!(frames.is_empty());
        assert_eq!(
            error.unwrap().to_string(),
            "`test` is damaged at offset 24: a packet of 4294967295 bytes, accepted are up to 4194304"
        );
    }
}
