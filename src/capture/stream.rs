//! One half of a TCP stream, put in order. Sans-io: segments in, pieces of the stream out.
//!
//! Offsets count the bytes of the half from 0 and never wrap; sequence numbers are compared modulo 2^32 around the next
//! byte that is due. Where segments overlap, the bytes that were captured first stand.

use std::collections::BTreeMap;

use super::summary::Payload;

/// How many bytes may wait behind a hole in one half. Larger than what a receiver usually lets be in flight; then the hole
/// is taken for a loss of the capture.
const EARLY_MAX: usize = 1 << 20;
/// What a waiting piece costs beside its bytes.
const PIECE_COST: usize = 96;
/// How long (in capture time) a hole may stay once the peer has acknowledged what lies beyond: the bytes did arrive, so
/// the capture either has them a little later, from another queue of the network card, or not at all.
const PATIENCE: u64 = 1_000_000_000;
/// A piece that nobody acknowledged and that lies farther off than any window is no part of the stream.
const WINDOW_MAX: u64 = 1 << 30;

/// Bytes of one half in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where they begin.
    pub offset: u64,
    /// When they were captured, in nanoseconds since the epoch.
    pub at: u64,
    /// What the sender had received by then: a sequence number of the other half.
    pub ack: Option<u32>,
    /// The bytes.
    pub data: Vec<u8>,
}

/// What became of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Accepted<'a> {
    /// These bytes are the next ones.
    Next {
        /// Where they begin.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// It waits behind a hole.
    Early,
    /// It held nothing new.
    Nothing,
}

/// One half of a stream.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// The sequence number of offset 0.
    base: Option<u32>,
    /// Whether `base` comes from a SYN, so that offset 0 is the beginning of the stream.
    pub from_start: bool,
    /// The next byte that is due.
    next: u64,
    /// The end of what is known to have been sent.
    top: u64,
    early: BTreeMap<u64, Piece>,
    early_cost: usize,
    fin: Option<u64>,
    acked: Option<u64>,
    /// Since when the peer has been known to have the bytes that are missing.
    overdue: Option<u64>,
}

impl Half {
    /// The beginning of the stream, by its SYN.
    pub(super) fn open(&mut self, syn: u32) {
        self.base = Some(syn.wrapping_add(1));
        self.from_start = true;
    }

    /// The sequence number of offset 0.
    pub(super) fn base(&self) -> Option<u32> {
        self.base
    }

    /// The next byte that is due.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The sequence number of an offset.
    pub(super) fn seq(&self, offset: u64) -> Option<u32> {
        self.base.map(|b| b.wrapping_add(offset as u32))
    }

    /// The offset of a sequence number: that one of all possible that is nearest to the next byte; negative before the start.
    pub(super) fn offset(&self, seq: u32) -> Option<i64> {
        let due = self.seq(self.next)?;
        Some(self.next as i64 + i64::from(seq.wrapping_sub(due) as i32))
    }

    /// Whether everything up to the FIN has been delivered.
    pub(super) fn has_ended(&self) -> bool {
        self.fin.is_some_and(|fin| self.next >= fin)
    }

    /// What waits behind holes, in bytes of memory.
    pub(super) fn buffered(&self) -> usize {
        self.early_cost
    }

    /// Whether anything waits behind a hole.
    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Whether the peer has acknowledged bytes of this half that were not seen yet.
    pub(super) fn owes(&self, ack: Option<u32>) -> bool {
        // The number after the last byte acknowledges the FIN, which is no byte.
        let Some(acked) = ack.and_then(|a| self.offset(a)) else {
            return false;
        };
        acked > self.next as i64 && !self.has_ended()
    }

    /// The peer says what it has received.
    pub(super) fn acknowledge(&mut self, ack: u32, at: u64) {
        if let Some(offset) = self.offset(ack).and_then(|o| u64::try_from(o).ok()) {
            self.acked = self.acked.max(Some(offset));
        }
        if self.is_behind() {
            self.overdue = self.overdue.or(Some(at));
        }
    }

