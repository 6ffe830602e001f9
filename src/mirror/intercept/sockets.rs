//! What the kernel tells of TCP sockets: `/proc/net/tcp` and `/proc/net/tcp6`, of this process's network namespace.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// States of `include/net/tcp_states.h`.
mod state {
    /// Both sides have ended, and each knows it of the other.
    pub(super) const TIME_WAIT: u8 = 6;
    pub(super) const CLOSE: u8 = 7;
    pub(super) const LISTEN: u8 = 10;
}

/// One of our ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    host: IpAddr,
    port: u16,
    state: u8,
}

/// The addresses at which anybody listens on a port.
pub(super) fn listening(port: u16) -> io::Result<Vec<IpAddr>> {
    let mut hosts: Vec<IpAddr> = all()?
        .into_iter()
        .filter(|socket| socket.port == port && socket.state == state::LISTEN)
        .map(|socket| socket.host)
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    Ok(hosts)
}

/// Connections with our end at a port that are not over: bytes may still have to be delivered, or an end to be told.
pub(super) fn open(port: u16) -> io::Result<usize> {
    let is_over = |state| matches!(state, state::TIME_WAIT | state::CLOSE | state::LISTEN);
    let count = all()?
        .into_iter()
        .filter(|socket| socket.port == port && !is_over(socket.state))
        .count();
    Ok(count)
}

fn all() -> io::Result<Vec<Socket>> {
    let mut found = parse(&fs::read_to_string("/proc/net/tcp")?);
    // Without IPv6 there is none.
    if let Ok(text) = fs::read_to_string("/proc/net/tcp6") {
        found.extend(parse(&text));
    }
    Ok(found)
}

fn parse(text: &str) -> Vec<Socket> {
    text.lines().skip(1).filter_map(socket).collect()
}

/// `sl local_address rem_address st …`; the first line is the header.
fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (host, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    Some(Socket {
        host: address(host)?,
        port: u16::from_str_radix(port, 16).ok()?,
        state: u8::from_str_radix(state, 16).ok()?,
    })
}

/// Words of 32 bits, each printed as this machine's number, whose bytes stand in memory as on the wire.
fn address(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for word in hex.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    let bytes = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(Ipv6Addr::from(bytes).to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_lines_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 100 0 0 10 0
   1: 0500000A:9C41 0600000A:C350 01 00000000:00000000 02:00000000 00000000     0        0 2 2 0000000000000000 20 4 30 10 -1
   2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000
   3: 0000000000000000FFFF00000500000A:0050 0000000000000000FFFF00000600000A:C350 06 00000000:00000000
   4: cut";
        let of = |host: &str, port, state| Socket {
            host: host.parse().unwrap(),
            port,
            state,
        };
        assert_eq!(
            parse(text),
            [
                of("127.0.0.1", 8080, state::LISTEN),
                of("10.0.0.5", 40001, 1),
                of("::1", 80, state::LISTEN),
                of("10.0.0.5", 80, state::TIME_WAIT),
            ]
        );
    }

    #[test]
    fn a_connection_is_open_until_both_sides_have_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listening(port).unwrap(), [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(open(port).unwrap(), 0);

        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(open(port).unwrap(), 1, "it waits to be accepted");
        let (served, _) = listener.accept().unwrap();
        drop(served);
        assert_eq!(open(port).unwrap(), 1, "the client has not ended yet");
        drop(client);
        // Both ends are known at once on the loopback.
        assert_eq!(open(port).unwrap(), 0);
    }
}
