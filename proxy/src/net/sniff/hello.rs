//! A TLS client's first message (RFC 8446 §4.1.2): the name and the protocols that it asks for.

use super::{Cursor, Sniffed, Stop};

/// What a client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server's name, lower case; empty: none.
    pub server_name: String,
    /// Protocols, the preferred first.
    pub protocols: Vec<String>,
}

/// Record type of handshake messages.
const HANDSHAKE: usize = 22;
/// The longest record's content (RFC 8446 §5.1).
const LONGEST_RECORD: usize = 1 << 14;
/// Handshake type of a client's first message.
const CLIENT_HELLO: usize = 1;
/// Extension: server name (RFC 6066 §3).
const SERVER_NAME: usize = 0;
/// Extension: protocols (RFC 7301 §3.1).
const PROTOCOLS: usize = 16;

/// Reads what has come of a connection.
pub fn sniff(bytes: &[u8]) -> Sniffed<Hello> {
    Sniffed::of(message(bytes).and_then(|body| hello(&body)))
}

/// The first message, put together from its records.
fn message(bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut records = Cursor::so_far(bytes);
    let mut content = Vec::new();
    loop {
        if records.number(1)? != HANDSHAKE || records.number(1)? != 3 {
            return Err(Stop::Other);
        }
        records.number(1)?;
        let length = records.number(2)?;
        if length == 0 || length > LONGEST_RECORD {
            return Err(Stop::Other);
        }
        // What has come of a record that is not whole shows a wrong message at once.
        let have = length.min(records.rest.len());
        content.extend_from_slice(records.take(have)?);
        match body(&content) {
            // The rest of it is in the next record.
            Err(Stop::More) if have == length => {}
            read => return read.map(<[u8]>::to_vec),
        }
    }
}

/// What a message that is whole says.
fn body(content: &[u8]) -> Result<&[u8], Stop> {
    let mut message = Cursor::so_far(content);
    if message.number(1)? != CLIENT_HELLO {
        return Err(Stop::Other);
    }
    let length = message.number(3)?;
    message.take(length)
}

fn hello(body: &[u8]) -> Result<Hello, Stop> {
    let mut body = Cursor::whole(body);
    // Its version and its random number.
    body.take(2 + 32)?;
    // The session's id, cipher suites, compression methods.
    body.vector(1)?;
    body.vector(2)?;
    body.vector(1)?;
    let mut found = Hello::default();
    // A client of before TLS 1.2 may send no extensions.
    if body.rest.is_empty() {
        return Ok(found);
    }
    let mut extensions = body.vector(2)?;
    while !extensions.rest.is_empty() {
        let kind = extensions.number(2)?;
        let mut content = extensions.vector(2)?;
        match kind {
            SERVER_NAME => found.server_name = server_name(&mut content)?,
            PROTOCOLS => found.protocols = protocols(&mut content)?,
            _ => {}
        }
    }
    Ok(found)
}

fn server_name(content: &mut Cursor<'_>) -> Result<String, Stop> {
    let mut names = content.vector(2)?;
    while !names.rest.is_empty() {
        let kind = names.number(1)?;
        let name = names.vector(2)?;
        if kind == 0 {
            let name = std::str::from_utf8(name.rest).map_err(|_| Stop::Other)?;
            return Ok(name.to_ascii_lowercase());
        }
    }
    Ok(String::new())
}

fn protocols(content: &mut Cursor<'_>) -> Result<Vec<String>, Stop> {
    let mut names = content.vector(2)?;
    let mut protocols = Vec::new();
    while !names.rest.is_empty() {
        let name = names.vector(1)?;
        protocols.push(String::from_utf8_lossy(name.rest).into_owned());
    }
    Ok(protocols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - bytes..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with_length(2, content)].concat()
    }

    fn hello_message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(with_length(1, &[1; 32]));
        body.extend(with_length(2, &[0x13, 1, 0x13, 2]));
        body.extend(with_length(1, &[0]));
        if !extensions.is_empty() {
            body.extend(with_length(2, &extensions.concat()));
        }
        [vec![1], with_length(3, &body)].concat()
    }

    fn records(message: &[u8], longest: usize) -> Vec<u8> {
        message
            .chunks(longest)
            .flat_map(|piece| [vec![22, 3, 1], with_length(2, piece)].concat())
            .collect()
    }

    fn full() -> Vec<u8> {
        let name = with_length(2, &[vec![0], with_length(2, b"Www.Shop.test")].concat());
        let protocols = with_length(
            2,
            &[with_length(1, b"h2"), with_length(1, b"http/1.1")].concat(),
        );
        hello_message(&[
            extension(43, &[2, 3, 4]),
            extension(0, &name),
            extension(16, &protocols),
        ])
    }

    #[test]
    fn name_and_protocols_are_read_however_the_message_is_cut() {
        let expected = Sniffed::Found(Hello {
            server_name: "www.shop.test".to_owned(),
            protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
        });
        for longest in [16_384, 100, 7, 1] {
            let bytes = records(&full(), longest);
            assert_eq!(sniff(&bytes), expected, "{longest}");
            for end in 0..bytes.len() {
                assert_eq!(sniff(&bytes[..end]), Sniffed::More, "{longest} {end}");
            }
        }
    }

    #[test]
    fn a_client_without_extensions_asks_for_nothing() {
        assert_eq!(
            sniff(&records(&hello_message(&[]), 16_384)),
            Sniffed::Found(Hello::default())
        );
    }

    #[test]
    fn what_is_not_tls_is_told_by_its_first_bytes() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x02\x01",
            // An empty record, one that is too long, another handshake message.
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x01\x00\x05\x02",
        ] {
            assert_eq!(sniff(bytes), Sniffed::Other, "{bytes:?}");
        }
        assert_eq!(sniff(b""), Sniffed::More);
        assert_eq!(sniff(b"\x16"), Sniffed::More);
    }

    #[test]
    fn a_length_that_reaches_beyond_its_message_is_not_tls() {
        let mut message = full();
        // The first extension's length.
        let at = message.len() - (4 + 18 + 4 + 14 + 3 + 2);
        message[at] = 0xff;
        assert_eq!(sniff(&records(&message, 16_384)), Sniffed::Other);
    }

    #[test]
    fn no_bytes_make_it_fail() {
        let bytes = records(&full(), 64);
        for at in 0..bytes.len() {
            for by in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = by;
                let _ = sniff(&bytes);
            }
        }
    }
}
