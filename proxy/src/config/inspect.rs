//! What is looked at before a connection's filter chain is chosen.

use std::time::Duration;

/// What is looked at, in this order, and for how long; Envoy's listener filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspect {
    /// What is looked at.
    pub filters: Vec<(Inspector, Except)>,
    /// The client must have shown enough within this; `None`: no bound.
    pub timeout: Option<Duration>,
    /// What becomes of it when it has not.
    pub late: Late,
}

/// What becomes of a connection whose client has not shown enough in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Late {
    /// It is closed. A client that waits for the server to speak first is stalled until then.
    #[default]
    Close,
    /// Its chain is chosen by what is known.
    Continue,
    /// Where that chain passes bytes on, the server is connected to, and whoever speaks first decides: bytes of the server
    /// are passed on; after bytes of the client its connection is looked at once more, and its chain chosen then.
    Attend,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspector {
    /// Whether the client begins TLS, and which name and protocols it asks for.
    Tls {
        /// A longer first message is not waited for: the connection is closed.
        most: usize,
    },
    /// Whether the client begins HTTP, and which version.
    Http,
    /// A PROXY header: who opened the connection. It is taken off.
    Proxy {
        /// A connection without one is served as it is.
        optional: bool,
    },
    /// The address that the client connected to before the kernel redirected it here.
    OriginalDestination,
}

/// Connections at which an inspector does not look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Except {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// Those to a port in this range, without its end.
    Ports(u32, u32),
    /// Those that any of these holds for.
    Any(Vec<Except>),
    /// Those that all of these hold for.
    All(Vec<Except>),
    /// Those that this does not hold for.
    Not(Box<Except>),
}

impl Inspect {
    /// Envoy's default time.
    pub const TIMEOUT: Duration = Duration::from_secs(15);
}

/// Nothing is looked at.
impl Default for Inspect {
    fn default() -> Self {
        Self {
            filters: Vec::new(),
            timeout: Some(Self::TIMEOUT),
            late: Late::default(),
        }
    }
}

impl Inspector {
    /// The longest first message that Envoy waits for.
    pub const LONGEST_HELLO: usize = 16 << 10;
}

impl Except {
    /// Whether it holds for connections to this port.
    pub fn holds(&self, port: u16) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Ports(start, end) => (*start..*end).contains(&u32::from(port)),
            Self::Any(these) => these.iter().any(|it| it.holds(port)),
            Self::All(these) => these.iter().all(|it| it.holds(port)),
            Self::Not(this) => !this.holds(port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_by_port() {
        let ports = Except::Ports(80, 82);
        for (port, holds) in [(79, false), (80, true), (81, true), (82, false)] {
            assert_eq!(ports.holds(port), holds, "{port}");
            assert_eq!(Except::Not(Box::new(ports.clone())).holds(port), !holds);
            let any = Except::Any(vec![Except::Never, ports.clone()]);
            assert_eq!(any.holds(port), holds);
            let all = Except::All(vec![Except::Always, ports.clone()]);
            assert_eq!(all.holds(port), holds);
        }
    }
}
