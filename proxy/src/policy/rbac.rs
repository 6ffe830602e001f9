//! Who may ask for what: policies by name, of which the first that holds decides, as in Envoy.

use std::net::{IpAddr, SocketAddr};

use super::{
    cidr::Cidr,
    matcher::{self, Matcher, Named, RequestView, Test, Text},
};

/// What a filter demands of requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Requests that these do not allow are refused; `None`: all are allowed.
    pub rules: Option<Rules>,
    /// The same, only to be counted.
    pub shadow: Option<Rules>,
}

/// Policies, and what they are for.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What becomes of a request for which a policy holds.
    pub action: Action,
    /// By name, in the order of the names.
    pub policies: Vec<(String, Rule)>,
}

/// What becomes of a request for which a policy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is allowed; others are not.
    Allow,
    /// It is refused; others are not.
    Deny,
    /// Nothing.
    Log,
}

/// What must hold of a request and whoever sends it.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// It always holds.
    Any,
    /// All of these.
    All(Vec<Rule>),
    /// One of these.
    One(Vec<Rule>),
    /// Not this.
    Not(Box<Rule>),
    /// A header is so.
    Header(Named),
    /// The path is so, without its query.
    Path(Text),
    /// The client has connected to one of these addresses.
    Destination(Cidr),
    /// The client has connected to one of these ports, of which the last is none.
    Ports(u16, u32),
    /// The client has asked for such a name in TLS.
    ServerName(Text),
    /// The client has come by TLS; with one of the names of its certificate so, if that is said.
    Authenticated(Option<Text>),
    /// The connection comes from one of these addresses, as a PROXY header tells.
    Connected(Cidr),
    /// It comes from one of these addresses, whatever it tells.
    Direct(Cidr),
    /// The client has one of these addresses, as trusted proxies tell.
    Client(Cidr),
}

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What it asks for.
    pub request: RequestView<'a>,
    /// Where its client has connected to.
    pub destination: SocketAddr,
    /// The name that its client has asked for in TLS; empty: none.
    pub server_name: &'a str,
    /// Who its client is in TLS; `None`: there is no TLS.
    pub peer: Option<Peer<'a>>,
    /// Where the connection comes from, as a PROXY header tells.
    pub connected: IpAddr,
    /// Where it comes from, whatever it tells.
    pub direct: IpAddr,
    /// Where the client is.
    pub client: IpAddr,
}

/// The names of a client's certificate; all empty: it has shown none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer<'a> {
    /// URIs.
    pub uris: &'a [String],
    /// DNS names.
    pub dns: &'a [String],
    /// The subject.
    pub subject: &'a str,
}

/// [`Settings`] that can be asked.
#[derive(Debug)]
pub struct Compiled {
    /// Whether requests are allowed.
    pub rules: Option<CompiledRules>,
    /// Whether they would be.
    pub shadow: Option<CompiledRules>,
}

/// [`Rules`] that can be asked.
#[derive(Debug)]
pub struct CompiledRules {
    action: Action,
    policies: Vec<(String, Check)>,
}

#[derive(Debug)]
enum Check {
    Any,
    All(Vec<Check>),
    One(Vec<Check>),
    Not(Box<Check>),
    Header(Box<matcher::Compiled>),
    Path(Test),
    Destination(Cidr),
    Ports(u16, u32),
    ServerName(Test),
    Authenticated(Option<Test>),
    Connected(Cidr),
    Direct(Cidr),
    Client(Cidr),
}

impl Compiled {
    /// Compiles settings; the error names the expression that cannot be.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let rules = |rules: &Option<Rules>| rules.as_ref().map(CompiledRules::new).transpose();
        Ok(Self {
            rules: rules(&settings.rules)?,
            shadow: rules(&settings.shadow)?,
        })
    }
}

