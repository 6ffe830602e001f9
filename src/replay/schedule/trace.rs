//! A capture as a source: which of its exchanges are sent again, and when.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use meshbed_proxy::policy::matcher::{Compiled, RequestView};
use sha2::{Digest, Sha256};

use super::{Draft, Error, Prepared, TraceFacts, content};
use crate::{
    capture::{self, Exchange, Keep, Options, Protocol},
    event::{Id, Micros},
    replay::rewrite::{Raw, Rewriter},
    scenario::{MAX_REQUEST_BODY, Source, SourceKind},
    shadow::hex,
};

/// The gap after the only request of a recording, before a loop plays it again: there is none to learn it from.
const LONE_GAP_NS: u64 = 1_000_000_000;

/// Reads the source's capture and appends its requests, loop after loop.
pub(super) fn drafts(
    source: &Source,
    index: usize,
    rewriter: &Rewriter,
    length_us: Micros,
    into: &mut Vec<Draft>,
) -> Result<TraceFacts, Error> {
    let SourceKind::Trace {
        file,
        speed,
        window,
        loops,
        filter,
    } = &source.kind
    else {
        return Err(Error::Request {
            source_id: Arc::clone(&source.id),
            why: "it is no trace".to_owned(),
        });
    };
    let unreadable = |cause: Box<dyn std::error::Error + Send + Sync>| Error::Capture {
        source_id: Arc::clone(&source.id),
        path: file.clone(),
        cause,
    };
    let sha256 = sha256_of(file).map_err(|error| unreadable(error.into()))?;
    let mut selection = Selection::new(
        compile(filter, &source.id)?,
        rewriter,
        window.map(|(begin, end)| (nanos(begin), nanos(end))),
    );
    let options = Options {
        keep: Keep::Bodies {
            max_bytes: MAX_REQUEST_BODY.0 as usize,
        },
    };
    let mut exchanges = capture::open(file, &options).map_err(|error| unreadable(error.into()))?;
    for exchange in &mut exchanges {
        selection.offer(&exchange.map_err(|error| unreadable(error.into()))?);
    }
    let mut skipped: BTreeMap<String, u64> = selection
        .skipped
        .iter()
        .map(|(reason, count)| ((*reason).to_owned(), *count))
        .collect();
    for (reason, count) in &exchanges.summary().skipped {
        *skipped.entry((*reason).to_owned()).or_default() += count;
    }
    selection.play(*speed, *loops, index, length_us, into);
    Ok(TraceFacts {
        path: file.clone(),
        sha256,
        exchanges: selection.exchanges,
        skipped,
    })
}

fn compile(
    filter: &meshbed_proxy::policy::matcher::Matcher,
    source_id: &Id,
) -> Result<Compiled, Error> {
    Compiled::new(filter).map_err(|why| Error::Filter {
        source_id: Arc::clone(source_id),
        why,
    })
}

/// The exchanges of one capture that are sent again.
struct Selection<'a> {
    filter: Compiled,
    rewriter: &'a Rewriter,
    /// In nanoseconds from the recording's first request.
    window: Option<(u64, u64)>,
    first_at: Option<u64>,
    last_at: u64,
    exchanges: u64,
    chosen: Vec<Chosen>,
    known: HashMap<[u8; 32], Arc<Prepared>>,
    skipped: BTreeMap<&'static str, u64>,
}

struct Chosen {
    /// From the window's begin.
    offset_ns: u64,
    stream: u64,
    request: Arc<Prepared>,
}

impl<'a> Selection<'a> {
    fn new(filter: Compiled, rewriter: &'a Rewriter, window: Option<(u64, u64)>) -> Self {
        Self {
            filter,
            rewriter,
            window,
            first_at: None,
            last_at: 0,
            exchanges: 0,
            chosen: Vec::new(),
            known: HashMap::new(),
            skipped: BTreeMap::new(),
        }
    }

    /// Takes the next exchange of the recording, in order of time, or counts why it is not taken.
    fn offer(&mut self, exchange: &Exchange) {
        self.exchanges += 1;
        let first_at = *self.first_at.get_or_insert(exchange.at);
        self.last_at = exchange.at;
        if let Err(reason) = self.take(exchange, exchange.at.saturating_sub(first_at)) {
            *self.skipped.entry(reason).or_default() += 1;
        }
    }

