//! Bodies on their way: the client's to the upstream ([`Upload`]), the answer's to the client ([`Download`]). They stream,
//! meter, keep the timeouts, and copy for mirrors; the end of the answer's body ends the request.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::{
    client::Client,
    filters::Trailers,
    log::Log,
    replay::Reader,
    shadow::{Primary, Tee},
    shaped::{Shaped, Step},
};
use crate::{
    cluster::pool::Lease, error::Error, net::body::Incoming, observe::Flags, policy::grpc::web,
};

/// The body of a request that is sent on.
#[derive(Debug)]
pub enum Upload {
    /// There is none.
    Empty,
    /// The client's, as it comes.
    Client(Box<FromClient>),
    /// A copy of it, for a shadow.
    Copy(VecDeque<Bytes>),
    /// The client's, kept for another try.
    Replay(Reader),
}

/// The client's body as it comes.
#[derive(Debug)]
pub struct FromClient {
    body: Incoming,
    client: Rc<Client>,
    bytes: Rc<Cell<u64>>,
    tees: Vec<Tee>,
    /// What filters do to what follows it.
    trailers: Option<Box<Trailers>>,
    ended: bool,
}

/// The body of an answer.
#[derive(Debug)]
pub struct Download {
    source: Source,
    log: Option<Box<Log>>,
    lease: Option<Lease<Upload>>,
    primaries: Vec<Primary>,
    /// The answer is turned into gRPC-Web's.
    web: Option<web::Form>,
    /// What faults do to it; `None`: nothing.
    shaped: Option<Box<Shaped>>,
    /// The source has ended; what is shaped may still be under way.
    ended: bool,
}

#[derive(Debug)]
enum Source {
    Upstream(Incoming),
    Local(Bytes),
}

impl FromClient {
    /// The client's body, counted in `bytes` and copied to `tees`.
    pub fn new(body: Incoming, client: Rc<Client>, bytes: Rc<Cell<u64>>, tees: Vec<Tee>) -> Self {
        Self {
            body,
            client,
            bytes,
            tees,
            trailers: None,
            ended: false,
        }
    }

    /// The same, with what follows it changed so.
    #[must_use]
    pub fn with_trailers(self, trailers: Option<Box<Trailers>>) -> Self {
        Self { trailers, ..self }
    }

    fn seen(&mut self, data: &Bytes) {
        self.bytes.set(self.bytes.get() + data.len() as u64);
        self.tees.retain_mut(|tee| tee.take(data));
        if self.body.is_end_stream() {
            self.end();
        } else {
            self.client.moved(Instant::now());
        }
    }

    fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.client.request_complete(Instant::now());
        for tee in self.tees.drain(..) {
            tee.end();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Replay(reader) => Pin::new(reader).poll_frame(cx),
            Self::Copy(chunks) => Poll::Ready(chunks.pop_front().map(|data| Ok(Frame::data(data)))),
            Self::Client(from) => {
                let frame = ready!(Pin::new(&mut from.body).poll_frame(cx));
                let Some(frame) = frame else {
                    from.end();
                    return Poll::Ready(None);
                };
                let mut frame = frame?;
                if let Some(data) = frame.data_ref() {
                    from.seen(data);
                } else {
                    if let (Some(edits), Some(trailers)) = (&from.trailers, frame.trailers_mut()) {
                        edits.of_request(trailers);
                    }
                    from.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Copy(chunks) => chunks.is_empty(),
            Self::Replay(reader) => reader.is_end_stream(),
            Self::Client(from) => from.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            // Whole as it is, it is framed as the request was: by its length where a header says so.
            Self::Copy(chunks) if chunks.is_empty() => SizeHint::with_exact(0),
            Self::Copy(_) => SizeHint::default(),
            Self::Client(from) => from.body.size_hint(),
            Self::Replay(reader) => reader.size_hint(),
        }
    }
}

impl Download {
    /// It was made here: it is whole, and none of the request's bounds is about it.
    pub fn is_local(&self) -> bool {
        matches!(self.source, Source::Local(_))
    }

    /// The upstream's body; its end ends the request and gives the connection back.
    pub fn upstream(
        body: Incoming,
        mut log: Box<Log>,
        lease: Lease<Upload>,
        primaries: Vec<Primary>,
    ) -> Self {
        Self {
            shaped: shaped(&mut log, body.is_end_stream()),
            ended: body.is_end_stream(),
            source: Source::Upstream(body),
            web: log.grpc_web,
            log: Some(log),
            lease: Some(lease),
            primaries,
        }
    }

