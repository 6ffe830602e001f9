//! What binds a request to an endpoint: a hash of a header, a cookie, the client's address, a query parameter. The hash is
//! Envoy's, so that a key has the same endpoint here as there.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderName, header};
use regex::Regex;

use super::balance::hash_key;

/// One thing that a request is bound by.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What.
    pub by: By,
    /// Where it gives a hash, what follows does not count.
    pub terminal: bool,
}

/// What a request is bound by.
#[derive(Debug, Clone, PartialEq)]
pub enum By {
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// What is hashed of it: matches of a regular expression are replaced first.
        rewrite: Option<(String, String)>,
    },
    /// A cookie.
    Cookie(Cookie),
    /// The client's address, without its port.
    SourceIp,
    /// A parameter of the query.
    Query(String),
}

/// A cookie that a request is bound by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// A client without it is given one that lasts so long; zero: as long as the browser runs. `None`: it is given none.
    pub ttl: Option<Duration>,
    /// The path of a cookie that is given.
    pub path: String,
    /// Further attributes of it, in order.
    pub attributes: Vec<(String, String)>,
}

/// Policies, ready to be asked.
#[derive(Debug, Default)]
pub struct Compiled(Vec<(Step, bool)>);

#[derive(Debug)]
enum Step {
    Header(HeaderName, Option<(Regex, String)>),
    Cookie(Cookie),
    SourceIp,
    Query(String),
}

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its query.
    pub query: Option<&'a str>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that it reached.
    pub local: SocketAddr,
}

/// What a request is bound by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bound {
    /// The hash; `None`: nothing binds it.
    pub key: Option<u64>,
    /// Values of `set-cookie` for its answer.
    pub cookies: Vec<String>,
}

impl Compiled {
    /// Compiles policies. The error says what of which cannot be.
    pub fn new(policies: &[Policy]) -> Result<Self, String> {
        let steps = policies.iter().map(|policy| {
            let step = match &policy.by {
                By::Header { name, rewrite } => {
                    let header = HeaderName::try_from(name)
                        .map_err(|_| format!("`{name}` is not the name of a header"))?;
                    let rewrite = rewrite
                        .as_ref()
                        .map(|(pattern, by)| match Regex::new(pattern) {
                            Ok(pattern) => Ok((pattern, substitution(by))),
                            Err(_) => Err(format!("`{pattern}` is not a regular expression")),
                        })
                        .transpose()?;
                    Step::Header(header, rewrite)
                }
                By::Cookie(cookie) if cookie.name.is_empty() => {
                    return Err("a cookie needs a name".to_owned());
                }
                By::Cookie(cookie) => Step::Cookie(cookie.clone()),
                By::SourceIp => Step::SourceIp,
                By::Query(name) => Step::Query(name.clone()),
            };
            Ok((step, policy.terminal))
        });
        Ok(Self(steps.collect::<Result<_, _>>()?))
    }

    /// Nothing binds any request.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What binds this request.
    pub fn bind(&self, request: &Request<'_>) -> Bound {
        let mut bound = Bound::default();
        for (step, terminal) in &self.0 {
            if let Some(hash) = step.hash(request, &mut bound.cookies) {
                // Rotated, so that two equal hashes don't cancel each other out.
                bound.key = Some(bound.key.map_or(0, |key| key.rotate_left(1)) ^ hash);
            }
            if *terminal && bound.key.is_some() {
                break;
            }
        }
        bound
    }
}

impl Step {
    fn hash(&self, request: &Request<'_>, cookies: &mut Vec<String>) -> Option<u64> {
        match self {
            Self::Header(name, rewrite) => {
                let mut values = request.headers.get_all(name).iter();
                let first = values.next()?.as_bytes();
                let mut all = vec![rewritten(first, rewrite.as_ref())];
                all.extend(values.map(|value| rewritten(value.as_bytes(), rewrite.as_ref())));
                all.sort();
                // Each value's hash is the seed of the next one's, as in Envoy.
                let hash = all.iter().fold(0, |seed, value| hash_key::xx(value, seed));
                Some(hash)
            }
            Self::Cookie(cookie) => {
                if let Some(value) = find_cookie(request.headers, &cookie.name) {
                    return Some(hash_key::xx(value.as_bytes(), 0));
                }
                let ttl = cookie.ttl?;
                let connection = format!("{}{}", request.peer, request.local);
                let value = format!("{:016x}", hash_key::xx(connection.as_bytes(), 0));
                cookies.push(cookie.set(&value, ttl));
                Some(hash_key::xx(value.as_bytes(), 0))
            }
            Self::SourceIp => {
                let ip = request.peer.ip().to_string();
                Some(hash_key::xx(ip.as_bytes(), 0))
            }
            Self::Query(name) => {
                let mut pairs = request.query?.split('&');
                let value = pairs.find_map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (key == name).then_some(value)
                })?;
                Some(hash_key::xx(value.as_bytes(), 0))
            }
        }
    }
}

