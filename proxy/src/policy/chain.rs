//! Which filter chain serves a connection: Envoy's order of criteria. At each criterion the most specific value that
//! matches wins, and chains without that value are out for good, also where a later criterion leaves none.

use std::net::IpAddr;

use super::cidr::Cidr;

/// Which connections a chain serves. What is empty matches all, but less specifically than anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// The port that was connected to.
    pub destination_port: Option<u16>,
    /// The address that was connected to.
    pub destinations: Vec<Cidr>,
    /// The name that a TLS client asks for, lower case: `shop.test`, or `*.shop.test` for all below it.
    pub server_names: Vec<String>,
    /// What is spoken: `tls` or `raw_buffer`.
    pub transport_protocol: Option<String>,
    /// Protocols that a TLS client offers (`h2`, `http/1.1`), or that were detected.
    pub application_protocols: Vec<String>,
    /// The address that the connection comes from, whatever a PROXY header says.
    pub direct_sources: Vec<Cidr>,
    /// Whether it comes from this machine.
    pub source_type: SourceType,
    /// The address of the client.
    pub sources: Vec<Cidr>,
    /// The port of the client.
    pub source_ports: Vec<u16>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceType {
    /// Anywhere.
    #[default]
    Any,
    /// This machine: the address connected to, or a loopback address.
    Local,
    /// Another one.
    External,
}

/// A connection, as far as it is known when its chain is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The address and port that were connected to.
    pub destination: (IpAddr, u16),
    /// The client's.
    pub source: (IpAddr, u16),
    /// Who opened the connection.
    pub direct_source: IpAddr,
    /// The name asked for in TLS, lower case; empty: none.
    pub server_name: &'a str,
    /// `tls`, `raw_buffer`, or what else was detected.
    pub transport_protocol: &'a str,
    /// The protocols offered, the client's favourite first.
    pub application_protocols: &'a [String],
}

/// How many criteria there are.
const CRITERIA: usize = 9;

/// How specifically a value matches; `None`: not at all. Zero is for what matches everything.
type Rank = Option<u32>;

/// The index of the chain that serves the connection; `None`: none does.
pub fn find<'m>(chains: impl Iterator<Item = &'m Match> + Clone, seen: &Seen<'_>) -> Option<usize> {
    let mut left: Vec<(usize, &Match)> = chains.enumerate().collect();
    for criterion in 0..CRITERIA {
        let best = left
            .iter()
            .filter_map(|(_, chain)| chain.rank(criterion, seen))
            .max()?;
        left.retain(|(_, chain)| chain.rank(criterion, seen) == Some(best));
    }
    left.first().map(|(index, _)| *index)
}

impl Match {
    /// It matches whatever comes, so that nothing of a connection needs to be known.
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// Two chains that no connection could be told apart by: for one of each list of values, the same.
    pub fn collides(&self, other: &Self) -> bool {
        self.destination_port == other.destination_port
            && share(&self.destinations, &other.destinations)
            && share(&self.server_names, &other.server_names)
            && self.transport_protocol == other.transport_protocol
            && share(&self.application_protocols, &other.application_protocols)
            && share(&self.direct_sources, &other.direct_sources)
            && self.source_type == other.source_type
            && share(&self.sources, &other.sources)
            && share(&self.source_ports, &other.source_ports)
    }

    fn rank(&self, criterion: usize, seen: &Seen<'_>) -> Rank {
        match criterion {
            0 => exact(self.destination_port.as_slice(), &seen.destination.1),
            1 => prefix(&self.destinations, seen.destination.0),
            2 => name(&self.server_names, seen.server_name),
            3 => match &self.transport_protocol {
                None => Some(0),
                Some(protocol) => (protocol == seen.transport_protocol).then_some(1),
            },
            4 => favourite(&self.application_protocols, seen.application_protocols),
            5 => prefix(&self.direct_sources, seen.direct_source),
            6 => match self.source_type {
                SourceType::Any => Some(0),
                SourceType::Local => seen.is_local().then_some(1),
                SourceType::External => (!seen.is_local()).then_some(1),
            },
            7 => prefix(&self.sources, seen.source.0),
            _ => exact(&self.source_ports, &seen.source.1),
        }
    }
}

impl Seen<'_> {
    fn is_local(&self) -> bool {
        self.source.0 == self.destination.0 || self.source.0.is_loopback()
    }
}

fn share<T: PartialEq>(ours: &[T], theirs: &[T]) -> bool {
    ours.is_empty() && theirs.is_empty() || ours.iter().any(|value| theirs.contains(value))
}

fn exact<T: PartialEq>(values: &[T], seen: &T) -> Rank {
    if values.is_empty() {
        return Some(0);
    }
    values.contains(seen).then_some(1)
}

/// The narrower the range, the more specific; a range of all addresses is as good as none.
fn prefix(ranges: &[Cidr], seen: IpAddr) -> Rank {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges
        .iter()
        .filter(|range| range.contains(seen))
        .map(|range| u32::from(range.bits()))
        .max()
}

/// The exact name, else the longest wildcard, else those without a name.
fn name(names: &[String], seen: &str) -> Rank {
    if names.is_empty() {
        return Some(0);
    }
    names
        .iter()
        .filter_map(|name| match name.strip_prefix('*') {
            None => (name == seen && !seen.is_empty()).then_some(u32::MAX),
            Some(suffix) => {
                let below = seen.len() > suffix.len() && seen.ends_with(suffix);
                below.then_some(suffix.len() as u32)
            }
        })
        .max()
}

