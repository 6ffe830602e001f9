//! Which virtual host a request is for: the most specific of its listener's domains, as Envoy: exact, then the longest
//! `*.suffix`, then the longest `prefix.*`, then `*`. The port is a part of the name, unless it is ignored. Within the host
//! it is the first route that matches; what that costs depends little on how many there are.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Route;
use crate::policy::matcher::{Key, RequestView};

/// The virtual hosts of a listener.
#[derive(Debug, Default)]
pub struct Hosts {
    all: Vec<Host>,
    exact: HashMap<String, usize>,
    suffixes: Parts,
    prefixes: Parts,
    any: Option<usize>,
    ignore_port: bool,
}

/// Parts of names by their length.
type Parts = BTreeMap<usize, HashMap<String, usize>>;

/// A virtual host.
#[derive(Debug)]
struct Host {
    routes: Vec<Route>,
    /// The route of requests without TLS.
    plain: Option<usize>,
    index: Option<Index>,
}

/// Which route of a listener: a virtual host and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteId {
    host: usize,
    route: usize,
}

/// With fewer routes than this, asking each of them costs less than looking them up.
const WORTH_AN_INDEX: usize = 12;

/// With more lengths of prefixes than this, a search among all of them costs less than a look for each length.
const MOST_LENGTHS: usize = 16;

/// Routes by their paths: places in the list, ascending.
#[derive(Debug, Default)]
struct Index {
    exact: Texts<Vec<usize>>,
    /// Ascending by prefix.
    prefixes: Vec<Prefix>,
    /// Their places, and their lengths, the longest first.
    places: Texts<usize>,
    lengths: Vec<usize>,
    /// Those that no path rules out.
    others: Vec<usize>,
}

/// What requests are looked up in: the texts are the configuration's, so that nobody can make them collide.
type Texts<T> = HashMap<String, T, BuildHasherDefault<Quick>>;

/// A hash for short texts.
#[derive(Debug, Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, byte: u8) {
        // What ends a text.
        self.0 ^= u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Prefix {
    text: String,
    routes: Vec<usize>,
    /// The longest other one that this one begins with.
    shorter: Option<usize>,
}

impl Hosts {
    /// None yet.
    pub fn new(ignore_port: bool) -> Self {
        Self {
            ignore_port,
            ..Self::default()
        }
    }

    /// Adds a virtual host, and the route of its requests without TLS where they have one of their own; the error is a
    /// domain that another has.
    pub fn add(
        &mut self,
        domains: &[String],
        routes: Vec<Route>,
        plain: Option<usize>,
    ) -> Result<(), String> {
        let host = self.all.len();
        let index = (routes.len() >= WORTH_AN_INDEX).then(|| Index::of(&routes));
        self.all.push(Host {
            routes,
            plain,
            index,
        });
        for domain in domains {
            let name = domain.to_ascii_lowercase();
            let taken = if name == "*" {
                self.any.replace(host).is_some()
            } else if let Some(suffix) = name.strip_prefix('*') {
                insert(&mut self.suffixes, suffix, host)
            } else if let Some(prefix) = name.strip_suffix('*') {
                insert(&mut self.prefixes, prefix, host)
            } else {
                self.exact.insert(name, host).is_some()
            };
            if taken {
                return Err(domain.clone());
            }
        }
        Ok(())
    }

    /// The first route that is for the request; `ordinal` is what shares of requests are drawn by.
    pub fn find(&self, request: &RequestView<'_>, ordinal: u64) -> Option<RouteId> {
        let host = self.host(request.authority)?;
        let routes = self.all.get(host)?;
        let matches = |route: &Route| {
            route.matcher.matches(request)
                && route
                    .share
                    .as_ref()
                    .is_none_or(|(draw, share)| draw.unit_of(&ordinal.to_le_bytes()) < *share)
        };
        let route = match (routes.plain, &routes.index) {
            (Some(plain), _) if !request.is_secure() => plain,
            (_, None) => routes.routes.iter().position(matches)?,
            (_, Some(index)) => index.first(request.path, |at| {
                routes.routes.get(at).is_some_and(matches)
            })?,
        };
        Some(RouteId { host, route })
    }

    /// A route that was found.
    pub fn get(&self, id: RouteId) -> Option<&Route> {
        self.all.get(id.host)?.routes.get(id.route)
    }

