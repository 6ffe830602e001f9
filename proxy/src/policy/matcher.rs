//! What a request must look like for a route, a fault or a mirror to apply: [`Matcher`] is the setting, [`Compiled`]
//! what is asked for each request. Matching allocates nothing, but for `:path`, which is put together.

use std::iter;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use regex::bytes::{Regex, RegexBuilder};

use super::template::Template;

/// Conditions on a request; all must hold. The default holds for every request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// Any of these methods; empty: all.
    pub methods: Vec<String>,
    /// The path, without its query.
    pub path: Option<Text>,
    /// Headers, by lower-case name; `:authority`, `:path` and `:method` as Envoy names them.
    pub headers: Vec<Named>,
    /// Query parameters.
    pub query: Vec<Named>,
    /// Cookies.
    pub cookies: Vec<Named>,
    /// It is gRPC.
    pub grpc: bool,
    /// It is a `CONNECT`; without this, a `CONNECT` without a path is for no route.
    pub connect: bool,
}

/// A condition on a named value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Name of the header or parameter.
    pub name: String,
    /// What it must be; `None`: present, whatever it is.
    pub value: Option<Text>,
    /// The condition must not hold.
    pub invert: bool,
    /// What an absent value counts as; `None`: with an absent value a condition on the value fails, inverted or not, as
    /// in Envoy; a condition on presence sees that it is absent.
    pub absent_as: Option<String>,
}

/// A condition on a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// How the text is compared.
    pub how: How,
    /// Compared without regard to ASCII case.
    pub ignore_case: bool,
}

/// How a text is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// It is this.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// It begins with this at a path separator: `/api` holds for `/api` and `/api/x`, not for `/apix`.
    PathPrefix(String),
    /// It ends with this.
    Suffix(String),
    /// It contains this.
    Contains(String),
    /// The whole of it matches this RE2-like expression.
    Regex(String),
    /// A whole match where `*` is any run of characters: `/cart/*`.
    Glob(String),
    /// It is a number in this half-open range.
    Range(i64, i64),
    /// It is a path of this [template](super::template): `/shop/{item}`.
    Template(String),
}

/// A request, as far as conditions look at it.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a str,
    /// The host asked for, with its port; empty where there is none.
    pub authority: &'a str,
    /// The path, without its query.
    pub path: &'a str,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A [`Matcher`] that can be asked.
#[derive(Debug, Clone)]
pub struct Compiled {
    methods: Vec<String>,
    path: Option<Test>,
    headers: Vec<Condition<Source>>,
    query: Vec<Condition<String>>,
    cookies: Vec<Condition<String>>,
    grpc: bool,
    connect: bool,
}

#[derive(Debug, Clone)]
struct Condition<N> {
    name: N,
    value: Option<Test>,
    invert: bool,
    absent_as: Option<String>,
}

/// Where the value of a header condition comes from.
#[derive(Debug, Clone)]
enum Source {
    Method,
    Authority,
    Scheme,
    /// With its query, as Envoy's `:path`.
    Path,
    Header(HeaderName),
}

/// A [`Text`] that can be asked.
#[derive(Debug, Clone)]
pub struct Test {
    how: TestHow,
    ignore_case: bool,
}

#[derive(Debug, Clone)]
enum TestHow {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    PathPrefix(Vec<u8>),
    Suffix(Vec<u8>),
    Contains(Vec<u8>),
    Regex(Regex),
    Glob(Vec<u8>),
    Range(i64, i64),
}

/// What a path must be for a [`Compiled`] to hold, as far as an index of them needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// This.
    Exact(&'a str),
    /// It begins with this.
    Prefix(&'a str),
    /// Paths don't say.
    Any,
}

impl RequestView<'_> {
    /// Whether it came by TLS, or says that it did.
    pub fn is_secure(&self) -> bool {
        self.headers
            .get("x-forwarded-proto")
            .is_some_and(|scheme| scheme.as_bytes() == b"https")
    }
}

