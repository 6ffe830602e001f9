//! Which virtual host a request is for: the most specific of its listener's domains, as Envoy: exact, then the longest
//! `*.suffix`, then the longest `prefix.*`, then `*`. The port is a part of the name.

use std::collections::HashMap;

use super::Route;
use crate::policy::matcher::RequestView;

/// The virtual hosts of a listener.
#[derive(Debug, Default)]
pub struct Hosts {
    routes: Vec<Vec<Route>>,
    exact: HashMap<String, usize>,
    /// Longest first.
    suffixes: Vec<(String, usize)>,
    prefixes: Vec<(String, usize)>,
    any: Option<usize>,
}

/// Which route of a listener: a virtual host and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteId {
    host: usize,
    route: usize,
}

impl Hosts {
    /// Adds a virtual host; the error is a domain that another has.
    pub fn add(&mut self, domains: &[String], routes: Vec<Route>) -> Result<(), String> {
        let host = self.routes.len();
        self.routes.push(routes);
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

    /// The first route that is for the request.
    pub fn find(&self, request: &RequestView<'_>) -> Option<RouteId> {
        let host = self.host(request.authority)?;
        let route = self
            .routes
            .get(host)?
            .iter()
            .position(|route| route.matcher.matches(request))?;
        Some(RouteId { host, route })
    }

    /// A route that was found.
    pub fn get(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.host)?.get(id.route)
    }

    /// Allocates only for a host with capitals.
    fn host(&self, authority: &str) -> Option<usize> {
        let only_any =
            self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty();
        if only_any {
            return self.any;
        }
        if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.host_in_lower_case(&authority.to_ascii_lowercase());
        }
        self.host_in_lower_case(authority)
    }

    fn host_in_lower_case(&self, authority: &str) -> Option<usize> {
        // A wildcard stands for at least one character.
        let longer = |part: &str| authority.len() > part.len();
        let suffix =
            |(part, _): &&(String, usize)| longer(part) && authority.ends_with(part.as_str());
        let prefix =
            |(part, _): &&(String, usize)| longer(part) && authority.starts_with(part.as_str());
        self.exact
            .get(authority)
            .copied()
            .or_else(|| self.suffixes.iter().find(suffix).map(|(_, host)| *host))
            .or_else(|| self.prefixes.iter().find(prefix).map(|(_, host)| *host))
            .or(self.any)
    }
}

/// Whether it was there already.
fn insert(list: &mut Vec<(String, usize)>, part: &str, host: usize) -> bool {
    let taken = list.iter().any(|(other, _)| other == part);
    list.push((part.to_owned(), host));
    list.sort_by_key(|(part, _)| std::cmp::Reverse(part.len()));
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        draw::Seed,
        policy::{fault, matcher},
        snapshot::{Action, Counters, Faults},
    };

    fn host(name: &str) -> Vec<Route> {
        let rules = fault::Rules::compile(&[], Seed(1)).unwrap();
        vec![Route {
            name: name.to_owned(),
            matcher: matcher::Compiled::new(&matcher::Matcher::default()).unwrap(),
            action: Action::Respond(http::StatusCode::OK, String::new()),
            filters: std::sync::Arc::default(),
            faults: Faults {
                counters: Counters::new(&rules, &fault::Book::default()),
                at_request: false,
                at_attempt: false,
                rules,
            },
        }]
    }

    #[test]
    fn the_most_specific_domain_wins() {
        let mut hosts = Hosts::default();
        for domain in [
            "*",
            "*.test",
            "*.shop.test",
            "shop.*",
            "shop.test",
            "a.shop.test",
        ] {
            hosts.add(&[domain.to_owned()], host(domain)).unwrap();
        }
        for (authority, expected) in [
            ("shop.test", "shop.test"),
            ("SHOP.Test", "shop.test"),
            ("a.shop.test", "a.shop.test"),
            ("b.shop.test", "*.shop.test"),
            ("other.test", "*.test"),
            ("shop.example", "shop.*"),
            ("shop.test:80", "shop.*"),
            (".test", "*"),
            ("", "*"),
        ] {
            let request = RequestView {
                method: "GET",
                authority,
                path: "/",
                query: None,
                headers: &http::HeaderMap::new(),
            };
            let found = hosts.find(&request).and_then(|id| hosts.get(id)).unwrap();
            assert_eq!(found.name, expected, "{authority}");
        }
    }

    #[test]
    fn a_domain_is_taken_once() {
        let mut hosts = Hosts::default();
        hosts.add(&["*.a".to_owned()], host("first")).unwrap();
        let taken = hosts.add(&["b".to_owned(), "*.A".to_owned()], host("second"));
        assert_eq!(taken, Err("*.A".to_owned()));
    }
}
