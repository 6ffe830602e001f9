//! Sorts exchanges by their first byte in bounded memory: sorted runs in a temporary file, merged at the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::Error;
use super::codec;
use super::exchange::Exchange;

/// How many bytes of exchanges are held before they become a run in the file.
const HELD_MAX: usize = 12 << 20;
/// How many runs are merged at once; more are merged into one first.
const RUNS_MAX: usize = 64;
/// How much of a run is read at once.
const READ: usize = 64 * 1024;

/// The order of exchanges: by first byte, then stream, then order within it.
type Key = (u64, u64, u64);

/// Takes exchanges in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    held_max: usize,
    bytes: Vec<u8>,
    index: Vec<(Key, usize, usize)>,
    file: Option<File>,
    length: u64,
    runs: Vec<Run>,
    count: u64,
}

/// A part of the file in which exchanges are in order.
#[derive(Debug)]
struct Run {
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    start: usize,
}

/// Gives exchanges in order.
#[derive(Debug)]
pub(super) struct Sorted {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory {
        bytes: Vec<u8>,
        index: std::vec::IntoIter<(Key, usize, usize)>,
    },
    File {
        file: File,
        runs: Vec<Run>,
        heads: BinaryHeap<Reverse<(Key, usize)>>,
    },
}

impl Default for Sorter {
    fn default() -> Self {
        Self::new(HELD_MAX)
    }
}

impl Sorter {
    /// A sorter that holds about so many bytes.
    pub(super) fn new(held_max: usize) -> Self {
        Self {
            held_max,
            bytes: Vec::new(),
            index: Vec::new(),
            file: None,
            length: 0,
            runs: Vec::new(),
            count: 0,
        }
    }

    /// Takes an exchange.
    pub(super) fn push(&mut self, exchange: &Exchange) -> Result<(), Error> {
        let begin = self.bytes.len();
        codec::write(&mut self.bytes, exchange);
        self.index.push((
            (exchange.at, exchange.stream, self.count),
            begin,
            self.bytes.len(),
        ));
        self.count += 1;
        if self.bytes.len() + self.index.len() * size_of::<(Key, usize, usize)>() > self.held_max {
            self.spill().map_err(|source| Error::Sort { source })?;
        }
        Ok(())
    }

    /// Gives all exchanges in order.
    pub(super) fn finish(mut self) -> Result<Sorted, Error> {
        if self.runs.is_empty() {
            self.index.sort_unstable();
            return Ok(Sorted {
                source: Source::Memory {
                    bytes: self.bytes,
                    index: self.index.into_iter(),
                },
            });
        }
        self.finish_file().map_err(|source| Error::Sort { source })
    }

    fn finish_file(mut self) -> io::Result<Sorted> {
        self.spill()?;
        let Some(file) = self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.bytes = Vec::new();
        self.index = Vec::new();
        let heads = heads(&file, &mut self.runs)?;
        Ok(Sorted {
            source: Source::File {
                file,
                runs: self.runs,
                heads,
            },
        })
    }

    /// Writes what is held as a run.
    fn spill(&mut self) -> io::Result<()> {
        self.index.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let begin = self.length;
        let mut out = io::BufWriter::with_capacity(READ, &*file);
        for (key, from, to) in &self.index {
            let record = self.bytes.get(*from..*to).unwrap_or_default();
            self.length += write_record(&mut out, *key, record)?;
        }
        out.flush()?;
        drop(out);
        self.bytes.clear();
        self.index.clear();
        self.runs.push(Run::new(begin, self.length));
        if self.runs.len() >= RUNS_MAX {
            self.merge()
        } else {
            Ok(())
        }
    }

    /// Makes one run of all, in a new file, so that space is not used twice for long.
    fn merge(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let merged = tempfile::tempfile()?;
        let mut out = io::BufWriter::with_capacity(READ, &merged);
        let mut runs = std::mem::take(&mut self.runs);
        let mut heads = heads(&file, &mut runs)?;
        let mut length = 0;
        while let Some((key, record)) = take_first(&file, &mut runs, &mut heads)? {
            length += write_record(&mut out, key, &record)?;
        }
        out.flush()?;
        drop(out);
        self.file = Some(merged);
        self.length = length;
        self.runs.push(Run::new(0, length));
        Ok(())
    }
}

/// Writes a record with its key before it; gives how many bytes that took.
fn write_record(out: &mut impl Write, key: Key, record: &[u8]) -> io::Result<u64> {
    out.write_all(&key.0.to_le_bytes())?;
    out.write_all(&key.1.to_le_bytes())?;
    out.write_all(&key.2.to_le_bytes())?;
    out.write_all(&(record.len() as u64).to_le_bytes())?;
    out.write_all(record)?;
    Ok(HEADER as u64 + record.len() as u64)
}

