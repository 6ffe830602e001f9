//! A request's body that can be sent again: what came of it is kept, up to a bound, and each try reads it from the start.

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::Upload;
use crate::{error::Error, net::buffer};

/// A body that is kept.
#[derive(Debug)]
pub struct Replay(Rc<RefCell<Kept>>);

/// A try's view of it.
#[derive(Debug)]
pub struct Reader {
    kept: Rc<RefCell<Kept>>,
    /// Parts read so far.
    at: usize,
    /// Bytes read so far.
    read: u64,
}

struct Kept {
    source: Upload,
    /// Its length, where it was told beforehand.
    length: Option<u64>,
    parts: Vec<Part>,
    /// Parts that are not kept any more.
    gone: usize,
    bytes: u64,
    most: u64,
    ended: bool,
    failed: Option<Error>,
    /// Other tries that wait for more.
    waiting: Vec<Waker>,
}

#[derive(Clone)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Replay {
    /// The body, of which up to `most` bytes are kept.
    pub fn new(source: Upload, most: u64) -> Self {
        Self(Rc::new(RefCell::new(Kept {
            length: source.size_hint().exact(),
            ended: source.is_end_stream(),
            source,
            parts: Vec::new(),
            gone: 0,
            bytes: 0,
            most,
            failed: None,
            waiting: Vec::new(),
        })))
    }

    /// The body from its start, for another try.
    pub fn reader(&self) -> Reader {
        Reader {
            kept: Rc::clone(&self.0),
            at: 0,
            read: 0,
        }
    }

    /// The body, where all of it has come and is kept; `None`, too, where trailers follow it.
    pub fn complete(&self) -> Option<Bytes> {
        let kept = self.0.borrow();
        if !kept.ended || kept.gone > 0 || kept.bytes > kept.most {
            return None;
        }
        let mut whole = BytesMut::new();
        for part in &kept.parts {
            match part {
                Part::Data(data) => whole.extend_from_slice(data),
                Part::Trailers(_) => return None,
            }
        }
        Some(whole.freeze())
    }

    /// All that came of it is still there.
    pub fn is_whole(&self) -> bool {
        let kept = self.0.borrow();
        // A body that is known to be too long will not be there when it is needed.
        kept.gone == 0 && kept.length.is_none_or(|length| length <= kept.most)
    }
}

impl Kept {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.source).poll_frame(cx) {
            Poll::Pending => {
                let waker = cx.waker();
                if !self.waiting.iter().any(|known| known.will_wake(waker)) {
                    self.waiting.push(waker.clone());
                }
                return Poll::Pending;
            }
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(error))) => self.failed = Some(error),
            Poll::Ready(Some(Ok(frame))) => {
                match frame.into_data() {
                    Ok(data) => {
                        self.bytes += data.len() as u64;
                        self.parts.push(Part::Data(buffer::own(&data)));
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.parts.push(Part::Trailers(trailers));
                    }
                }
                self.ended = self.source.is_end_stream();
            }
        }
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
        Poll::Ready(())
    }

    /// The part that a reader has come to.
    fn part(&self, at: usize) -> Option<Part> {
        self.parts.get(at.checked_sub(self.gone)?).cloned()
    }

    /// Beyond the bound nothing is kept that was read once.
    fn forget(&mut self, read: usize) {
        if self.bytes > self.most {
            let done = read.saturating_sub(self.gone);
            self.parts.drain(..done.min(self.parts.len()));
            self.gone += done;
        }
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let mut kept = this.kept.borrow_mut();
        loop {
            if let Some(part) = kept.part(this.at) {
                this.at += 1;
                kept.forget(this.at);
                return Poll::Ready(Some(Ok(match part {
                    Part::Data(data) => {
                        this.read += data.len() as u64;
                        Frame::data(data)
                    }
                    Part::Trailers(trailers) => Frame::trailers(trailers),
                })));
            }
            if this.at < kept.gone {
                // Only a try that was overtaken by another one comes here: what it needs is gone.
                return Poll::Ready(Some(Err(Error::Terminated)));
            }
            if let Some(error) = &kept.failed {
                return Poll::Ready(Some(Err(error.clone())));
            }
            if kept.ended {
                return Poll::Ready(None);
            }
            if kept.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        kept.ended && kept.part(self.at).is_none() && self.at >= kept.gone
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.kept.borrow().length;
        length.map_or_else(SizeHint::default, |length| {
            SizeHint::with_exact(length.saturating_sub(self.read))
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The body may have promised to wake this try, that will not look any more.
        if let Ok(mut kept) = self.kept.try_borrow_mut() {
            for waker in kept.waiting.drain(..) {
                waker.wake();
            }
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("bytes", &self.bytes)
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use super::*;

    fn replay(parts: &[&'static str], most: u64) -> Replay {
        let parts: VecDeque<_> = parts.iter().copied().map(Bytes::from).collect();
        let length = parts.iter().map(|part| part.len() as u64).sum();
        let replay = Replay::new(Upload::Copy(parts), most);
        // A copy does not tell its length; a client's body may.
        replay.0.borrow_mut().length = Some(length);
        replay
    }

    fn next(reader: &mut Reader) -> Option<Result<String, Error>> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(reader).poll_frame(&mut cx) {
            Poll::Ready(frame) => frame.map(|frame| {
                frame.map(|frame| String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
            }),
            Poll::Pending => panic!("the body is here"),
        }
    }

    fn all(reader: &mut Reader) -> String {
        std::iter::from_fn(|| next(reader))
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn every_try_reads_the_whole_body() {
        let body = replay(&["ab", "cd", "ef"], 6);
        let mut first = body.reader();
        assert_eq!(first.size_hint().exact(), Some(6));
        assert_eq!(next(&mut first).unwrap().unwrap(), "ab");
        assert_eq!(body.complete(), None, "there is more to come");
        assert_eq!(first.size_hint().exact(), Some(4));
        // One try overtakes the other.
        assert_eq!(all(&mut body.reader()), "abcdef");
        assert_eq!(all(&mut first), "cdef");
        assert!(first.is_end_stream() && body.is_whole());
        assert_eq!(body.complete().unwrap(), "abcdef");
        assert_eq!(all(&mut body.reader()), "abcdef");
    }

    #[test]
    fn beyond_its_bound_a_body_is_read_once() {
        let body = replay(&["ab", "cd", "ef"], 5);
        let mut first = body.reader();
        assert!(!body.is_whole(), "its length is known");
        assert_eq!(all(&mut first), "abcdef");
        assert_eq!(body.complete(), None, "it is not kept");
        let again = next(&mut body.reader()).unwrap();
        assert!(matches!(again, Err(Error::Terminated)));
    }
}
