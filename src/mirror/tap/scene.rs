//! An exchange as it was seen → the request that is asked again and the answer that is played. Pure.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body_util::Full;
use meshbed_proxy::{observe::Answer, policy::mirror::Limits};

use super::TAP;
use crate::{
    capture::{self, Exchange},
    replay::rewrite::without_connection,
};

/// Headers of one connection, which the next one has of its own (RFC 9110 §7.6.1), and those that say how a body is
/// framed, which is done anew.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::UPGRADE,
    header::EXPECT,
    header::TRAILER,
];

/// What is played for one exchange.
#[derive(Debug)]
pub(super) struct Scene {
    /// The request; it lacks its mark.
    pub(super) request: Request<Full<Bytes>>,
    /// The primary's answer, with what the wire says of it in [`TAP`].
    pub(super) answer: Response<Full<Bytes>>,
    bytes: usize,
}

/// What the wire says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    took_us: u64,
    /// Bytes of its body.
    length: u64,
    /// It said its length, which is not always that of a body.
    said: Option<u64>,
}

impl Scene {
    /// The scene of an exchange; why there is none.
    pub(super) fn of(exchange: Exchange, limits: &Limits) -> Result<Self, &'static str> {
        let capture::Request {
            method,
            target,
            headers,
            body,
            trailers,
            complete,
            last_byte,
            ..
        } = exchange.request;
        let answer = exchange.response.ok_or("no_answer")?;
        if !complete {
            return Err("request_cut");
        }
        if !answer.complete {
            return Err("answer_cut");
        }
        let headers = map(&headers)?;
        if answer.status == 101 || method == "CONNECT" || headers.contains_key(header::UPGRADE) {
            return Err("upgrade");
        }
        if !trailers.is_empty() {
            return Err("request_trailers");
        }
        if !body.is_kept_whole() || body.bytes > limits.request_body.0 {
            return Err("request_body");
        }
        // The answer may begin before the request has come in full; then there is no moment to count from but its start.
        let begin = if last_byte <= answer.first_byte {
            last_byte
        } else {
            exchange.at
        };
        let took = Duration::from_nanos(answer.last_byte.saturating_sub(begin));
        let size = body.data.len() + answer.body.data.len();
        let unreadable = "unreadable";
        let mut request = Request::new(Full::new(body.data));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| unreadable)?;
        *request.uri_mut() = Uri::try_from(target.as_ref()).map_err(|_| unreadable)?;
        *request.headers_mut() = passed_on(headers);
        let headers = map(&answer.headers)?;
        let facts = Facts {
            took_us: took.as_micros() as u64,
            length: answer.body.bytes,
            said: headers
                .get(header::CONTENT_LENGTH)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok()),
        };
        let kept = limits.response_body.0.min(answer.body.data.len() as u64) as usize;
        let mut played = Response::new(Full::new(answer.body.data.slice(..kept)));
        *played.status_mut() = StatusCode::from_u16(answer.status).map_err(|_| unreadable)?;
        *played.headers_mut() = passed_on(headers);
        played.headers_mut().insert(TAP, facts.value());
        Ok(Self {
            request,
            answer: played,
            bytes: size,
        })
    }

    /// What it takes in memory, roughly.
    pub(super) fn size(&self) -> usize {
        let of = |headers: &HeaderMap| {
            headers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len())
                .sum::<usize>()
        };
        self.bytes + of(self.request.headers()) + of(self.answer.headers())
    }
}

impl Facts {
    fn value(self) -> HeaderValue {
        let said = self
            .said
            .map_or_else(|| "-".to_owned(), |said| said.to_string());
        // Digits, spaces and a dash.
        HeaderValue::try_from(format!("{} {} {said}", self.took_us, self.length))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn parse(value: &HeaderValue) -> Option<Self> {
        let mut parts = value.to_str().ok()?.split(' ');
        let (took, length, said) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            took_us: took.parse().ok()?,
            length: length.parse().ok()?,
            said: said.parse().ok(),
        })
    }
}

/// The primary's answer as the wire says, not as it was played.
pub(super) fn as_seen(answer: &mut Answer) {
    let Some(facts) = answer.headers.remove(TAP).as_ref().and_then(Facts::parse) else {
        return;
    };
    answer.duration = Duration::from_micros(facts.took_us);
    answer.length = facts.length;
    answer.headers.remove(header::CONTENT_LENGTH);
    if let Some(said) = facts.said {
        answer
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(said));
    }
}

