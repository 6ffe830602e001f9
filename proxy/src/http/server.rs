//! Serves HTTP/1 on a client's connection until it ends: one task, which reads a head, serves the request, writes its
//! answer, and begins anew.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, Response, StatusCode, Version, header};
use http_body::Body;
use tokio::time::Instant;

use super::{
    body::Download,
    client::{Client, Verdict, earlier},
    core::{Core, Local},
    date,
    h2::{self, Preface},
    inject::Cut,
    normalize, reply, serve,
};
use crate::{
    error::Error,
    net::{
        body::Incoming,
        h1::{
            encode::{self, Encoder},
            head::{Limits, RequestHead},
            server::{Conn, NoHead},
            spare,
        },
        io::Stream,
        origin::Origin,
        timer::Alarm,
        tls::{Alpn, Session},
    },
    policy::{http1::Http1, protocol::Codec},
};

/// What waits to be written is no more than this before more of the answer is asked for.
const ENOUGH: usize = 64 << 10;

/// Who is told that it sent no request has so long at least to read that.
const REFUSAL: Duration = Duration::from_secs(1);

/// Serves a connection by the HTTP connection manager with this index in the core's configuration.
/// `tls`: what its handshake settled.
pub async fn run(
    core: Rc<Core>,
    local: Rc<Local>,
    http: usize,
    stream: Stream,
    tls: Option<Rc<Session>>,
    origin: &Origin,
) {
    let (Some(settings), Some(metrics)) =
        (local.snapshot.http.get(http), local.downstream.get(http))
    else {
        return;
    };
    let client = Client::new(
        Rc::clone(&core),
        http,
        origin,
        Arc::clone(metrics),
        Arc::clone(stream.traffic()),
        &settings.manager,
    );
    let client = Rc::new(client.over_tls(tls));
    let manager = &settings.manager;
    let limits = Limits::of_clients(
        &manager.http1,
        manager.max_request_headers,
        manager.accept_http_10,
    );
    let life = Life::of(&manager.http1);
    let (codec, http2) = (settings.manager.codec, h2::Settings::of(&settings.manager));
    drop(local);
    let guard = Guard::new(&client);
    let chosen = client.tls.as_ref().map(|tls| tls.protocol());
    let preface = match (codec, chosen, stream.tcp()) {
        (Codec::Http2, ..) | (Codec::Auto, Some(Alpn::Http2), _) => Preface::Http2,
        (Codec::Auto, None, Some(tcp)) => Box::pin(h2::preface(&client, tcp)).await,
        _ => Preface::Other,
    };
    match preface {
        Preface::Other => serve_http1(client, stream, limits, life).await,
        Preface::Http2 => Box::pin(h2::serve(&client, stream, http2)).await,
        Preface::None => {}
    }
    drop(guard);
}

async fn serve_http1(client: Rc<Client>, stream: Stream, limits: Limits, life: Life) {
    let connection = Connection {
        limits,
        life,
        served: Cell::new(0),
        drained: Cell::new(None),
        alarm: RefCell::new(client.core.timer.alarm()),
        conn: Rc::new(Conn::new(stream)),
        client,
    };
    connection.serve().await;
}

/// A client's connection and what looks after it.
struct Connection {
    client: Rc<Client>,
    conn: Rc<Conn>,
    alarm: RefCell<Alarm>,
    limits: Limits,
    life: Life,
    served: Cell<u64>,
    /// It was idle for too long: when it ends, if no request comes.
    drained: Cell<Option<Instant>>,
}

/// How long a connection may serve, and how it ends.
#[derive(Debug, Clone, Copy)]
struct Life {
    requests: u64,
    /// From then on answers say that they are the last.
    last: Option<Instant>,
    /// Then it ends, if it has no request.
    end: Option<Instant>,
    drain: Duration,
    delayed_close: Duration,
    pass_continue: bool,
}

impl Life {
    fn of(http1: &Http1) -> Self {
        let last = http1.max_age.map(|age| Instant::now() + age);
        Self {
            requests: http1.max_requests.unwrap_or(u64::MAX),
            last,
            end: last.map(|last| last + http1.drain),
            drain: http1.drain,
            delayed_close: http1.delayed_close,
            pass_continue: http1.pass_continue,
        }
    }
}

/// How the exchange that ended leaves the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next request may come.
    Next,
    /// It ends, once the client has read its answer.
    Close,
    /// It is cut off.
    Abort,
}

impl Connection {
    async fn serve(&self) {
        loop {
            let after = match self.head().await {
                Some(Ok((head, body))) => self.exchange(head, body).await,
                Some(Err(error)) => self.refuse(&error).await,
                None => return,
            };
            match after {
                After::Next => {}
                After::Close => return self.close().await,
                After::Abort => return,
            }
        }
    }

