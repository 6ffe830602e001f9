//! Captures: packets or records in, exchanges in time order out, and a reason for everything that was skipped.
//!
//! ```no_run
//! use meshbed::capture::{self, Keep, Options};
//! # fn main() -> Result<(), capture::Error> {
//! let options = Options { keep: Keep::Bodies { max_bytes: 1 << 20 } };
//! let mut exchanges = capture::open("captures/shop.pcap".as_ref(), &options)?;
//! for exchange in &mut exchanges {
//!     let exchange = exchange?; // in order of `at`
//!     println!("{} {:?}", exchange.request.method, exchange.request.target);
//! }
//! let summary = exchanges.summary(); // complete after the last `next`: what was skipped and why
//! # Ok(()) }
//! ```
//!
//! [`open`] looks at the head of the file and fails at once if that is no capture. The first call of `next` reads the file
//! to its end, sorting exchanges by their first byte through a temporary file, so that memory does not grow with the file. A
//! file that is cut short gives the exchanges that were found, then one error.

mod codec;
mod error;
pub mod exchange;
pub mod follow;
mod format;
mod http1;
mod input;
mod link;
#[cfg(feature = "live")]
pub mod live;
mod pairing;
mod sort;
mod stream;
pub mod summary;
mod tracker;
pub mod write;

use std::path::Path;

pub use error::Error;
pub use exchange::{Body, Exchange, Header, Protocol, Request, Response};
pub use format::{FORMATS, Format};
pub use summary::{Direction, Lost, Payload, Summary};

use format::Frames;
use pairing::Sink;
use sort::{Sorted, Sorter};
use tracker::Tracker;

/// How much of each message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Method, target, authority, status, times and lengths.
    #[default]
    Lines,
    /// And headers and trailers.
    Headers,
    /// And of each body the first `max_bytes`.
    Bodies {
        /// What a body may take. An open exchange holds this much in memory.
        max_bytes: usize,
    },
}

/// How a capture is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How much of each message is kept.
    pub keep: Keep,
}

/// Opens a capture of any of the [`FORMATS`].
///
/// Fails if the file cannot be opened, is empty, or is no capture.
pub fn open(path: &Path, options: &Options) -> Result<Reader, Error> {
    let frames = format::open(path)?;
    Ok(Reader {
        state: State::Unread {
            frames,
            keep: options.keep,
        },
        summary: Summary::default(),
    })
}

/// The exchanges of a capture in order of their first byte.
#[derive(Debug)]
pub struct Reader {
    state: State,
    summary: Summary,
}

enum State {
    Unread {
        frames: Box<dyn Frames>,
        keep: Keep,
    },
    Sorted {
        sorted: Sorted,
        failure: Option<Error>,
    },
    Done,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unread { .. } => "Unread",
            Self::Sorted { .. } => "Sorted",
            Self::Done => "Done",
        })
    }
}

impl Reader {
    /// What the capture held. Complete once `next` was called.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn read(
        &mut self,
        mut frames: Box<dyn Frames>,
        keep: Keep,
    ) -> Result<(Sorted, Option<Error>), Error> {
        let mut sink = Sink {
            keep,
            ..Sink::default()
        };
        let mut tracker = Tracker::default();
        let mut sorter = Sorter::default();
        let mut drain =
            |sink: &mut Sink| sink.exchanges.drain(..).try_for_each(|e| sorter.push(&e));
        let failure = loop {
            let frame = match frames.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break None,
                Err(e) => break Some(e),
            };
            sink.summary.packets += 1;
            match link::segment(frame.link, frame.data) {
                Ok(segment) => tracker.segment(&segment, frame.at, &mut sink),
                Err(skip) => sink.skip(skip.name()),
            }
            if !sink.exchanges.is_empty() {
                drain(&mut sink)?;
            }
        };
        tracker.finish(&mut sink, drain)?;
        self.summary = sink.summary;
        self.summary.lost.sort_unstable();
        Ok((sorter.finish()?, failure))
    }
}