/// The key and the length before each record.
const HEADER: usize = 32;

fn heads(file: &File, runs: &mut [Run]) -> io::Result<BinaryHeap<Reverse<(Key, usize)>>> {
    let mut heads = BinaryHeap::new();
    for (i, run) in runs.iter_mut().enumerate() {
        if let Some((key, _)) = run.peek(file)? {
            heads.push(Reverse((key, i)));
        }
    }
    Ok(heads)
}

fn take_first(
    file: &File,
    runs: &mut [Run],
    heads: &mut BinaryHeap<Reverse<(Key, usize)>>,
) -> io::Result<Option<(Key, Vec<u8>)>> {
    let Some(Reverse((key, i))) = heads.pop() else {
        return Ok(None);
    };
    let Some(run) = runs.get_mut(i) else {
        return Ok(None);
    };
    let record = run.take(file)?;
    if let Some((key, _)) = run.peek(file)? {
        heads.push(Reverse((key, i)));
    }
    Ok(Some((key, record)))
}

impl Run {
    fn new(begin: u64, end: u64) -> Self {
        Self {
            next: begin,
            end,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Makes `n` bytes available if the run has them.
    fn fill(&mut self, file: &File, n: usize) -> io::Result<&[u8]> {
        let have = self.buffer.len() - self.start;
        if have < n {
            self.buffer.drain(..self.start);
            self.start = 0;
            let want = (n - have)
                .max(READ)
                .min(usize::try_from(self.end - self.next).unwrap_or(usize::MAX));
            self.buffer.resize(have + want, 0);
            file.read_exact_at(self.buffer.get_mut(have..).unwrap_or_default(), self.next)?;
            self.next += want as u64;
        }
        Ok(self
            .buffer
            .get(self.start..self.start + n)
            .unwrap_or_default())
    }

    /// The key of the next record and its length.
    fn peek(&mut self, file: &File) -> io::Result<Option<(Key, usize)>> {
        if self.start == self.buffer.len() && self.next == self.end {
            return Ok(None);
        }
        let head = self.fill(file, HEADER)?;
        let number = |at: usize| {
            head.get(at..at + 8)
                .and_then(|b| b.try_into().ok())
                .map(u64::from_le_bytes)
                .unwrap_or_default()
        };
        Ok(Some((
            (number(0), number(8), number(16)),
            number(24) as usize,
        )))
    }

    fn take(&mut self, file: &File) -> io::Result<Vec<u8>> {
        let Some((_, length)) = self.peek(file)? else {
            return Ok(Vec::new());
        };
        let record = self
            .fill(file, HEADER + length)?
            .get(HEADER..)
            .unwrap_or_default()
            .to_vec();
        self.start += HEADER + length;
        Ok(record)
    }
}

impl Sorted {
    /// The next exchange in order.
    pub(super) fn next(&mut self) -> Result<Option<Exchange>, Error> {
        let record = match &mut self.source {
            Source::Memory { bytes, index } => {
                let Some((_, from, to)) = index.next() else {
                    return Ok(None);
                };
                codec::read(bytes.get(from..to).unwrap_or_default())
            }
            Source::File { file, runs, heads } => {
                let first =
                    take_first(file, runs, heads).map_err(|source| Error::Sort { source })?;
                let Some((_, record)) = first else {
                    return Ok(None);
                };
                codec::read(&record)
            }
        };
        record.map(Some).ok_or(Error::Sort {
            source: io::ErrorKind::InvalidData.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::codec::tests::sample;

    fn sorted(mut sorter: Sorter, times: &[u64]) -> Vec<(u64, u64)> {
        for (stream, at) in times.iter().enumerate() {
            sorter
                .push(&Exchange {
                    at: *at,
                    stream: stream as u64,
                    ..sample()
                })
                .unwrap();
        }
        let mut sorted = sorter.finish().unwrap();
        let mut out = Vec::new();
        while let Some(e) = sorted.next().unwrap() {
            out.push((e.at, e.stream));
        }
        out
    }

    #[test]
    fn order_is_the_same_in_memory_in_runs_and_in_merged_runs() {
        let mut state = 7_u64;
        let times: Vec<u64> = (0..2000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state >> 56
            })
            .collect();
        let mut want: Vec<(u64, u64)> = times
            .iter()
            .enumerate()
            .map(|(i, t)| (*t, i as u64))
            .collect();
        want.sort_unstable();
        // All in memory; a few runs; about 1,000 runs, merged many times.
        for held_max in [HELD_MAX, 100_000, 400] {
            assert_eq!(
                sorted(Sorter::new(held_max), &times),
                want,
                "held {held_max}"
            );
        }
    }

    #[test]
    fn nothing_sorts_to_nothing() {
        assert_eq!(sorted(Sorter::default(), &[]), []);
    }
}
