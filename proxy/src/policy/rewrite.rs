//! Paths and hosts that are replaced on the way to the upstream, and the places that clients are redirected to.

use http::{HeaderMap, HeaderName, HeaderValue};
use regex::Regex;

use super::{
    matcher::{How, Matcher},
    template::Template,
};

/// How the path is replaced; the query stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// The matched prefix is replaced; with an exact path or an expression, the whole path.
    Prefix(String),
    /// Every match is replaced; `\1` is the first group.
    Regex(Substitution),
    /// Made of the variables of the matched path template.
    Template(String),
}

/// An expression, and what its matches become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitution {
    /// The expression.
    pub expression: String,
    /// The replacement: `\1` is the first group, `\\` a backslash.
    pub by: String,
}

/// How the host is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRewrite {
    /// By this.
    Literal(String),
    /// By the value of this header, if it has one.
    Header(String),
    /// By what the path becomes, without its query.
    Path(Substitution),
    /// By the name of the endpoint, if it has one.
    Endpoint,
}

/// Where a client is redirected to: parts of the address it asked for are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redirect {
    /// The scheme.
    pub scheme: Option<String>,
    /// The host, without its port.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path; one with a query replaces the query, too.
    pub path: Option<String>,
    /// The path is rewritten.
    pub rewrite: Option<PathRewrite>,
    /// The query is taken off.
    pub strip_query: bool,
}

/// A [`PathRewrite`] that can be made.
#[derive(Debug, Clone)]
pub enum CompiledPath {
    /// So many bytes are replaced; `None`: the whole path.
    Prefix(Option<usize>, String),
    /// Matches are replaced.
    Regex(CompiledSubstitution),
}

/// A [`HostRewrite`] that can be made.
#[derive(Debug, Clone)]
pub enum CompiledHost {
    /// By this.
    Literal(HeaderValue),
    /// By the value of this header.
    Header(HeaderName),
    /// By what the path becomes.
    Path(CompiledSubstitution),
    /// By the name of the endpoint.
    Endpoint,
}

/// A [`Substitution`] that can be made.
#[derive(Debug, Clone)]
pub struct CompiledSubstitution {
    regex: Regex,
    by: String,
}

/// A [`Redirect`] that can be made.
#[derive(Debug, Clone)]
pub struct CompiledRedirect {
    settings: Redirect,
    rewrite: Option<CompiledPath>,
}

/// What a request asked for, as far as a redirect looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The scheme.
    pub scheme: &'a str,
    /// The host and port.
    pub authority: &'a str,
    /// The path and query.
    pub path: &'a str,
}

impl CompiledPath {
    /// Compiles a rewrite of a route with this matcher; the error names what cannot be.
    pub fn new(rewrite: &PathRewrite, matcher: &Matcher) -> Result<Self, String> {
        match rewrite {
            PathRewrite::Prefix(by) => Ok(Self::Prefix(matched(matcher), by.clone())),
            PathRewrite::Regex(substitution) => {
                CompiledSubstitution::new(substitution, false).map(Self::Regex)
            }
            PathRewrite::Template(by) => {
                let Some(How::Template(text)) = matcher.path.as_ref().map(|path| &path.how) else {
                    return Err(format!(
                        "`{by}` is made of a path template, but the route's condition on the path is none"
                    ));
                };
                let template = Template::read(text)?;
                let substitution = Substitution {
                    by: template.substitution(by)?,
                    expression: template.expression,
                };
                CompiledSubstitution::new(&substitution, true).map(Self::Regex)
            }
        }
    }

    /// The path and query, rewritten.
    pub fn apply(&self, path_and_query: &str) -> String {
        let end = path_and_query
            .find(['?', '#'])
            .unwrap_or(path_and_query.len());
        let (path, query) = path_and_query.split_at(end);
        match self {
            Self::Prefix(matched, by) => {
                let rest = matched.and_then(|matched| path.get(matched..));
                [by, rest.unwrap_or_default(), query].concat()
            }
            Self::Regex(substitution) => substitution.apply(path) + query,
        }
    }
}

/// How much of the path a prefix rewrite replaces; `None`: all of it.
fn matched(matcher: &Matcher) -> Option<usize> {
    match &matcher.path.as_ref()?.how {
        How::Prefix(text) | How::PathPrefix(text) => Some(text.len()),
        _ => None,
    }
}

impl CompiledHost {
    /// Compiles a rewrite; the error names what cannot be.
    pub fn new(rewrite: &HostRewrite) -> Result<Self, String> {
        Ok(match rewrite {
            HostRewrite::Literal(host) => {
                Self::Literal(HeaderValue::from_str(host).map_err(|_| {
                    format!(
                        "`{}` is not a value that a header can have",
                        host.escape_debug()
                    )
                })?)
            }
            HostRewrite::Header(name) => Self::Header(
                HeaderName::try_from(name)
                    .map_err(|_| format!("`{name}` is not the name of a header"))?,
            ),
            HostRewrite::Path(substitution) => {
                Self::Path(CompiledSubstitution::new(substitution, false)?)
            }
            HostRewrite::Endpoint => Self::Endpoint,
        })
    }

