//! The two answers to a mirrored request, and the one place from which what became of it is told, exactly once.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, uri::PathAndQuery};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use super::Shadow;
use crate::{
    http::{core::Local, log::Log},
    net::buffer,
    observe::{Answer, Asked, First, Identity, Mirrored, Observer, Outcome},
};

/// A request that a mirror chose, and what has become of both sides so far.
pub(super) struct Pair {
    observer: Arc<dyn Observer>,
    shadow: Rc<Shadow>,
    local: Rc<Local>,
    http: usize,
    identity: Identity,
    method: Method,
    path: Option<PathAndQuery>,
    /// `None`: only the copy's end is wanted.
    asked: Option<RefCell<Asked>>,
    first: Cell<First>,
    sides: RefCell<Sides>,
}

struct Sides {
    primary: Side,
    copy: Option<(Outcome, Option<Answer>)>,
}

enum Side {
    Waiting,
    Answered(Answer),
    Failed,
    Left,
    /// Everything has been told.
    Told,
}

/// The primary's side of a pair. Dropping it says that the client left.
pub struct Primary {
    pair: Option<Rc<Pair>>,
    limit: u64,
    begin: Option<Instant>,
    recorder: Option<Recorder>,
}

/// Keeps the first bytes of an answer.
pub(super) struct Recorder {
    status: StatusCode,
    headers: HeaderMap,
    limit: u64,
    first: Bytes,
    body: BytesMut,
    length: u64,
    /// Of the bytes that are not kept.
    rest: Option<Box<Xxh3>>,
    trailers: Option<Box<HeaderMap>>,
}

impl Pair {
    /// A pair of which nothing is known yet; `headers`: the request's, where both answers are wanted.
    pub(super) fn new(shadow: &Rc<Shadow>, log: &Log, headers: Option<Arc<HeaderMap>>) -> Self {
        Self {
            observer: Arc::clone(&log.client.core.observer),
            shadow: Rc::clone(shadow),
            local: Rc::clone(&log.local),
            http: log.http,
            identity: log.identity,
            method: log.method.clone(),
            path: log.path.clone(),
            asked: headers.map(|headers| {
                RefCell::new(Asked {
                    headers,
                    ..Asked::default()
                })
            }),
            first: Cell::default(),
            sides: RefCell::new(Sides {
                primary: Side::Waiting,
                copy: None,
            }),
        }
    }

    /// Both answers are wanted.
    pub(super) fn compares(&self) -> bool {
        self.asked.is_some()
    }

    /// The request's body.
    pub(super) fn body(&self, pieces: &VecDeque<Bytes>) {
        if let Some(asked) = &self.asked {
            let mut asked = asked.borrow_mut();
            asked.length = pieces.iter().map(|piece| piece.len() as u64).sum();
            asked.body = beginning(pieces);
        }
    }

    /// What became of the copy.
    pub(super) fn copy(&self, outcome: Outcome, answer: Option<Answer>) {
        self.sides.borrow_mut().copy = Some((outcome, answer));
        self.tell();
    }

    /// The copy is sent before the primary's request.
    pub(super) fn goes_first(&self) {
        self.first.set(First::Shadow);
    }

    /// The request's body did not come in full, so there is no copy.
    pub(super) fn incomplete(&self) {
        let why = match self.sides.borrow().primary {
            Side::Failed | Side::Answered(_) => "primary_failed",
            _ => "client_left",
        };
        self.copy(Outcome::Skipped(why), None);
    }

    fn primary(&self, side: Side) {
        let mut sides = self.sides.borrow_mut();
        if matches!(sides.primary, Side::Waiting) {
            sides.primary = side;
            drop(sides);
            self.tell();
        }
    }

    fn tell(&self) {
        let mut sides = self.sides.borrow_mut();
        let Some((outcome, _)) = &sides.copy else {
            return;
        };
        let waits = self.compares()
            && !matches!(outcome, Outcome::Shed(_))
            && matches!(sides.primary, Side::Waiting);
        if waits || matches!(sides.primary, Side::Told) {
            return;
        }
        let primary = std::mem::replace(&mut sides.primary, Side::Told);
        let Some((outcome, answer)) = sides.copy.take() else {
            return;
        };
        drop(sides);
        let outcome = match (outcome, &primary) {
            (Outcome::Compared, Side::Failed) => Outcome::Skipped("primary_failed"),
            (Outcome::Compared, Side::Left) => Outcome::Skipped("client_left"),
            (outcome, _) => outcome,
        };
        self.shadow.count(outcome);
        let listener = self.local.snapshot.http.get(self.http);
        self.observer.mirrored(Mirrored {
            identity: self.identity,
            place: listener.and_then(|listener| listener.place.clone()),
            shadow: Arc::clone(&self.shadow.mirror.id),
            method: self.method.clone(),
            path: self
                .path
                .as_ref()
                .map_or_else(String::new, |path| path.as_str().to_owned()),
            first: self.first.get(),
            outcome,
            primary: match primary {
                Side::Answered(answer) => Some(answer),
                _ => None,
            },
            answer,
            asked: self.asked.as_ref().map(RefCell::take),
        });
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let mut sides = self.sides.borrow_mut();
        if matches!(sides.primary, Side::Told) {
            return;
        }
        // The event loop has ended before either side has.
        sides.copy.get_or_insert((Outcome::Failed("stopped"), None));
        if matches!(sides.primary, Side::Waiting) {
            sides.primary = Side::Left;
        }
        drop(sides);
        self.tell();
    }
}