    /// Allocates only for a host with capitals.
    fn host(&self, authority: &str) -> Option<usize> {
        let only_any =
            self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty();
        if only_any {
            return self.any;
        }
        let authority = if self.ignore_port {
            without_port(authority)
        } else {
            authority
        };
        if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.host_in_lower_case(&authority.to_ascii_lowercase());
        }
        self.host_in_lower_case(authority)
    }

    fn host_in_lower_case(&self, authority: &str) -> Option<usize> {
        let length = authority.len();
        // A wildcard stands for at least one character; the longest comes first.
        let suffix = || {
            let mut parts = self.suffixes.range(..length).rev();
            parts.find_map(|(part, names)| names.get(authority.get(length - part..)?))
        };
        let prefix = || {
            let mut parts = self.prefixes.range(..length).rev();
            parts.find_map(|(part, names)| names.get(authority.get(..*part)?))
        };
        self.exact
            .get(authority)
            .or_else(suffix)
            .or_else(prefix)
            .copied()
            .or(self.any)
    }
}

impl Index {
    fn of(routes: &[Route]) -> Self {
        let mut index = Self::default();
        let mut prefixes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, route) in routes.iter().enumerate() {
            match route.matcher.key() {
                Key::Exact(path) => index.exact.entry(path.to_owned()).or_default().push(at),
                Key::Prefix(prefix) => prefixes.entry(prefix.to_owned()).or_default().push(at),
                Key::Any => index.others.push(at),
            }
        }
        for (text, routes) in prefixes {
            // Sorted, the one before is the longest candidate, and its own shorter ones are the others.
            let mut shorter = index.prefixes.len().checked_sub(1);
            while let Some(before) = shorter.and_then(|at| index.prefixes.get(at)) {
                if text.starts_with(&before.text) {
                    break;
                }
                shorter = before.shorter;
            }
            index.places.insert(text.clone(), index.prefixes.len());
            index.lengths.push(text.len());
            index.prefixes.push(Prefix {
                text,
                routes,
                shorter,
            });
        }
        index.lengths.sort_unstable_by(|a, b| b.cmp(a));
        index.lengths.dedup();
        index
    }

    /// The first route whose path may match, and that does.
    fn first(&self, path: &str, matches: impl Fn(usize) -> bool) -> Option<usize> {
        let exact = self.exact.get(path).map_or(&[][..], Vec::as_slice);
        let longest = self.longest_prefix(path);
        let mut from = 0;
        loop {
            let candidate = [exact, &self.others]
                .into_iter()
                .chain(self.chain(longest).map(|prefix| prefix.routes.as_slice()))
                .filter_map(|list| list.get(list.partition_point(|at| *at < from)))
                .min()?;
            if matches(*candidate) {
                return Some(*candidate);
            }
            from = candidate + 1;
        }
    }

    fn longest_prefix(&self, path: &str) -> Option<usize> {
        if self.lengths.len() > MOST_LENGTHS {
            return self.search(path);
        }
        let mut lengths = self.lengths.iter();
        lengths.find_map(|length| self.places.get(path.get(..*length)?).copied())
    }

    /// All that lie between a prefix of the path and the path begin with that prefix: it is the last one that is not
    /// after the path, or one of those that this one begins with.
    fn search(&self, path: &str) -> Option<usize> {
        let after = self
            .prefixes
            .partition_point(|prefix| prefix.text.as_str() <= path);
        let mut at = after.checked_sub(1);
        while let Some(prefix) = at.and_then(|at| self.prefixes.get(at)) {
            if path.starts_with(&prefix.text) {
                break;
            }
            at = prefix.shorter;
        }
        at
    }

    fn chain(&self, longest: Option<usize>) -> impl Iterator<Item = &Prefix> {
        let get = |at: Option<usize>| self.prefixes.get(at?);
        std::iter::successors(get(longest), move |prefix| get(prefix.shorter))
    }
}

/// Whether it was there already.
fn insert(parts: &mut Parts, part: &str, host: usize) -> bool {
    let names = parts.entry(part.len()).or_default();
    names.insert(part.to_owned(), host).is_some()
}

