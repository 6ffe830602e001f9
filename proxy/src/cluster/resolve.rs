//! Names of endpoints, resolved again and again.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
};

use super::{Endpoint, roster::Roster};
use crate::config::{Discovery, Dns, Family};

/// Resolves the names of the roster's endpoints for as long as it is polled; ends at once where there are none. After each
/// time `changed` is called, and told whether it was the first. `looked` is dropped after the first.
pub(super) async fn run(roster: &Roster, looked: mpsc::Sender<()>, changed: &dyn Fn(bool)) {
    let (dns, first_only) = match roster.settings().discovery {
        Discovery::Static => return,
        Discovery::StrictDns(dns) => (dns, false),
        Discovery::LogicalDns(dns) => (dns, true),
    };
    let mut looked = Some(looked);
    loop {
        let mut found = Vec::new();
        for endpoint in &roster.settings().endpoints {
            addresses(roster, endpoint, dns, first_only, &mut found).await;
        }
        roster.replace(found);
        changed(looked.is_some());
        looked.take();
        tokio::time::sleep(dns.refresh).await;
    }
}

/// The addresses of an endpoint; where its name cannot be resolved, those that it had.
async fn addresses(
    roster: &Roster,
    endpoint: &Arc<Endpoint>,
    dns: Dns,
    first_only: bool,
    found: &mut Vec<(SocketAddr, Arc<Endpoint>)>,
) {
    let mut add = |address: SocketAddr| {
        if !found.iter().any(|(known, _)| *known == address) {
            found.push((address, Arc::clone(endpoint)));
        }
    };
    if let Some(address) = endpoint.address {
        return add(address);
    }
    let Some((name, port)) = &endpoint.name else {
        return;
    };
    roster.metrics().resolutions.inc();
    if let Ok(all) = tokio::net::lookup_host((&**name, *port)).await {
        let all = of_family(dns.family, all.collect());
        let count = if first_only { 1 } else { all.len() };
        all.into_iter().take(count).for_each(add);
    } else {
        roster.metrics().resolutions_failed.inc();
        let members = roster.members();
        let of_it = members.iter().filter(|it| it.endpoint == *endpoint);
        of_it.for_each(|member| add(member.address));
    }
}

fn of_family(family: Family, mut all: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let has = |v6: bool| all.iter().any(|it| it.is_ipv6() == v6);
    let v6 = match family {
        Family::All => None,
        Family::V4 => Some(false),
        Family::V6 => Some(true),
        Family::Auto => Some(has(true)),
        Family::V4Preferred => Some(!has(false)),
    };
    if let Some(v6) = v6 {
        all.retain(|address| address.is_ipv6() == v6);
    }
    // A resolver turns the order round each time, which is no change.
    if family != Family::All {
        all.sort_unstable();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_family_are_taken() {
        let four: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let six: SocketAddr = "[::1]:80".parse().unwrap();
        for (family, all, taken) in [
            (Family::Auto, vec![four, six], vec![six]),
            (Family::Auto, vec![four], vec![four]),
            (Family::V4, vec![four, six], vec![four]),
            (Family::V6, vec![four], vec![]),
            (Family::V4Preferred, vec![six, four], vec![four]),
            (Family::V4Preferred, vec![six], vec![six]),
            (Family::All, vec![six, four], vec![six, four]),
        ] {
            assert_eq!(of_family(family, all.clone()), taken, "{family:?} {all:?}");
        }
    }
}
