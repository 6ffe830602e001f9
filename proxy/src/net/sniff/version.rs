//! HTTP by its first line or its preface.

use super::Sniffed;

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest first line that is waited for.
const LONGEST: usize = 8 << 10;

/// Reads what has come of a connection: `h2c`, `http/1.1` or `http/1.0`.
pub fn sniff(bytes: &[u8]) -> Sniffed<&'static str> {
    if bytes.starts_with(PREFACE) {
        return Sniffed::Found("h2c");
    }
    if PREFACE.starts_with(bytes) {
        return Sniffed::More;
    }
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    if method.is_empty() || !method.iter().all(u8::is_ascii_uppercase) || method.len() > 20 {
        return Sniffed::Other;
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < LONGEST {
            Sniffed::More
        } else {
            Sniffed::Other
        };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.ends_with(b" HTTP/1.1") {
        Sniffed::Found("http/1.1")
    } else if line.ends_with(b" HTTP/1.0") {
        Sniffed::Found("http/1.0")
    } else {
        Sniffed::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_from_what_it_is_not() {
        let rows: &[(&[u8], Sniffed<&str>)] = &[
            (b"", Sniffed::More),
            (b"G", Sniffed::More),
            (b"GET /a", Sniffed::More),
            (b"GET /a HTTP/1.1\r\n", Sniffed::Found("http/1.1")),
            (
                b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
                Sniffed::Found("http/1.1"),
            ),
            (b"POST /a HTTP/1.0\n", Sniffed::Found("http/1.0")),
            (b"GET /a\r\n", Sniffed::Other),
            (b"220 mail.test\r\n", Sniffed::Other),
            (b"HELO a\r\n", Sniffed::Other),
            (b"\x00\x01", Sniffed::Other),
            (b"PRI * HT", Sniffed::More),
            (PREFACE, Sniffed::Found("h2c")),
            (b"PRINT /a HTTP/1.1\r\n", Sniffed::Found("http/1.1")),
        ];
        for (bytes, expected) in rows {
            assert_eq!(sniff(bytes), *expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(
            sniff(&[b"GET /".to_vec(), vec![b'a'; LONGEST]].concat()),
            Sniffed::Other
        );
    }
}
