//! What the peer is sent: header sections, bodies as far as there is a window and room, and what gives it room again.

use std::{rc::Rc, task::Poll};

use bytes::Bytes;
use http::Method;

use super::{
    super::{
        error::{By, Error, Reason},
        frame::{self, Head, MOST, flag, kind},
        hpack::Encoder,
        stream::{self, Stream},
    },
    REMEMBERED, ROOM, State,
};

impl State {
    /// Sends a header section.
    pub(in crate::net::h2) fn section(
        &mut self,
        stream: u32,
        ends: bool,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) {
        self.touch();
        let out = self.out.head();
        let begin = out.len();
        let mut head = Head {
            length: 0,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS,
            stream,
        };
        if ends {
            head.flags |= flag::END_STREAM;
        }
        out.extend_from_slice(&head.write());
        self.encoder.begin(out);
        write(&mut self.encoder, out);
        head.length = out.len() - begin - frame::HEAD;
        if head.length > MOST {
            split(out, begin, head);
        } else if let Some(place) = out.get_mut(begin..begin + frame::HEAD) {
            place.copy_from_slice(&head.write());
        }
    }

    /// Begins a request: its stream, and what tells its head.
    pub(in crate::net::h2) fn ask(
        &mut self,
        ends: bool,
        method: &Method,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Rc<Stream> {
        let id = self.next;
        self.next += 2;
        let stream = self.begin(id);
        let mut state = stream.state.borrow_mut();
        state.sent = ends;
        state.bodiless = *method == Method::HEAD;
        state.tunnel = *method == Method::CONNECT;
        drop(state);
        self.role.guard.began();
        self.section(id, ends, write);
        stream
    }

    /// Sends as much of a body's piece as there is a window and room for.
    pub(in crate::net::h2) fn data(
        &mut self,
        found: &Rc<Stream>,
        stream: &mut stream::State,
        piece: &mut Bytes,
        last: bool,
    ) -> Poll<()> {
        let mut room = ROOM.saturating_sub(self.out.len());
        // Whoever waits comes first.
        let turn = std::mem::take(&mut stream.turn) || self.waiting.is_empty();
        loop {
            let most = self.send_window.min(stream.send_window).min(MOST as i64);
            let count = piece.len().min(usize::try_from(most).unwrap_or_default());
            if !piece.is_empty() && (count == 0 || room == 0 || !turn) {
                // A stream that has a window waits for what all share.
                if stream.send_window > 0 && !stream.queued {
                    stream.queued = true;
                    self.waiting.push_back(Rc::clone(found));
                }
                return Poll::Pending;
            }
            let part = piece.split_to(count);
            let ends = last && piece.is_empty();
            if count > 0 || ends {
                let flags = if ends { flag::END_STREAM } else { 0 };
                self.touch();
                let head = Head {
                    length: count,
                    kind: kind::DATA,
                    flags,
                    stream: found.id,
                };
                self.out.put(&head.write());
                self.out.put_data(part);
                room = room.saturating_sub(frame::HEAD + count);
                self.send_window -= count as i64;
                stream.send_window -= count as i64;
                self.role.guard.sent_data();
            }
            if piece.is_empty() {
                stream.sent |= ends;
                self.close_if_over(found, stream);
                return Poll::Ready(());
            }
        }
    }

    /// Wakes the stream that waits longest, if it can send now. When it has, it is the next one's turn. No stream may be
    /// borrowed.
    pub(in crate::net::h2) fn pass_on(&mut self) {
        while self.send_window > 0
            && !self.waiting.is_empty()
            && self.out.len() < ROOM
            && let Some(next) = self.waiting.pop_front()
        {
            let mut stream = next.state.borrow_mut();
            stream.queued = false;
            stream.turn = true;
            if stream.wake_writer() {
                return;
            }
        }
    }

    /// So much of a stream's body was taken: the peer may send as much again.
    pub(in crate::net::h2) fn take(
        &mut self,
        found: &Rc<Stream>,
        stream: &mut stream::State,
        count: u32,
    ) {
        self.taken(count);
        stream.taken += count;
        if !stream.came && stream.error.is_none() && stream.taken >= (self.stream_window / 2).max(1)
        {
            let more = std::mem::take(&mut stream.taken);
            stream.recv_window += i64::from(more);
            self.put(kind::WINDOW_UPDATE, 0, found.id, &more.to_be_bytes());
        }
    }

    /// The same for the connection alone.
    pub(in crate::net::h2) fn taken(&mut self, count: u32) {
        self.taken += count;
        if self.taken >= self.window / 2 && self.ended.is_none() {
            let more = std::mem::take(&mut self.taken);
            self.recv_window += i64::from(more);
            self.put(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }

    /// Resets a stream, unless it has ended.
    pub(in crate::net::h2) fn reset(
        &mut self,
        found: &Rc<Stream>,
        stream: &mut stream::State,
        reason: Reason,
        by: By,
    ) {
        if stream.is_over() || stream.error.is_some() {
            return;
        }
        stream.end(Error::Reset(reason, by));
        self.remove(found.id);
        self.reset_id(found.id, reason);
    }

    pub(super) fn reset_id(&mut self, id: u32, reason: Reason) {
        self.counts.resets_sent += 1;
        if self.reset.len() == REMEMBERED {
            self.reset.pop_front();
        }
        self.reset.push_back(id);
        self.put(kind::RST_STREAM, 0, id, &reason.0.to_be_bytes());
    }

    pub(in crate::net::h2) fn close_if_over(&mut self, found: &Rc<Stream>, stream: &stream::State) {
        if stream.is_over() {
            self.remove(found.id);
        }
    }

    /// Somebody does not hold the stream any more.
    pub(in crate::net::h2) fn leave(&mut self, found: &Rc<Stream>) {
        let mut stream = found.state.borrow_mut();
        stream.users -= 1;
        if stream.users > 0 {
            return;
        }
        let unread = stream.forget();
        self.taken(unread);
        // RFC 9113 §8.1: a server that has answered in full wants no more of the request.
        let answered = self.role.server && stream.sent;
        let reason = if answered {
            Reason::NO_ERROR
        } else {
            Reason::CANCEL
        };
        self.reset(found, &mut stream, reason, By::User);
        drop(stream);
        self.pass_on();
    }
}

/// Makes frames of a section that is too long for one (RFC 9113 §4.3).
fn split(out: &mut Vec<u8>, begin: usize, first: Head) {
    let block = out.split_off(begin + frame::HEAD);
    out.truncate(begin);
    let mut pieces = block.chunks(MOST).peekable();
    let (mut kind, mut flags) = (first.kind, first.flags & !flag::END_HEADERS);
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= flag::END_HEADERS;
        }
        frame::write(out, kind, flags, first.stream, piece);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}