    /// A body of our own; its end ends the request.
    pub fn local(body: Bytes, mut log: Box<Log>) -> Self {
        Self {
            shaped: shaped(&mut log, body.is_empty()),
            ended: body.is_empty(),
            source: Source::Local(body),
            log: Some(log),
            lease: None,
            primaries: Vec::new(),
            web: None,
        }
    }

    /// No body, and no request to end.
    pub fn none() -> Self {
        Self {
            source: Source::Local(Bytes::new()),
            log: None,
            lease: None,
            primaries: Vec::new(),
            web: None,
            shaped: None,
            ended: true,
        }
    }

    fn end(&mut self) {
        let Some(log) = self.log.take() else {
            return;
        };
        let now = Instant::now();
        if let Some(lease) = self.lease.take() {
            lease.give_back(now);
        }
        for primary in self.primaries.drain(..) {
            primary.end(now);
        }
        log.finish(true, now);
    }

    /// The answer cannot go on: the client sees it cut off.
    fn fail(&mut self, error: &Error) {
        for primary in self.primaries.drain(..) {
            primary.failed();
        }
        let Some(mut log) = self.log.take() else {
            return;
        };
        let (flags, details) = match error {
            // The log, dropped, says so.
            Error::ClientLeft => return,
            Error::Timeout => (Flags::UT, "response_timeout"),
            Error::PerTryTimeout { .. } => (Flags::UT, "upstream_per_try_idle_timeout"),
            Error::StreamIdle { .. } => (Flags::SI, "stream_idle_timeout"),
            Error::BadBody => (Flags::DPE, "http1.codec_error"),
            Error::RequestTimeout => (Flags::default(), "request_overall_timeout"),
            Error::MaxDuration { .. } => (Flags::default(), "max_duration_timeout"),
            Error::Reset { refused: false } => (
                Flags::UR,
                "upstream_reset_after_response_started{remote_reset}",
            ),
            Error::ConnectReset => (
                Flags::UR,
                "upstream_reset_after_response_started{remote_error_with_CONNECT_request}",
            ),
            Error::Reset { refused: true } => (
                Flags::UR,
                "upstream_reset_after_response_started{remote_refused_stream_reset}",
            ),
            Error::Terminated if log.method == http::Method::CONNECT => (
                Flags::UC,
                "upstream_reset_after_response_started{connection_termination}",
            ),
            // Envoy's codec takes an end within a body for an error of the protocol.
            _ => (
                Flags::UPE,
                "upstream_reset_after_response_started{protocol_error}",
            ),
        };
        log.flags.set(flags);
        log.details = Cow::Borrowed(details);
        log.finish(false, Instant::now());
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Source::Upstream(body) = &mut self.source else {
            return Poll::Ready(None);
        };
        if let Some(error) = self.log.as_ref().and_then(|log| log.client.overdue()) {
            self.fail(&error);
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => {
                self.source_ended();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                self.fail(&error);
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        let mut frame = frame;
        let ended = frame.is_trailers() || body.is_end_stream();
        if let Some(data) = frame.data_ref() {
            if let Some(log) = self.log.as_ref().filter(|_| !ended) {
                log.client.moved(Instant::now());
            }
            for primary in &mut self.primaries {
                primary.take(data);
            }
        }
        if let (Some(trailers), Some(log)) = (frame.trailers_mut(), &mut self.log) {
            // Compared is what the upstream has said.
            for primary in &mut self.primaries {
                primary.trailers(trailers);
            }
            if let Some(edits) = &log.trailers {
                edits.of_answer(trailers);
            }
            log.keep_trailer(trailers);
        }
        if let Some(form) = self.web {
            frame = turned(form, frame);
        }
        if let (Some(data), Some(log), None) = (frame.data_ref(), &mut self.log, &self.shaped) {
            log.bytes_out += data.len() as u64;
        }
        if ended {
            self.source_ended();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// The request ends with its answer's source, unless that is still being shaped.
    fn source_ended(&mut self) {
        self.ended = true;
        if self.shaped.is_none() {
            self.end();
        }
    }

    fn poll_local(&mut self) -> Option<Frame<Bytes>> {
        let Source::Local(body) = &mut self.source else {
            return None;
        };
        let data = std::mem::take(body);
        if let Some(log) = &mut self.log
            && self.shaped.is_none()
        {
            log.bytes_out += data.len() as u64;
        }
        self.source_ended();
        (!data.is_empty()).then(|| Frame::data(data))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &self.source {
            Source::Upstream(_) => self.poll_upstream(cx),
            Source::Local(_) => Poll::Ready(self.poll_local().map(Ok)),
        }
    }

    fn poll_shaped(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let Some(shaped) = &mut self.shaped else {
                return Poll::Ready(None);
            };
            match ready!(shaped.poll(cx)) {
                Step::Data(data) => {
                    if let Some(log) = &mut self.log {
                        log.bytes_out += data.len() as u64;
                        log.client.moved(Instant::now());
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Step::Cut => {
                    self.cut();
                    return Poll::Ready(Some(Err(Error::Terminated)));
                }
                Step::Empty if self.ended => {
                    self.shaped = None;
                    self.end();
                    return Poll::Ready(None);
                }
                Step::Empty => {}
            }
            let frame = match ready!(self.poll_source(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => continue,
            };
            match (frame.into_data(), &mut self.shaped) {
                (Ok(data), Some(shaped)) => shaped.hold(data),
                (Ok(_), None) => {}
                (Err(trailers), _) => {
                    self.shaped = None;
                    self.end();
                    return Poll::Ready(Some(Ok(trailers)));
                }
            }
        }
    }

    /// A fault breaks the answer off.
    fn cut(&mut self) {
        for primary in self.primaries.drain(..) {
            primary.failed();
        }
        if let Some(mut log) = self.log.take() {
            log.flags.set(Flags::FI);
            log.details = Cow::Borrowed("fault_truncate");
            log.finish(false, Instant::now());
        }
    }

    /// Sends on what the client still sends, while it takes nothing of the answer.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        match &mut self.source {
            Source::Upstream(body) => body.poll_upload(cx),
            Source::Local(_) => Ok(()),
        }
    }
}

/// What faults do to the body of the log's answer; an empty one is as it is.
fn shaped(log: &mut Log, empty: bool) -> Option<Box<Shaped>> {
    let shaping = log.shaping.take().filter(|_| !empty)?;
    let timer = log.client.core.timer.clone();
    Shaped::new(shaping, timer).map(Box::new)
}

/// A piece of an answer, and its trailers, as gRPC-Web has them.
fn turned(form: web::Form, frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(data) => Frame::data(form.write(&data).into()),
        Err(frame) => match frame.trailers_ref() {
            Some(trailers) => Frame::data(form.write_trailers(trailers).into()),
            None => frame,
        },
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.shaped.is_some() {
            return self.poll_shaped(cx);
        }
        self.poll_source(cx)
    }

    fn is_end_stream(&self) -> bool {
        if self.shaped.is_some() {
            return false;
        }
        match &self.source {
            Source::Upstream(body) => body.is_end_stream(),
            Source::Local(body) => body.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let hint = match &self.source {
            // Its length is another one then.
            Source::Upstream(body) if self.web.is_some() && !body.is_end_stream() => {
                SizeHint::default()
            }
            Source::Upstream(body) => body.size_hint(),
            Source::Local(body) => SizeHint::with_exact(body.len() as u64),
        };
        match (&self.shaped, hint.exact()) {
            (Some(shaped), Some(exact)) => SizeHint::with_exact(exact + shaped.held()),
            (Some(_), None) => SizeHint::default(),
            (None, _) => hint,
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // A body that is empty, or that the method or the status has no use for, is dropped without being polled.
        let mut unused = self.is_end_stream();
        if let (Some(log), false) = (&mut self.log, unused) {
            let head = log.method == http::Method::HEAD;
            let bodiless = matches!(
                log.status,
                Some(http::StatusCode::NO_CONTENT | http::StatusCode::NOT_MODIFIED)
            );
            if let (Source::Local(body), true, false) = (&self.source, bodiless, head) {
                // As Envoy counts, what its codec leaves out is sent.
                log.bytes_out += body.len() as u64;
            }
            let bodiless = bodiless && log.method != http::Method::CONNECT;
            unused = bodiless || (head && matches!(self.source, Source::Local(_)));
        }
        if unused {
            self.end();
        }
    }
}
