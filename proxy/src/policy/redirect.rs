//! Redirects that an upstream answers and that are followed here: which, how often, and where to.

use http::{HeaderName, Uri};

/// Which redirects are followed, as Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How many in a row.
    pub most: u32,
    /// Of these statuses.
    pub statuses: Vec<u16>,
    /// From `http` to `https` and back, too.
    pub cross_scheme: bool,
    /// What else must be.
    pub conditions: Vec<Condition>,
    /// Headers of the answer that the request gets; those that the answer lacks are taken off it.
    pub copied: Vec<String>,
}

/// A condition on a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// No route is gone to twice from the same one.
    NewRoute,
    /// Only these routes, by name, are gone to.
    Routes(Vec<String>),
    /// Plain requests stay plain.
    SafeScheme,
}

/// A [`Policy`] that can be followed.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The policy.
    pub policy: Policy,
    /// Headers that are copied.
    pub copied: Vec<HeaderName>,
}

/// Where a redirect leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `https`; else `http`.
    pub secure: bool,
    /// The host and its port.
    pub authority: String,
    /// The path and query.
    pub path: String,
}

/// A step from a route to another, by their names.
pub type Step = (String, String);

impl Default for Policy {
    fn default() -> Self {
        Self {
            most: 1,
            statuses: vec![302],
            cross_scheme: false,
            conditions: Vec::new(),
            copied: Vec::new(),
        }
    }
}

impl Compiled {
    /// Compiles a policy; the error names what cannot be.
    pub fn new(policy: &Policy) -> Result<Self, String> {
        let name = |name: &String| {
            HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header"))
        };
        Ok(Self {
            copied: policy.copied.iter().map(name).collect::<Result<_, _>>()?,
            policy: policy.clone(),
        })
    }
}

impl Policy {
    /// Whether an answer of this status is followed, after so many that were.
    pub fn follows(&self, status: u16, before: u32) -> bool {
        before < self.most && self.statuses.contains(&status)
    }

    /// Whether a request may go from this scheme to that.
    pub fn allows_scheme(&self, secure: bool, then: bool) -> bool {
        let safe = secure || !then || !self.conditions.contains(&Condition::SafeScheme);
        safe && (self.cross_scheme || secure == then)
    }

    /// Whether a request may take this step between routes, after those.
    pub fn allows_step(&self, step: &Step, before: &[Step]) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::NewRoute => !before.contains(step),
            Condition::Routes(names) => names.contains(&step.1),
            Condition::SafeScheme => true,
        })
    }
}

impl Place {
    /// Reads a `location`; `None`: it names no host, or is not of the web, and is the client's to follow.
    pub fn read(location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let uri = Uri::try_from(location).ok()?;
        let secure = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        Some(Self {
            secure,
            authority: authority.to_owned(),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_addresses_of_the_web_are_read() {
        for (location, expected) in [
            ("http://b.test/x?q=1#f", Some((false, "b.test", "/x?q=1"))),
            ("https://b.test:444/x", Some((true, "b.test:444", "/x"))),
            ("http://b.test", Some((false, "b.test", "/"))),
            ("http://me:secret@b.test/", Some((false, "b.test", "/"))),
            ("/x", None),
            ("//b.test/x", None),
            ("ftp://b.test/x", None),
            ("http:// b.test/", None),
            ("", None),
        ] {
            let place = Place::read(location);
            let place = place
                .as_ref()
                .map(|it| (it.secure, it.authority.as_str(), it.path.as_str()));
            assert_eq!(place, expected, "{location}");
        }
    }

    #[test]
    fn a_policy_bounds_statuses_and_their_number() {
        let policy = Policy {
            most: 2,
            statuses: vec![302, 307],
            ..Policy::default()
        };
        for (status, before, expected) in [
            (302, 0, true),
            (307, 1, true),
            (307, 2, false),
            (301, 0, false),
        ] {
            assert_eq!(
                policy.follows(status, before),
                expected,
                "{status} {before}"
            );
        }
    }

    #[test]
    fn schemes_are_crossed_as_allowed() {
        // Allowed to cross, only safely: from http to https, from https to http.
        for (cross_scheme, safe, up, down) in [
            (false, false, false, false),
            (true, false, true, true),
            (true, true, false, true),
            (false, true, false, false),
        ] {
            let policy = Policy {
                cross_scheme,
                conditions: if safe {
                    vec![Condition::SafeScheme]
                } else {
                    Vec::new()
                },
                ..Policy::default()
            };
            assert!(policy.allows_scheme(false, false) && policy.allows_scheme(true, true));
            assert_eq!(
                policy.allows_scheme(false, true),
                up,
                "{cross_scheme} {safe}"
            );
            assert_eq!(
                policy.allows_scheme(true, false),
                down,
                "{cross_scheme} {safe}"
            );
        }
    }

    #[test]
    fn routes_are_gone_to_as_allowed() {
        let step = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let of = |condition| Policy {
            conditions: vec![condition],
            ..Policy::default()
        };
        let new = of(Condition::NewRoute);
        assert!(new.allows_step(&step("a", "b"), &[step("b", "a"), step("c", "b")]));
        assert!(!new.allows_step(&step("a", "b"), &[step("a", "b")]));
        let listed = of(Condition::Routes(vec!["b".to_owned()]));
        assert!(listed.allows_step(&step("a", "b"), &[]));
        assert!(!listed.allows_step(&step("b", "a"), &[]));
    }
}
