//! What a limit looks at in a request: actions that each give a key and a value.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};

use crate::policy::matcher::{self, Matcher, RequestView};

/// What is looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The name of the cluster that the request goes to.
    DestinationCluster,
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// Without the header there is one entry less, not no description at all.
        skip: bool,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// Without the parameter there is one entry less, not no description at all.
        skip: bool,
    },
    /// The client's address, or the network of so many bits that it is in.
    Remote {
        /// The key.
        key: String,
        /// Bits of an IPv4 network; `None`: the address itself.
        v4: Option<u8>,
        /// Bits of an IPv6 network.
        v6: Option<u8>,
    },
    /// Always the same.
    Fixed {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Always the same, where conditions hold.
    When {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The conditions; empty ones hold.
        conditions: Box<Matcher>,
        /// Whether they must hold, or must not.
        hold: bool,
    },
}

/// Actions that can be asked.
#[derive(Debug)]
pub struct Compiled(Vec<Step>);

#[derive(Debug)]
enum Step {
    Cluster,
    Header(HeaderName, String, bool),
    Query(String, String, bool),
    Remote(String, Option<u8>, Option<u8>),
    Fixed(String, String),
    When(String, String, Box<matcher::Compiled>, bool),
}

/// What actions look at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The request.
    pub request: RequestView<'a>,
    /// Its client.
    pub remote: IpAddr,
    /// The cluster it goes to; empty: none.
    pub cluster: &'a str,
}

/// A request's description: keys and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described(pub Vec<(String, String)>);

impl Described {
    /// Whether it is this, where an empty value stands for any.
    pub(super) fn is(&self, entries: &[(String, String)]) -> bool {
        self.0.len() == entries.len()
            && self
                .0
                .iter()
                .zip(entries)
                .all(|((key, value), (k, v))| key == k && (v.is_empty() || value == v))
    }
}

impl Compiled {
    /// Compiles actions; the error names the header or the condition that cannot be.
    pub fn new(actions: &[Action]) -> Result<Self, String> {
        let steps = actions.iter().map(|action| {
            Ok(match action {
                Action::DestinationCluster => Step::Cluster,
                Action::Header { name, key, skip } => {
                    let name = HeaderName::try_from(name)
                        .map_err(|_| format!("`{name}` is not the name of a header"))?;
                    Step::Header(name, key.clone(), *skip)
                }
                Action::Query { name, key, skip } => Step::Query(name.clone(), key.clone(), *skip),
                Action::Remote { key, v4, v6 } => Step::Remote(key.clone(), *v4, *v6),
                Action::Fixed { key, value } => Step::Fixed(key.clone(), value.clone()),
                Action::When {
                    key,
                    value,
                    conditions,
                    hold,
                } => Step::When(
                    key.clone(),
                    value.clone(),
                    Box::new(matcher::Compiled::new(conditions)?),
                    *hold,
                ),
            })
        });
        steps.collect::<Result<_, String>>().map(Self)
    }

    /// The request's description; `None`: an action finds nothing, and there is none.
    pub fn describe(&self, subject: &Subject<'_>) -> Option<Described> {
        let mut entries = Vec::with_capacity(self.0.len());
        for step in &self.0 {
            let (key, value) = match step {
                Step::Cluster => ("destination_cluster", Some(subject.cluster.to_owned())),
                Step::Header(name, key, skip) => {
                    let value = subject.request.headers.get(name);
                    let value = value.map(|it| text(it).into_owned());
                    if value.is_none() && *skip {
                        continue;
                    }
                    (key.as_str(), value)
                }
                Step::Query(name, key, skip) => {
                    let value = parameter(subject.request.query, name);
                    if value.is_none() && *skip {
                        continue;
                    }
                    (key.as_str(), value.map(str::to_owned))
                }
                Step::Remote(key, v4, v6) => {
                    (key.as_str(), Some(network(subject.remote, *v4, *v6)))
                }
                Step::Fixed(key, value) => (key.as_str(), Some(value.clone())),
                Step::When(key, value, conditions, hold) => {
                    let holds = conditions.matches(&subject.request) == *hold;
                    (key.as_str(), holds.then(|| value.clone()))
                }
            };
            // Envoy makes no description with an empty value of a header.
            entries.push((key.to_owned(), value.filter(|value| !value.is_empty())?));
        }
        (!entries.is_empty()).then_some(Described(entries))
    }
}