    /// The host; `None`: it stays, or is the endpoint's.
    pub fn host(&self, headers: &HeaderMap, path_and_query: &str) -> Option<HeaderValue> {
        let host = match self {
            Self::Literal(host) => Some(host.clone()),
            Self::Header(name) => headers.get(name).cloned(),
            Self::Path(substitution) => {
                let path = path_and_query.split(['?', '#']).next().unwrap_or_default();
                HeaderValue::try_from(substitution.apply(path)).ok()
            }
            Self::Endpoint => None,
        };
        host.filter(|host| !host.is_empty())
    }
}

impl CompiledSubstitution {
    fn new(it: &Substitution, whole: bool) -> Result<Self, String> {
        let expression = if whole {
            format!(r"\A(?:{})\z", it.expression)
        } else {
            it.expression.clone()
        };
        let regex = Regex::new(&expression).map_err(|error| {
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default();
            let why = why.trim_start_matches("error: ");
            format!("`{}` is not a regular expression: {why}", it.expression)
        })?;
        let by = groups(&it.by, regex.captures_len())?;
        Ok(Self { regex, by })
    }

    /// The text with every match replaced.
    pub fn apply(&self, text: &str) -> String {
        self.regex.replace_all(text, self.by.as_str()).into_owned()
    }
}

/// `\1` as `${1}`.
fn groups(text: &str, known: usize) -> Result<String, String> {
    let mut made = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => made.push_str("$$"),
            '\\' => match characters.next() {
                Some('\\') => made.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    if digit
                        .to_digit(10)
                        .is_none_or(|group| group as usize >= known)
                    {
                        return Err(format!(
                            "`{text}` names the group {digit}, but the expression has {}",
                            known - 1
                        ));
                    }
                    made.push_str("${");
                    made.push(digit);
                    made.push('}');
                }
                _ => {
                    return Err(format!(
                        "`{text}` has a `\\` that neither a digit nor a `\\` follows"
                    ));
                }
            },
            character => made.push(character),
        }
    }
    Ok(made)
}

impl CompiledRedirect {
    /// Compiles a redirect of a route with this matcher; the error names what cannot be.
    pub fn new(redirect: &Redirect, matcher: &Matcher) -> Result<Self, String> {
        Ok(Self {
            rewrite: redirect
                .rewrite
                .as_ref()
                .map(|rewrite| CompiledPath::new(rewrite, matcher))
                .transpose()?,
            settings: redirect.clone(),
        })
    }

    /// The path and query that the client is sent to; `None`: those it asked for.
    pub fn rewritten(&self, path: &str) -> Option<String> {
        Some(self.rewrite.as_ref()?.apply(path))
    }