    /// The next request's head, or why it is none; `None`: there will be no other.
    async fn head(&self) -> Option<Result<(RequestHead, Incoming), Error>> {
        poll_fn(|cx| {
            // Who does not take the last answer is not asked for another request.
            let head = match self.conn.poll_rest(cx) {
                Poll::Ready(Ok(())) => self.conn.poll_head(cx, &self.limits),
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
            Poll::Ready(match head {
                Poll::Ready(Ok(request)) => Some(Ok(request)),
                Poll::Ready(Err(NoHead::Closed)) => None,
                Poll::Ready(Err(NoHead::Cut)) => {
                    self.client.metrics.protocol_errors.inc();
                    None
                }
                Poll::Ready(Err(NoHead::Refused(why))) => Some(Err(Error::from(why))),
                Poll::Pending => {
                    // It had its time to end well: half a head, or an answer that is not taken, makes it no longer.
                    if self.drained.get().is_some_and(|at| Instant::now() >= at) {
                        return Poll::Ready(None);
                    }
                    // A connection whose chain is gone is told so in its next answer: closing it now could cross a request.
                    if self.is_over() && !self.conn.has_begun() {
                        match self.conn.poll_flush(cx) {
                            Poll::Ready(_) => return Poll::Ready(None),
                            Poll::Pending => {}
                        }
                    }
                    match self.watch(cx) {
                        Verdict::GoOn => {
                            self.set_alarm(cx);
                            return Poll::Pending;
                        }
                        Verdict::HeadTimeout => {
                            self.client.metrics.request_timeouts.inc();
                            Some(Err(Error::HeadTimeout))
                        }
                        Verdict::RequestTimeout => Some(Err(Error::RequestTimeout)),
                        Verdict::Idle => {
                            self.client.metrics.idle_timeouts.inc();
                            if self.served.get() > 0 && !self.life.drain.is_zero() {
                                // As Envoy: a request that comes now is still answered, as the last one.
                                self.client.may_idle();
                                self.drained.set(Some(Instant::now() + self.life.drain));
                                self.set_alarm(cx);
                                return Poll::Pending;
                            }
                            None
                        }
                    }
                }
            })
        })
        .await
    }

    /// Serves a request and writes its answer.
    async fn exchange(&self, head: RequestHead, body: Incoming) -> After {
        let RequestHead {
            parts,
            keep_alive,
            expects,
            ..
        } = head;
        self.served.set(self.served.get() + 1);
        if expects && !self.life.pass_continue {
            // Answered here, at once, as Envoy does: it is written before the answer, or with it.
            self.conn
                .with_out(|out| out.put(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        let asked = Asked {
            version: parts.version,
            head: parts.method == http::Method::HEAD,
            connects: parts.method == http::Method::CONNECT,
            // What follows a `CONNECT` that is not taken is no HTTP.
            keep_alive: keep_alive && parts.method != http::Method::CONNECT,
            refused: false,
        };
        let response = {
            let served = pin!(serve(Rc::clone(&self.client), parts, body));
            self.unless_gone(served).await
        };
        let Some(response) = response else {
            return After::Abort;
        };
        match response.extensions().get() {
            Some(Cut::Stream) => {
                self.conn.reset_on_close();
                return After::Abort;
            }
            Some(Cut::Connection) => return After::Abort,
            None => {}
        }
        self.answer(response, asked).await
    }

    /// The future's output; `None`: the client has left before.
    async fn unless_gone<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(_)) = self.conn.poll_flush(cx) {
                return Poll::Ready(None);
            }
            self.watch(cx);
            let polled = future.as_mut().poll(cx);
            if self.life.pass_continue {
                self.pass_interim(cx);
            }
            if let Poll::Ready(output) = polled {
                return Poll::Ready(Some(output));
            }
            if self.conn.poll_gone(cx).is_ready() {
                return Poll::Ready(None);
            }
            self.set_alarm(cx);
            Poll::Pending
        })
        .await
    }

    /// Tells the client what the endpoint has said before its answer, such as that it wants the body.
    fn pass_interim(&self, cx: &mut Context<'_>) {
        let interim = self.client.take_interim();
        if interim.is_empty() {
            return;
        }
        for (status, mut headers) in interim {
            // Who reads nothing is told no more.
            if self.conn.with_out(|out| out.len()) >= ENOUGH {
                break;
            }
            normalize::strip_answer(&mut headers);
            self.conn.with_out(|out| {
                let mut head = encode::Head::new(out.head(), self.limits.names, None);
                head.status(Version::HTTP_11, status);
                for (name, value) in &headers {
                    head.row(name.as_str(), value.as_bytes());
                }
                head.end();
            });
        }
        // A connection that is broken is found out by who polls next.
        let _ = self.conn.poll_flush(cx);
    }

