//! Both ends of a connection, joined by a pipe, and what a peer may send.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{
    client::{self, Requests},
    error::Error,
    frame::{self, Head, PREFACE, kind},
    server,
    stream::{Answer, Recv, Sender},
};
use crate::policy::protocol::Http2;

type Served = server::Connection<DuplexStream>;
type Asked = client::Connection<DuplexStream>;

/// Two ends, each polled in turns until nothing moves.
struct Pair {
    requests: Requests,
    client: Asked,
    server: Served,
    come: Vec<server::Request>,
    ended: Option<Result<(), Error>>,
}

impl Pair {
    fn new(settings: &Http2) -> Self {
        let (near, far) = duplex(1 << 20);
        let (requests, client) = client::connect(near, settings, 60 << 10);
        Self {
            requests,
            client,
            server: Served::new(far, settings, 60 << 10, 100),
            come: Vec::new(),
            ended: None,
        }
    }

    fn turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..20 {
            let _ = self.client.poll(&mut cx);
            while let Poll::Ready(come) = self.server.poll_accept(&mut cx) {
                match come.transpose() {
                    Ok(Some(request)) => self.come.push(request),
                    Ok(None) => {
                        self.ended = Some(Ok(()));
                        break;
                    }
                    Err(error) => {
                        self.ended = Some(Err(error));
                        break;
                    }
                }
            }
            self.server.poll_drain(&mut cx);
        }
    }

    fn ask(&mut self, ended: bool) -> (Sender, Answer) {
        let headers = HeaderMap::new();
        let head = client::Head {
            method: &Method::POST,
            authority: Some(&"a".parse().unwrap()),
            path: Some("/"),
            secure: false,
            protocol: None,
            headers: &headers,
        };
        self.requests.ask(&head, ended).unwrap()
    }

    fn come(&mut self) -> server::Request {
        self.turn();
        self.come.remove(0)
    }
}

fn now<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    pin!(poll_fn(poll)).poll(&mut Context::from_waker(Waker::noop()))
}

/// The answer, which is here.
fn answered(answer: Answer) -> (response::Parts, Option<Recv>) {
    let mut answer = pin!(answer);
    match now(|cx| answer.as_mut().poll(cx)) {
        Poll::Ready(answer) => answer.unwrap(),
        Poll::Pending => panic!("no answer"),
    }
}

/// Sends so much; what was taken.
fn send(sender: &mut Sender, piece: &mut Bytes) -> usize {
    let before = piece.len();
    let _ = now(|cx| sender.poll_data(cx, piece, false));
    before - piece.len()
}

/// What there is to be read.
fn read(body: &mut Recv) -> usize {
    let mut all = 0;
    while let Poll::Ready(Some(Ok(frame))) = now(|cx| body.poll_frame(cx)) {
        all += frame.into_data().map_or(0, |data| data.len());
    }
    all
}

fn small() -> Http2 {
    Http2 {
        stream_window: 1_000,
        ..Http2::default()
    }
}

#[test]
fn a_body_goes_on_as_it_is_read() {
    let mut pair = Pair::new(&small());
    let (mut sender, _answer) = pair.ask(false);
    let mut body = pair.come().body.unwrap();
    let mut piece = Bytes::from(vec![7; 5_000]);
    let (mut sent, mut got) = (0, 0);
    for _ in 0..20 {
        sent += send(&mut sender, &mut piece);
        pair.turn();
        assert!(sent - got <= 1_000, "more than the window");
        got += read(&mut body);
        pair.turn();
    }
    assert_eq!((sent, got), (5_000, 5_000));
}

#[test]
fn what_nobody_reads_any_more_does_not_hold_up_others() {
    let settings = Http2 {
        connection_window: 70_000,
        ..Http2::default()
    };
    let mut pair = Pair::new(&settings);
    for _ in 0..40 {
        let (mut sender, _answer) = pair.ask(false);
        let request = pair.come();
        let mut piece = Bytes::from(vec![7; 30_000]);
        while send(&mut sender, &mut piece) > 0 {
            pair.turn();
        }
        assert_eq!(piece.len(), 0, "the connection's window is lost");
        drop(request);
        pair.turn();
    }
}

#[test]
fn streams_share_the_connections_window_in_turns() {
    let mut pair = Pair::new(&Http2 {
        stream_window: 1 << 20,
        connection_window: 65_535,
        ..Http2::default()
    });
    let mut streams: Vec<_> = (0..4)
        .map(|_| {
            let (sender, answer) = pair.ask(false);
            let body = pair.come().body.unwrap();
            (sender, answer, body, Bytes::from(vec![7; 400_000]), 0)
        })
        .collect();
    for _ in 0..12 {
        // All are told that they may go on, in turns; each takes what it can.
        for (sender, _, _, piece, _) in &mut streams {
            send(sender, piece);
            pair.turn();
        }
        for (_, _, body, _, got) in &mut streams {
            *got += read(body);
            pair.turn();
        }
    }
    assert!(streams.iter().map(|(.., got)| got).sum::<usize>() > 400_000);
}

