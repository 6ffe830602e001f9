//! One request of a client's connection, and its answer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, ext::Protocol, server::SendResponse};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request, response,
};
use http_body::{Body, Frame};

use super::Connection;
use crate::{
    error::{Error, Side},
    http::{
        body::Download,
        client::{Client, Left},
        date,
        inject::Cut,
        normalize::REQUEST_ID,
        reply::SERVICE_TIME,
        serve,
    },
    net::{body::Incoming, hop},
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With its answer, or with the connection.
    Over,
    /// The client reset it.
    Reset,
}

/// Serves the request, and answers it.
pub(super) async fn run(
    connection: &Connection,
    client: Rc<Client>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Ended {
    let bodiless = request.method() == Method::HEAD;
    let broken = if request.method() == Method::CONNECT {
        // RFC 9113 §8.5: the far connection broke.
        Reason::CONNECT_ERROR
    } else {
        Reason::INTERNAL_ERROR
    };
    let mut exchange = pin!(serve(Rc::clone(&client), settle(request)));
    let answer = poll_fn(|cx| {
        client.remember(cx.waker());
        if let Poll::Ready(reset) = respond.poll_reset(cx) {
            gone(&client, reset);
            return Poll::Ready(None);
        }
        let polled = exchange.as_mut().poll(cx).map(Some);
        if polled.is_pending() {
            connection.watch(client.next_deadline());
        }
        polled
    })
    .await;
    let Some(answer) = answer else {
        return ended(&client);
    };
    match answer.extensions().get() {
        Some(Cut::Stream) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return ended(&client);
        }
        Some(Cut::Connection) => {
            connection.cut();
            return ended(&client);
        }
        None => {}
    }
    let (head, body) = answer.into_parts();
    let head = Response::from_parts(framed(head), ());
    let last = bodiless || body.is_end_stream();
    match respond.send_response(head, last) {
        Ok(send) if !last => {
            let held = None;
            Sender {
                send,
                body,
                held,
                broken,
            }
            .run(connection, &client)
            .await;
        }
        Ok(_) => {}
        // The stream is gone, or the head is one that cannot be sent.
        Err(_) => respond.send_reset(Reason::INTERNAL_ERROR),
    }
    ended(&client)
}

fn ended(client: &Client) -> Ended {
    match client.left() {
        Some(Left::Reset) => Ended::Reset,
        _ => Ended::Over,
    }
}

/// The request as the pipeline knows it.
fn settle(request: Request<RecvStream>) -> Request<Incoming> {
    let (mut head, body) = request.into_parts();
    join_cookies(&mut head.headers);
    upgrade(&mut head);
    let length = length(&head.headers);
    Request::from_parts(head, Incoming::stream(body, length, Side::Downstream))
}

/// RFC 8441 §5: an extended `CONNECT` is HTTP/2's way to ask for an upgrade; the pipeline knows HTTP/1's.
fn upgrade(head: &mut request::Parts) {
    let Some(protocol) = head.extensions.remove::<Protocol>() else {
        return;
    };
    if let Ok(protocol) = HeaderValue::from_str(protocol.as_str()) {
        head.method = Method::GET;
        head.headers.insert(header::UPGRADE, protocol);
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
}

/// What `content-length` says.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// RFC 9113 §8.2.3: crumbs become one header for whoever does not speak HTTP/2.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut all = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        all.extend_from_slice(b"; ");
        all.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(all)) {
        headers.insert(header::COOKIE, joined);
    }
}

/// RFC 9113 §8.2.2: a connection's headers are none of a stream's.
fn framed(mut head: response::Parts) -> response::Parts {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // The answer to an extended `CONNECT`.
        head.status = StatusCode::OK;
    }
    hop::strip(&mut head.headers);
    hop::keep_from_table(&mut head.headers, &[SERVICE_TIME, REQUEST_ID]);
    if let header::Entry::Vacant(date) = head.headers.entry(header::DATE) {
        date.insert(date::value());
    }
    head
}

fn gone(client: &Client, reset: Result<Reason, h2::Error>) {
    match reset {
        Ok(_) => client.leave(Left::Reset),
        Err(error) if error.is_reset() && error.is_library() => client.leave(Left::Refused),
        Err(error) if error.is_reset() => client.leave(Left::Reset),
        Err(_) => {}
    }
}

/// An answer's body on its way. At most one piece of it waits here for the client's window.
struct Sender {
    send: SendStream<Bytes>,
    body: Download,
    held: Option<Bytes>,
    /// What the client is told when the body breaks off.
    broken: Reason,
}

impl Sender {
    async fn run(mut self, connection: &Connection, client: &Client) {
        poll_fn(|cx| {
            client.remember(cx.waker());
            let polled = self.poll(client, cx);
            if polled.is_pending() {
                connection.watch(client.next_deadline());
            }
            polled
        })
        .await;
    }

    fn poll(&mut self, client: &Client, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Poll::Ready(reset) = self.send.poll_reset(cx) {
                gone(client, reset);
                return Poll::Ready(());
            }
            if client.overdue().is_some() {
                // The body is asked for its error, whether there is a window or not.
                self.held = None;
            } else if let Some(data) = self.held.take() {
                if self.window(cx).is_pending() {
                    // A client that reads nothing may still send; a failure is told by the next frame.
                    let _ = self.body.poll_upload(cx);
                    self.held = Some(data);
                    return Poll::Pending;
                }
                if self.data(data).is_ready() {
                    return Poll::Ready(());
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Poll::Pending;
            };
            if self.take(frame).is_ready() {
                return Poll::Ready(());
            }
        }
    }

    /// There is room in the client's window, or will never be.
    fn window(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.send.capacity() == 0 {
            self.send.reserve_capacity(1);
            match self.send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// `Ready`: it was the last.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, Error>>) -> Poll<()> {
        let Some(frame) = frame else {
            return over(self.send.send_data(Bytes::new(), true));
        };
        let Ok(frame) = frame else {
            self.send.send_reset(self.broken);
            return Poll::Ready(());
        };
        match frame.into_data() {
            // The last piece ends the stream with it.
            Ok(data) if self.send.capacity() > 0 || data.is_empty() => self.data(data),
            Ok(data) => {
                self.send.reserve_capacity(1);
                if self.send.capacity() > 0 {
                    return self.data(data);
                }
                self.held = Some(data);
                Poll::Pending
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => over(self.send.send_trailers(trailers)),
                Err(_) => Poll::Pending,
            },
        }
    }

    fn data(&mut self, data: Bytes) -> Poll<()> {
        let last = self.body.is_end_stream();
        match self.send.send_data(data, last) {
            Ok(()) if !last => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }
}

fn over(sent: Result<(), h2::Error>) -> Poll<()> {
    // It cannot be sent: the client has gone, which its record says.
    drop(sent);
    Poll::Ready(())
}
