//! What a half of a stream carries, by its first bytes.

use super::head::{is_token_byte, request_line, status_line};

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capture) enum Guess {
    /// A request begins.
    Request,
    /// A response begins.
    Response,
    /// TLS, or SSL.
    Tls,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Too few bytes to tell.
    Unclear,
    /// None of these.
    Other,
}

/// What a client of HTTP/2 says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method that is believed; the longest registered one has 17 letters.
const METHOD_MAX: usize = 64;
/// The longest start line that is waited for.
const LINE_MAX: usize = 64 * 1024;

/// Guesses what begins here.
pub(in crate::capture) fn guess(bytes: &[u8]) -> Guess {
    let text = match bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')) {
        Some(at) => bytes.get(at..).unwrap_or_default(),
        None => return Guess::Unclear,
    };
    if is_prefix(text, b"HTTP/") {
        return line(text).map_or(Guess::Unclear, |l| {
            if status_line(l).is_some() {
                Guess::Response
            } else {
                Guess::Other
            }
        });
    }
    if is_prefix(bytes, PREFACE) && bytes.len() > b"PRI ".len() {
        return if bytes.len() >= b"PRI * HTTP/2.0\r\n".len() {
            Guess::Http2
        } else {
            Guess::Unclear
        };
    }
    // A TLS record: handshake, version 3.x (RFC 8446 §5.1).
    match bytes {
        [0x16, 3, ..] => return Guess::Tls,
        [0x16] => return Guess::Unclear,
        _ => {}
    }
    let method = text.iter().take_while(|b| is_token_byte(**b)).count();
    match text.get(method) {
        None if method <= METHOD_MAX => Guess::Unclear,
        Some(b' ') if (1..=METHOD_MAX).contains(&method) => match line(text) {
            Some(l) if request_line(l).is_some() => Guess::Request,
            None if text.len() <= LINE_MAX => Guess::Unclear,
            _ => Guess::Other,
        },
        _ => Guess::Other,
    }
}

/// The first line without its end, if it is complete.
fn line(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|b| matches!(b, b'\r' | b'\n'))?;
    text.get(..end)
}

/// Whether one begins with the other, as far as there are bytes.
fn is_prefix(bytes: &[u8], of: &[u8]) -> bool {
    let n = bytes.len().min(of.len());
    bytes.get(..n) == of.get(..n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_told_apart() {
        let cases: [(&[u8], Guess); 17] = [
            (b"GET / HTTP/1.1\r\n", Guess::Request),
            (b"\r\nGET / HTTP/1.1\r\n", Guess::Request),
            (b"brew-coffee /pot HTTP/1.0\n", Guess::Request),
            (b"GET / HT", Guess::Unclear),
            (b"G", Guess::Unclear),
            (b"\r\n", Guess::Unclear),
            (b"HTTP/1.1 200 OK\r\n", Guess::Response),
            (b"HTTP/1.1 2", Guess::Unclear),
            (b"HT", Guess::Unclear),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Guess::Http2),
            (b"PRI * HT", Guess::Unclear),
            (b"\x16\x03\x01\x02\x00", Guess::Tls),
            (b"SSH-2.0-OpenSSH_9\r\n", Guess::Other),
            (b"INVITE sip:a@b SIP/2.0\r\n", Guess::Other),
            (b"220 mail.example ESMTP\r\n", Guess::Other),
            (b"EHLO me\r\n", Guess::Other),
            (b"\0\0\0", Guess::Other),
        ];
        for (bytes, want) in cases {
            assert_eq!(guess(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_guess_from_fewer_bytes_never_contradicts_the_whole() {
        for whole in [
            &b"OPTIONS * HTTP/1.1\r\n"[..],
            b"HTTP/1.0 404 Not Found\r\n",
            PREFACE,
            b"\x16\x03\x03\x00\x10",
        ] {
            let last = guess(whole);
            assert_ne!(last, Guess::Unclear);
            for n in 1..whole.len() {
                let early = guess(&whole[..n]);
                assert!(
                    early == last || early == Guess::Unclear,
                    "{n} bytes of {:?}",
                    String::from_utf8_lossy(whole)
                );
            }
        }
    }
}