    /// Answers what is no request.
    async fn refuse(&self, error: &Error) -> After {
        if !matches!(error, Error::HeadTimeout | Error::RequestTimeout) {
            self.client.metrics.protocol_errors.inc();
        }
        let response = reply::refused(&self.client, error);
        let asked = Asked {
            version: Version::HTTP_11,
            head: false,
            connects: false,
            keep_alive: false,
            refused: true,
        };
        // Its bounds are crossed already: it is given this time to take its answer.
        let by = Instant::now() + self.life.delayed_close.max(REFUSAL);
        let answered = pin!(self.answer(response, asked));
        let after = self.client.core.timer.by(by, answered).await;
        after.unwrap_or(After::Abort)
    }

    async fn answer(&self, response: Response<Download>, asked: Asked) -> After {
        let (head, mut body) = response.into_parts();
        // RFC 9112 §9.3: what is still to come of the request would be taken for the next one. Envoy reads no more either.
        let switches = asked.switches(head.status);
        let close = !asked.keep_alive
            || (!self.conn.is_read() && !switches)
            || self.client.is_leaving()
            || self.is_last()
            || head.headers.contains_key(header::CONNECTION);
        let mut encoder = self.conn.with_out(|out| {
            let spelling = head.extensions.get();
            let answer = Answer {
                out: encode::Head::new(out.head(), self.limits.names, spelling),
                asked,
                status: head.status,
                headers: &head.headers,
            };
            answer.write(&body, close && !switches)
        });
        spare::give_back(head.headers);
        let after = poll_fn(|cx| {
            // A bound that is crossed is told by the body, until all of it is here; then the client takes too long.
            if self.watch(cx) != Verdict::GoOn && !asked.refused {
                return Poll::Ready(After::Abort);
            }
            let written = self.poll_body(cx, &mut body, &mut encoder, close);
            if written.is_pending() && !asked.refused {
                self.set_alarm(cx);
            }
            written
        })
        .await;
        match after {
            After::Next if close || encoder == Encoder::Raw => After::Close,
            after => after,
        }
    }

