//! Exchanges as bytes, for the temporary file of the sorter: read back by the same process, so nothing is versioned.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, Bytes};

use super::exchange::{Body, Exchange, Header, Protocol, Request, Response};

const PROTOCOLS: [Protocol; 4] = [
    Protocol::Http10,
    Protocol::Http11,
    Protocol::H2,
    Protocol::Grpc,
];

/// Appends an exchange.
pub(super) fn write(out: &mut Vec<u8>, e: &Exchange) {
    number(out, e.stream);
    option(out, e.h2_stream.map(u64::from));
    out.put_u8(
        PROTOCOLS
            .iter()
            .position(|p| *p == e.protocol)
            .unwrap_or_default() as u8,
    );
    out.put_u64_le(e.at);
    address(out, e.client);
    address(out, e.server);
    let r = &e.request;
    text(out, r.method.as_bytes());
    text(out, &r.target);
    text(out, &r.authority);
    headers(out, &r.headers);
    body(out, &r.body);
    headers(out, &r.trailers);
    out.put_u64_le(r.last_byte);
    out.put_u8(u8::from(r.complete));
    number(out, e.interim.len() as u64);
    for status in &e.interim {
        out.put_u16_le(*status);
    }
    match &e.response {
        None => out.put_u8(0),
        Some(r) => {
            out.put_u8(1 + u8::from(r.complete));
            out.put_u16_le(r.status);
            headers(out, &r.headers);
            body(out, &r.body);
            headers(out, &r.trailers);
            out.put_u64_le(r.first_byte);
            out.put_u64_le(r.last_byte);
        }
    }
    option(out, e.grpc_status.map(u64::from));
    out.put_u8(u8::from(e.tls));
}

/// Reads an exchange; `None` if the bytes are not what [`write`] wrote.
pub(super) fn read(bytes: &[u8]) -> Option<Exchange> {
    let b = &mut &*bytes;
    let exchange = Exchange {
        stream: get_number(b)?,
        h2_stream: get_option(b)?.map(|n| n as u32),
        protocol: *PROTOCOLS.get(usize::from(b.try_get_u8().ok()?))?,
        at: b.try_get_u64_le().ok()?,
        client: get_address(b)?,
        server: get_address(b)?,
        request: Request {
            method: String::from_utf8(get_text(b)?.to_vec()).ok()?,
            target: get_text(b)?,
            authority: get_text(b)?,
            headers: get_headers(b)?,
            body: get_body(b)?,
            trailers: get_headers(b)?,
            last_byte: b.try_get_u64_le().ok()?,
            complete: b.try_get_u8().ok()? == 1,
        },
        interim: (0..get_number(b)?)
            .map(|_| b.try_get_u16_le().ok())
            .collect::<Option<_>>()?,
        response: match b.try_get_u8().ok()? {
            0 => None,
            n => Some(Response {
                complete: n == 2,
                status: b.try_get_u16_le().ok()?,
                headers: get_headers(b)?,
                body: get_body(b)?,
                trailers: get_headers(b)?,
                first_byte: b.try_get_u64_le().ok()?,
                last_byte: b.try_get_u64_le().ok()?,
            }),
        },
        grpc_status: get_option(b)?.map(|n| n as u32),
        tls: b.try_get_u8().ok()? == 1,
    };
    b.is_empty().then_some(exchange)
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn number(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.put_u8(n as u8 | 0x80);
        n >>= 7;
    }
    out.put_u8(n as u8);
}

fn get_number(b: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = b.try_get_u8().ok()?;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

fn option(out: &mut Vec<u8>, n: Option<u64>) {
    number(out, n.map_or(0, |n| n + 1));
}

/// `None` inside is an option that was written as absent.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether there were bytes"
)]
fn get_option(b: &mut &[u8]) -> Option<Option<u64>> {
    Some(get_number(b)?.checked_sub(1))
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn get_text(b: &mut &[u8]) -> Option<Bytes> {
    let n = usize::try_from(get_number(b)?).ok()?;
    let (text, rest) = b.split_at_checked(n)?;
    *b = rest;
    Some(Bytes::copy_from_slice(text))
}

fn headers(out: &mut Vec<u8>, headers: &[Header]) {
    number(out, headers.len() as u64);
    for h in headers {
        text(out, &h.name);
        text(out, &h.value);
    }
}

fn get_headers(b: &mut &[u8]) -> Option<Vec<Header>> {
    (0..get_number(b)?)
        .map(|_| {
            Some(Header {
                name: get_text(b)?,
                value: get_text(b)?,
            })
        })
        .collect()
}

fn body(out: &mut Vec<u8>, body: &Body) {
    number(out, body.bytes);
    text(out, &body.data);
}

fn get_body(b: &mut &[u8]) -> Option<Body> {
    Some(Body {
        bytes: get_number(b)?,
        data: get_text(b)?,
    })
}

fn address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16_le(address.port());
}

fn get_address(b: &mut &[u8]) -> Option<SocketAddr> {
    let ip = match b.try_get_u8().ok()? {
        4 => IpAddr::from(b.try_get_u32().ok()?.to_be_bytes()),
        6 => IpAddr::from(b.try_get_u128().ok()?.to_be_bytes()),
        _ => return None,
    };
    Some(SocketAddr::new(ip, b.try_get_u16_le().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An exchange in which no field has its default.
    pub(in crate::capture) fn sample() -> Exchange {
        let header = |name: &'static str| Header {
            name: Bytes::from(name),
            value: Bytes::from_static(b"\xffv"),
        };
        Exchange {
            stream: 300,
            h2_stream: Some(7),
            protocol: Protocol::Grpc,
            at: u64::MAX - 5,
            client: "10.0.0.1:65535".parse().unwrap(),
            server: "[fe80::1]:80".parse().unwrap(),
            request: Request {
                method: "QUERY".into(),
                target: Bytes::from_static(b"/\xfe"),
                authority: Bytes::from_static(b"host"),
                headers: vec![header("A"), header("a")],
                body: Body {
                    bytes: 1 << 40,
                    data: Bytes::from_static(b"body"),
                },
                trailers: vec![header("t")],
                last_byte: 9,
                complete: true,
            },
            interim: vec![100, 103],
            response: Some(Response {
                status: 599,
                headers: vec![header("b")],
                body: Body {
                    bytes: 2,
                    data: Bytes::from_static(b"xy"),
                },
                trailers: vec![header("u")],
                first_byte: 10,
                last_byte: 11,
                complete: true,
            }),
            grpc_status: Some(0),
            tls: true,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let whole = sample();
        let bare = Exchange {
            h2_stream: None,
            response: None,
            grpc_status: None,
            tls: false,
            interim: vec![],
            ..sample()
        };
        for exchange in [whole, bare] {
            let mut bytes = Vec::new();
            write(&mut bytes, &exchange);
            assert_eq!(read(&bytes), Some(exchange));
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), None, "cut at {cut}");
            }
        }
    }
}
