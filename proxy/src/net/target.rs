//! What a request asks for, as far as it is a path: RFC 3986 §3.3 lets fewer characters in than clients send.

use bytes::Bytes;
use http::{
    Extensions,
    uri::{InvalidUri, PathAndQuery, Uri},
};

/// The path came with a fragment, which is the client's own affair; it is not part of the [`Uri`].
#[derive(Debug, Clone, Copy)]
pub struct Fragment;

/// The path and query that `bytes` are, which are a piece of a head; `text` is the same once more. Printable characters that
/// none may have are escaped, a fragment is noted and left out.
pub fn path(bytes: Bytes, text: &[u8], extensions: &mut Extensions) -> Result<Uri, InvalidUri> {
    if memchr::memchr(b'#', text).is_some() {
        extensions.insert(Fragment);
    }
    PathAndQuery::from_maybe_shared(bytes)
        .or_else(|_| PathAndQuery::from_maybe_shared(escaped(text)))
        .map(Uri::from)
}

/// A path and query that was made here.
pub fn made(text: &str) -> Result<Uri, InvalidUri> {
    Uri::try_from(text).or_else(|_| Uri::from_maybe_shared(escaped(text.as_bytes())))
}

fn escaped(bytes: &[u8]) -> Bytes {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
    let mut made = Vec::with_capacity(bytes.len() + 16);
    // Both let the others in, and each one that the other does not; what is let in stays as it came, whatever is beside it.
    let mut query = false;
    for byte in bytes.iter().copied() {
        query |= byte == b'?';
        match byte {
            b'<' | b'>' | b'"' | b'`' if byte != if query { b'`' } else { b'"' } => {
                made.extend([b'%', digit(byte >> 4), digit(byte & 0xf)]);
            }
            byte => made.push(byte),
        }
    }
    Bytes::from(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> (Option<String>, bool) {
        let mut extensions = Extensions::new();
        let text = text.as_bytes();
        let uri = path(Bytes::from_static(text), text, &mut extensions);
        let path = uri.ok().map(|uri| uri.to_string());
        (path, extensions.get::<Fragment>().is_some())
    }

    #[test]
    fn what_no_path_may_have_is_escaped_where_it_can_be_read() {
        assert_eq!(read("/a|b?c").0.unwrap(), "/a|b?c");
        assert_eq!(read("/a<b>`?\"x\"").0.unwrap(), "/a%3Cb%3E%60?%22x%22");
        assert_eq!(read("/a{b}\"?<`|").0.unwrap(), "/a{b}\"?%3C`|");
        let made = made("/a<b>").map(|uri| uri.to_string());
        assert_eq!(made.unwrap(), "/a%3Cb%3E");
        assert_eq!(read("/a b").0, None);
        assert_eq!(read("/a\u{7f}").0, None);
    }

    #[test]
    fn a_fragment_is_noted_and_left_out() {
        assert_eq!(read("/a?b#c"), (Some("/a?b".to_owned()), true));
        assert_eq!(read("/a?b"), (Some("/a?b".to_owned()), false));
    }
}
