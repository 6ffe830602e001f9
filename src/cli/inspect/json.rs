//! The machine's form: one object a line, as the contract words it. Written by hand: one line is one `write`, and the
//! order of the keys is part of the form.

use std::io::{self, Write};

use super::Show;
use crate::capture::{Exchange, Summary};

/// The machine's form.
#[derive(Debug, Default)]
pub(super) struct Json {
    line: Vec<u8>,
}

impl Show for Json {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn exchange(&mut self, out: &mut dyn Write, e: &Exchange) -> io::Result<()> {
        self.line.clear();
        write_exchange(&mut self.line, e)?;
        out.write_all(&self.line)
    }

    fn end(&mut self, out: &mut dyn Write, s: &Summary) -> io::Result<()> {
        write!(
            out,
            r#"{{"summary":{{"packets":{},"streams":{},"requests":{},"responses":{},"skipped":{{"#,
            s.packets, s.streams, s.requests, s.responses
        )?;
        for (i, (reason, count)) in s.skipped.iter().enumerate() {
            write!(out, r#"{}"{reason}":{count}"#, comma(i))?;
        }
        out.write_all(br#"},"lost":["#)?;
        for (i, l) in s.lost.iter().enumerate() {
            write!(
                out,
                r#"{}{{"stream":{},"direction":"{}","reason":"{}","offset":{},"bytes":{}}}"#,
                comma(i),
                l.stream,
                l.direction.name(),
                l.reason,
                l.offset,
                l.bytes
            )?;
        }
        out.write_all(b"]}}\n")
    }
}

fn comma(i: usize) -> &'static str {
    if i == 0 { "" } else { "," }
}

fn write_exchange(out: &mut Vec<u8>, e: &Exchange) -> io::Result<()> {
    let r = e.response.as_ref();
    write!(out, r#"{{"stream":{},"h2_stream":"#, e.stream)?;
    number(out, e.h2_stream)?;
    write!(out, r#","protocol":"{}","at":"#, e.protocol.name())?;
    seconds(out, e.at)?;
    write!(
        out,
        r#","client":"{}","server":"{}","method":"#,
        e.client, e.server
    )?;
    string(out, e.request.method.as_bytes())?;
    out.extend_from_slice(br#","authority":"#);
    string(out, &e.request.authority)?;
    out.extend_from_slice(br#","path":"#);
    string(out, &e.request.target)?;
    write!(
        out,
        r#","request_body_bytes":{},"status":"#,
        e.request.body.bytes
    )?;
    number(out, r.map(|r| r.status))?;
    out.extend_from_slice(br#","response_body_bytes":"#);
    number(out, r.map(|r| r.body.bytes))?;
    out.extend_from_slice(br#","grpc_status":"#);
    number(out, e.grpc_status)?;
    out.extend_from_slice(br#","first_byte_us":"#);
    number(out, r.map(|r| r.first_byte.saturating_sub(e.at) / 1_000))?;
    out.extend_from_slice(br#","last_byte_us":"#);
    number(out, r.map(|r| r.last_byte.saturating_sub(e.at) / 1_000))?;
    writeln!(out, r#","complete":{},"tls":{}}}"#, e.is_complete(), e.tls)
}

fn number(out: &mut Vec<u8>, n: Option<impl std::fmt::Display>) -> io::Result<()> {
    match n {
        Some(n) => write!(out, "{n}"),
        None => out.write_all(b"null"),
    }
}

/// Seconds with six digits; nine where the capture is finer.
fn seconds(out: &mut Vec<u8>, ns: u64) -> io::Result<()> {
    let (whole, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    if rest.is_multiple_of(1_000) {
        write!(out, "{whole}.{:06}", rest / 1_000)
    } else {
        write!(out, "{whole}.{rest:09}")
    }
}

/// A JSON string; bytes that are no UTF-8 become `\xNN`.
fn string(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        let mut clean = 0;
        let valid = chunk.valid().as_bytes();
        for (i, byte) in valid.iter().enumerate() {
            if *byte >= 0x20 && !matches!(byte, b'"' | b'\\') {
                continue;
            }
            out.extend_from_slice(valid.get(clean..i).unwrap_or_default());
            clean = i + 1;
            match byte {
                b'"' => out.extend_from_slice(br#"\""#),
                b'\\' => out.extend_from_slice(br"\\"),
                control => write!(out, "\\u{control:04x}")?,
            }
        }
        out.extend_from_slice(valid.get(clean..).unwrap_or_default());
        for byte in chunk.invalid() {
            write!(out, r"\\x{byte:02x}")?;
        }
    }
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::capture::{Body, Direction, Lost, Protocol, Request, Response};

    fn exchange() -> Exchange {
        Exchange {
            stream: 0,
            h2_stream: None,
            protocol: Protocol::Http11,
            at: 1_699_999_999_000_001_000,
            client: "10.0.0.1:4321".parse().unwrap(),
            server: "[::1]:80".parse().unwrap(),
            request: Request {
                method: "GET".into(),
                target: Bytes::from_static(b"/x?y"),
                authority: Bytes::from_static(b"host"),
                headers: vec![],
                body: Body::default(),
                trailers: vec![],
                last_byte: 0,
                complete: true,
            },
            interim: vec![100],
            response: Some(Response {
                status: 200,
                headers: vec![],
                body: Body {
                    bytes: 12,
                    data: Bytes::new(),
                },
                trailers: vec![],
                first_byte: 1_699_999_999_000_901_000,
                last_byte: 1_699_999_999_000_951_999,
                complete: true,
            }),
            grpc_status: None,
            tls: false,
        }
    }

    fn shown(e: &Exchange) -> String {
        let mut out = Vec::new();
        Json::default().exchange(&mut out, e).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_exchange_is_the_line_of_the_contract() {
        assert_eq!(
            shown(&exchange()),
            concat!(
                r#"{"stream":0,"h2_stream":null,"protocol":"http/1.1","at":1699999999.000001,"client":"10.0.0.1:4321","#,
                r#""server":"[::1]:80","method":"GET","authority":"host","path":"/x?y","request_body_bytes":0,"#,
                r#""status":200,"response_body_bytes":12,"grpc_status":null,"first_byte_us":900,"last_byte_us":950,"#,
                r#""complete":true,"tls":false}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_absent_is_null_and_odd_bytes_are_escaped() {
        let mut e = exchange();
        e.response = None;
        e.at += 1;
        e.request.target = Bytes::from_static(b"/\xff\"\\\x01\xc3\xa9");
        e.request.authority = Bytes::new();
        let line = shown(&e);
        for part in [
            r#""at":1699999999.000001001,"#,
            r#""authority":"","path":"/\\xff\"\\\u0001é","#,
            r#""status":null,"response_body_bytes":null,"#,
            r#""first_byte_us":null,"last_byte_us":null,"complete":false,"#,
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn the_summary_is_the_line_of_the_contract() {
        let summary = Summary {
            packets: 9,
            streams: 1,
            requests: 1,
            responses: 1,
            skipped: BTreeMap::from([("tcp_gap", 2)]),
            lost: vec![Lost {
                stream: 3,
                direction: Direction::Server,
                offset: 1460,
                reason: "tcp_gap",
                bytes: 80,
            }],
            ..Summary::default()
        };
        let mut out = Vec::new();
        Json::default().end(&mut out, &summary).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"summary":{"packets":9,"streams":1,"requests":1,"responses":1,"skipped":{"tcp_gap":2},"#,
                r#""lost":[{"stream":3,"direction":"server","reason":"tcp_gap","offset":1460,"bytes":80}]}}"#,
                "\n"
            )
        );
    }
}
