//! The file formats that are read, and how each is recognised.

mod pcap;
mod pcapng;

use std::path::Path;

use super::Error;
use super::input::Input;

/// A file format.
#[derive(Debug)]
pub struct Format {
    /// Its name.
    pub name: &'static str,
    /// What its files are usually called, without the dot.
    pub extensions: &'static [&'static str],
    /// Whether a file that begins with these (twelve, if it has so many) bytes is one.
    pub sniff: fn(&[u8]) -> bool,
    /// Reads one.
    pub(super) open: fn(Input) -> Result<Box<dyn Frames>, Error>,
}

/// Every format. Recognised by content, in this order; never by extension.
pub const FORMATS: &[Format] = &[pcap::FORMAT, pcapng::FORMAT];

/// How many bytes a format may look at to know its files.
const MAGIC: usize = 12;

/// The largest packet that is accepted. A jumbogram may have 4 GiB by its length field, but nothing records such; a larger
/// length is damage, and must not become an allocation.
const PACKET_MAX: u32 = 4 << 20;

/// One captured frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Capture time, in nanoseconds since the epoch.
    pub at: u64,
    /// The link type, a number from the tcpdump registry.
    pub link: u32,
    /// The bytes that were kept.
    pub data: &'a [u8],
}

/// A source of frames in file order.
pub(super) trait Frames: Send {
    /// The next frame; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Frame<'_>>, Error>;
}

/// Opens a capture of any format.
pub(super) fn open(path: &Path) -> Result<Box<dyn Frames>, Error> {
    from(Input::open(path)?)
}

fn from(mut input: Input) -> Result<Box<dyn Frames>, Error> {
    let found = input.fill(MAGIC)?;
    if found == 0 {
        return Err(Error::Empty {
            path: input.path().into(),
        });
    }
    let begins = input.peek(MAGIC);
    match FORMATS.iter().find(|f| (f.sniff)(begins)) {
        Some(format) => (format.open)(input),
        None => Err(Error::Unknown {
            path: input.path().into(),
            begins: begins.to_vec(),
        }),
    }
}

/// The byte order of a file, or of a section of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endian {
    Little,
    Big,
}

impl Endian {
    /// The number at `at`; 0 beyond the end, which callers rule out by asking for enough bytes.
    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let raw = bytes
            .get(at..at + 2)
            .and_then(|b| b.try_into().ok())
            .unwrap_or_default();
        match self {
            Self::Little => u16::from_le_bytes(raw),
            Self::Big => u16::from_be_bytes(raw),
        }
    }

    /// As [`Endian::u16`].
    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let raw = bytes
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .unwrap_or_default();
        match self {
            Self::Little => u32::from_le_bytes(raw),
            Self::Big => u32::from_be_bytes(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    type Seen = (u64, u32, Vec<u8>);

    /// Reads a capture from memory: (time, link, data) of each frame, and the error that ended it, if any.
    pub(super) fn read(bytes: &[u8]) -> (Vec<Seen>, Option<Error>) {
        let mut seen = Vec::new();
        let mut frames = match from(Input::new(
            "test".as_ref(),
            Box::new(Cursor::new(bytes.to_vec())),
        )) {
            Ok(frames) => frames,
            Err(e) => return (seen, Some(e)),
        };
        loop {
            match frames.next() {
                Ok(Some(f)) => seen.push((f.at, f.link, f.data.to_vec())),
                Ok(None) => return (seen, None),
                Err(e) => return (seen, Some(e)),
            }
        }
    }

    #[test]
    fn what_is_no_capture_is_named_with_its_first_bytes_and_what_is_accepted() {
        let (_, e) = read(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(
            e.unwrap().to_string(),
            "`test` is no capture: it begins with 47 45 54 20 2f 20 48 54 54 50 2f 31 (accepted: pcap, pcapng, each also gzipped)"
        );
        let (_, e) = read(b"");
        assert_eq!(
            e.unwrap().to_string(),
            "`test` is empty, a capture has at least a header (accepted: pcap, pcapng, each also gzipped)"
        );
        let (_, e) = read(b"\xd4\xc3");
        assert!(
            e.unwrap()
                .to_string()
                .starts_with("`test` is no capture: it begins with d4 c3 ")
        );
    }
}
