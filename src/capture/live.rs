//! Packets from a network interface, by libpcap.

use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};

use pcap::{Active, Capture, Device, Precision};

use super::write::Writer;

/// How much of a packet is kept: all of it, offloaded segments of 64 KiB included.
const SNAPLEN: i32 = 262_144;
/// The kernel's buffer: a second of 64 MB/s may wait while the disk is slow.
const BUFFER: i32 = 64 << 20;
/// How long packets may wait in it before they are handed over.
pub const HAND_OVER: Duration = Duration::from_millis(100);
/// How long to sleep when there is none. libpcap's own wait has no end on Linux while no packet comes, so a wish to stop
/// would not be seen.
pub const NAP: Duration = Duration::from_millis(10);

/// Why packets could not be captured.
#[derive(Debug)]
pub enum Error {
    /// There is no such interface.
    NoInterface {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The interface exists, and may not or cannot be opened.
    Open {
        /// The interface.
        name: String,
        /// What libpcap said.
        source: pcap::Error,
    },
    /// The filter is none.
    Filter {
        /// What was asked for.
        filter: String,
        /// What libpcap said.
        source: pcap::Error,
    },
    /// The interface went away.
    Read {
        /// The interface.
        name: String,
        /// What libpcap said.
        source: pcap::Error,
    },
    /// The file could not be written.
    Write {
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface { name, known } => {
                write!(
                    f,
                    "there is no interface `{name}` (there are: {})",
                    known.join(", ")
                )
            }
            Self::Open { name, .. } => write!(
                f,
                "cannot capture on `{name}`; it takes root, or the right `cap_net_raw` on the program"
            ),
            Self::Filter { filter, .. } => write!(f, "`{filter}` is no filter of pcap-filter(7)"),
            Self::Read { name, .. } => write!(f, "capturing on `{name}` broke off"),
            Self::Write { .. } => write!(f, "cannot write the capture"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoInterface { .. } => None,
            Self::Open { source, .. } | Self::Filter { source, .. } | Self::Read { source, .. } => {
                Some(source)
            }
            Self::Write { source } => Some(source),
        }
    }
}

/// What came of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Packets written.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that the kernel dropped because we were too slow.
    pub dropped: u64,
    /// Packets that the interface or its driver dropped.
    pub interface_dropped: u64,
}

/// A packet, as long as the next one is not asked for.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When it was captured, in nanoseconds since the epoch.
    pub at: u64,
    /// How long it was.
    pub sent: usize,
    /// What was captured of it.
    pub data: &'a [u8],
}

/// An interface that is being listened to.
#[derive(Debug)]
pub struct Live {
    name: String,
    capture: Handle,
}

/// libpcap's handle, which has no `Debug`.
struct Handle(Capture<Active>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capture")
    }
}

impl Live {
    /// Listens to an interface (`any` is all of them), to the packets that a filter of pcap-filter(7) lets through.
    pub fn open(name: &str, filter: Option<&str>) -> Result<Self, Error> {
        let opened = Capture::from_device(name)
            .map(|c| {
                c.snaplen(SNAPLEN)
                    .buffer_size(BUFFER)
                    .timeout(HAND_OVER.as_millis() as i32)
                    .precision(Precision::Nano)
            })
            .and_then(Capture::open)
            .and_then(Capture::setnonblock);
        let mut capture = match opened {
            Ok(capture) => capture,
            Err(source) => {
                let known: Vec<String> = Device::list()
                    .unwrap_or_default()
                    .into_iter()
                    .map(|d| d.name)
                    .collect();
                // Without rights the list may be empty; then the cause is the right.
                return Err(if known.is_empty() || known.iter().any(|k| k == name) {
                    Error::Open {
                        name: name.into(),
                        source,
                    }
                } else {
                    Error::NoInterface {
                        name: name.into(),
                        known,
                    }
                });
            }
        };
        if let Some(filter) = filter {
            capture
                .filter(filter, true)
                .map_err(|source| Error::Filter {
                    filter: filter.into(),
                    source,
                })?;
        }
        Ok(Self {
            name: name.into(),
            capture: Handle(capture),
        })
    }

    /// The link type of its packets.
    pub fn link(&self) -> u32 {
        self.capture.0.get_datalink().0 as u32
    }

    /// The next packet; `None`: there is none yet. It does not wait.
    pub fn packet(&mut self) -> Result<Option<Packet<'_>>, Error> {
        match self.capture.0.next_packet() {
            Ok(packet) => {
                let time = packet.header.ts;
                Ok(Some(Packet {
                    // The field is named for µs; it has ns, as asked for.
                    at: time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64,
                    sent: packet.header.len as usize,
                    data: packet.data,
                }))
            }
            Err(pcap::Error::TimeoutExpired) => Ok(None),
            Err(source) => Err(Error::Read {
                name: self.name.clone(),
                source,
            }),
        }
    }

    /// Packets that were dropped so far, by the kernel because we were too slow, and by the interface or its driver.
    pub fn dropped(&mut self) -> (u64, u64) {
        self.capture.0.stats().map_or((0, 0), |counts| {
            (u64::from(counts.dropped), u64::from(counts.if_dropped))
        })
    }

    /// Writes packets until `is_over` says so, which is asked after each packet and at least every 10 ms.
    pub fn record(
        &mut self,
        out: &mut Writer<impl Write>,
        mut is_over: impl FnMut() -> bool,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let failed = |source| Error::Write { source };
        while !is_over() {
            match self.packet() {
                Ok(Some(packet)) => {
                    out.packet(packet.at, packet.data, packet.sent)
                        .map_err(failed)?;
                    outcome.packets += 1;
                    outcome.bytes += packet.data.len() as u64;
                }
                // A quiet moment: what there is should be in the file.
                Ok(None) => {
                    out.flush().map_err(failed)?;
                    std::thread::sleep(NAP);
                }
                Err(broken) => {
                    out.flush().map_err(failed)?;
                    return Err(broken);
                }
            }
        }
        out.flush().map_err(failed)?;
        (outcome.dropped, outcome.interface_dropped) = self.dropped();
        Ok(outcome)
    }
}