impl Cookie {
    /// The value of `set-cookie` that gives it, in Envoy's words.
    pub fn set(&self, value: &str, ttl: Duration) -> String {
        use std::fmt::Write;
        let mut text = format!("{}=\"{value}\"", self.name);
        if !ttl.is_zero() {
            let _ = write!(text, "; Max-Age={}", ttl.as_secs());
        }
        if !self.path.is_empty() {
            let _ = write!(text, "; Path={}", self.path);
        }
        for (name, value) in &self.attributes {
            if value.is_empty() {
                let _ = write!(text, "; {name}");
            } else {
                let _ = write!(text, "; {name}={value}");
            }
        }
        text.push_str("; HttpOnly");
        text
    }
}

/// The value of a cookie that a request has.
pub fn find_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| {
            value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value)
        })
        .filter(|value| !value.is_empty())
}

fn rewritten<'a>(value: &'a [u8], rewrite: Option<&(Regex, String)>) -> Cow<'a, [u8]> {
    match (rewrite, std::str::from_utf8(value)) {
        (Some((pattern, by)), Ok(text)) => {
            Cow::Owned(pattern.replace_all(text, by).into_owned().into_bytes())
        }
        _ => Cow::Borrowed(value),
    }
}

/// RE2's `\1` in place of a regex crate's `${1}`.
fn substitution(by: &str) -> String {
    let mut text = String::with_capacity(by.len());
    let mut chars = by.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    text.push_str("${");
                    text.push(digit);
                    text.push('}');
                }
                Some(other) => text.push(other),
                None => {}
            },
            '$' => text.push_str("$$"),
            char => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(policies: &[Policy], headers: &[(&str, &str)], query: Option<&str>) -> Bound {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                (*value).try_into().unwrap(),
            );
        }
        Compiled::new(policies).unwrap().bind(&Request {
            headers: &map,
            query,
            peer: ([127, 0, 0, 1], 4000).into(),
            local: ([127, 0, 0, 1], 80).into(),
        })
    }

    fn by(by: By) -> Policy {
        Policy {
            by,
            terminal: false,
        }
    }

    fn header(name: &str) -> Policy {
        by(By::Header {
            name: name.to_owned(),
            rewrite: None,
        })
    }

    fn xx(text: &str) -> u64 {
        hash_key::xx(text.as_bytes(), 0)
    }

    #[test]
    fn each_kind_hashes_its_value_alone() {
        let cookie = By::Cookie(Cookie {
            name: "who".to_owned(),
            ..Cookie::default()
        });
        let rewrite = By::Header {
            name: "x-user".to_owned(),
            rewrite: Some(("^([a-z]+)-.*$".to_owned(), r"\1".to_owned())),
        };
        for (policy, key) in [
            (header("X-User"), Some(xx("ann-7"))),
            (header("x-none"), None),
            (by(rewrite), Some(xx("ann"))),
            (by(cookie), Some(xx("eve"))),
            (by(By::SourceIp), Some(xx("127.0.0.1"))),
            (by(By::Query("id".to_owned())), Some(xx("42"))),
            (by(By::Query("none".to_owned())), None),
        ] {
            let headers = [("x-user", "ann-7"), ("cookie", "a=b; who=\"eve\"; c=d")];
            let bound = bind(
                std::slice::from_ref(&policy),
                &headers,
                Some("a=1&id=42&id=43"),
            );
            assert_eq!(bound.key, key, "{policy:?}");
            assert_eq!(bound.cookies, [""; 0], "{policy:?}");
        }
    }

    #[test]
    fn values_of_one_header_count_in_any_order() {
        let one = bind(&[header("x-a")], &[("x-a", "1"), ("x-a", "2")], None);
        let other = bind(&[header("x-a")], &[("x-a", "2"), ("x-a", "1")], None);
        assert_eq!(one.key, Some(hash_key::xx(b"2", xx("1"))));
        assert_eq!(other.key, one.key);
    }

    #[test]
    fn several_are_combined_unless_one_is_terminal() {
        let headers = [("x-a", "1"), ("x-b", "1")];
        let both = bind(&[header("x-a"), header("x-b")], &headers, None);
        let hash = xx("1");
        assert_eq!(both.key, Some(hash.rotate_left(1) ^ hash));
        let first = Policy {
            terminal: true,
            ..header("x-a")
        };
        let bound = bind(&[first.clone(), header("x-b")], &headers, None);
        assert_eq!(bound.key, Some(hash));
        let bound = bind(&[first, header("x-b")], &headers[1..], None);
        assert_eq!(bound.key, Some(hash));
    }

    #[test]
    fn a_client_without_the_cookie_is_given_one_that_binds_it_to_the_same() {
        let cookie = Cookie {
            name: "who".to_owned(),
            ttl: Some(Duration::from_mins(1)),
            path: "/shop".to_owned(),
            attributes: vec![("SameSite".to_owned(), "Lax".to_owned())],
        };
        let policy = by(By::Cookie(cookie));
        let given = bind(std::slice::from_ref(&policy), &[], None);
        let [set] = given.cookies.as_slice() else {
            panic!("{:?}", given.cookies);
        };
        let value = set
            .strip_prefix("who=\"")
            .and_then(|rest| {
                rest.strip_suffix("\"; Max-Age=60; Path=/shop; SameSite=Lax; HttpOnly")
            })
            .unwrap_or_else(|| panic!("{set}"));
        let sent = format!("who={value}");
        let again = bind(&[policy], &[("cookie", &sent)], None);
        assert_eq!((again.key, again.cookies.len()), (given.key, 0));
    }
}
