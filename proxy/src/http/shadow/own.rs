//! The address that this machine is known by: what Envoy puts into `x-forwarded-for` of what it sends by itself.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::OnceLock,
};

/// An address of documentation (RFC 5737): any that is not local does.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// This machine's address towards others; the loopback's where it has none. Nothing is sent to find out.
pub(in crate::http) fn own_address() -> IpAddr {
    static OWN: OnceLock<IpAddr> = OnceLock::new();
    *OWN.get_or_init(|| ask().unwrap_or(Ipv4Addr::LOCALHOST.into()))
}

fn ask() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