    /// The address that the client is sent to.
    pub fn location(&self, asked: Asked<'_>) -> String {
        let settings = &self.settings;
        let scheme = settings.scheme.as_deref().unwrap_or(asked.scheme);
        let port = settings.port.map(|port| format!(":{port}"));
        let host = match &settings.host {
            Some(host) => host,
            None => host_for(asked, scheme, port.is_some()),
        };
        let rewritten = self.rewritten(asked.path);
        let asked_path = rewritten.as_deref().unwrap_or(asked.path);
        let own_query = settings
            .path
            .as_ref()
            .is_some_and(|path| path.contains('?'));
        let (path, query) = match (&settings.path, asked_path.find('?')) {
            (Some(path), _) if own_query => (path.as_str(), ""),
            (Some(path), at) => (
                path.as_str(),
                at.and_then(|at| asked_path.get(at..)).unwrap_or_default(),
            ),
            (None, Some(at)) => asked_path.split_at(at),
            (None, None) => (asked_path, ""),
        };
        let query = if settings.strip_query { "" } else { query };
        let port = port.unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

/// The host that was asked for, without a port that the new scheme or the new port makes wrong.
fn host_for<'a>(asked: Asked<'a>, scheme: &str, new_port: bool) -> &'a str {
    let host = asked.authority;
    let bracket = host.rfind(']').unwrap_or(0);
    let Some(at) = host.rfind(':').filter(|at| *at >= bracket) else {
        return host;
    };
    let (name, port) = host.split_at(at);
    let default = match asked.scheme {
        "https" => ":443",
        _ => ":80",
    };
    if new_port || (scheme != asked.scheme && port == default) {
        name
    } else {
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::matcher::Text;

    fn route(how: How) -> Matcher {
        Matcher {
            path: Some(Text {
                how,
                ignore_case: false,
            }),
            ..Matcher::default()
        }
    }

    fn regex(expression: &str, by: &str) -> PathRewrite {
        PathRewrite::Regex(Substitution {
            expression: expression.to_owned(),
            by: by.to_owned(),
        })
    }

    #[test]
    fn paths_are_rewritten_and_queries_stay() {
        let prefix = |by: &str| PathRewrite::Prefix(by.to_owned());
        let rows = [
            (
                How::Prefix("/pre/".to_owned()),
                prefix("/"),
                "/pre/a?b",
                "/a?b",
            ),
            (How::Prefix("/pre".to_owned()), prefix("/"), "/pre/a", "//a"),
            (How::PathPrefix("/sep".to_owned()), prefix("/"), "/sep", "/"),
            (
                How::Exact("/x".to_owned()),
                prefix("/y"),
                "/x?k=1",
                "/y?k=1",
            ),
            (
                How::Regex("/rx/.+".to_owned()),
                prefix("/y"),
                "/rx/abc?q",
                "/y?q",
            ),
            (
                How::Prefix("/".to_owned()),
                regex("^/re/([^/]+)/(.*)$", r"/\2?from=\1"),
                "/re/me/some/path",
                "/some/path?from=me",
            ),
            (
                How::Prefix("/".to_owned()),
                regex("o", "0"),
                "/foo/o?o",
                "/f00/0?o",
            ),
            (
                How::Prefix("/".to_owned()),
                regex("a", r"$1\\"),
                "/a",
                r"/$1\",
            ),
            (
                How::Template("/t/{a}/x/{b=**}".to_owned()),
                PathRewrite::Template("/{b}/{a}".to_owned()),
                "/t/1/x/2/3?q",
                "/2/3/1?q",
            ),
        ];
        for (how, rewrite, path, expected) in rows {
            let compiled = CompiledPath::new(&rewrite, &route(how)).unwrap();
            assert_eq!(compiled.apply(path), expected, "{rewrite:?}");
        }
    }

    #[test]
    fn rewrites_that_cannot_be_are_told() {
        for (rewrite, expected) in [
            (
                regex("a", r"\1"),
                r"`\1` names the group 1, but the expression has 0",
            ),
            (
                regex("a", r"\x"),
                r"`\x` has a `\` that neither a digit nor a `\` follows",
            ),
            (
                regex("(", ""),
                "`(` is not a regular expression: unclosed group",
            ),
            (
                PathRewrite::Template("/{a}".to_owned()),
                "`/{a}` is made of a path template, but the route's condition on the path is none",
            ),
        ] {
            let error = CompiledPath::new(&rewrite, &Matcher::default()).unwrap_err();
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn redirects_replace_parts_of_the_address() {
        let here = |authority, path| Asked {
            scheme: "http",
            authority,
            path,
        };
        let some = |text: &str| Some(text.to_owned());
        let https = Redirect {
            scheme: some("https"),
            ..Redirect::default()
        };
        let rows = [
            (https.clone(), here("a.test", "/x"), "https://a.test/x"),
            (https.clone(), here("a.test:80", "/"), "https://a.test/"),
            (https.clone(), here("a.test:81", "/"), "https://a.test:81/"),
            (https.clone(), here("[::1]:80", "/"), "https://[::1]/"),
            (
                Redirect {
                    port: Some(8443),
                    ..https
                },
                here("a.test:1234", "/port"),
                "https://a.test:8443/port",
            ),
            (
                Redirect {
                    host: some("new.test"),
                    ..Redirect::default()
                },
                here("a.test:80", "/host?q=1"),
                "http://new.test/host?q=1",
            ),
            (
                Redirect {
                    path: some("/other?fixed=1"),
                    strip_query: true,
                    ..Redirect::default()
                },
                here("a.test", "/path?q=1"),
                "http://a.test/other?fixed=1",
            ),
            (
                Redirect {
                    path: some("/other"),
                    ..Redirect::default()
                },
                here("a.test", "/path?q=1"),
                "http://a.test/other?q=1",
            ),
            (
                Redirect {
                    strip_query: true,
                    ..Redirect::default()
                },
                here("a.test", "/path?q=1"),
                "http://a.test/path",
            ),
            (
                Redirect {
                    rewrite: Some(PathRewrite::Prefix("/new/".to_owned())),
                    ..Redirect::default()
                },
                here("a.test", "/old/a/b?q=1"),
                "http://a.test/new/a/b?q=1",
            ),
        ];
        for (redirect, asked, expected) in rows {
            let matcher = route(How::Prefix("/old/".to_owned()));
            let compiled = CompiledRedirect::new(&redirect, &matcher).unwrap();
            assert_eq!(compiled.location(asked), expected);
        }
    }
}