impl Compiled {
    /// Compiles the conditions; the error names the one that cannot be: a regular expression, a header's name.
    pub fn new(matcher: &Matcher) -> Result<Self, String> {
        Ok(Self {
            methods: matcher.methods.clone(),
            path: matcher.path.as_ref().map(Test::new).transpose()?,
            headers: matcher
                .headers
                .iter()
                .map(|named| Condition::new(named, Source::new(&named.name)?))
                .collect::<Result<_, _>>()?,
            query: matcher
                .query
                .iter()
                .map(|named| Condition::new(named, named.name.clone()))
                .collect::<Result<_, _>>()?,
            cookies: matcher
                .cookies
                .iter()
                .map(|named| Condition::new(named, named.name.clone()))
                .collect::<Result<_, _>>()?,
            grpc: matcher.grpc,
            connect: matcher.connect,
        })
    }

    /// What its condition on the path comes down to.
    pub fn key(&self) -> Key<'_> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let key = match &self.path {
            Some(path) if !path.ignore_case => match &path.how {
                TestHow::Exact(bytes) => text(bytes).map(Key::Exact),
                TestHow::Prefix(bytes) | TestHow::PathPrefix(bytes) => text(bytes).map(Key::Prefix),
                _ => None,
            },
            _ => None,
        };
        key.unwrap_or(Key::Any)
    }

    /// Its headers are so, whatever else it asks of a request.
    pub fn headers_hold(&self, request: &RequestView<'_>) -> bool {
        self.headers.iter().all(|header| header.holds_for(request))
    }

    /// Whether all conditions hold for the request.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method))
            && self
                .path
                .as_ref()
                .is_none_or(|path| path.holds(request.path.as_bytes()))
            && self.headers_hold(request)
            && self
                .query
                .iter()
                .all(|query| query.holds(parameter(request.query, &query.name).into_iter()))
            && self.cookies.iter().all(|condition| {
                // An absent cookie is one that does not pass.
                let value = cookie(request.headers, condition.name.as_bytes());
                value.is_some_and(|value| condition.passes(value)) != condition.invert
            })
            && (!self.grpc || is_grpc(request.headers))
            && (self.connect == (request.method == "CONNECT" && request.path.is_empty()))
    }
}

impl<N> Condition<N> {
    fn new(named: &Named, name: N) -> Result<Self, String> {
        Ok(Self {
            name,
            value: named.value.as_ref().map(Test::new).transpose()?,
            invert: named.invert,
            absent_as: named.absent_as.clone(),
        })
    }

    /// Of several values one must pass, as in Envoy, or none where the condition is inverted.
    fn holds<'v>(&self, values: impl Iterator<Item = &'v [u8]>) -> bool {
        let mut present = false;
        for value in values {
            present = true;
            if self.passes(value) {
                return !self.invert;
            }
        }
        match (present, &self.absent_as, &self.value) {
            (true, ..) | (false, None, None) => self.invert,
            (false, Some(value), _) => self.passes(value.as_bytes()) != self.invert,
            (false, None, Some(_)) => false,
        }
    }

    fn passes(&self, value: &[u8]) -> bool {
        self.value.as_ref().is_none_or(|test| test.holds(value))
    }
}

impl Condition<Source> {
    fn holds_for(&self, request: &RequestView<'_>) -> bool {
        let one = |value: &str| self.holds(iter::once(value.as_bytes()));
        match &self.name {
            Source::Method => one(request.method),
            Source::Authority => one(request.authority),
            Source::Scheme => {
                let known = request.headers.get("x-forwarded-proto");
                self.holds(iter::once(
                    known.map_or(&b"http"[..], HeaderValue::as_bytes),
                ))
            }
            Source::Path => match request.query {
                None => one(request.path),
                Some(query) => one(&[request.path, "?", query].concat()),
            },
            Source::Header(name) => {
                let values = request.headers.get_all(name).iter();
                self.holds(values.map(HeaderValue::as_bytes))
            }
        }
    }
}

