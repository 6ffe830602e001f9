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

/// Why a redirect is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The answer says nowhere, or the request is not there any more.
    NoRequest,
    /// It leads to no place of the web.
    BadLocation,
    /// From one scheme to the other.
    Scheme,
    /// Too many were followed.
    TooMany,
    /// There is no route to it.
    NoRoute,
    /// A condition says no.
    Condition,
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
    /// Whether answers of this status may be followed.
    pub fn concerns(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }

    /// Whether a request may go from this scheme to that, after so many redirects that were followed.
    pub fn allows(&self, secure: bool, then: bool, before: u32) -> Result<(), Refusal> {
        if !self.cross_scheme && secure != then {
            return Err(Refusal::Scheme);
        }
        if before >= self.most {
            return Err(Refusal::TooMany);
        }
        Ok(())
    }

    /// Whether a request may take this step between routes, after those, and from this scheme to that.
    pub fn allows_step(&self, step: &Step, before: &[Step], (secure, then): (bool, bool)) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::NewRoute => !before.contains(step),
            Condition::Routes(names) => names.contains(&step.1),
            Condition::SafeScheme => secure || !then,
        })
    }
}

impl Place {
    /// Reads a `location`. One that names no host, or is not of the web, is the client's to follow.
    pub fn read(location: &str) -> Result<Self, Refusal> {
        let location = location.split('#').next().unwrap_or_default();
        let uri = Uri::try_from(location).map_err(|_| Refusal::BadLocation)?;
        let authority = uri.authority().ok_or(Refusal::BadLocation)?.as_str();
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(Refusal::Scheme),
            None => return Err(Refusal::BadLocation),
        };
        Ok(Self {
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
            ("http://b.test/x?q=1#f", Ok((false, "b.test", "/x?q=1"))),
            ("https://b.test:444/x", Ok((true, "b.test:444", "/x"))),
            ("http://b.test", Ok((false, "b.test", "/"))),
            ("http://me:secret@b.test/", Ok((false, "b.test", "/"))),
            ("/x", Err(Refusal::BadLocation)),
            ("//b.test/x", Err(Refusal::BadLocation)),
            ("ftp://b.test/x", Err(Refusal::Scheme)),
            ("http:// b.test/", Err(Refusal::BadLocation)),
            ("", Err(Refusal::BadLocation)),
        ] {
            let place = Place::read(location);
            let place = place
                .as_ref()
                .map(|it| (it.secure, it.authority.as_str(), it.path.as_str()))
                .map_err(|refusal| *refusal);
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
        assert!(policy.concerns(302) && policy.concerns(307) && !policy.concerns(301));
        assert_eq!(policy.allows(false, false, 1), Ok(()));
        assert_eq!(policy.allows(false, false, 2), Err(Refusal::TooMany));
    }

    fn goes(policy: &Policy, secure: bool, then: bool) -> bool {
        let step = (String::new(), String::new());
        policy.allows(secure, then, 0).is_ok() && policy.allows_step(&step, &[], (secure, then))
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
            assert!(goes(&policy, false, false) && goes(&policy, true, true));
            assert_eq!(goes(&policy, false, true), up, "{cross_scheme} {safe}");
            assert_eq!(goes(&policy, true, false), down, "{cross_scheme} {safe}");
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
        assert!(new.allows_step(
            &step("a", "b"),
            &[step("b", "a"), step("c", "b")],
            (false, false)
        ));
        assert!(!new.allows_step(&step("a", "b"), &[step("a", "b")], (false, false)));
        let listed = of(Condition::Routes(vec!["b".to_owned()]));
        assert!(listed.allows_step(&step("a", "b"), &[], (false, false)));
        assert!(!listed.allows_step(&step("b", "a"), &[], (false, false)));
    }
}