    fn take(&mut self, exchange: &Exchange, since_first_ns: u64) -> Result<(), &'static str> {
        let (begin, end) = self.window.unwrap_or((0, u64::MAX));
        if !(begin..end).contains(&since_first_ns) {
            return Err("window");
        }
        if matches!(exchange.protocol, Protocol::H2 | Protocol::Grpc) {
            return Err("h2_not_supported");
        }
        let request = &exchange.request;
        if !request.complete {
            return Err("incomplete_request");
        }
        if !request.body.is_kept_whole() {
            return Err("request_body_too_large");
        }
        if !self.filter_holds(exchange) {
            return Err("filter");
        }
        let prepared = self
            .rewriter
            .prepare(Raw {
                method: &request.method,
                target: &request.target,
                authority: &request.authority,
                headers: request
                    .headers
                    .iter()
                    .map(|header| (&*header.name, &*header.value)),
                // A copy of its own: the recorded bytes may be a part of a larger buffer.
                body: Bytes::copy_from_slice(&request.body.data),
            })
            .map_err(crate::replay::rewrite::Unsendable::name)?;
        let request = Arc::clone(
            self.known
                .entry(content(&prepared))
                .or_insert_with(|| Arc::new(prepared)),
        );
        self.chosen.push(Chosen {
            offset_ns: since_first_ns - begin,
            stream: exchange.stream,
            request,
        });
        Ok(())
    }

    /// Whether the filter holds for what was recorded, before any rewriting.
    fn filter_holds(&self, exchange: &Exchange) -> bool {
        let request = &exchange.request;
        let mut headers = HeaderMap::new();
        for header in &request.headers {
            // What cannot be a header cannot be asked for either.
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(&header.name),
                HeaderValue::from_bytes(&header.value),
            ) {
                headers.append(name, value);
            }
        }
        let target = String::from_utf8_lossy(&request.target);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*target, None),
        };
        self.filter.matches(&RequestView {
            method: &request.method,
            authority: &String::from_utf8_lossy(&request.authority),
            path,
            query,
            headers: &headers,
        })
    }

    /// How long one loop takes, in recorded time: the window; without one the recording and one mean gap.
    fn loop_ns(&self) -> u64 {
        let recorded = self.last_at.saturating_sub(self.first_at.unwrap_or(0));
        let whole = match self.exchanges {
            0 | 1 => LONE_GAP_NS,
            many => recorded + (recorded / (many - 1)).max(1),
        };
        match self.window {
            Some((begin, u64::MAX)) => whole.saturating_sub(begin),
            Some((begin, end)) => end - begin,
            None => whole,
        }
    }

    /// Appends the chosen requests, loop after loop, as far as they are due before `length_us`.
    fn play(
        &self,
        speed: f64,
        loops: u32,
        source: usize,
        length_us: Micros,
        into: &mut Vec<Draft>,
    ) {
        let loop_ns = self.loop_ns();
        for number in 0..loops {
            let begin = u128::from(loop_ns) * u128::from(number);
            for chosen in &self.chosen {
                let recorded_ns = begin + u128::from(chosen.offset_ns);
                let due_us = (recorded_ns as f64 / speed / 1000.0) as Micros;
                if due_us >= length_us {
                    return;
                }
                into.push(Draft {
                    due_us,
                    source,
                    stream: (number, chosen.stream),
                    request: Arc::clone(&chosen.request),
                });
            }
        }
    }
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use meshbed_proxy::policy::matcher::{How, Matcher, Text};

    use super::*;
    use crate::{
        capture::{Body, Header, Request},
        scenario::Rewrite,
    };

    const MS: u64 = 1_000_000;
    /// An instant that is not 0, as captures have.
    const EPOCH: u64 = 1_700_000_000_000_000_000;

    fn exchange(at_ms: u64, stream: u64, target: &str) -> Exchange {
        Exchange {
            stream,
            h2_stream: None,
            protocol: Protocol::Http11,
            at: EPOCH + at_ms * MS,
            client: ([127, 0, 0, 1], 40_000).into(),
            server: ([127, 0, 0, 1], 80).into(),
            request: Request {
                method: "GET".to_owned(),
                target: Bytes::copy_from_slice(target.as_bytes()),
                authority: Bytes::from_static(b"shop"),
                headers: vec![Header {
                    name: Bytes::from_static(b"Host"),
                    value: Bytes::from_static(b"shop"),
                }],
                body: Body::default(),
                trailers: Vec::new(),
                last_byte: EPOCH + at_ms * MS,
                complete: true,
            },
            interim: Vec::new(),
            response: None,
            grpc_status: None,
            tls: false,
        }
    }

    fn rewriter() -> Rewriter {
        Rewriter::new(&Rewrite::default(), "shop").unwrap()
    }

    /// Due times in ms, loops, streams and paths of what is played.
    fn played(
        selection: &Selection<'_>,
        speed: f64,
        loops: u32,
        length_ms: u64,
    ) -> Vec<(u64, u32, u64, String)> {
        let mut drafts = Vec::new();
        selection.play(speed, loops, 0, length_ms * 1000, &mut drafts);
        drafts
            .iter()
            .map(|draft| {
                let path = draft.request.path().to_owned();
                (draft.due_us / 1000, draft.stream.0, draft.stream.1, path)
            })
            .collect()
    }

    fn selection<'a>(
        rewriter: &'a Rewriter,
        filter: &Matcher,
        window_ms: Option<(u64, u64)>,
    ) -> Selection<'a> {
        let mut selection = Selection::new(
            Compiled::new(filter).unwrap(),
            rewriter,
            window_ms.map(|(begin, end)| (begin * MS, end * MS)),
        );
        for (at, stream, target) in [(0, 0, "/a"), (10, 1, "/b"), (10, 0, "/a"), (30, 0, "/c")] {
            selection.offer(&exchange(at, stream, target));
        }
        selection
    }

    fn row(due_ms: u64, number: u32, stream: u64, path: &str) -> (u64, u32, u64, String) {
        (due_ms, number, stream, path.to_owned())
    }

    #[test]
    fn requests_are_due_as_recorded_scaled_by_speed() {
        let rewriter = rewriter();
        let all = selection(&rewriter, &Matcher::default(), None);
        for (speed, times) in [
            (1.0, [0, 10, 10, 30]),
            (2.0, [0, 5, 5, 15]),
            (0.5, [0, 20, 20, 60]),
        ] {
            let due: Vec<u64> = played(&all, speed, 1, 1000)
                .iter()
                .map(|row| row.0)
                .collect();
            assert_eq!(due, times, "speed {speed}");
        }
        // Equal requests are one value.
        assert!(Arc::ptr_eq(&all.chosen[0].request, &all.chosen[2].request));
    }

    #[test]
    fn a_loop_follows_the_last_request_after_one_mean_gap() {
        let rewriter = rewriter();
        let all = selection(&rewriter, &Matcher::default(), None);
        // 30 ms and 4 requests: the mean gap is 10 ms, so the second loop begins at 40 ms; the end cuts its last.
        assert_eq!(
            played(&all, 1.0, 3, 70),
            [
                row(0, 0, 0, "/a"),
                row(10, 0, 1, "/b"),
                row(10, 0, 0, "/a"),
                row(30, 0, 0, "/c"),
                row(40, 1, 0, "/a"),
                row(50, 1, 1, "/b"),
                row(50, 1, 0, "/a"),
            ]
        );
    }

    #[test]
    fn a_window_counts_from_the_first_request_and_is_the_length_of_a_loop() {
        let rewriter = rewriter();
        let part = selection(&rewriter, &Matcher::default(), Some((5, 25)));
        assert_eq!(
            played(&part, 1.0, 2, 1000),
            [
                row(5, 0, 1, "/b"),
                row(5, 0, 0, "/a"),
                row(25, 1, 1, "/b"),
                row(25, 1, 0, "/a"),
            ]
        );
        assert_eq!(part.exchanges, 4);
        assert_eq!(part.skipped, BTreeMap::from([("window", 2)]));
    }

    #[test]
    fn a_filter_takes_no_time_away() {
        let rewriter = rewriter();
        let filter = Matcher {
            path: Some(Text {
                how: How::Exact("/c".to_owned()),
                ignore_case: false,
            }),
            ..Matcher::default()
        };
        let some = selection(&rewriter, &filter, None);
        assert_eq!(played(&some, 1.0, 1, 1000), [row(30, 0, 0, "/c")]);
        assert_eq!(some.skipped, BTreeMap::from([("filter", 3)]));
    }

    #[test]
    fn what_cannot_be_sent_again_is_counted_by_reason() {
        let rewriter = rewriter();
        let mut selection =
            Selection::new(Compiled::new(&Matcher::default()).unwrap(), &rewriter, None);
        let mut h2 = exchange(0, 0, "/");
        h2.protocol = Protocol::H2;
        let mut cut = exchange(1, 0, "/");
        cut.request.complete = false;
        let mut large = exchange(2, 0, "/");
        large.request.body.bytes = 1;
        let mut tunnel = exchange(3, 0, "shop:443");
        tunnel.request.method = "CONNECT".to_owned();
        for exchange in [h2, cut, large, tunnel, exchange(4, 0, "/a b")] {
            selection.offer(&exchange);
        }
        assert!(selection.chosen.is_empty());
        assert_eq!(
            selection.skipped,
            BTreeMap::from([
                ("h2_not_supported", 1),
                ("incomplete_request", 1),
                ("request_body_too_large", 1),
                ("connect", 1),
                ("unsendable_target", 1),
            ])
        );
    }

    #[test]
    fn a_lone_request_loops_each_second() {
        let rewriter = rewriter();
        let mut one = Selection::new(Compiled::new(&Matcher::default()).unwrap(), &rewriter, None);
        one.offer(&exchange(0, 0, "/a"));
        let due: Vec<u64> = played(&one, 1.0, 3, 10_000)
            .iter()
            .map(|row| row.0)
            .collect();
        assert_eq!(due, [0, 1000, 2000]);
    }
}