    /// Whether the peer has bytes that are missing here.
    fn is_behind(&self) -> bool {
        self.acked.is_some_and(|a| a > self.next)
    }

    /// Bytes were delivered: what is still missing has been so since now.
    fn advance(&mut self, bytes: u64, at: u64) {
        self.next += bytes;
        self.overdue = self.is_behind().then_some(at);
    }

    /// Takes a segment. `sent` is its true length where the capture kept less.
    pub(super) fn accept<'a>(
        &mut self,
        seq: u32,
        data: &'a [u8],
        sent: usize,
        fin: bool,
        (at, ack): (u64, Option<u32>),
        payload: &mut Payload,
    ) -> Accepted<'a> {
        payload.total += data.len() as u64;
        if self.base.is_none() {
            self.base = Some(seq);
        }
        let begin = self.offset(seq).unwrap_or(0);
        let end = begin + sent as i64;
        if sent > 0 {
            // Without payload the number may be that after the FIN, which is no byte.
            self.top = self.top.max(u64::try_from(end).unwrap_or(0));
        }
        if fin && end >= 0 && self.fin.is_none() {
            self.fin = Some(end as u64);
        }
        let next = self.next as i64;
        let old = usize::try_from(next - begin).unwrap_or(0).min(data.len());
        payload.duplicate += old as u64;
        let fresh = data.get(old..).unwrap_or_default();
        if fresh.is_empty() {
            return Accepted::Nothing;
        }
        let begin = (begin + old as i64) as u64;
        if begin > self.next {
            self.keep(
                Piece {
                    offset: begin,
                    at,
                    ack,
                    data: fresh.to_vec(),
                },
                payload,
            );
            return Accepted::Early;
        }
        // What waits was captured earlier, so it stands where the two overlap.
        let limit = self.early.first_key_value().map_or(u64::MAX, |(o, _)| *o);
        let room = usize::try_from(limit - begin).unwrap_or(usize::MAX);
        if fresh.len() > room {
            let (now, later) = fresh.split_at(room);
            self.keep(
                Piece {
                    offset: begin + room as u64,
                    at,
                    ack,
                    data: later.to_vec(),
                },
                payload,
            );
            self.advance(now.len() as u64, at);
            return Accepted::Next {
                offset: begin,
                data: now,
            };
        }
        self.advance(fresh.len() as u64, at);
        Accepted::Next {
            offset: begin,
            data: fresh,
        }
    }

    /// Keeps the parts of a piece that nothing waiting covers.
    fn keep(&mut self, piece: Piece, payload: &mut Payload) {
        let Piece {
            mut offset,
            at,
            ack,
            data,
        } = piece;
        let mut rest = data.as_slice();
        let end = offset + rest.len() as u64;
        // The piece that begins before this one may reach into it.
        if let Some((before, waiting)) = self.early.range(..=offset).next_back() {
            let covered = (before + waiting.data.len() as u64)
                .saturating_sub(offset)
                .min(rest.len() as u64);
            payload.duplicate += covered;
            rest = rest.get(covered as usize..).unwrap_or_default();
            offset += covered;
        }
        let mut fresh = Vec::new();
        for (begin, waiting) in self.early.range(offset..end) {
            let (part, tail) = rest.split_at((begin - offset) as usize);
            if !part.is_empty() {
                fresh.push(Piece {
                    offset,
                    at,
                    ack,
                    data: part.to_vec(),
                });
            }
            let covered = waiting.data.len().min(tail.len());
            payload.duplicate += covered as u64;
            rest = tail.get(covered..).unwrap_or_default();
            offset = begin + covered as u64;
        }
        if !rest.is_empty() {
            fresh.push(Piece {
                offset,
                at,
                ack,
                data: rest.to_vec(),
            });
        }
        for piece in fresh {
            self.early_cost += piece.data.len() + PIECE_COST;
            self.early.insert(piece.offset, piece);
        }
    }

    /// The piece that is due, if it has been waiting.
    pub(super) fn take_due(&mut self) -> Option<Piece> {
        let first = self.early.first_entry()?;
        if *first.key() != self.next {
            return None;
        }
        let piece = first.remove();
        self.early_cost -= piece.data.len() + PIECE_COST;
        self.advance(piece.data.len() as u64, self.overdue.unwrap_or(piece.at));
        Some(piece)
    }

    /// Whether the hole before what waits must be given up.
    pub(super) fn is_hole_lost(&self, now: u64) -> bool {
        let is_overdue = self
            .overdue
            .is_some_and(|since| now.saturating_sub(since) >= PATIENCE);
        self.early_cost > EARLY_MAX || (is_overdue && self.has_early())
    }

    /// Gives up the hole before what waits. Gives where it begins and its length; `None` if nothing waits.
    pub(super) fn skip_hole(&mut self) -> Option<(u64, u64)> {
        let first = *self.early.first_key_value()?.0;
        let hole = (self.next, first - self.next);
        self.next = first;
        Some(hole)
    }

    /// Throws away what waits if it is too far off to be part of the stream; gives how many bytes that were.
    pub(super) fn drop_far(&mut self) -> u64 {
        let mut dropped = 0;
        while let Some(last) = self.early.last_entry() {
            if *last.key() <= self.next + WINDOW_MAX || self.acked.is_some_and(|a| a >= *last.key())
            {
                break;
            }
            let piece = last.remove();
            self.early_cost -= piece.data.len() + PIECE_COST;
            dropped += piece.data.len() as u64;
        }
        if dropped > 0 {
            self.top = self
                .early
                .last_key_value()
                .map_or(self.next, |(o, p)| o + p.data.len() as u64);
        }
        dropped
    }

    /// At the end: the bytes after the last piece that are known to have been sent.
    pub(super) fn skip_tail(&mut self) -> Option<(u64, u64)> {
        let end = self.top.max(self.fin.unwrap_or(0));
        let tail = (end > self.next && end - self.next <= WINDOW_MAX)
            .then(|| (self.next, end - self.next))?;
        self.next = end;
        Some(tail)
    }

    /// Follows a half whose bytes nobody wants: what is new counts as delivered, holes and all.
    pub(super) fn pass(
        &mut self,
        seq: u32,
        data: &[u8],
        sent: usize,
        fin: bool,
        payload: &mut Payload,
    ) -> u64 {
        payload.total += data.len() as u64;
        if self.base.is_none() {
            self.base = Some(seq);
        }
        let begin = self.offset(seq).unwrap_or(0);
        let end = begin + sent as i64;
        if fin && end >= 0 && self.fin.is_none() {
            self.fin = Some(end as u64);
        }
        let old = usize::try_from(self.next as i64 - begin)
            .unwrap_or(0)
            .min(data.len());
        payload.duplicate += old as u64;
        let end = u64::try_from(end).unwrap_or(0);
        self.next = self.next.max(end);
        self.top = self.top.max(end);
        (data.len() - old) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds segments (seq, bytes) and gives the delivered stream.
    fn run(base: u32, segments: &[(u32, &[u8])]) -> (Vec<u8>, Half, Payload) {
        let mut half = Half::default();
        let mut payload = Payload::default();
        half.open(base.wrapping_sub(1));
        let mut out = Vec::new();
        for (i, (seq, data)) in segments.iter().enumerate() {
            if let Accepted::Next { offset, data } = half.accept(
                *seq,
                data,
                data.len(),
                false,
                (i as u64, None),
                &mut payload,
            ) {
                assert_eq!(offset, out.len() as u64);
                out.extend(data);
            }
            while let Some(p) = half.take_due() {
                assert_eq!(p.offset, out.len() as u64);
                out.extend(p.data);
            }
        }
        (out, half, payload)
    }

    #[test]
    fn segments_come_out_in_order() {
        type Case<'a> = (&'a str, u32, Vec<(u32, &'a [u8])>, &'a [u8], u64);
        let wrap = u32::MAX - 2;
        let cases: [Case<'_>; 7] = [
            (
                "in order",
                100,
                vec![(100, b"abc"), (103, b"def")],
                b"abcdef",
                0,
            ),
            (
                "out of order",
                100,
                vec![(103, b"def"), (100, b"abc")],
                b"abcdef",
                0,
            ),
            (
                "twice",
                100,
                vec![(100, b"abc"), (100, b"abc"), (103, b"d")],
                b"abcd",
                3,
            ),
            (
                "keep-alive probe",
                100,
                vec![(100, b"abc"), (102, b"\0"), (103, b"d")],
                b"abcd",
                1,
            ),
            (
                "first seen stands, delivered",
                100,
                vec![(100, b"abc"), (101, b"XYZ")],
                b"abcZ",
                2,
            ),
            (
                "first seen stands, waiting",
                100,
                vec![(102, b"cd"), (100, b"ABCDEF")],
                b"ABcdEF",
                2,
            ),
            (
                "sequence numbers wrap",
                wrap,
                vec![(1, b"ef"), (wrap, b"abcd")],
                b"abcdef",
                0,
            ),
        ];
        for (name, base, segments, stream, duplicate) in cases {
            let (out, half, payload) = run(base, &segments);
            assert_eq!(out, stream, "{name}");
            assert_eq!(payload.duplicate, duplicate, "{name}");
            assert!(!half.has_early(), "{name}");
        }
    }

    #[test]
    fn a_hole_is_given_up_a_second_after_the_peer_has_what_is_beyond() {
        let (out, mut half, _) = run(100, &[(100, b"ab"), (105, b"fg")]);
        assert_eq!(out, b"ab");
        assert!(
            !half.is_hole_lost(u64::MAX),
            "the network may still bring it"
        );
        half.acknowledge(107, 10);
        assert!(!half.is_hole_lost(10 + PATIENCE - 1));
        assert!(half.is_hole_lost(10 + PATIENCE));
        assert_eq!(half.skip_hole(), Some((2, 3)));
        assert_eq!(half.take_due().unwrap().data, b"fg");
        assert_eq!(half.next(), 7);
    }

    #[test]
    fn a_hole_is_given_up_when_too_much_waits() {
        let big = vec![0; EARLY_MAX];
        let (_, half, _) = run(0, &[(5, &big)]);
        assert!(half.is_hole_lost(0));
    }

    #[test]
    fn bytes_that_were_sent_but_not_captured_are_missing() {
        let mut half = Half::default();
        let mut payload = Payload::default();
        half.open(0);
        half.accept(1, b"abc", 10, true, (0, None), &mut payload);
        assert!(!half.has_ended());
        assert_eq!(half.skip_tail(), Some((3, 7)));
        assert!(half.has_ended());
    }

    #[test]
    fn what_no_window_could_hold_is_dropped() {
        let (_, mut half, _) = run(100, &[(100, b"ab"), (2_000_000_000, b"stray")]);
        assert_eq!(half.drop_far(), 5);
        assert_eq!(half.skip_tail(), None);
    }

    proptest! {
        #[test]
        fn any_cut_order_and_duplication_gives_the_same_bytes(
            stream in prop::collection::vec(any::<u8>(), 1..200),
            base in any::<u32>(),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..40), 0..40),
            seed in any::<u64>(),
        ) {
            // Every byte at least once, plus any number of extra ranges, in any order.
            let mut ranges: Vec<(usize, usize)> = (0..stream.len()).step_by(7).map(|b| (b, (b + 7).min(stream.len()))).collect();
            ranges.extend(cuts.iter().map(|(i, n)| { let b = i.index(stream.len()); (b, (b + n).min(stream.len())) }));
            let mut state = seed;
            for i in (1..ranges.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ranges.swap(i, (state >> 33) as usize % (i + 1));
            }
            let segments: Vec<(u32, &[u8])> =
                ranges.iter().map(|&(b, e)| (base.wrapping_add(b as u32), &stream[b..e])).collect();
            let total: u64 = segments.iter().map(|s| s.1.len() as u64).sum();
            let (out, half, payload) = run(base, &segments);
            prop_assert_eq!(&out, &stream);
            prop_assert!(!half.has_early());
            prop_assert_eq!(payload.total, total);
            prop_assert_eq!(payload.duplicate, total - stream.len() as u64);
        }
    }
}