fn map(recorded: &[capture::Header]) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::with_capacity(recorded.len());
    for row in recorded {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&row.name),
            HeaderValue::from_bytes(&row.value),
        ) else {
            return Err("unreadable");
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// Without what is between two neighbours: those that are always so, and those that `Connection` names.
fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    without_connection(&mut headers, &OF_THE_CONNECTION);
    // Nobody but us says what the wire says.
    headers.remove(TAP);
    headers
}

#[cfg(test)]
mod tests {
    use meshbed_proxy::unit::ByteSize;

    use super::*;
    use crate::capture::{
        follow::Follower,
        write::{Dialogue, ETHERNET},
    };

    const US: u64 = 1_000;

    /// What the wire shows: the request at 0, its last byte 100 µs later, the answer's first at 300, its last at 700.
    fn seen(request: &str, answer: &str) -> Exchange {
        let mut talk = Dialogue::open(
            "10.0.0.1:40000".parse().unwrap(),
            "10.0.0.2:8080".parse().unwrap(),
            1,
        );
        let (begin, rest) = request.split_at(1);
        talk.ask(US, begin.as_bytes())
            .ask(101 * US, rest.as_bytes());
        let (begin, rest) = answer.split_at(1);
        talk.answer(301 * US, begin.as_bytes())
            .answer(701 * US, rest.as_bytes())
            .close(800 * US);
        let mut follower = Follower::new(ETHERNET, 1 << 20, 1 << 24);
        let mut found = Vec::new();
        for packet in &talk.packets {
            found.extend(follower.packet(packet.at, &talk.frame(packet)));
        }
        found.extend(follower.finish().0);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    fn limits() -> Limits {
        Limits {
            request_body: ByteSize(8),
            response_body: ByteSize(4),
            ..Limits::default()
        }
    }

    fn scene(request: &str, answer: &str) -> Result<Scene, &'static str> {
        Scene::of(seen(request, answer), &limits())
    }

    #[test]
    fn a_request_is_asked_again_without_what_was_between_two_neighbours() {
        let scene = scene(
            "POST /a?b=%20c HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\
             Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok",
        )
        .unwrap();
        assert_eq!(scene.request.uri(), "/a?b=%20c");
        let rows: Vec<String> = scene
            .request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(rows, ["host: h", "x-a: 1", "x-a: 2"]);
        let answer = scene.answer.headers();
        assert_eq!(answer.get_all("set-cookie").iter().count(), 2);
        // From the request's last byte, 100 µs, to the answer's, 700 µs.
        assert_eq!(answer[TAP], "600 2 2");
    }

    #[test]
    fn an_answer_is_told_as_it_was_seen() {
        let scene = scene(
            "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
        )
        .unwrap();
        let mut told = Answer {
            status: scene.answer.status(),
            headers: scene.answer.headers().clone(),
            body: Bytes::from_static(b"abcd"),
            length: 4,
            rest: None,
            trailers: None,
            duration: Duration::from_secs(9),
        };
        told.headers.insert(header::CONTENT_LENGTH, 4.into());
        as_seen(&mut told);
        assert_eq!(told.duration, Duration::from_micros(600));
        assert_eq!(told.length, 6);
        assert_eq!(told.headers[header::CONTENT_LENGTH], "6");
        assert!(!told.headers.contains_key(TAP));
    }

    #[test]
    fn what_cannot_be_asked_again_has_a_reason() {
        const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let cases = [
            (
                GET,
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
                "answer_cut",
            ),
            (GET, "HTT", "no_answer"),
            (
                "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx",
                OK,
                "request_cut",
            ),
            (
                "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123456789",
                OK,
                "request_body",
            ),
            (
                "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
                "upgrade",
            ),
            (
                "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\n",
                OK,
                "request_trailers",
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nx-a: \u{1}\r\n\r\n",
                OK,
                "unreadable",
            ),
        ];
        for (request, answer, expected) in cases {
            assert_eq!(scene(request, answer).unwrap_err(), expected, "{request}");
        }
    }
}