impl CompiledRules {
    fn new(rules: &Rules) -> Result<Self, String> {
        let policy =
            |(name, rule): &(String, Rule)| Ok::<_, String>((name.clone(), Check::new(rule)?));
        Ok(Self {
            action: rules.action,
            policies: rules
                .policies
                .iter()
                .map(policy)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether the request is allowed, and the policy that holds for it, if one does.
    pub fn judge(&self, subject: &Subject<'_>) -> (bool, Option<&str>) {
        let holds = self.policies.iter().find(|(_, it)| it.holds(subject));
        let allowed = match self.action {
            Action::Allow => holds.is_some(),
            Action::Deny => holds.is_none(),
            Action::Log => true,
        };
        (allowed, holds.map(|(name, _)| name.as_str()))
    }
}

impl Check {
    fn new(rule: &Rule) -> Result<Self, String> {
        let all = |rules: &[Rule]| rules.iter().map(Self::new).collect::<Result<_, _>>();
        Ok(match rule {
            Rule::Any => Self::Any,
            Rule::All(rules) => Self::All(all(rules)?),
            Rule::One(rules) => Self::One(all(rules)?),
            Rule::Not(rule) => Self::Not(Box::new(Self::new(rule)?)),
            Rule::Header(named) => Self::Header(Box::new(matcher::Compiled::new(&Matcher {
                headers: vec![named.clone()],
                ..Matcher::default()
            })?)),
            Rule::Path(text) => Self::Path(Test::new(text)?),
            Rule::Destination(range) => Self::Destination(*range),
            Rule::Ports(first, end) => Self::Ports(*first, *end),
            Rule::ServerName(text) => Self::ServerName(Test::new(text)?),
            Rule::Authenticated(text) => {
                Self::Authenticated(text.as_ref().map(Test::new).transpose()?)
            }
            Rule::Connected(range) => Self::Connected(*range),
            Rule::Direct(range) => Self::Direct(*range),
            Rule::Client(range) => Self::Client(*range),
        })
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|it| it.holds(subject)),
            Self::One(all) => all.iter().any(|it| it.holds(subject)),
            Self::Not(it) => !it.holds(subject),
            Self::Header(matcher) => matcher.headers_hold(&subject.request),
            Self::Path(test) => test.holds(subject.request.path.as_bytes()),
            Self::Destination(range) => range.contains(subject.destination.ip()),
            Self::Ports(first, end) => {
                let port = subject.destination.port();
                port >= *first && u32::from(port) < *end
            }
            Self::ServerName(test) => test.holds(subject.server_name.as_bytes()),
            Self::Authenticated(test) => match (test, &subject.peer) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(test), Some(peer)) => {
                    let mut names = peer.uris.iter().chain(peer.dns);
                    names.any(|name| test.holds(name.as_bytes()))
                        || test.holds(peer.subject.as_bytes())
                }
            },
            Self::Connected(range) => range.contains(subject.connected),
            Self::Direct(range) => range.contains(subject.direct),
            Self::Client(range) => range.contains(subject.client),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{super::matcher::How, *};

    fn text(how: How) -> Text {
        Text {
            how,
            ignore_case: false,
        }
    }

    fn judge(action: Action, policies: &[(&str, Rule)]) -> (bool, Option<String>) {
        judge_of(("GET", "/a/b"), action, policies)
    }

    fn judge_of(
        (method, path): (&str, &str),
        action: Action,
        policies: &[(&str, Rule)],
    ) -> (bool, Option<String>) {
        let headers = HeaderMap::new();
        let uris = ["spiffe://mesh.test/a".to_owned()];
        let subject = Subject {
            request: RequestView {
                method,
                authority: "a.test",
                path,
                query: Some("q"),
                headers: &headers,
            },
            destination: ([10, 0, 0, 1], 8080).into(),
            server_name: "a.test",
            peer: Some(Peer {
                uris: &uris,
                ..Peer::default()
            }),
            connected: [10, 1, 0, 1].into(),
            direct: [10, 2, 0, 1].into(),
            client: [192, 0, 2, 7].into(),
        };
        let settings = Settings {
            rules: Some(Rules {
                action,
                policies: policies
                    .iter()
                    .map(|(name, rule)| ((*name).to_owned(), rule.clone()))
                    .collect(),
            }),
            shadow: None,
        };
        let rules = Compiled::new(&settings).unwrap().rules.unwrap();
        let (allowed, name) = rules.judge(&subject);
        (allowed, name.map(str::to_owned))
    }

    #[test]
    fn an_action_says_what_becomes_of_those_for_whom_a_policy_holds() {
        let never = || Rule::Not(Box::new(Rule::Any));
        for (action, rule, expected) in [
            (Action::Allow, Rule::Any, true),
            (Action::Allow, never(), false),
            (Action::Deny, Rule::Any, false),
            (Action::Deny, never(), true),
            (Action::Log, Rule::Any, true),
            (Action::Log, never(), true),
        ] {
            let holds = rule == Rule::Any;
            let told = judge(action, &[("one", rule)]);
            assert_eq!(told, (expected, holds.then(|| "one".to_owned())));
        }
        // Without a policy nobody is allowed.
        assert_eq!(judge(Action::Allow, &[]), (false, None));
        let both = [("a", Rule::Any), ("b", Rule::Any)];
        assert_eq!(judge(Action::Deny, &both), (false, Some("a".to_owned())));
    }

    #[test]
    fn headers_of_a_connect_are_headers_too() {
        let method = |method: &str| {
            Rule::Header(Named {
                name: ":method".to_owned(),
                value: Some(text(How::Exact(method.to_owned()))),
                invert: false,
                absent_as: None,
            })
        };
        for (asked, rule, expected) in [
            ("CONNECT", "CONNECT", false),
            ("CONNECT", "GET", true),
            ("GET", "GET", false),
        ] {
            let path = if asked == "CONNECT" { "" } else { "/" };
            let told = judge_of((asked, path), Action::Deny, &[("it", method(rule))]);
            assert_eq!(told.0, expected, "{asked} {rule}");
        }
    }

    #[test]
    fn rules_look_at_the_request_and_its_client() {
        let range = |ip: [u8; 4], bits| Cidr::new(ip.into(), bits);
        let exact = |value: &str| text(How::Exact(value.to_owned()));
        for (rule, expected) in [
            (Rule::Path(exact("/a/b")), true),
            (Rule::Path(exact("/a/b?q")), false),
            (Rule::Destination(range([10, 0, 0, 0], 16)), true),
            (Rule::Ports(8080, 8081), true),
            (Rule::Ports(8000, 8080), false),
            (Rule::ServerName(exact("a.test")), true),
            (Rule::Authenticated(None), true),
            (
                Rule::Authenticated(Some(exact("spiffe://mesh.test/a"))),
                true,
            ),
            (
                Rule::Authenticated(Some(exact("spiffe://mesh.test/b"))),
                false,
            ),
            (Rule::Connected(range([10, 1, 0, 0], 16)), true),
            (Rule::Connected(range([10, 2, 0, 0], 16)), false),
            (Rule::Direct(range([10, 2, 0, 0], 16)), true),
            (Rule::Direct(range([10, 1, 0, 0], 16)), false),
            (Rule::Client(range([10, 1, 0, 0], 16)), false),
            (Rule::Client(range([192, 0, 2, 0], 24)), true),
            (Rule::All(vec![Rule::Any, Rule::Ports(1, 2)]), false),
            (Rule::One(vec![Rule::Any, Rule::Ports(1, 2)]), true),
            (Rule::One(Vec::new()), false),
        ] {
            let told = judge(Action::Allow, &[("it", rule.clone())]);
            assert_eq!(told.0, expected, "{rule:?}");
        }
    }
}
