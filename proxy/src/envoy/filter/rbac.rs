//! The filter of role-based access control.

use std::sync::Arc;

use envoy_types::pb::envoy::{
    config::rbac::v3::{
        Permission, Policy, Principal, Rbac as Config, permission, principal, rbac,
    },
    extensions::filters::http::rbac::v3::Rbac,
    r#type::matcher::v3::{PathMatcher, path_matcher},
};

use super::super::{
    Notes, chain, route,
    support::{join, key_step},
};
use crate::policy::{
    matcher::Text,
    rbac::{Action, Rule, Rules, Settings},
};

pub(super) fn convert(it: &Rbac, path: &str, notes: &mut Notes) -> Arc<Settings> {
    let mut rules = |it: Option<&Config>, name: &str| {
        it.map(|it| self::rules(it, &format!("{path}.{name}"), notes))
    };
    Arc::new(Settings {
        rules: rules(it.rules.as_ref(), "rules"),
        shadow: rules(it.shadow_rules.as_ref(), "shadow_rules"),
    })
}

fn rules(it: &Config, path: &str, notes: &mut Notes) -> Rules {
    let mut policies: Vec<_> = it.policies.iter().collect();
    policies.sort_by_key(|(name, _)| *name);
    Rules {
        action: match it.action() {
            rbac::Action::Allow => Action::Allow,
            rbac::Action::Deny => Action::Deny,
            rbac::Action::Log => Action::Log,
        },
        policies: policies
            .into_iter()
            .map(|(name, it)| {
                let path = join(&format!("{path}.policies"), &key_step(name));
                (name.clone(), policy(it, &path, notes))
            })
            .collect(),
    }
}

fn policy(it: &Policy, path: &str, notes: &mut Notes) -> Rule {
    for (name, empty) in [
        ("permissions", it.permissions.is_empty()),
        ("principals", it.principals.is_empty()),
    ] {
        if empty {
            notes.invalid(format!("{path}.{name}"), "one at least is needed");
        }
    }
    let permissions = permissions(&it.permissions, &format!("{path}.permissions"), notes);
    let principals = principals(&it.principals, &format!("{path}.principals"), notes);
    Rule::All(vec![Rule::One(permissions), Rule::One(principals)])
}

fn permissions(list: &[Permission], path: &str, notes: &mut Notes) -> Vec<Rule> {
    list.iter()
        .enumerate()
        .map(|(at, it)| permission(it, &format!("{path}[{at}]"), notes))
        .collect()
}

/// What cannot be read never holds, and is among the notes.
fn permission(it: &Permission, path: &str, notes: &mut Notes) -> Rule {
    use permission::Rule as Of;
    let rule = match &it.rule {
        Some(Of::AndRules(set)) => {
            let path = format!("{path}.and_rules.rules");
            Some(Rule::All(permissions(&set.rules, &path, notes)))
        }
        Some(Of::OrRules(set)) => {
            let path = format!("{path}.or_rules.rules");
            Some(Rule::One(permissions(&set.rules, &path, notes)))
        }
        Some(Of::NotRule(rule)) => {
            let rule = permission(rule, &format!("{path}.not_rule"), notes);
            Some(Rule::Not(Box::new(rule)))
        }
        Some(Of::Any(any)) => always(*any, path, notes),
        Some(Of::Header(header)) => {
            route::header(header, &format!("{path}.header"), notes).map(Rule::Header)
        }
        Some(Of::UrlPath(matcher)) => url_path(matcher, path, notes),
        Some(Of::DestinationIp(range)) => {
            chain::range(range, &format!("{path}.destination_ip"), notes).map(Rule::Destination)
        }
        Some(Of::DestinationPort(port)) => u16::try_from(*port)
            .ok()
            .map(|first| Rule::Ports(first, port + 1)),
        Some(Of::DestinationPortRange(range)) => {
            let ports = u16::try_from(range.start)
                .ok()
                .zip(u32::try_from(range.end).ok());
            ports.map(|(first, end)| Rule::Ports(first, end))
        }
        Some(Of::RequestedServerName(text)) => {
            let path = format!("{path}.requested_server_name");
            route::string(text, &path, notes).map(Rule::ServerName)
        }
        None => {
            notes.invalid(path, "a rule is needed");
            None
        }
        // Reported by the walk.
        Some(_) => None,
    };
    rule.unwrap_or_else(never)
}

fn principals(list: &[Principal], path: &str, notes: &mut Notes) -> Vec<Rule> {
    list.iter()
        .enumerate()
        .map(|(at, it)| principal(it, &format!("{path}[{at}]"), notes))
        .collect()
}

/// What cannot be read never holds, and is among the notes.
#[expect(
    deprecated,
    reason = "files in use still have the older form, and Envoy takes it"
)]
fn principal(it: &Principal, path: &str, notes: &mut Notes) -> Rule {
    use principal::Identifier as Of;
    let range =
        |it, name: &str, notes: &mut Notes| chain::range(it, &format!("{path}.{name}"), notes);
    let rule = match &it.identifier {
        Some(Of::AndIds(set)) => {
            let path = format!("{path}.and_ids.ids");
            Some(Rule::All(principals(&set.ids, &path, notes)))
        }
        Some(Of::OrIds(set)) => {
            let path = format!("{path}.or_ids.ids");
            Some(Rule::One(principals(&set.ids, &path, notes)))
        }
        Some(Of::NotId(id)) => {
            let rule = principal(id, &format!("{path}.not_id"), notes);
            Some(Rule::Not(Box::new(rule)))
        }
        Some(Of::Any(any)) => always(*any, path, notes),
        Some(Of::Authenticated(it)) => match &it.principal_name {
            None => Some(Rule::Authenticated(None)),
            Some(name) => {
                let path = format!("{path}.authenticated.principal_name");
                route::string(name, &path, notes).map(|text| Rule::Authenticated(Some(text)))
            }
        },
        Some(Of::SourceIp(it)) => range(it, "source_ip", notes).map(Rule::Connected),
        Some(Of::DirectRemoteIp(it)) => range(it, "direct_remote_ip", notes).map(Rule::Direct),
        Some(Of::RemoteIp(it)) => range(it, "remote_ip", notes).map(Rule::Client),
        Some(Of::Header(header)) => {
            route::header(header, &format!("{path}.header"), notes).map(Rule::Header)
        }
        Some(Of::UrlPath(matcher)) => url_path(matcher, path, notes),
        None => {
            notes.invalid(path, "an identifier is needed");
            None
        }
        // Reported by the walk.
        Some(_) => None,
    };
    rule.unwrap_or_else(never)
}

fn never() -> Rule {
    Rule::One(Vec::new())
}

/// As Envoy, which takes no `false`.
fn always(any: bool, path: &str, notes: &mut Notes) -> Option<Rule> {
    if !any {
        notes.invalid(format!("{path}.any"), "it must be true");
        return None;
    }
    Some(Rule::Any)
}

fn url_path(it: &PathMatcher, path: &str, notes: &mut Notes) -> Option<Rule> {
    let path = format!("{path}.url_path.path");
    let Some(path_matcher::Rule::Path(text)) = &it.rule else {
        notes.invalid(path, "it is needed");
        return None;
    };
    route::string(text, &path, notes).map(|text: Text| Rule::Path(text))
}