impl Source {
    fn new(name: &str) -> Result<Self, String> {
        match name {
            ":method" => Ok(Self::Method),
            // HTTP/1's name of it, and Envoy's.
            ":authority" | "host" => Ok(Self::Authority),
            ":path" => Ok(Self::Path),
            ":scheme" => Ok(Self::Scheme),
            _ if name.starts_with(':') => Err(format!(
                "`{name}` is not a header that can be matched: `:method`, `:authority`, `:path`, `:scheme` or a name"
            )),
            _ => HeaderName::try_from(name)
                .map(Self::Header)
                .map_err(|_| format!("`{name}` is not the name of a header")),
        }
    }
}

impl Test {
    /// Compiles it; the error names the expression that cannot be.
    pub fn new(text: &Text) -> Result<Self, String> {
        let how = match &text.how {
            How::Exact(text) => TestHow::Exact(text.clone().into_bytes()),
            How::Prefix(text) => TestHow::Prefix(text.clone().into_bytes()),
            How::PathPrefix(text) => TestHow::PathPrefix(text.clone().into_bytes()),
            How::Suffix(text) => TestHow::Suffix(text.clone().into_bytes()),
            How::Contains(text) => TestHow::Contains(text.clone().into_bytes()),
            How::Regex(expression) => TestHow::Regex(full(expression, text.ignore_case)?),
            How::Glob(pattern) => TestHow::Glob(pattern.clone().into_bytes()),
            How::Range(low, high) => TestHow::Range(*low, *high),
            How::Template(text) => TestHow::Regex(full(&Template::read(text)?.expression, false)?),
        };
        Ok(Self {
            how,
            ignore_case: text.ignore_case,
        })
    }

    /// Whether the text is one of those.
    pub fn holds(&self, value: &[u8]) -> bool {
        match &self.how {
            TestHow::Exact(text) => self.same(value, text),
            TestHow::Prefix(text) => self.begins(value, text),
            TestHow::PathPrefix(text) => {
                self.begins(value, text)
                    && (text.ends_with(b"/")
                        || matches!(value.get(text.len()), None | Some(b'/' | b'?')))
            }
            TestHow::Suffix(text) => value
                .len()
                .checked_sub(text.len())
                .and_then(|at| value.get(at..))
                .is_some_and(|end| self.same(end, text)),
            TestHow::Contains(text) => {
                text.is_empty()
                    || value
                        .windows(text.len())
                        .any(|window| self.same(window, text))
            }
            TestHow::Regex(regex) => regex.is_match(value),
            TestHow::Glob(pattern) => self.glob(value, pattern),
            TestHow::Range(low, high) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.trim().parse::<i64>().ok())
                .is_some_and(|number| (*low..*high).contains(&number)),
        }
    }

    fn same(&self, a: &[u8], b: &[u8]) -> bool {
        if self.ignore_case {
            a.eq_ignore_ascii_case(b)
        } else {
            a == b
        }
    }

    fn begins(&self, value: &[u8], text: &[u8]) -> bool {
        value
            .get(..text.len())
            .is_some_and(|start| self.same(start, text))
    }

    /// Greedy from the left: after each `*` the earliest place where the next piece fits is as good as any other.
    fn glob(&self, value: &[u8], pattern: &[u8]) -> bool {
        let mut pieces = pattern.split(|byte| *byte == b'*');
        let first = pieces.next().unwrap_or_default();
        if !self.begins(value, first) {
            return false;
        }
        let mut rest = value.get(first.len()..).unwrap_or_default();
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let Some(at) = rest
                .windows(piece.len())
                .position(|window| self.same(window, piece))
            else {
                return false;
            };
            rest = rest.get(at + piece.len()..).unwrap_or_default();
        }
        rest.len()
            .checked_sub(last.len())
            .and_then(|at| rest.get(at..))
            .is_some_and(|end| self.same(end, last))
    }
}

/// Longest compiled form of one expression: a bound on memory, far above what routes need.
const REGEX_SIZE: usize = 1 << 20;

