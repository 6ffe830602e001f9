//! Frame → TCP segment: link, network and transport headers off. Everything that is no TCP segment has a reason.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// One TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub target: SocketAddr,
    /// Sequence number of the first byte (of the SYN, if there is one).
    pub seq: u32,
    /// The next byte that the sender expects, if it says so.
    pub ack: Option<u32>,
    /// Opens the connection.
    pub syn: bool,
    /// Nothing comes after it.
    pub fin: bool,
    /// Aborts the connection.
    pub rst: bool,
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// How many payload bytes were sent, by the length in the IP header; more than were captured if the frame was snapped.
    pub sent: usize,
}

/// Why a packet is no TCP segment. The name is a key of the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// A link type that is not read.
    Link,
    /// Neither IPv4 nor IPv6: ARP, `PPPoE`, MPLS, and the like.
    NotIp,
    /// A fragment of an IP packet.
    Fragment,
    /// Another protocol over IP, tunnels among them.
    NotTcp,
    /// Headers that are cut, or that contradict themselves.
    Malformed,
}

impl Skip {
    /// The name in the summary.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Link => "link_type",
            Self::NotIp => "not_ip",
            Self::Fragment => "ip_fragment",
            Self::NotTcp => "not_tcp",
            Self::Malformed => "malformed_packet",
        }
    }
}

/// Link types, by the tcpdump registry.
mod link_type {
    pub(super) const NULL: u32 = 0;
    pub(super) const ETHERNET: u32 = 1;
    /// Raw IP as BSD/OS and OpenBSD number it in files.
    pub(super) const RAW_OLD: [u32; 2] = [12, 14];
    pub(super) const RAW: u32 = 101;
    pub(super) const LOOP: u32 = 108;
    pub(super) const LINUX_SLL: u32 = 113;
    pub(super) const IPV4: u32 = 228;
    pub(super) const IPV6: u32 = 229;
    pub(super) const LINUX_SLL2: u32 = 276;
}

/// Takes the headers off a frame.
pub(super) fn segment(link: u32, frame: &[u8]) -> Result<Segment<'_>, Skip> {
    use link_type as l;
    match link {
        l::ETHERNET => tcp(&LaxSlicedPacket::from_ethernet(frame).map_err(|_| Skip::Malformed)?),
        // Four bytes of address family, in the byte order of who knows whom; the IP version says it again.
        l::NULL | l::LOOP => ip(frame.get(4..).ok_or(Skip::Malformed)?),
        l::RAW | l::IPV4 | l::IPV6 => ip(frame),
        old if l::RAW_OLD.contains(&old) => ip(frame),
        l::LINUX_SLL => cooked(frame, 14, 16),
        l::LINUX_SLL2 => cooked(frame, 0, 20),
        _ => Err(Skip::Link),
    }
}

/// Linux cooked capture: the protocol's number at `number`, the packet from `begin` on.
fn cooked(frame: &[u8], number: usize, begin: usize) -> Result<Segment<'_>, Skip> {
    let &[high, low] = frame.get(number..number + 2).ok_or(Skip::Malformed)? else {
        return Err(Skip::Malformed);
    };
    let packet = frame.get(begin..).ok_or(Skip::Malformed)?;
    tcp(&LaxSlicedPacket::from_ether_type(
        EtherType(u16::from_be_bytes([high, low])),
        packet,
    ))
}

fn ip(packet: &[u8]) -> Result<Segment<'_>, Skip> {
    match packet.first().map(|b| b >> 4) {
        Some(4 | 6) => tcp(&LaxSlicedPacket::from_ip(packet).map_err(|_| Skip::Malformed)?),
        Some(_) => Err(Skip::NotIp),
        None => Err(Skip::Malformed),
    }
}