impl Iterator for Reader {
    type Item = Result<Exchange, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.state, State::Unread { .. })
            && let State::Unread { frames, keep } = std::mem::replace(&mut self.state, State::Done)
        {
            match self.read(frames, keep) {
                Ok((sorted, failure)) => self.state = State::Sorted { sorted, failure },
                Err(e) => return Some(Err(e)),
            }
        }
        let State::Sorted { sorted, failure } = &mut self.state else {
            return None;
        };
        match sorted.next() {
            Ok(Some(exchange)) => Some(Ok(exchange)),
            Ok(None) => {
                let failure = failure.take();
                self.state = State::Done;
                failure.map(Err)
            }
            Err(e) => {
                self.state = State::Done;
                Some(Err(e))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::link::Segment;
    use super::write::{Dialogue, Packet};
    use super::*;

    const START: u64 = 1_700_000_000_000_000_000;
    const MS: u64 = 1_000_000;

    fn dialogue() -> Dialogue {
        Dialogue::open(
            "10.0.0.1:40000".parse().unwrap(),
            "10.0.0.2:8080".parse().unwrap(),
            START,
        )
    }

    /// Reads packets as they would come out of a file.
    fn read(packets: &[Packet]) -> (Vec<Exchange>, Summary) {
        let mut sink = Sink {
            keep: Keep::Bodies { max_bytes: 1 << 20 },
            ..Sink::default()
        };
        let mut tracker = Tracker::default();
        let shape = dialogue();
        for packet in packets {
            sink.summary.packets += 1;
            let frame = shape.frame(packet);
            let segment: Segment<'_> = link::segment(write::ETHERNET, &frame).unwrap();
            tracker.segment(&segment, packet.at, &mut sink);
        }
        tracker.finish(&mut sink, |_| Ok(())).unwrap();
        let p = sink.summary.payload;
        assert_eq!(
            p.used + p.duplicate + p.unused,
            p.total,
            "every byte is accounted for: {p:?}"
        );
        let mut found = sink.exchanges;
        found.sort_by_key(|e| e.at);
        (found, sink.summary)
    }

    /// Method and target, status, and whether all was seen.
    fn lines(found: &[Exchange]) -> Vec<String> {
        found
            .iter()
            .map(|e| {
                let status = e
                    .response
                    .as_ref()
                    .map_or("-".to_string(), |r| r.status.to_string());
                let target = String::from_utf8_lossy(&e.request.target);
                let mark = if e.is_complete() { "" } else { " cut" };
                format!("{} {target} {status}{mark}", e.request.method)
            })
            .collect()
    }

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn get(target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
    }

    #[test]
    fn answers_find_their_requests() {
        type Play = fn(&mut Dialogue);
        let cases: [(&str, Play, &[&str]); 12] = [
            (
                "one",
                |d| {
                    d.ask(START, &get("/a")).answer(START, OK);
                },
                &["GET /a 200"],
            ),
            (
                "pipelined",
                |d| {
                    d.ask(START, &[get("/a"), get("/b"), get("/c")].concat());
                    d.answer(
                        START,
                        &[OK, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", OK].concat(),
                    );
                },
                &["GET /a 200", "GET /b 404", "GET /c 200"],
            ),
            (
                "HEAD has no body",
                |d| {
                    d.ask(START, b"HEAD /h HTTP/1.1\r\n\r\n")
                        .answer(START, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
                    d.ask(START + MS, &get("/a")).answer(START + MS, OK);
                },
                &["HEAD /h 200", "GET /a 200"],
            ),
            (
                "204 and 304 have no body",
                |d| {
                    d.ask(START, &get("/a"))
                        .answer(START, b"HTTP/1.1 204 None\r\nContent-Length: 9\r\n\r\n");
                    d.ask(START + MS, &get("/b")).answer(
                        START + MS,
                        b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n",
                    );
                    d.ask(START + 2 * MS, &get("/c")).answer(START + 2 * MS, OK);
                },
                &["GET /a 204", "GET /b 304", "GET /c 200"],
            ),
            (
                "interim answers",
                |d| {
                    d.ask(
                        START,
                        b"PUT /a HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
                    );
                    d.answer(
                        START,
                        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n",
                    );
                    d.ask(START, b"xy").answer(START, OK);
                },
                &["PUT /a 200"],
            ),
            (
                "answered before the body is sent",
                |d| {
                    d.ask(START, b"PUT /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nxy");
                    d.answer(START, b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n");
                    d.ask(START, b"zw")
                        .ask(START + MS, &get("/b"))
                        .answer(START + MS, OK);
                },
                &["PUT /a 413", "GET /b 200"],
            ),
            (
                "body until close",
                |d| {
                    d.ask(START, &get("/a"))
                        .answer(START, b"HTTP/1.0 200 OK\r\n\r\nall of it")
                        .close(START);
                },
                &["GET /a 200"],
            ),
            (
                "no close, no end",
                |d| {
                    d.ask(START, &get("/a"))
                        .answer(START, b"HTTP/1.0 200 OK\r\n\r\nall of");
                },
                &["GET /a - cut"],
            ),
            (
                "no answer",
                |d| {
                    d.ask(START, &get("/a")).close(START);
                },
                &["GET /a - cut"],
            ),
            (
                "upgrade",
                |d| {
                    d.ask(START, b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
                    d.answer(
                        START,
                        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x81\x02hi",
                    );
                    d.ask(START, b"GET /not HTTP/1.1\r\n\r\n");
                },
                &["GET /ws 101"],
            ),
            (
                "an upgrade that is not granted",
                |d| {
                    d.ask(START, b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
                        .answer(START, OK);
                    d.ask(START + MS, &get("/b")).answer(START + MS, OK);
                },
                &["GET /ws 200", "GET /b 200"],
            ),
            (
                "what goes through a tunnel",
                |d| {
                    d.ask(START, b"CONNECT x:80 HTTP/1.1\r\n\r\n")
                        .answer(START, b"HTTP/1.1 200 Yes\r\n\r\n");
                    d.ask(START + MS, &get("/in")).answer(START + MS, OK);
                },
                &["CONNECT x:80 200", "GET /in 200"],
            ),
        ];
        for (name, play, want) in cases {
            let mut d = dialogue();
            play(&mut d);
            let (found, summary) = read(&d.packets);
            assert_eq!(lines(&found), want, "{name}: {:?}", summary.lost);
        }
    }

    #[test]
    fn messages_are_kept_as_they_were() {
        let mut d = dialogue();
        d.ask(START + MS, b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX-a: 1\r\n\r\n3\r\nabc\r\n");
        d.ask(START + 2 * MS, b"2\r\nde\r\n0\r\nSum: 5\r\n\r\n");
        d.answer(START + 5 * MS, b"HTTP/1.1 100 Continue\r\n\r\n");
        d.answer(
            START + 6 * MS,
            b"HTTP/1.1 201 Made\r\nContent-Length: 4\r\n\r\nxy",
        )
        .answer(START + 9 * MS, b"zw");
        let (found, _) = read(&d.packets);
        let e = &found[0];
        assert_eq!((e.at, e.request.last_byte), (START + MS, START + 2 * MS));
        assert_eq!(
            (e.client.to_string(), e.server.to_string()),
            ("10.0.0.1:40000".into(), "10.0.0.2:8080".into())
        );
        assert_eq!(
            (&e.request.body.data[..], e.request.body.bytes),
            (&b"abcde"[..], 5)
        );
        assert_eq!(e.request.headers.len(), 3);
        assert_eq!(&e.request.trailers[0].value[..], b"5");
        assert_eq!(e.interim, [100]);
        let r = e.response.as_ref().unwrap();
        assert_eq!(
            (r.status, r.first_byte, r.last_byte),
            (201, START + 6 * MS, START + 9 * MS)
        );
        assert_eq!(&r.body.data[..], b"xyzw");
    }

    /// A few exchanges of every kind, with the server's sequence numbers about to wrap.
    fn mixed() -> Dialogue {
        let mut d = dialogue();
        d.ask(START, &get("/1")).answer(START, OK);
        d.ask(START + MS, b"POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHTTP/\r\n0\r\n\r\n");
        d.answer(
            START + MS,
            &[
                &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n190\r\n"[..],
                &[b'x'; 400],
                b"\r\n0\r\nT: 1\r\n\r\n",
            ]
            .concat(),
        );
        d.ask(
            START + 2 * MS,
            &[get("/3"), b"HEAD /4 HTTP/1.1\r\n\r\n".to_vec(), get("/5")].concat(),
        );
        d.answer(START + 2 * MS, OK)
            .answer(
                START + 2 * MS,
                b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            )
            .answer(START + 2 * MS, OK);
        d.ask(START + 3 * MS, &get("/6")).answer(
            START + 3 * MS,
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        );
        d.close(START + 4 * MS);
        d
    }

    /// Exchanges without the times at which pieces of them came.
    fn essence(found: &[Exchange]) -> Vec<Exchange> {
        let timeless = |e: &Exchange| {
            let mut e = e.clone();
            e.request.last_byte = 0;
            if let Some(r) = &mut e.response {
                (r.first_byte, r.last_byte) = (0, 0);
            }
            e
        };
        found.iter().map(timeless).collect()
    }

    proptest! {
        #[test]
        fn cut_moved_and_repeated_segments_give_the_same_exchanges(
            cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..60),
            moves in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..8), 0..20),
            copies in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12), 0..20),
        ) {
            let base = mixed();
            let (want, _) = read(&base.packets);
            prop_assert_eq!(want.len(), 6);
            let mut packets = base.packets.clone();
            for (which, place) in cuts {
                let at = which.index(packets.len());
                if packets[at].data.len() < 2 {
                    continue;
                }
                let mut second = packets[at].clone();
                let cut = 1 + place.index(second.data.len() - 1);
                second.data.drain(..cut);
                second.seq = second.seq.wrapping_add(cut as u32);
                packets[at].data.truncate(cut);
                packets.insert(at + 1, second);
            }
            for (which, by) in moves {
                let at = which.index(packets.len());
                // The three of the handshake stay.
                let to = at.saturating_sub(by).max(3);
                if at > to {
                    let packet = packets.remove(at);
                    packets.insert(to, packet);
                }
            }
            for (which, later) in copies {
                let at = which.index(packets.len());
                if !packets[at].syn {
                    let copy = packets[at].clone();
                    packets.insert((at + 1 + later).min(packets.len()), copy);
                }
            }
            let (found, summary) = read(&packets);
            prop_assert_eq!(essence(&found), essence(&want), "{:?}", summary.lost);
            prop_assert!(summary.lost.is_empty(), "{:?}", summary.lost);
        }

        #[test]
        fn damaged_files_give_errors_and_reasons_but_no_panic(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let d = mixed();
            let mut writer = write::Writer::new(Vec::new(), write::ETHERNET).unwrap();
            d.write(&d.packets, &mut writer).unwrap();
            let mut bytes = writer.into_inner();
            for (place, value) in flips {
                // The file header is left alone, so that packets are reached.
                let at = 24 + place.index(bytes.len() - 24);
                bytes[at] = value;
            }
            bytes.truncate(24 + cut.index(bytes.len() - 24).max(bytes.len() / 2));
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("damaged.pcap");
            std::fs::write(&path, &bytes).unwrap();
            let mut reader = open(&path, &Options { keep: Keep::Bodies { max_bytes: 100 } }).unwrap();
            let found = reader.by_ref().flatten().count();
            let s = reader.summary();
            prop_assert_eq!(s.requests, found as u64);
            prop_assert_eq!(s.payload.used + s.payload.duplicate + s.payload.unused, s.payload.total);
        }
    }

    #[test]
    fn lost_packets_never_make_exchanges_up() {
        let base = mixed().packets;
        let want = essence(&read(&base).0);
        assert_eq!(base.len(), 16, "few enough to lose any five of them");
        for lost in 0_u32..1 << base.len() {
            if lost.count_ones() > 5 {
                continue;
            }
            let kept: Vec<Packet> = base
                .iter()
                .enumerate()
                .filter(|(i, _)| lost >> i & 1 == 0)
                .map(|(_, p)| p.clone())
                .collect();
            let (found, summary) = read(&kept);
            let said = || {
                let what = |p: &Packet| {
                    String::from_utf8_lossy(p.data.get(..9).unwrap_or(&p.data)).into_owned()
                };
                let gone: Vec<String> = base
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| lost >> i & 1 == 1)
                    .map(|(i, p)| format!("{i} {}", what(p)))
                    .collect();
                format!(
                    "without {gone:?}: {:?} and {:?}",
                    lines(&found),
                    summary.lost
                )
            };
            let whole: Vec<Exchange> = essence(&found)
                .into_iter()
                .filter(Exchange::is_complete)
                .collect();
            for e in &whole {
                assert!(
                    want.iter().any(|w| Exchange {
                        stream: e.stream,
                        ..w.clone()
                    } == *e),
                    "{}",
                    said()
                );
            }
            // One lost packet is always noticed: by its neighbours.
            let is_told = !summary.skipped.is_empty() || whole.len() < found.len();
            assert!(
                whole.len() == want.len() || is_told || lost.count_ones() > 1,
                "{}",
                said()
            );
        }
    }

    #[test]
    fn a_gap_in_a_body_of_known_length_costs_only_that_body() {
        let mut d = dialogue();
        d.ask(START, &get("/a"))
            .answer(START, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nab");
        d.answer(START, b"cdef").answer(START, b"gh");
        d.ask(START + MS, &get("/b"))
            .answer(START + MS, OK)
            .close(START + MS);
        let at = d.packets.iter().position(|p| p.data == b"cdef").unwrap();
        d.packets.remove(at);
        let (found, summary) = read(&d.packets);
        assert_eq!(lines(&found), ["GET /a 200 cut", "GET /b 200"]);
        let gap = summary.lost.iter().find(|l| l.reason == "tcp_gap").unwrap();
        assert_eq!(
            (gap.direction, gap.offset, gap.bytes),
            (Direction::Server, 40, 4)
        );
        assert_eq!(summary.payload.missing, 4);
    }

    #[test]
    fn a_lost_answer_is_not_replaced_by_the_next() {
        let mut d = dialogue();
        let other = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
        d.ask(START, &get("/a"))
            .answer(START, OK)
            .ask(START + MS, &get("/b"))
            .answer(START + MS, other);
        d.packets.retain(|p| p.data != OK);
        let (found, _) = read(&d.packets);
        assert_eq!(lines(&found), ["GET /a - cut", "GET /b 503"]);
        // Asked at once, the missing answer may be either's.
        let mut d = dialogue();
        d.ask(START, &[get("/a"), get("/b")].concat())
            .answer(START, OK)
            .answer(START, other);
        d.packets.retain(|p| p.data != OK);
        let (found, summary) = read(&d.packets);
        assert_eq!(lines(&found), ["GET /a - cut", "GET /b - cut"]);
        assert_eq!(summary.skipped["response_without_request"], 1);
    }

    #[test]
    fn a_capture_that_begins_in_the_middle_finds_the_next_beginning() {
        let mut d = dialogue();
        d.ask(START, &get("/a"))
            .answer(START, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nabcd")
            .answer(START, b"efgh");
        d.ask(START + MS, &get("/b")).answer(START + MS, OK);
        let at = d.packets.iter().position(|p| p.data == b"efgh").unwrap();
        let (found, summary) = read(&d.packets[at..]);
        assert_eq!(lines(&found), ["GET /b 200"]);
        assert_eq!(summary.skipped["not_http"], 1);
    }

    #[test]
    fn a_port_used_again_is_another_stream() {
        let mut d = dialogue();
        d.ask(START, &get("/a")).answer(START, OK).close(START);
        let mut again = d.packets.clone();
        for p in &mut again {
            p.seq = p.seq.wrapping_add(77_777);
            p.ack = p.ack.wrapping_add(77_777);
            p.at += MS;
        }
        let (found, summary) = read(&[d.packets.clone(), again].concat());
        assert_eq!(lines(&found), ["GET /a 200", "GET /a 200"]);
        assert_eq!(
            (found[0].stream, found[1].stream, summary.streams),
            (0, 1, 2)
        );
    }

    #[test]
    fn other_protocols_are_counted_once_a_half() {
        type Play = fn(&mut Dialogue);
        let cases: [(&str, Play); 3] = [
            ("tls", |d| {
                d.ask(START, b"\x16\x03\x01\x00\x05hello")
                    .answer(START, b"\x16\x03\x03\x00\x05world");
            }),
            ("http2", |d| {
                d.answer(START, b"\0\0\0\x04\0\0\0\0\0")
                    .ask(START, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0");
            }),
            ("not_http", |d| {
                d.answer(START, b"220 mail ESMTP\r\n")
                    .ask(START, b"EHLO me\r\n");
            }),
        ];
        for (reason, play) in cases {
            let mut d = dialogue();
            play(&mut d);
            let (found, summary) = read(&d.packets);
            assert!(found.is_empty(), "{reason}");
            assert_eq!(summary.skipped.iter().collect::<Vec<_>>(), [(&reason, &2)]);
            let directions: Vec<Direction> = summary.lost.iter().map(|l| l.direction).collect();
            assert_eq!(
                directions,
                [Direction::Client, Direction::Server],
                "{reason}"
            );
        }
    }

    #[test]
    fn only_as_much_of_a_body_is_kept_as_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        let mut d = dialogue();
        d.ask(START, &get("/a")).answer(START, OK).close(START);
        let mut writer =
            write::Writer::new(std::fs::File::create(&path).unwrap(), write::ETHERNET).unwrap();
        d.write(&d.packets, &mut writer).unwrap();
        for (keep, headers, data) in [
            (Keep::Lines, 0, &b""[..]),
            (Keep::Headers, 1, b""),
            (Keep::Bodies { max_bytes: 1 }, 1, b"o"),
            (Keep::Bodies { max_bytes: 9 }, 1, b"ok"),
        ] {
            let found: Vec<Exchange> = open(&path, &Options { keep })
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let r = found[0].response.as_ref().unwrap();
            assert_eq!(
                (r.headers.len(), r.body.bytes, &r.body.data[..]),
                (headers, 2, data),
                "{keep:?}"
            );
        }
    }
}