    fn poll_body(
        &self,
        cx: &mut Context<'_>,
        body: &mut Download,
        encoder: &mut Encoder,
        last: bool,
    ) -> Poll<After> {
        loop {
            let unheard = *encoder == Encoder::Nothing && body.is_local();
            let mut ended = unheard || body.is_end_stream();
            if ended && self.end(encoder, None).is_err() {
                return Poll::Ready(After::Abort);
            }
            let mut waits = false;
            while !ended && self.conn.with_out(|out| out.len()) < ENOUGH {
                let frame = match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Pending => {
                        waits = true;
                        break;
                    }
                    Poll::Ready(Some(Err(_))) => {
                        // What has come is the client's, then the connection breaks.
                        return self.conn.poll_flush(cx).map(|_| After::Abort);
                    }
                    Poll::Ready(frame) => frame.and_then(Result::ok),
                };
                let put = match frame.map(http_body::Frame::into_data) {
                    Some(Ok(data)) => self.conn.with_out(|out| encoder.data(out, data)),
                    Some(Err(frame)) => {
                        ended = true;
                        let trailers = frame.trailers_ref().filter(|_| self.limits.trailers);
                        self.end(encoder, trailers)
                    }
                    None => {
                        ended = true;
                        self.end(encoder, None)
                    }
                };
                if put.is_err() {
                    return Poll::Ready(After::Abort);
                }
                if !ended && body.is_end_stream() {
                    ended = true;
                    if self.end(encoder, None).is_err() {
                        return Poll::Ready(After::Abort);
                    }
                }
            }
            let flushed = if ended && !last && *encoder != Encoder::Raw {
                self.conn.poll_put_off(cx)
            } else {
                self.conn.poll_flush(cx)
            };
            match flushed {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(After::Abort),
                Poll::Pending => {
                    // A client that reads nothing may still send; a failure is told by the next frame.
                    let _ = body.poll_upload(cx);
                    return self.poll_gone(cx);
                }
            }
            if ended {
                return Poll::Ready(After::Next);
            }
            if waits {
                return self.poll_gone(cx);
            }
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<After> {
        ready!(self.conn.poll_gone(cx));
        Poll::Ready(After::Abort)
    }

    fn end(
        &self,
        encoder: &mut Encoder,
        trailers: Option<&HeaderMap>,
    ) -> Result<(), encode::Mismatch> {
        self.conn.with_out(|out| encoder.end(out, trailers))
    }

    /// Says that no more comes, and waits a little for the client to have read it.
    async fn close(&self) {
        if self.life.delayed_close.is_zero() {
            return;
        }
        let by = Instant::now() + self.life.delayed_close;
        let mut sleep = pin!(self.client.core.timer.sleep_until(by));
        poll_fn(|cx| {
            if sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if ready!(self.conn.poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.conn.poll_drain(cx)
        })
        .await;
    }

    /// Looks at the bounds on time where the alarm has rung.
    fn watch(&self, cx: &mut Context<'_>) -> Verdict {
        self.client.remember(cx.waker());
        if self.alarm.borrow().is_off() {
            self.client.check(Instant::now())
        } else {
            Verdict::GoOn
        }
    }

    fn set_alarm(&self, cx: &mut Context<'_>) {
        // A request that is under way outlives the connection's end, of which it needs no other alarm.
        let end = self.end_by().filter(|end| *end > Instant::now());
        if let Some(at) = earlier(self.client.next_deadline(), end) {
            self.alarm.borrow_mut().set(at, cx.waker());
        }
    }

    /// The answer is the connection's last.
    fn is_last(&self) -> bool {
        self.served.get() >= self.life.requests
            || self.drained.get().is_some()
            || self.life.last.is_some_and(|last| Instant::now() >= last)
    }

    /// No request may begin on it any more.
    fn is_over(&self) -> bool {
        let end = self.end_by();
        self.client.is_closing() || end.is_some_and(|end| Instant::now() >= end)
    }

    /// When it ends, if it has no request then.
    fn end_by(&self) -> Option<Instant> {
        earlier(self.life.end, self.drained.get())
    }
}

/// What a request says about its answer's form.
#[derive(Debug, Clone, Copy)]
struct Asked {
    version: Version,
    head: bool,
    connects: bool,
    keep_alive: bool,
    /// It was no request.
    refused: bool,
}

impl Asked {
    /// From this answer on the connection is another protocol's.
    fn switches(self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS || self.connects && status.is_success()
    }
}

/// An answer's head on its way out.
struct Answer<'a> {
    out: encode::Head<'a>,
    asked: Asked,
    status: StatusCode,
    headers: &'a HeaderMap,
}

impl Answer<'_> {
    fn write(mut self, body: &Download, close: bool) -> Encoder {
        self.out.status(self.asked.version, self.status);
        let switches = self.asked.switches(self.status);
        let (mut length, mut dated) = (None, false);
        for (name, value) in self.headers {
            match *name {
                header::CONNECTION if self.status != StatusCode::SWITCHING_PROTOCOLS => continue,
                header::CONTENT_LENGTH => {
                    length = value.to_str().ok().and_then(|text| text.parse().ok());
                }
                header::DATE => dated = true,
                _ => {}
            }
            self.out.row(name.as_str(), value.as_bytes());
        }
        if !dated {
            date::row(&mut self.out);
        }
        let encoder = if switches {
            Encoder::Raw
        } else {
            self.framing(body, length)
        };
        if close || encoder == Encoder::Raw && !switches {
            self.out.row("connection", b"close");
        } else if self.asked.version == Version::HTTP_10 {
            self.out.row("connection", b"keep-alive");
        }
        self.out.end();
        encoder
    }

    /// RFC 9112 §6.3: how the client finds the end of the body.
    fn framing(&mut self, body: &Download, length: Option<u64>) -> Encoder {
        if self.status == StatusCode::NO_CONTENT || self.status == StatusCode::NOT_MODIFIED {
            return Encoder::Nothing;
        }
        if self.asked.head {
            // As Envoy: how an answer to GET would be framed.
            if length.is_none() && self.asked.version == Version::HTTP_11 {
                self.out.row("transfer-encoding", b"chunked");
            }
            return Encoder::Nothing;
        }
        if let Some(length) = length {
            return Encoder::Length(length);
        }
        if let Some(length) = body.size_hint().exact() {
            self.out.length(length);
            return Encoder::Length(length);
        }
        if self.asked.version == Version::HTTP_10 {
            return Encoder::Raw;
        }
        self.out.row("transfer-encoding", b"chunked");
        Encoder::Chunks
    }
}

/// A connection is counted, and told of drains, until this is dropped.
struct Guard {
    client: Rc<Client>,
    id: u64,
}

impl Guard {
    fn new(client: &Rc<Client>) -> Self {
        client.metrics.connections.inc();
        client.metrics.connections_active.inc();
        let id = client.core.enter(Rc::clone(client));
        client.id.set(id);
        Self {
            id,
            client: Rc::clone(client),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.client.core.leave(self.id);
        self.client.count_bytes();
        self.client.metrics.connections_active.dec();
    }
}
