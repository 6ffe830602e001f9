//! The bytes of a file, buffered, counted, and gunzipped if they are gzipped.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::Error;

/// The first two bytes of a gzip member (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// One read from the system: large, since a capture is read once from front to back.
const BUFFER: usize = 256 * 1024;

/// A file read from front to back through one buffer.
pub(super) struct Input {
    path: PathBuf,
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where `start` is in the (uncompressed) file.
    offset: u64,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("path", &self.path)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// Opens a file; a gzipped one is read uncompressed.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Open {
            path: path.into(),
            source,
        })?;
        let mut input = Self::new(path, Box::new(file));
        if input.fill(2)? >= 2 && input.peek(2) == GZIP {
            let head = io::Cursor::new(input.peek(input.end - input.start).to_vec());
            let rest = std::mem::replace(&mut input.source, Box::new(io::empty()));
            input = Self::new(path, Box::new(MultiGzDecoder::new(head.chain(rest))));
        }
        Ok(input)
    }

    /// Reads from anything; `path` is for messages.
    pub(super) fn new(path: &Path, source: Box<dyn Read + Send>) -> Self {
        Self {
            path: path.into(),
            source,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            offset: 0,
        }
    }

    /// The file, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next byte is in the uncompressed file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Makes at least `wanted` bytes available if the file has them, and says how many are.
    pub(super) fn fill(&mut self, wanted: usize) -> Result<usize, Error> {
        if self.end - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
        }
        while self.end - self.start < wanted {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.source.read(room) {
                Ok(0) => break,
                Ok(n) => self.end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let offset = self.offset + (self.end - self.start) as u64;
                    return Err(Error::Read {
                        path: self.path.clone(),
                        offset,
                        source,
                    });
                }
            }
        }
        Ok(self.end - self.start)
    }

    /// The next bytes, as many of `n` as are available without reading.
    pub(super) fn peek(&self, n: usize) -> &[u8] {
        self.buffer
            .get(self.start..(self.start + n).min(self.end))
            .unwrap_or_default()
    }

    /// The next `n` bytes, or `None` at the very end of the file; an error if the file ends among them.
    pub(super) fn take(&mut self, n: usize, what: &'static str) -> Result<Option<&[u8]>, Error> {
        let found = self.fill(n)?;
        if found == 0 && n > 0 {
            return Ok(None);
        }
        if found < n {
            return Err(self.truncated(self.offset, what, n as u64, found as u64));
        }
        let from = self.start;
        self.start += n;
        self.offset += n as u64;
        Ok(self.buffer.get(from..from + n))
    }

    /// Like [`Input::take`], where the end of the file is an error too.
    pub(super) fn need(&mut self, n: usize, what: &'static str) -> Result<&[u8], Error> {
        let offset = self.offset;
        let path = self.path.clone();
        match self.take(n, what)? {
            Some(bytes) => Ok(bytes),
            None => Err(Error::Truncated {
                path,
                offset,
                what,
                wanted: n as u64,
                found: 0,
            }),
        }
    }

    /// Passes over `n` bytes without holding them.
    pub(super) fn skip(&mut self, n: u64, what: &'static str) -> Result<(), Error> {
        let begin = self.offset;
        let mut left = n;
        while left > 0 {
            let found = self.fill(1)?;
            if found == 0 {
                return Err(self.truncated(begin, what, n, n - left));
            }
            let step = left.min(found as u64);
            self.start += step as usize;
            self.offset += step;
            left -= step;
        }
        Ok(())
    }

    /// The error for a thing at `offset` that is not whole.
    pub(super) fn truncated(
        &self,
        offset: u64,
        what: &'static str,
        wanted: u64,
        found: u64,
    ) -> Error {
        Error::Truncated {
            path: self.path.clone(),
            offset,
            what,
            wanted,
            found,
        }
    }

    /// The error for a thing at `offset` that cannot be.
    pub(super) fn malformed(&self, offset: u64, what: String) -> Error {
        Error::Malformed {
            path: self.path.clone(),
            offset,
            what,
        }
    }
}