/// The first bytes of a body, in one piece; copied only where they came in several.
fn beginning(pieces: &VecDeque<Bytes>) -> Bytes {
    match pieces.front() {
        Some(only) if pieces.len() == 1 || only.len() >= Asked::KEPT => {
            only.slice(..only.len().min(Asked::KEPT))
        }
        _ => {
            let mut kept = BytesMut::new();
            for piece in pieces {
                let room = Asked::KEPT - kept.len();
                kept.extend_from_slice(&piece.slice(..piece.len().min(room)));
            }
            kept.freeze()
        }
    }
}

impl Primary {
    /// The primary's side of the pair, of whose body so many bytes are kept.
    pub(super) fn new(pair: Rc<Pair>, limit: u64) -> Self {
        Self {
            pair: Some(pair),
            limit,
            begin: None,
            recorder: None,
        }
    }

    /// The answer's head; `begin` is when the request was sent on.
    pub fn begin(&mut self, status: StatusCode, headers: &HeaderMap, begin: Instant) {
        self.begin = Some(begin);
        self.recorder = Some(Recorder::new(status, headers.clone(), self.limit));
    }

    /// More of the answer's body.
    pub fn take(&mut self, data: &Bytes) {
        if let Some(recorder) = &mut self.recorder {
            recorder.take(data);
        }
    }

    /// The fields after the answer's body.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(recorder) = &mut self.recorder {
            recorder.trailers(trailers.clone());
        }
    }

    /// The answer is whole.
    pub fn end(mut self, now: Instant) {
        if let (Some(pair), Some(recorder), Some(begin)) =
            (self.pair.take(), self.recorder.take(), self.begin)
        {
            pair.primary(Side::Answered(recorder.answer(begin, now)));
        }
    }

    /// There is no answer of the upstream's, or no whole one.
    pub fn failed(mut self) {
        if let Some(pair) = self.pair.take() {
            pair.primary(Side::Failed);
        }
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        if let Some(pair) = self.pair.take() {
            pair.primary(Side::Left);
        }
    }
}

impl Recorder {
    /// Keeps up to `limit` bytes.
    pub(super) fn new(status: StatusCode, headers: HeaderMap, limit: u64) -> Self {
        Self {
            status,
            headers,
            limit,
            first: Bytes::new(),
            body: BytesMut::new(),
            length: 0,
            rest: None,
            trailers: None,
        }
    }

    /// More of the body.
    pub(super) fn take(&mut self, data: &Bytes) {
        let room = self.limit.saturating_sub(self.length);
        self.length += data.len() as u64;
        let room = data.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let kept = data.slice(..room);
        if room < data.len() {
            self.rest
                .get_or_insert_with(Box::default)
                .update(&data.slice(room..));
        }
        if self.first.is_empty() && self.body.is_empty() {
            // Most answers are one piece.
            self.first = buffer::own(&kept);
            return;
        }
        if self.body.is_empty() {
            self.body.extend_from_slice(&self.first);
        }
        self.body.extend_from_slice(&kept);
    }

    /// The fields after the body.
    pub(super) fn trailers(&mut self, trailers: HeaderMap) {
        self.trailers = Some(Box::new(trailers));
    }

    /// The answer.
    pub(super) fn answer(self, begin: Instant, end: Instant) -> Answer {
        Answer {
            status: self.status,
            headers: self.headers,
            body: if self.body.is_empty() {
                self.first
            } else {
                self.body.freeze()
            },
            length: self.length,
            rest: self.rest.map(|rest| rest.digest()),
            trailers: self.trailers,
            duration: end.saturating_duration_since(begin),
        }
    }
}

impl std::fmt::Debug for Primary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Primary")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_body_is_kept() {
        let pieces = |lengths: &[usize]| -> VecDeque<Bytes> {
            let piece = |length: &usize| Bytes::from(vec![b'x'; *length]);
            lengths.iter().map(piece).collect()
        };
        for (lengths, kept) in [
            (&[][..], 0),
            (&[10], 10),
            (&[10, 20], 30),
            (&[5000], 4096),
            (&[4000, 5000], 4096),
            (&[5000, 1], 4096),
        ] {
            assert_eq!(beginning(&pieces(lengths)).len(), kept, "{lengths:?}");
        }
    }

    #[test]
    fn a_recorder_keeps_the_first_bytes_and_counts_all() {
        for (pieces, limit, body, length) in [
            (&["abc"][..], 10, "abc", 3),
            (&["abc", "def"], 10, "abcdef", 6),
            (&["abc", "def"], 4, "abcd", 6),
            (&["abc", "def", "g"], 3, "abc", 7),
            (&[], 3, "", 0),
        ] {
            let mut recorder = Recorder::new(StatusCode::OK, HeaderMap::new(), limit);
            for piece in pieces {
                recorder.take(&Bytes::from_static(piece.as_bytes()));
            }
            let now = Instant::now();
            let answer = recorder.answer(now, now);
            assert_eq!((&*answer.body, answer.length), (body.as_bytes(), length));
        }
    }

    #[test]
    fn what_is_not_kept_is_hashed_however_it_comes() {
        let rest = |pieces: &[&'static str]| {
            let mut recorder = Recorder::new(StatusCode::OK, HeaderMap::new(), 4);
            for piece in pieces {
                recorder.take(&Bytes::from_static(piece.as_bytes()));
            }
            let now = Instant::now();
            recorder.answer(now, now).rest
        };
        assert_eq!(rest(&["abcd"]), None);
        let whole = rest(&["abcdef"]);
        assert_eq!(whole, Some(xxhash_rust::xxh3::xxh3_64(b"ef")));
        assert_eq!(rest(&["ab", "cde", "f"]), whole);
        assert_ne!(rest(&["abcdeg"]), whole);
    }
}