fn text(value: &HeaderValue) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// The address, or the network `10.1.0.0/16` that it is in.
fn network(remote: IpAddr, v4: Option<u8>, v6: Option<u8>) -> String {
    match (remote, v4, v6) {
        (IpAddr::V4(ip), Some(bits), _) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(bits.into()))
                .unwrap_or(0);
            format!(
                "{}/{bits}",
                std::net::Ipv4Addr::from_bits(ip.to_bits() & mask)
            )
        }
        (IpAddr::V6(ip), _, Some(bits)) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(bits.into()))
                .unwrap_or(0);
            format!(
                "{}/{bits}",
                std::net::Ipv6Addr::from_bits(ip.to_bits() & mask)
            )
        }
        _ => remote.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::policy::matcher::Named;

    fn describe(actions: &[Action], header: Option<&str>, query: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-user", HeaderValue::from_str(value).unwrap());
        }
        let subject = Subject {
            request: RequestView {
                method: "GET",
                authority: "shop.test",
                path: "/",
                query,
                headers: &headers,
            },
            remote: IpAddr::from([10, 1, 2, 3]),
            cluster: "up",
        };
        let described = Compiled::new(actions).unwrap().describe(&subject)?;
        let entries: Vec<_> = described
            .0
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        Some(entries.join(" "))
    }

    #[test]
    fn requests_are_described_by_what_they_are() {
        let key = || "k".to_owned();
        let header = |skip| Action::Header {
            name: "X-User".to_owned(),
            key: key(),
            skip,
        };
        let query = |skip| Action::Query {
            name: "q".to_owned(),
            key: key(),
            skip,
        };
        let remote = |v4| Action::Remote {
            key: key(),
            v4,
            v6: None,
        };
        let when = |hold| Action::When {
            key: key(),
            value: "v".to_owned(),
            conditions: Box::new(Matcher {
                headers: vec![Named {
                    name: "x-user".to_owned(),
                    value: None,
                    invert: false,
                    absent_as: None,
                }],
                ..Matcher::default()
            }),
            hold,
        };
        let fixed = Action::Fixed {
            key: "f".to_owned(),
            value: "1".to_owned(),
        };
        for (actions, header, query, expected) in [
            (vec![header(false)], Some("ann"), None, Some("k=ann")),
            (vec![header(false)], None, None, None),
            (vec![header(true), fixed.clone()], None, None, Some("f=1")),
            (vec![header(true)], None, None, None),
            (vec![query(false)], None, Some("a=1&q=2"), Some("k=2")),
            (vec![query(false)], None, None, None),
            (
                vec![query(true), fixed.clone()],
                None,
                Some("a=1"),
                Some("f=1"),
            ),
            (vec![remote(None)], None, None, Some("k=10.1.2.3")),
            (vec![remote(Some(16))], None, None, Some("k=10.1.0.0/16")),
            (vec![remote(Some(0))], None, None, Some("k=0.0.0.0/0")),
            (
                vec![Action::DestinationCluster, fixed],
                None,
                None,
                Some("destination_cluster=up f=1"),
            ),
            (vec![when(true)], Some("x"), None, Some("k=v")),
            (vec![when(true)], None, None, None),
            (vec![when(false)], None, None, Some("k=v")),
        ] {
            assert_eq!(
                describe(&actions, header, query).as_deref(),
                expected,
                "{actions:?}"
            );
        }
    }

    #[test]
    fn an_empty_value_stands_for_any() {
        let described = Described(vec![("user".to_owned(), "ann".to_owned())]);
        let entry = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        assert!(described.is(&entry("user", "ann")) && described.is(&entry("user", "")));
        assert!(!described.is(&entry("user", "bob")) && !described.is(&entry("other", "")));
    }
}