/// The first of the client's protocols that any chain has decides.
fn favourite(protocols: &[String], offered: &[String]) -> Rank {
    if protocols.is_empty() {
        return Some(0);
    }
    let first = offered
        .iter()
        .position(|offered| protocols.contains(offered))?;
    Some(u32::MAX - first as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        let (address, bits) = text.split_once('/').unwrap();
        Cidr::new(address.parse().unwrap(), bits.parse().unwrap())
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|&one| one.to_owned()).collect()
    }

    fn seen(protocols: &[String]) -> Seen<'_> {
        Seen {
            destination: ("10.0.0.1".parse().unwrap(), 443),
            source: ("192.168.7.9".parse().unwrap(), 5555),
            direct_source: "192.168.7.9".parse().unwrap(),
            server_name: "www.shop.test",
            transport_protocol: "tls",
            application_protocols: protocols,
        }
    }

    #[test]
    fn the_most_specific_value_of_the_first_criterion_that_differs_wins() {
        type Set = fn(&mut Match);
        // Each row: chains that all match but for the last, the best first.
        let rows: &[&[Set]] = &[
            &[
                |it| it.destination_port = Some(443),
                |_| {},
                |it| {
                    it.destination_port = Some(80);
                },
            ],
            &[
                |it| it.destinations = vec![range("10.0.0.1/32")],
                |it| it.destinations = vec![range("9.0.0.0/8"), range("10.0.0.0/8")],
                |_| {},
                |it| it.destinations = vec![range("11.0.0.0/8")],
            ],
            &[
                |it| it.server_names = texts(&["other.test", "www.shop.test"]),
                |it| it.server_names = texts(&["*.shop.test"]),
                |it| it.server_names = texts(&["*.test"]),
                |_| {},
                |it| it.server_names = texts(&["shop.test"]),
            ],
            &[
                |it| it.transport_protocol = Some("tls".to_owned()),
                |_| {},
                |it| it.transport_protocol = Some("raw_buffer".to_owned()),
            ],
            &[
                |it| it.application_protocols = texts(&["h2"]),
                |it| it.application_protocols = texts(&["http/1.1"]),
                |_| {},
                |it| it.application_protocols = texts(&["istio"]),
            ],
            &[
                |it| it.direct_sources = vec![range("192.168.7.0/24")],
                |it| it.direct_sources = vec![range("192.168.0.0/16")],
                |_| {},
                |it| it.direct_sources = vec![range("192.168.8.0/24")],
            ],
            &[
                |it| it.source_type = SourceType::External,
                |_| {},
                |it| {
                    it.source_type = SourceType::Local;
                },
            ],
            &[
                |it| it.sources = vec![range("192.168.7.9/32")],
                |it| it.sources = vec![range("192.0.0.0/8")],
                |_| {},
                |it| it.sources = vec![range("10.0.0.0/8")],
            ],
            &[
                |it| it.source_ports = vec![1, 5555],
                |_| {},
                |it| {
                    it.source_ports = vec![1];
                },
            ],
        ];
        let offered = texts(&["h2", "http/1.1"]);
        let seen = seen(&offered);
        assert_eq!(rows.len(), CRITERIA);
        for (number, row) in rows.iter().enumerate() {
            let mut chains: Vec<Match> = row
                .iter()
                .map(|set| {
                    let mut one = Match::default();
                    set(&mut one);
                    one
                })
                .collect();
            // Their order in the file does not count: the best, then the second best, and so on until none matches.
            chains.reverse();
            while chains.len() > 1 {
                assert_eq!(
                    find(chains.iter(), &seen),
                    Some(chains.len() - 1),
                    "criterion {number}: {chains:?}"
                );
                chains.pop();
            }
            assert_eq!(
                find(chains.iter(), &seen),
                None,
                "criterion {number}: {chains:?}"
            );
            // An earlier criterion outweighs a later one.
            if number > 0 {
                let mut earlier = Match::default();
                rows[number - 1][0](&mut earlier);
                let mut later = Match::default();
                row[0](&mut later);
                assert_eq!(find([later, earlier].iter(), &seen), Some(1), "{number}");
            }
        }
    }

    #[test]
    fn there_is_no_way_back_to_a_less_specific_chain() {
        let precise = Match {
            destination_port: Some(443),
            server_names: texts(&["else.test"]),
            ..Match::default()
        };
        let chains = [precise, Match::default()];
        assert_eq!(find(chains.iter(), &seen(&[])), None);
    }

    #[test]
    fn a_wildcard_is_for_names_below_it_only() {
        let chains = [Match {
            server_names: texts(&["*.shop.test"]),
            ..Match::default()
        }];
        for (name, found) in [
            ("a.shop.test", true),
            ("a.b.shop.test", true),
            ("shop.test", false),
            (".shop.test", false),
            ("ashop.test", false),
            ("", false),
        ] {
            let seen = Seen {
                server_name: name,
                ..seen(&[])
            };
            assert_eq!(find(chains.iter(), &seen).is_some(), found, "{name}");
        }
    }

    #[test]
    fn a_client_of_this_machine_is_local() {
        let local = Match {
            source_type: SourceType::Local,
            ..Match::default()
        };
        for (source, is_local) in [
            ("127.0.0.5", true),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("::1", true),
        ] {
            let seen = Seen {
                source: (source.parse().unwrap(), 1),
                ..seen(&[])
            };
            assert_eq!(
                find([local.clone()].iter(), &seen).is_some(),
                is_local,
                "{source}"
            );
        }
    }

    #[test]
    fn chains_that_share_a_value_of_every_criterion_collide() {
        let one = Match {
            server_names: texts(&["a.test", "b.test"]),
            ..Match::default()
        };
        let mut other = Match {
            server_names: texts(&["b.test", "c.test"]),
            ..Match::default()
        };
        assert!(one.collides(&other));
        other.destination_port = Some(1);
        assert!(!one.collides(&other));
        assert!(!one.collides(&Match::default()));
        assert!(Match::default().collides(&Match::default()));
    }
}
