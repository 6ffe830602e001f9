//! Who a request comes from: the connection's peer, or who trusted proxies before us say it is.

use std::net::IpAddr;

use super::cidr::Cidr;

/// Whom to believe. The default believes `x-forwarded-for` and adds nothing to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The peer is a client, and this proxy the mesh's edge.
    pub use_remote_address: bool,
    /// So many proxies before us are ours.
    pub trusted_hops: u32,
    /// The peer is not appended to `x-forwarded-for`.
    pub skip_append: bool,
    /// Clients at these addresses are the mesh's own.
    pub internal: Vec<Cidr>,
}

/// Who a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The client; `None`: the headers name none.
    pub client: Option<IpAddr>,
    /// It is one of the mesh's own.
    pub internal: bool,
    /// It entered the mesh here.
    pub edge: bool,
}

impl Origin {
    /// The client of a request by its peer and its `x-forwarded-for`, as it came, all its rows joined by commas.
    pub fn find(&self, peer: IpAddr, forwarded_for: Option<&str>) -> Found {
        let said = |skip| forwarded_for.and_then(|list| nth_last(list, skip));
        let (client, trusted) = if self.use_remote_address {
            let of_hops = self.trusted_hops.checked_sub(1).and_then(said);
            (Some(of_hops.unwrap_or(peer)), forwarded_for.is_none())
        } else {
            let single = forwarded_for.is_some_and(|list| !list.contains(','));
            (said(self.trusted_hops), single && self.trusted_hops == 0)
        };
        let internal = trusted
            && client
                .is_some_and(|client| self.internal.iter().any(|range| range.contains(client)));
        Found {
            client,
            internal,
            edge: self.use_remote_address && !internal,
        }
    }
}

/// The address after which so many others follow in the list.
fn nth_last(list: &str, skip: u32) -> Option<IpAddr> {
    let skip = usize::try_from(skip).ok()?;
    let text = list.rsplit(',').nth(skip)?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_peer_or_who_trusted_proxies_say() {
        let edge = |trusted_hops| Origin {
            use_remote_address: true,
            trusted_hops,
            ..Origin::default()
        };
        let inner = |trusted_hops| Origin {
            trusted_hops,
            ..Origin::default()
        };
        for (origin, list, client) in [
            (edge(0), None, Some("10.0.0.9")),
            (edge(0), Some("1.1.1.1"), Some("10.0.0.9")),
            (edge(1), Some("1.1.1.1, 2.2.2.2"), Some("2.2.2.2")),
            (edge(2), Some("1.1.1.1, 2.2.2.2"), Some("1.1.1.1")),
            (edge(3), Some("1.1.1.1, 2.2.2.2"), Some("10.0.0.9")),
            (edge(1), Some("nobody"), Some("10.0.0.9")),
            (inner(0), None, None),
            (inner(0), Some("1.1.1.1,2.2.2.2"), Some("2.2.2.2")),
            (inner(1), Some("1.1.1.1,2.2.2.2"), Some("1.1.1.1")),
            (inner(2), Some("1.1.1.1,2.2.2.2"), None),
        ] {
            let found = origin.find("10.0.0.9".parse().unwrap(), list);
            let expected = client.map(|text: &str| text.parse().unwrap());
            assert_eq!(found.client, expected, "{origin:?} {list:?}");
            assert!(!found.internal);
            assert_eq!(found.edge, origin.use_remote_address);
        }
    }

    #[test]
    fn a_client_is_internal_if_its_address_is_and_nobody_stands_between() {
        let ten = Cidr::new("10.0.0.0".parse().unwrap(), 8);
        for (use_remote_address, list, internal) in [
            (true, None, true),
            (true, Some("10.0.0.1"), false),
            (false, Some("10.0.0.1"), true),
            (false, Some("10.0.0.1,10.0.0.2"), false),
            (false, Some("11.0.0.1"), false),
            (false, None, false),
        ] {
            let origin = Origin {
                use_remote_address,
                internal: vec![ten],
                ..Origin::default()
            };
            let found = origin.find("10.0.0.9".parse().unwrap(), list);
            assert_eq!(found.internal, internal, "{use_remote_address} {list:?}");
        }
    }
}