fn full(expression: &str, ignore_case: bool) -> Result<Regex, String> {
    RegexBuilder::new(&format!(r"\A(?:{expression})\z"))
        .case_insensitive(ignore_case)
        .size_limit(REGEX_SIZE)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default();
            format!(
                "`{expression}` is not a regular expression: {}",
                why.trim_start_matches("error: ")
            )
        })
}

/// The first value of a query parameter, as it was written: Envoy does not decode it either.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a [u8]> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value.as_bytes())
    })
}

/// The value of a cookie, without the quotes that RFC 6265 §4.1.1 allows around it.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
            Some(
                value
                    .strip_prefix(b"\"")
                    .and_then(|value| value.strip_suffix(b"\""))
                    .unwrap_or(value),
            )
        })
}

/// By its content type, as Envoy: `application/grpc`, alone or with `+something`.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(how: How) -> Text {
        Text {
            how,
            ignore_case: false,
        }
    }

    fn holds(how: How, ignore_case: bool, value: &str) -> bool {
        Test::new(&Text { how, ignore_case })
            .unwrap()
            .holds(value.as_bytes())
    }

    #[test]
    fn texts_compare_as_their_kind_says() {
        type Make = fn(String) -> How;
        type Row = (
            Make,
            &'static str,
            bool,
            &'static [&'static str],
            &'static [&'static str],
        );
        let rows: [Row; 11] = [
            (How::Exact, "/a", false, &["/a"], &["/a/", "/A", ""]),
            (How::Exact, "/a", true, &["/a", "/A"], &["/b"]),
            (
                How::Prefix,
                "/api",
                false,
                &["/api", "/apix", "/api/x"],
                &["/ap", "/API"],
            ),
            (
                How::PathPrefix,
                "/api",
                false,
                &["/api", "/api/x"],
                &["/apix", "/ap"],
            ),
            (How::PathPrefix, "/api", true, &["/API/x"], &["/APIX"]),
            (
                How::Suffix,
                ".js",
                false,
                &["a.js", ".js"],
                &["js", "a.jsx"],
            ),
            (
                How::Contains,
                "mid",
                false,
                &["a mid b", "mid"],
                &["mi", "MID"],
            ),
            (How::Regex, "a|ab", false, &["a", "ab"], &["abc", "xa", ""]),
            (How::Regex, "/X[0-9]+", true, &["/x12"], &["/x", "/x1/"]),
            (
                How::Glob,
                "/cart/*",
                false,
                &["/cart/", "/cart/1/2"],
                &["/cart", "/x/cart/1"],
            ),
            (
                How::Glob,
                "a*b*c",
                false,
                &["abc", "a.b.b.c"],
                &["ab", "acb", "abcd"],
            ),
        ];
        for (how, pattern, ignore_case, good, bad) in rows {
            for value in good {
                assert!(
                    holds(how(pattern.to_owned()), ignore_case, value),
                    "{pattern} should hold for {value}"
                );
            }
            for value in bad {
                assert!(
                    !holds(how(pattern.to_owned()), ignore_case, value),
                    "{pattern} should not hold for {value}"
                );
            }
        }
    }

    #[test]
    fn a_range_holds_from_its_begin_until_before_its_end() {
        for (value, expected) in [
            ("9", false),
            ("10", true),
            ("19", true),
            ("20", false),
            ("x", false),
            ("", false),
        ] {
            assert_eq!(holds(How::Range(10, 20), false, value), expected, "{value}");
        }
    }

    #[test]
    fn a_bad_expression_or_header_is_named() {
        let bad = Matcher {
            path: Some(text(How::Regex("a(".to_owned()))),
            ..Matcher::default()
        };
        let error = Compiled::new(&bad).unwrap_err();
        assert!(
            error.starts_with("`a(` is not a regular expression: "),
            "{error}"
        );
        let bad = Matcher {
            headers: vec![named("a b", None)],
            ..Matcher::default()
        };
        assert_eq!(
            Compiled::new(&bad).unwrap_err(),
            "`a b` is not the name of a header"
        );
    }

    fn named(name: &str, value: Option<&str>) -> Named {
        Named {
            name: name.to_owned(),
            value: value.map(|value| text(How::Exact(value.to_owned()))),
            invert: false,
            absent_as: None,
        }
    }

    fn view<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> RequestView<'a> {
        RequestView {
            method: "GET",
            authority: "shop.test:80",
            path: "/cart/1",
            query,
            headers,
        }
    }

    #[test]
    fn an_absent_header_fails_unless_presence_is_inverted_or_it_counts_as_something() {
        let headers = HeaderMap::new();
        let request = view(&headers, None);
        // (asked value, inverted, counted as, holds)
        for (value, invert, absent_as, expected) in [
            (None, false, None, false),
            (None, true, None, true),
            (Some("1"), false, None, false),
            (Some("1"), true, None, false),
            (Some(""), false, Some(""), true),
            (Some("1"), true, Some(""), true),
        ] {
            let matcher = Matcher {
                headers: vec![Named {
                    invert,
                    absent_as: absent_as.map(str::to_owned),
                    ..named("x-a", value)
                }],
                ..Matcher::default()
            };
            assert_eq!(
                Compiled::new(&matcher).unwrap().matches(&request),
                expected,
                "{value:?} {invert} {absent_as:?}"
            );
        }
    }

    #[test]
    fn one_of_several_values_must_pass_and_pseudo_headers_are_read_from_the_request() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let request = view(&headers, Some("q=1&flag&q=2&e=%31"));
        for (name, value, expected) in [
            ("x-a", "1", true),
            ("x-a", "2", true),
            ("x-a", "1,2", false),
            (":scheme", "http", true),
            (":method", "GET", true),
            (":path", "/cart/1?q=1&flag&q=2&e=%31", true),
            (":authority", "shop.test:80", true),
            ("host", "shop.test:80", true),
        ] {
            let matcher = Matcher {
                headers: vec![named(name, Some(value))],
                ..Matcher::default()
            };
            assert_eq!(
                Compiled::new(&matcher).unwrap().matches(&request),
                expected,
                "{name}"
            );
        }
        for (name, value, expected) in [
            ("q", Some("1"), true),
            ("q", Some("2"), false),
            ("flag", None, true),
            ("flag", Some(""), true),
            ("e", Some("%31"), true),
            ("none", None, false),
        ] {
            let matcher = Matcher {
                query: vec![named(name, value)],
                ..Matcher::default()
            };
            assert_eq!(
                Compiled::new(&matcher).unwrap().matches(&request),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn an_inverted_condition_holds_if_no_value_passes() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        for (value, expected) in [("1", false), ("2", false), ("3", true)] {
            let matcher = Matcher {
                headers: vec![Named {
                    invert: true,
                    ..named("x-a", Some(value))
                }],
                ..Matcher::default()
            };
            let compiled = Compiled::new(&matcher).unwrap();
            assert_eq!(compiled.matches(&view(&headers, None)), expected, "{value}");
        }
    }

    #[test]
    fn all_conditions_must_hold() {
        let headers = HeaderMap::new();
        let request = view(&headers, None);
        assert!(
            Compiled::new(&Matcher::default())
                .unwrap()
                .matches(&request)
        );
        let post = Matcher {
            methods: vec!["POST".to_owned()],
            path: Some(text(How::Glob("/cart/*".to_owned()))),
            ..Matcher::default()
        };
        assert!(!Compiled::new(&post).unwrap().matches(&request));
    }

    proptest! {
        /// A glob is the expression that has `.*` for each star.
        #[test]
        fn globs_agree_with_expressions(pattern in "[ab*]{0,8}", value in "[ab]{0,12}") {
            let expression = pattern.replace('*', ".*");
            prop_assert_eq!(
                holds(How::Glob(pattern), false, &value),
                holds(How::Regex(expression), false, &value)
            );
        }
    }
}
