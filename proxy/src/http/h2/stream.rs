//! One request of a client's connection, and its answer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, StatusCode, header, response};
use http_body::{Body, Frame};

use super::Connection;
use crate::{
    error::Side,
    http::{
        body::Download,
        client::{Client, Left},
        date,
        inject::Cut,
        reply, serve,
    },
    net::{
        body::Incoming,
        h2::{self, By, Reason, server},
        hop,
    },
    observe::Flags,
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With its answer, or with the connection.
    Over,
    /// The client reset it, or had it reset by what it sent.
    Reset,
}

/// Serves the request, and answers it.
pub(super) async fn run(
    connection: &Connection,
    client: Rc<Client>,
    request: server::Request,
) -> Ended {
    let server::Request {
        mut head,
        body,
        answer: mut sender,
    } = request;
    if let Some(details) = connection.heads.refuse(&mut head) {
        reply::unheard(&client, Flags::DR, details);
        sender.reset(Reason::INTERNAL_ERROR);
        return Ended::Reset;
    }
    let bodiless = head.method == Method::HEAD;
    let broken = if head.method == Method::CONNECT {
        // RFC 9113 §8.5: the far connection broke.
        Reason::CONNECT_ERROR
    } else {
        Reason::INTERNAL_ERROR
    };
    let body = Incoming::stream(body, Side::Downstream);
    let mut exchange = pin!(serve(Rc::clone(&client), head, body));
    let answer = poll_fn(|cx| {
        client.remember(cx.waker());
        if let Poll::Ready(reset) = sender.poll_reset(cx) {
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
            sender.reset(Reason::INTERNAL_ERROR);
            return ended(&client);
        }
        Some(Cut::Connection) => {
            connection.cut();
            return ended(&client);
        }
        None => {}
    }
    let (head, body) = answer.into_parts();
    let last = bodiless || body.is_end_stream();
    // A stream that is gone needs no answer.
    if sender.head(&framed(head), last).is_ok() && !last {
        let held = None;
        Upload {
            sender,
            body,
            held,
            broken,
        }
        .run(connection, &client)
        .await;
    }
    ended(&client)
}

fn ended(client: &Client) -> Ended {
    match client.left() {
        Some(Left::Reset | Left::Refused) => Ended::Reset,
        None => Ended::Over,
    }
}

/// RFC 9113 §8.2.2: a connection's headers are none of a stream's.
fn framed(mut head: response::Parts) -> response::Parts {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // The answer to an extended `CONNECT`.
        head.status = StatusCode::OK;
    }
    hop::strip(&mut head.headers);
    if let header::Entry::Vacant(date) = head.headers.entry(header::DATE) {
        date.insert(date::value());
    }
    head
}

fn gone(client: &Client, reset: h2::Error) {
    match reset {
        h2::Error::Reset(_, By::Us) => client.leave(Left::Refused),
        h2::Error::Reset(..) => client.leave(Left::Reset),
        _ => {}
    }
}

/// An answer's body on its way. At most one piece of it waits here for the client's window.
struct Upload {
    sender: h2::Sender,
    body: Download,
    held: Option<Bytes>,
    /// What the client is told when the body breaks off.
    broken: Reason,
}

impl Upload {
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
            if let Poll::Ready(reset) = self.sender.poll_reset(cx) {
                gone(client, reset);
                return Poll::Ready(());
            }
            if client.overdue().is_some() && !self.body.is_local() {
                // The body is asked for its error, whether there is a window or not.
                self.held = None;
            } else if let Some(data) = self.held.take()
                && self.send(data, cx).is_ready()
            {
                return Poll::Ready(());
            }
            if self.held.is_some() {
                // A client that reads nothing may still send; a failure is told by the next frame.
                let _ = self.body.poll_upload(cx);
                return Poll::Pending;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => {
                    // Nothing needs no window. A stream that is gone tells it by its record.
                    let _ = self.sender.poll_data(cx, &mut Bytes::new(), true);
                    return Poll::Ready(());
                }
                Some(Err(_)) => {
                    self.sender.reset(self.broken);
                    return Poll::Ready(());
                }
                Some(Ok(Ok(data))) => {
                    if self.send(data, cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                Some(Ok(Err(frame))) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = self.sender.trailers(&trailers);
                        return Poll::Ready(());
                    }
                }
            }
        }
    }

    /// Sends the piece, or as much as there is a window for, and holds the rest. `Ready`: it was the last.
    fn send(&mut self, mut data: Bytes, cx: &mut Context<'_>) -> Poll<()> {
        // The last piece ends the stream with it.
        let last = self.body.is_end_stream();
        match self.sender.poll_data(cx, &mut data, last) {
            Poll::Ready(Ok(())) if !last => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => {
                self.held = Some(data);
                Poll::Pending
            }
        }
    }
}
