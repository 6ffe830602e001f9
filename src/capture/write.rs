//! Writes captures: what `record` saw, or a dialogue made up for a test.

use std::io::{self, Write};
use std::net::SocketAddr;

use etherparse::PacketBuilder;

use super::summary::Direction;

/// The link type of frames that [`Dialogue::frame`] makes.
pub const ETHERNET: u32 = 1;
/// How much of a packet is kept: all of it.
const SNAPLEN: u32 = 262_144;
/// Bytes of a segment of a [`Dialogue`]: what Ethernet carries.
const MSS: usize = 1460;

/// Writes a pcap file with times in nanoseconds.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins a file of this link type (a number from the tcpdump registry).
    pub fn new(mut out: W, link: u32) -> io::Result<Self> {
        out.write_all(&0xa1b2_3c4d_u32.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0])?;
        out.write_all(&[0; 8])?;
        out.write_all(&SNAPLEN.to_le_bytes())?;
        out.write_all(&link.to_le_bytes())?;
        Ok(Self { out })
    }

    /// Appends a packet captured at `at` (nanoseconds since the epoch) that had `length` bytes on the wire.
    pub fn packet(&mut self, at: u64, data: &[u8], length: usize) -> io::Result<()> {
        self.out
            .write_all(&((at / 1_000_000_000) as u32).to_le_bytes())?;
        self.out
            .write_all(&((at % 1_000_000_000) as u32).to_le_bytes())?;
        self.out.write_all(&(data.len() as u32).to_le_bytes())?;
        self.out.write_all(&(length as u32).to_le_bytes())?;
        self.out.write_all(data)
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// What was written into.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// One packet of a [`Dialogue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When it was captured, in nanoseconds since the epoch.
    pub at: u64,
    /// Who sent it.
    pub from: Direction,
    /// Its sequence number.
    pub seq: u32,
    /// What its sender had received.
    pub ack: u32,
    /// Whether it is a SYN (the server's also acknowledges).
    pub syn: bool,
    /// Whether it is a FIN.
    pub fin: bool,
    /// Its payload.
    pub data: Vec<u8>,
}

/// A TCP connection made up packet by packet, with no loss: the tests take it apart.
#[derive(Debug, Clone)]
pub struct Dialogue {
    client: SocketAddr,
    server: SocketAddr,
    /// The next sequence number of each side.
    next: (u32, u32),
    /// The packets so far.
    pub packets: Vec<Packet>,
}

impl Dialogue {
    /// Opens a connection at `at`. Addresses must be of one family.
    pub fn open(client: SocketAddr, server: SocketAddr, at: u64) -> Self {
        let mut dialogue = Self {
            client,
            server,
            next: (1_000, 4_294_967_000),
            packets: Vec::new(),
        };
        dialogue.push(at, Direction::Client, true, false, &[]);
        dialogue.push(at, Direction::Server, true, false, &[]);
        dialogue.push(at, Direction::Client, false, false, &[]);
        dialogue
    }

    /// The client sends these bytes at `at`.
    pub fn ask(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
        self.send(at, Direction::Client, bytes)
    }

    /// The server sends these bytes at `at`.
    pub fn answer(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
        self.send(at, Direction::Server, bytes)
    }

    /// Both sides close at `at`, the server first.
    pub fn close(&mut self, at: u64) -> &mut Self {
        self.push(at, Direction::Server, false, true, &[]);
        self.push(at, Direction::Client, false, true, &[]);
        self.push(at, Direction::Server, false, false, &[]);
        self
    }

    fn send(&mut self, at: u64, from: Direction, bytes: &[u8]) -> &mut Self {
        for part in bytes.chunks(MSS) {
            self.push(at, from, false, false, part);
        }
        self
    }

    fn push(&mut self, at: u64, from: Direction, syn: bool, fin: bool, data: &[u8]) {
        let (seq, ack) = match from {
            Direction::Client => (&mut self.next.0, self.next.1),
            Direction::Server => (&mut self.next.1, self.next.0),
        };
        let packet = Packet {
            at,
            from,
            seq: *seq,
            ack,
            syn,
            fin,
            data: data.to_vec(),
        };
        *seq = seq.wrapping_add(data.len() as u32 + u32::from(syn) + u32::from(fin));
        self.packets.push(packet);
    }

    /// The packet as an Ethernet frame.
    pub fn frame(&self, packet: &Packet) -> Vec<u8> {
        let (from, to) = match packet.from {
            Direction::Client => (self.client, self.server),
            Direction::Server => (self.server, self.client),
        };
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let network = match (from, to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                link.ipv4(from.ip().octets(), to.ip().octets(), 64)
            }
            (from, to) => link.ipv6(v6(from), v6(to), 64),
        };
        let mut tcp = network.tcp(from.port(), to.port(), packet.seq, 65_535);
        if packet.syn {
            tcp = tcp.syn();
        }
        if packet.fin {
            tcp = tcp.fin();
        }
        if !(packet.syn && packet.from == Direction::Client) {
            tcp = tcp.ack(packet.ack);
        }
        let mut frame = Vec::with_capacity(tcp.size(packet.data.len()));
        // Writing to memory fails only if the payload is beyond what an IP packet holds; then the frame is cut.
        let _ = tcp.write(&mut frame, &packet.data);
        frame
    }

    /// Writes these packets, which may be any selection of the dialogue's.
    pub fn write<W: Write>(&self, packets: &[Packet], writer: &mut Writer<W>) -> io::Result<()> {
        for packet in packets {
            let frame = self.frame(packet);
            writer.packet(packet.at, &frame, frame.len())?;
        }
        Ok(())
    }
}

fn v6(address: SocketAddr) -> [u8; 16] {
    match address.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    }
}
