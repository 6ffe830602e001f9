//! Which names a peer's certificate must have.

use super::facts::Facts;
use crate::{
    config::tls::{Name, NameKind},
    policy::matcher::{How, Test},
};

/// Conditions on a certificate's names; one that holds is enough.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    kind: NameKind,
    /// An exact host name, which wildcards of the certificate meet too.
    host: Option<String>,
    test: Test,
}

impl Names {
    /// The error names the expression that is none.
    pub(super) fn new(names: &[Name]) -> Result<Self, String> {
        names
            .iter()
            .map(|it| {
                let host = match (it.kind, &it.text.how) {
                    (NameKind::Dns, How::Exact(name)) => Some(name.to_ascii_lowercase()),
                    _ => None,
                };
                Ok(Condition {
                    kind: it.kind,
                    host,
                    test: Test::new(&it.text)?,
                })
            })
            .collect::<Result<_, String>>()
            .map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn hold(&self, facts: &Facts) -> bool {
        self.0.iter().any(|condition| condition.holds(facts))
    }
}

impl Condition {
    fn holds(&self, facts: &Facts) -> bool {
        let any = |names: &[String]| names.iter().any(|name| self.test.holds(name.as_bytes()));
        match self.kind {
            NameKind::Dns => match &self.host {
                Some(host) => facts.dns.iter().any(|name| covers(name, host)),
                None => any(&facts.dns),
            },
            NameKind::Uri => any(&facts.uris),
            NameKind::Email => any(&facts.emails),
            NameKind::Ip => any(&facts.ips),
            NameKind::Any => {
                any(&facts.dns) || any(&facts.uris) || any(&facts.emails) || any(&facts.ips)
            }
        }
    }
}

/// A host name of a certificate is for this host, which is lower case: it is the same, or its first label is `*` and stands
/// for one label (RFC 9525 §6.3).
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    let Some(suffix) = pattern.strip_prefix("*.") else {
        return pattern.eq_ignore_ascii_case(host);
    };
    host.split_once('.')
        .is_some_and(|(first, rest)| !first.is_empty() && rest.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::matcher::Text;

    #[test]
    fn a_name_is_matched_by_its_kind() {
        let facts = Facts {
            dns: vec!["*.wild.test".to_owned(), "a.test".to_owned()],
            uris: vec!["spiffe://t/ns/a/sa/b".to_owned()],
            ips: vec!["10.0.0.1".to_owned()],
            emails: vec!["who@a.test".to_owned()],
            ..Facts::default()
        };
        let exact = |text: &str| How::Exact(text.to_owned());
        let rows = [
            (NameKind::Dns, exact("a.test"), true),
            (NameKind::Dns, exact("A.TEST"), true),
            (NameKind::Dns, exact("x.wild.test"), true),
            (NameKind::Dns, exact("x.y.wild.test"), false),
            (NameKind::Dns, exact("wild.test"), false),
            (NameKind::Dns, How::Suffix(".test".to_owned()), true),
            (NameKind::Uri, exact("spiffe://t/ns/a/sa/b"), true),
            (NameKind::Uri, exact("spiffe://t/ns/a/sa/c"), false),
            (NameKind::Uri, How::Prefix("spiffe://t/".to_owned()), true),
            (NameKind::Uri, How::Regex("spiffe://t/.*".to_owned()), true),
            (NameKind::Uri, How::Regex("t/".to_owned()), false),
            (NameKind::Ip, exact("10.0.0.1"), true),
            (NameKind::Email, How::Contains("@a.".to_owned()), true),
            (NameKind::Email, exact("a.test"), false),
            (NameKind::Any, exact("10.0.0.1"), true),
        ];
        for (kind, how, holds) in rows {
            let row = format!("{kind:?} {how:?}");
            let text = Text {
                how,
                ignore_case: false,
            };
            let names = Names::new(&[Name { kind, text }]).unwrap();
            assert_eq!(names.hold(&facts), holds, "{row}");
        }
    }
}