fn tcp<'a>(packet: &LaxSlicedPacket<'a>) -> Result<Segment<'a>, Skip> {
    let (source, target, total) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            // A length of 0 is what segmentation offload leaves; then what was captured is all we know.
            let total = match header.total_len() {
                0 => None,
                n => Some(usize::from(n).saturating_sub(header.slice().len())),
            };
            (
                IpAddr::from(header.source_addr()),
                IpAddr::from(header.destination_addr()),
                total,
            )
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let extensions = ip.extensions().slice().len();
            let total = match header.payload_length() {
                0 => None,
                n => Some(usize::from(n).saturating_sub(extensions)),
            };
            (
                IpAddr::from(header.source_addr()),
                IpAddr::from(header.destination_addr()),
                total,
            )
        }
        Some(LaxNetSlice::Arp(_)) => return Err(Skip::NotIp),
        None => {
            return Err(if packet.stop_err.is_some() {
                Skip::Malformed
            } else {
                Skip::NotIp
            });
        }
    };
    let inside = packet
        .net
        .as_ref()
        .and_then(LaxNetSlice::ip_payload_ref)
        .ok_or(Skip::Malformed)?;
    if inside.fragmented {
        return Err(Skip::Fragment);
    }
    let tcp = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp,
        None if inside.ip_number == IpNumber::TCP => return Err(Skip::Malformed),
        _ => return Err(Skip::NotTcp),
    };
    let payload = tcp.payload();
    let sent = total
        .map_or(payload.len(), |n| n.saturating_sub(tcp.header_len()))
        .max(payload.len());
    Ok(Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        target: SocketAddr::new(target, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload,
        sent,
    })
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn v4() -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(4321, 80, 1000, 500)
            .ack(77)
            .psh()
            .write(&mut out, b"hello")
            .unwrap();
        out
    }

    fn v6() -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 64)
            .tcp(4321, 80, 1000, 500)
            .fin()
            .write(&mut out, b"hello")
            .unwrap();
        out
    }

    fn behind(head: &[u8], packet: &[u8]) -> Vec<u8> {
        [head, packet].concat()
    }

    #[test]
    fn every_link_layer_shows_the_same_segment() {
        let mac = [0_u8; 12];
        let cases: [(&str, u32, Vec<u8>); 11] = [
            ("ethernet", 1, behind(&[&mac[..], &[8, 0]].concat(), &v4())),
            (
                "ethernet, padded",
                1,
                [behind(&[&mac[..], &[8, 0]].concat(), &v4()), vec![0; 9]].concat(),
            ),
            (
                "vlan",
                1,
                behind(&[&mac[..], &[0x81, 0, 0, 42, 8, 0]].concat(), &v4()),
            ),
            (
                "vlan in vlan",
                1,
                behind(
                    &[&mac[..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 42, 8, 0]].concat(),
                    &v4(),
                ),
            ),
            ("null, little", 0, behind(&[2, 0, 0, 0], &v4())),
            ("null, big", 0, behind(&[0, 0, 0, 2], &v4())),
            ("loop", 108, behind(&[0, 0, 0, 2], &v4())),
            ("raw", 101, v4()),
            ("raw of OpenBSD", 14, v4()),
            (
                "sll",
                113,
                behind(&[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], &v4()),
            ),
            (
                "sll2",
                276,
                behind(&[&[8, 0][..], &[0; 18]].concat(), &v4()),
            ),
        ];
        for (name, link, frame) in cases {
            let s = segment(link, &frame).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            assert_eq!(
                (s.source.to_string(), s.target.to_string()),
                ("10.0.0.1:4321".into(), "10.0.0.2:80".into())
            );
            assert_eq!(
                (s.seq, s.ack, s.syn, s.fin, s.rst),
                (1000, Some(77), false, false, false),
                "{name}"
            );
            assert_eq!((s.payload, s.sent), (&b"hello"[..], 5), "{name}");
        }
        let six = v6();
        let s = segment(101, &six).unwrap();
        assert_eq!(
            (s.source.to_string(), s.ack, s.fin),
            ("[101:101:101:101:101:101:101:101]:4321".into(), None, true)
        );
    }

    #[test]
    fn a_snapped_frame_tells_what_is_missing() {
        let (v4, v6) = (v4(), v6());
        let s = segment(101, &v4[..v4.len() - 2]).unwrap();
        assert_eq!((s.payload, s.sent), (&b"hel"[..], 5));
        let s = segment(101, &v6[..v6.len() - 5]).unwrap();
        assert_eq!((s.payload, s.sent), (&b""[..], 5));
    }

    #[test]
    fn what_is_no_segment_has_a_reason() {
        let mac = [0_u8; 12];
        let mut udp = Vec::new();
        PacketBuilder::ipv4([1; 4], [2; 4], 64)
            .udp(53, 53)
            .write(&mut udp, b"query")
            .unwrap();
        let mut fragment = v4();
        fragment[6] = 0x20;
        let cases: [(&str, u32, Vec<u8>, Skip); 7] = [
            ("wifi", 105, v4(), Skip::Link),
            (
                "arp",
                1,
                behind(&[&mac[..], &[8, 6]].concat(), &[0; 28]),
                Skip::NotIp,
            ),
            (
                "mpls",
                1,
                behind(&[&mac[..], &[0x88, 0x47]].concat(), &v4()),
                Skip::NotIp,
            ),
            ("udp", 101, udp, Skip::NotTcp),
            ("fragment", 101, fragment, Skip::Fragment),
            ("cut header", 101, v4()[..30].to_vec(), Skip::Malformed),
            ("cut ethernet", 1, vec![0; 9], Skip::Malformed),
        ];
        for (name, link, frame, skip) in cases {
            assert_eq!(segment(link, &frame), Err(skip), "{name}");
        }
    }
}