/// The name in front of the port.
pub fn without_port(authority: &str) -> &str {
    let bracket = authority.rfind(']').unwrap_or(0);
    match authority.rfind(':') {
        Some(at) if at >= bracket => authority.get(..at).unwrap_or(authority),
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        draw::Seed,
        policy::{fault, matcher},
        snapshot::{Action, Faults, Passed},
    };

    fn route(name: &str, matcher: &matcher::Matcher) -> Route {
        let rules = fault::Rules::compile(&[], Seed(1)).unwrap();
        Route {
            name: name.to_owned(),
            matcher: matcher::Compiled::new(matcher).unwrap(),
            share: None,
            action: Action::Respond(http::StatusCode::OK, String::new()),
            passed: Passed {
                filters: std::sync::Arc::default(),
                faults: Faults {
                    counters: fault::Counters::new(&rules, &fault::Book::default()),
                    at_request: false,
                    at_attempt: false,
                    rules,
                },
            },
            levels: Vec::new(),
            body: None,
            recalls: false,
        }
    }

    fn host(name: &str) -> Vec<Route> {
        vec![route(name, &matcher::Matcher::default())]
    }

    fn asked<'a>(
        authority: &'a str,
        path: &'a str,
        headers: &'a http::HeaderMap,
    ) -> RequestView<'a> {
        RequestView {
            method: "GET",
            authority,
            path,
            query: None,
            headers,
        }
    }

    #[test]
    fn the_most_specific_domain_wins() {
        let headers = http::HeaderMap::new();
        let domains = [
            "*",
            "*.test",
            "*.shop.test",
            "shop.*",
            "shop.test",
            "a.shop.test",
        ];
        let rows = [
            ("shop.test", "shop.test", "shop.test"),
            ("SHOP.Test", "shop.test", "shop.test"),
            ("a.shop.test", "a.shop.test", "a.shop.test"),
            ("b.shop.test", "*.shop.test", "*.shop.test"),
            ("other.test", "*.test", "*.test"),
            ("shop.example", "shop.*", "shop.*"),
            ("shop.test:80", "shop.*", "shop.test"),
            ("b.shop.test:80", "*", "*.shop.test"),
            ("[::1]:80", "*", "*"),
            (".test", "*", "*"),
            ("", "*", "*"),
        ];
        for ignore_port in [false, true] {
            let mut hosts = Hosts::new(ignore_port);
            for domain in domains {
                hosts.add(&[domain.to_owned()], host(domain), None).unwrap();
            }
            for (authority, with_port, without) in rows {
                let expected = if ignore_port { without } else { with_port };
                let found = hosts.find(&asked(authority, "/", &headers), 0);
                let found = found.and_then(|id| hosts.get(id)).unwrap();
                assert_eq!(found.name, expected, "{authority} {ignore_port}");
            }
        }
    }

    #[test]
    fn a_domain_is_taken_once() {
        let mut hosts = Hosts::default();
        hosts.add(&["*.a".to_owned()], host("first"), None).unwrap();
        let taken = hosts.add(&["b".to_owned(), "*.A".to_owned()], host("second"), None);
        assert_eq!(taken, Err("*.A".to_owned()));
    }

    fn text(how: matcher::How, ignore_case: bool) -> matcher::Matcher {
        matcher::Matcher {
            path: Some(matcher::Text { how, ignore_case }),
            ..matcher::Matcher::default()
        }
    }

    #[test]
    fn ten_thousand_routes_are_not_asked_one_by_one() {
        for how in [matcher::How::Exact, matcher::How::Prefix] {
            let mut routes: Vec<_> = (0..10_000)
                .map(|n| route("", &text(how(format!("/service-{n}/items")), false)))
                .collect();
            routes.push(route(
                "",
                &text(matcher::How::Prefix("/".to_owned()), false),
            ));
            let index = Index::of(&routes);
            let headers = http::HeaderMap::new();
            for (path, expected) in [
                ("/service-0/items", 0),
                ("/service-9999/items", 9999),
                ("/none", 10_000),
            ] {
                let count = std::cell::Cell::new(0);
                let request = self::asked("a", path, &headers);
                let found = index.first(path, |at| {
                    count.set(count.get() + 1);
                    routes[at].matcher.matches(&request)
                });
                assert_eq!((found, count.get()), (Some(expected), 1), "{path}");
            }
        }
    }

    proptest! {
        /// The index only leaves out what cannot match.
        #[test]
        fn an_index_finds_what_asking_each_route_finds(
            routes in prop::collection::vec((0..5_u8, "(/[ab]{0,2}){1,3}"), 0..40),
            paths in prop::collection::vec("(/[abAB]{0,2}){1,4}", 20),
        ) {
            let routes: Vec<_> = routes
                .into_iter()
                .map(|(kind, path)| match kind {
                    0 => text(matcher::How::Exact(path), false),
                    1 => text(matcher::How::Prefix(path), false),
                    2 => text(matcher::How::PathPrefix(path), false),
                    3 => text(matcher::How::Prefix(path), true),
                    _ => text(matcher::How::Regex(format!("{path}.")), false),
                })
                .map(|matcher| route("", &matcher))
                .collect();
            let index = Index::of(&routes);
            let headers = http::HeaderMap::new();
            for path in &paths {
                let request = asked("a", path, &headers);
                let each = routes.iter().position(|route| route.matcher.matches(&request));
                let found = index.first(path, |at| routes[at].matcher.matches(&request));
                prop_assert_eq!(found, each, "{}", path);
                prop_assert_eq!(index.longest_prefix(path), index.search(path));
            }
        }
    }
}
