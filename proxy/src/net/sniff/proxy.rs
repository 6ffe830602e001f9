//! The PROXY protocol, versions 1 and 2: whoever accepted the connection tells who opened it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Cursor, Sniffed, Stop};

/// A PROXY header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it has.
    pub length: usize,
    /// The client's address and the one that it connected to; `None`: those of the connection count.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

const V1: &[u8] = b"PROXY ";
/// The longest header of version 1, with its line break.
const LONGEST_V1: usize = 107;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads what has come of a connection. [`Sniffed::Other`]: there is no header, or a wrong one, as [`begins`] tells.
pub fn sniff(bytes: &[u8]) -> Sniffed<Header> {
    if bytes.starts_with(V2) {
        Sniffed::of(v2(bytes))
    } else if bytes.starts_with(V1) {
        Sniffed::of(v1(bytes))
    } else if V1.starts_with(bytes) || V2.starts_with(bytes) {
        Sniffed::More
    } else {
        Sniffed::Other
    }
}

/// The bytes begin like a header.
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(V1) || bytes.starts_with(V2)
}

fn v1(bytes: &[u8]) -> Result<Header, Stop> {
    let within = bytes.get(..LONGEST_V1).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return Err(if within.len() == LONGEST_V1 {
            Stop::Other
        } else {
            Stop::More
        });
    };
    let line = within.get(V1.len()..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Stop::Other)?;
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    let length = end + 2;
    if family == "UNKNOWN" {
        return Ok(Header {
            length,
            addresses: None,
        });
    }
    let mut word = || words.next().ok_or(Stop::Other);
    let (source, destination) = (word()?, word()?);
    let (source_port, destination_port) = (word()?, word()?);
    if word().is_ok() {
        return Err(Stop::Other);
    }
    let address = |ip: &str, port: &str| -> Result<SocketAddr, Stop> {
        let ip = ip.parse::<IpAddr>().map_err(|_| Stop::Other)?;
        let fits = matches!(
            (family, ip),
            ("TCP4", IpAddr::V4(_)) | ("TCP6", IpAddr::V6(_))
        );
        let port = port.parse().map_err(|_| Stop::Other)?;
        if fits {
            Ok(SocketAddr::new(ip, port))
        } else {
            Err(Stop::Other)
        }
    };
    Ok(Header {
        length,
        addresses: Some((
            address(source, source_port)?,
            address(destination, destination_port)?,
        )),
    })
}

fn v2(bytes: &[u8]) -> Result<Header, Stop> {
    let mut cursor = Cursor::so_far(bytes);
    cursor.take(V2.len())?;
    let command = cursor.number(1)?;
    let family = cursor.number(1)?;
    let mut content = Cursor {
        short: || Stop::Other,
        ..cursor.vector(2)?
    };
    let length = bytes.len() - cursor.rest.len();
    let local = Header {
        length,
        addresses: None,
    };
    match (command, family) {
        // A health check of the sender's own.
        (0x20, _) => Ok(local),
        (0x21, 0x11) => {
            let (source, destination) = (v4(&mut content)?, v4(&mut content)?);
            ports(length, &mut content, source, destination)
        }
        (0x21, 0x21) => {
            let (source, destination) = (v6(&mut content)?, v6(&mut content)?);
            ports(length, &mut content, source, destination)
        }
        _ => Err(Stop::Other),
    }
}

fn ports(
    length: usize,
    content: &mut Cursor<'_>,
    source: IpAddr,
    destination: IpAddr,
) -> Result<Header, Stop> {
    let source = SocketAddr::new(source, content.number(2)? as u16);
    let destination = SocketAddr::new(destination, content.number(2)? as u16);
    Ok(Header {
        length,
        addresses: Some((source, destination)),
    })
}

fn v4(content: &mut Cursor<'_>) -> Result<IpAddr, Stop> {
    let octets: [u8; 4] = content.take(4)?.try_into().map_err(|_| Stop::Other)?;
    Ok(Ipv4Addr::from(octets).into())
}

fn v6(content: &mut Cursor<'_>) -> Result<IpAddr, Stop> {
    let octets: [u8; 16] = content.take(16)?.try_into().map_err(|_| Stop::Other)?;
    Ok(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(length: usize, addresses: Option<(&str, &str)>) -> Sniffed<Header> {
        Sniffed::Found(Header {
            length,
            addresses: addresses.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())),
        })
    }

    fn v2_of(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16).to_be_bytes();
        [V2, &[command, family], &length, content].concat()
    }

    #[test]
    fn both_versions_are_read() {
        let v4 = [&[10, 0, 0, 1, 10, 0, 0, 2][..], &[0x12, 0x34, 0, 80]].concat();
        let mut tail = v4.clone();
        tail.extend([4, 0, 1, 9]);
        let mut v6 = vec![0; 36];
        v6[15] = 1;
        v6[31] = 2;
        v6[33] = 7;
        v6[35] = 8;
        let rows: &[(Vec<u8>, Sniffed<Header>)] = &[
            (
                b"PROXY TCP4 10.0.0.1 10.0.0.2 4660 80\r\nGET".to_vec(),
                found(38, Some(("10.0.0.1:4660", "10.0.0.2:80"))),
            ),
            (
                b"PROXY TCP6 ::1 ::2 7 8\r\n".to_vec(),
                found(24, Some(("[::1]:7", "[::2]:8"))),
            ),
            (b"PROXY UNKNOWN whatever\r\n".to_vec(), found(24, None)),
            (
                [v2_of(0x21, 0x11, &v4), b"GET".to_vec()].concat(),
                found(28, Some(("10.0.0.1:4660", "10.0.0.2:80"))),
            ),
            (
                v2_of(0x21, 0x11, &tail),
                found(32, Some(("10.0.0.1:4660", "10.0.0.2:80"))),
            ),
            (
                v2_of(0x21, 0x21, &v6),
                found(52, Some(("[::1]:7", "[::2]:8"))),
            ),
            (v2_of(0x20, 0, &[]), found(16, None)),
        ];
        for (bytes, expected) in rows {
            assert_eq!(sniff(bytes), *expected, "{}", bytes.escape_ascii());
            let Sniffed::Found(Header { length, .. }) = expected else {
                panic!("a header is expected");
            };
            for end in 0..*length {
                assert_eq!(sniff(&bytes[..end]), Sniffed::More, "{end}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_told_and_whether_it_was_to_be_one() {
        for (bytes, wrong) in [
            (&b"GET / HTTP/1.1\r\n"[..], false),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 4660\r\n", true),
            (b"PROXY TCP4 ::1 ::2 7 8\r\n", true),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 4660 80 1\r\n", true),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 66000 80\r\n", true),
            (b"PROXY UDP4 10.0.0.1 10.0.0.2 1 80\r\n", true),
            (&v2_of(0x21, 0x11, &[1, 2, 3]), true),
            (&v2_of(0x31, 0x11, &[0; 12]), true),
            (&v2_of(0x21, 0x12, &[0; 12]), true),
            (&[b"PROXY ".to_vec(), vec![b'x'; 200]].concat(), true),
        ] {
            assert_eq!(sniff(bytes), Sniffed::Other, "{}", bytes.escape_ascii());
            assert_eq!(begins(bytes), wrong, "{}", bytes.escape_ascii());
        }
    }
}
