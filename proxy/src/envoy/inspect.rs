//! Listener filters.

use envoy_types::pb::envoy::{
    config::listener::v3::{
        Listener, ListenerFilter, ListenerFilterChainMatchPredicate, listener_filter,
        listener_filter_chain_match_predicate::Rule,
    },
    extensions::filters::listener::{
        http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst,
        proxy_protocol::v3::ProxyProtocol, tls_inspector::v3::TlsInspector,
    },
};

use super::{
    Notes,
    filter::{duration, open, unless_zero},
};
use crate::config::{Except, Inspect, Inspector, Late};

/// Envoy's bounds on `max_client_hello_size`.
const HELLO: std::ops::RangeInclusive<u32> = 256..=16 << 10;

/// The listener filters of a listener.
pub(super) fn convert(it: &Listener, path: &str, notes: &mut Notes) -> Inspect {
    let filters = it
        .listener_filters
        .iter()
        .enumerate()
        .filter_map(|(index, it)| {
            let path = format!("{path}.listener_filters[{index}]");
            let inspector = inspector(it, &path, notes)?;
            let except = it
                .filter_disabled
                .as_ref()
                .map(|it| except(it, &format!("{path}.filter_disabled"), notes))
                .unwrap_or_default();
            Some((inspector, except))
        })
        .collect();
    let timeout = it.listener_filters_timeout.as_ref();
    let timeout_path = format!("{path}.listener_filters_timeout");
    Inspect {
        filters,
        timeout: match duration(timeout, &timeout_path, notes) {
            Some(set) => unless_zero(set),
            None => Some(Inspect::TIMEOUT),
        },
        late: if it.continue_on_listener_filters_timeout {
            Late::Continue
        } else {
            Late::Close
        },
    }
}

fn inspector(it: &ListenerFilter, path: &str, notes: &mut Notes) -> Option<Inspector> {
    let Some(listener_filter::ConfigType::TypedConfig(any)) = &it.config_type else {
        if it.config_type.is_none() {
            notes.invalid(path, "a `typed_config` is needed");
        }
        return None;
    };
    if let Some(tls) = open::<TlsInspector>(any) {
        let most = tls
            .max_client_hello_size
            .map_or(*HELLO.end(), |it| it.value);
        if !HELLO.contains(&most) {
            notes.invalid(
                format!("{path}.typed_config.max_client_hello_size"),
                format!("{most} must be from {} to {}", HELLO.start(), HELLO.end()),
            );
        }
        return Some(Inspector::Tls {
            most: most as usize,
        });
    }
    if let Some(proxy) = open::<ProxyProtocol>(any) {
        return Some(Inspector::Proxy {
            optional: proxy.allow_requests_without_proxy_protocol,
        });
    }
    if open::<HttpInspector>(any).is_some() {
        return Some(Inspector::Http);
    }
    // Others are reported by the walk.
    open::<OriginalDst>(any).map(|_| Inspector::OriginalDestination)
}

fn except(it: &ListenerFilterChainMatchPredicate, path: &str, notes: &mut Notes) -> Except {
    let mut all = |rules: &[ListenerFilterChainMatchPredicate]| {
        rules.iter().map(|it| except(it, path, notes)).collect()
    };
    match &it.rule {
        Some(Rule::OrMatch(set)) => Except::Any(all(&set.rules)),
        Some(Rule::AndMatch(set)) => Except::All(all(&set.rules)),
        Some(Rule::NotMatch(not)) => Except::Not(Box::new(except(not, path, notes))),
        Some(Rule::AnyMatch(_)) => Except::Always,
        Some(Rule::DestinationPortRange(range)) => Except::Ports(
            u32::try_from(range.start).unwrap_or(0),
            u32::try_from(range.end).unwrap_or(0),
        ),
        None => {
            notes.invalid(path, "a rule is needed, such as `any_match`");
            Except::Never
        }
    }
}
