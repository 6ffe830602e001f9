//! What the packet filter is told, as text of nft(8). Pure.

use std::net::IpAddr;

/// The mark of our own sockets, whose packets are not redirected. It keeps clear of the bits that kube-proxy (0x4000,
/// 0x8000), Cilium (0x0f00), Calico and Tailscale (above 0xffff) and Amazon's CNI (0x80) use.
pub const MARK: u32 = 0x2d;

/// Before Docker and kube-proxy (-100), whose own translation of the port would win otherwise.
const PRIORITY: i32 = -105;

/// A table that takes a port over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Its name.
    pub table: String,
    /// The port that is taken over.
    pub port: u16,
    /// The addresses at which it is; an unspecified one is all of the family that are this machine's (and `::` is both
    /// families').
    pub at: Vec<IpAddr>,
    /// The port of our listener.
    pub listener: u16,
}

impl Rules {
    /// The table.
    ///
    /// A connection that was open before is unknown to conntrack, which takes its next packet for a new connection: only
    /// one that begins with a SYN is redirected. Our listener is reached by redirected connections alone, so that a
    /// service that is not reached from outside is not by way of us.
    pub fn taking_over(&self) -> String {
        let Self {
            table, listener, ..
        } = self;
        let redirects = self.redirects();
        format!(
            "table inet {table} {{
\tchain local {{
\t\ttype nat hook output priority {PRIORITY}; policy accept;
\t\tmeta mark {MARK:#x} accept
{redirects}\t}}
\tchain outside {{
\t\ttype nat hook prerouting priority {PRIORITY}; policy accept;
{redirects}\t}}
\tchain arriving {{
\t\ttype filter hook input priority -5; policy accept;
\t\tct state established,related accept
\t\ttcp dport {listener} ct status dnat accept
\t\ttcp dport {listener} reject with tcp reset
\t}}
}}
"
        )
    }

    /// What ends the redirect of new connections and leaves the chains: without them the kernel would no longer translate
    /// the connections that were redirected.
    pub fn letting_go(&self) -> String {
        let table = &self.table;
        let mut script = String::new();
        for chain in ["local", "outside"] {
            script.push_str(&format!(
                "flush chain inet {table} {chain}
add rule inet {table} {chain} ct state established,related accept
"
            ));
        }
        script
    }

    fn redirects(&self) -> String {
        let Self { port, listener, .. } = self;
        let mut lines = String::new();
        for places in self.places() {
            lines.push_str(&format!(
                "\t\t{places} tcp dport {port} tcp flags & (fin | syn | rst | ack) == syn redirect to :{listener}\n"
            ));
        }
        lines
    }

    /// What the packets' destination must be, a rule each.
    fn places(&self) -> Vec<String> {
        const LOCAL: &str = "fib daddr type local";
        let any = |v6: bool| {
            self.at
                .iter()
                .any(|host| host.is_unspecified() && host.is_ipv6() == v6)
        };
        if any(true) {
            return vec![LOCAL.to_owned()];
        }
        let mut places = Vec::new();
        if any(false) {
            places.push(format!("meta nfproto ipv4 {LOCAL}"));
        }
        for (protocol, v6) in [("ip", false), ("ip6", true)] {
            let hosts: Vec<String> = self
                .at
                .iter()
                .filter(|host| host.is_ipv6() == v6 && !host.is_unspecified() && !any(v6))
                .map(ToString::to_string)
                .collect();
            if !hosts.is_empty() {
                places.push(format!("{protocol} daddr {{ {} }}", hosts.join(", ")));
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(at: &[&str]) -> Rules {
        Rules {
            table: "meshbed_1f00".to_owned(),
            port: 8080,
            at: at.iter().map(|host| host.parse().unwrap()).collect(),
            listener: 40001,
        }
    }

    #[test]
    fn new_connections_to_the_port_are_redirected_but_for_our_own() {
        assert_eq!(
            rules(&["0.0.0.0"]).taking_over(),
            "table inet meshbed_1f00 {
\tchain local {
\t\ttype nat hook output priority -105; policy accept;
\t\tmeta mark 0x2d accept
\t\tmeta nfproto ipv4 fib daddr type local tcp dport 8080 tcp flags & (fin | syn | rst | ack) == syn redirect to :40001
\t}
\tchain outside {
\t\ttype nat hook prerouting priority -105; policy accept;
\t\tmeta nfproto ipv4 fib daddr type local tcp dport 8080 tcp flags & (fin | syn | rst | ack) == syn redirect to :40001
\t}
\tchain arriving {
\t\ttype filter hook input priority -5; policy accept;
\t\tct state established,related accept
\t\ttcp dport 40001 ct status dnat accept
\t\ttcp dport 40001 reject with tcp reset
\t}
}
"
        );
    }

    #[test]
    fn only_where_the_service_listens() {
        let cases: [(&[&str], &[&str]); 5] = [
            (&["0.0.0.0"], &["meta nfproto ipv4 fib daddr type local"]),
            (&["::"], &["fib daddr type local"]),
            (&["0.0.0.0", "::"], &["fib daddr type local"]),
            (
                &["127.0.0.1", "10.0.0.5", "::1"],
                &["ip daddr { 127.0.0.1, 10.0.0.5 }", "ip6 daddr { ::1 }"],
            ),
            (
                &["0.0.0.0", "::1"],
                &[
                    "meta nfproto ipv4 fib daddr type local",
                    "ip6 daddr { ::1 }",
                ],
            ),
        ];
        for (at, expected) in cases {
            assert_eq!(rules(at).places(), expected, "{at:?}");
        }
    }

    #[test]
    fn letting_go_leaves_the_chains() {
        assert_eq!(
            rules(&["::"]).letting_go(),
            "flush chain inet meshbed_1f00 local
add rule inet meshbed_1f00 local ct state established,related accept
flush chain inet meshbed_1f00 outside
add rule inet meshbed_1f00 outside ct state established,related accept
"
        );
    }
}