#[test]
fn an_answer_and_its_trailers_come_as_they_were_sent() {
    let mut pair = Pair::new(&Http2::default());
    let (_sender, answer) = pair.ask(true);
    let mut request = pair.come();
    assert!(request.body.is_none());
    let (mut head, ()) = Response::new(()).into_parts();
    // More than a frame.
    head.headers
        .insert("x-long", "v".repeat(40_000).parse().unwrap());
    request.answer.head(&head, false).unwrap();
    let mut piece = Bytes::from_static(b"hello");
    assert!(now(|cx| request.answer.poll_data(cx, &mut piece, false)).is_ready());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    request.answer.trailers(&trailers).unwrap();
    pair.turn();
    let (got, body) = answered(answer);
    assert_eq!(got.headers, head.headers);
    let mut body = body.unwrap();
    let Poll::Ready(Some(Ok(frame))) = now(|cx| body.poll_frame(cx)) else {
        panic!("no data");
    };
    assert_eq!(frame.into_data().unwrap(), "hello");
    assert!(!body.is_end_stream());
    let Poll::Ready(Some(Ok(frame))) = now(|cx| body.poll_frame(cx)) else {
        panic!("no trailers");
    };
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    assert!(body.is_end_stream());
}

#[test]
fn a_good_bye_lets_what_is_under_way_end() {
    let mut pair = Pair::new(&Http2::default());
    let (_sender, answer) = pair.ask(true);
    let mut request = pair.come();
    pair.server.leave();
    pair.turn();
    assert!(!pair.requests.takes_more());
    assert_eq!(pair.ended, None);
    let (head, ()) = Response::new(()).into_parts();
    request.answer.head(&head, true).unwrap();
    drop(request);
    pair.turn();
    assert_eq!(pair.ended, Some(Ok(())));
    assert!(answered(answer).1.is_none());
}

#[test]
fn whoever_drops_a_request_resets_it() {
    let mut pair = Pair::new(&Http2::default());
    let asked = pair.ask(true);
    let mut request = pair.come();
    assert!(now(|cx| request.answer.poll_reset(cx)).is_pending());
    drop(asked);
    pair.turn();
    assert!(now(|cx| request.answer.poll_reset(cx)).is_ready());
    assert_eq!((pair.server.streams(), pair.server.unsent()), (0, 0));
}

/// Lets a server take the bytes, and answer what it takes; it must not fail otherwise than by telling why.
async fn attack(bytes: &[u8]) {
    let (mut near, far) = duplex(1 << 20);
    let mut server = Served::new(far, &Http2::default(), 60 << 10, 100);
    near.write_all(bytes).await.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut requests = Vec::new();
    for at in 0..200 {
        let come = server.poll_accept(&mut cx);
        server.poll_drain(&mut cx);
        match come {
            Poll::Ready(Some(Ok(mut request))) => {
                let (head, ()) = Response::new(()).into_parts();
                let _ = request.answer.head(&head, false);
                let mut piece = Bytes::from_static(&[0; 100]);
                let _ = request.answer.poll_data(&mut cx, &mut piece, at % 2 == 0);
                if let Some(body) = &mut request.body {
                    let _ = body.poll_frame(&mut cx);
                }
                if at % 3 > 0 {
                    requests.push(request);
                }
            }
            Poll::Ready(_) => break,
            Poll::Pending if at % 5 == 4 => requests.truncate(at / 10),
            Poll::Pending => {}
        }
    }
    drop(server);
    let mut told = Vec::new();
    near.read_to_end(&mut told).await.unwrap();
    let mut told = &told[..];
    // What it said is frames.
    while let Some(head) = Head::read(told) {
        told = &told[frame::HEAD + head.length..];
    }
    assert!(told.is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(400))]

    #[test]
    fn no_frames_do_harm(
        frames in proptest::collection::vec(
            (0_u8..11, proptest::bits::u8::ANY, 0_u32..8, proptest::collection::vec(0_u8..=255, 0..40), 0_u8..8),
            0..40,
        ),
    ) {
        let mut bytes = PREFACE.to_vec();
        frame::write(&mut bytes, kind::SETTINGS, 0, 0, &[]);
        let mut next = 1;
        for (kind, flags, stream, mut payload, wild) in frames {
            let mut stream = stream;
            match (kind, wild) {
                // Some that are as they should be.
                (kind::HEADERS, 1..) => {
                    payload = vec![0x82, 0x86, 0x84, 0x41, 1, b'a'];
                    stream = next;
                    next += 2;
                    frame::write(&mut bytes, kind, 4 | (flags & 1), stream, &payload);
                    continue;
                }
                (kind::WINDOW_UPDATE | kind::RST_STREAM, 1..) => payload = vec![0, 0, 0, wild],
                (kind::PING, 1..) => payload = vec![wild; 8],
                (kind::SETTINGS, 1..) => payload = vec![0, wild, 0, 0, 0, wild],
                _ => {}
            }
            frame::write(&mut bytes, kind, flags, stream, &payload);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(tokio::task::unconstrained(attack(&bytes)));
    }
}
