//! HTTP filters, and what they have in common: typed configurations, percentages, durations.

use std::{collections::BTreeMap, mem::discriminant, sync::Arc, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::route::v3::{FilterConfig, Route, VirtualHost, route},
        extensions::filters::{
            http::{
                adaptive_concurrency::v3::AdaptiveConcurrency,
                admission_control::v3::AdmissionControl,
                buffer::v3::{Buffer, BufferPerRoute, buffer_per_route},
                cors::v3::{Cors, CorsPolicy},
                ext_authz::v3::{ExtAuthz, ExtAuthzPerRoute},
                fault::v3::HttpFault,
                grpc_web::v3::GrpcWeb,
                header_mutation::v3::{HeaderMutation, HeaderMutationPerRoute, Mutations},
                jwt_authn::v3::{JwtAuthentication, PerRouteConfig},
                local_ratelimit::v3::LocalRateLimit,
                rbac::v3::{Rbac, RbacPerRoute},
                router::v3::Router,
            },
            network::http_connection_manager::v3::{HttpFilter, http_filter},
        },
        r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
    },
    google::protobuf::{self, Any},
};
use prost::{Message, Name};

use super::{
    Notes,
    support::{join, key_step},
};
use crate::{
    config::{Fallback, Filter, Steps},
    policy::{
        authz as asking,
        cors::Policy,
        fault::{Rule, Select},
        jwt as tokens, rbac as rbac_policy,
    },
    unit::{ByteSize, Share},
};

mod authz;
mod buffer;
mod cors;
mod fault;
mod jwt;
mod mutation;
pub(super) mod own;
pub(super) mod own_tcp;
mod pressure;
mod rate_limit;
mod rbac;

/// The filters of a connection manager, in their order.
#[derive(Debug)]
pub(super) struct Faults {
    listener: String,
    filters: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    name: String,
    path: String,
    /// Off where no route switches it on.
    disabled: bool,
    settings: Settings,
}

/// The settings of a filter, its own or those of a route.
#[derive(Debug, Clone)]
pub(super) enum Settings {
    Fault(Box<HttpFault>),
    Own(Box<own::Own>),
    Buffer(Option<u32>),
    GrpcWeb,
    RateLimit(Box<rate_limit::Limit>),
    /// `None`: it is off.
    Pressure(Option<Filter>),
    /// `None`: routes have theirs.
    Fallback(Option<Fallback>),
    /// `None`: nothing is allowed or refused.
    Cors(Option<Arc<Policy>>),
    /// `None`: it is off.
    Rbac(Option<Arc<rbac_policy::Settings>>),
    /// `None`: a route's, whose filter has them.
    Jwt(Option<Arc<tokens::Settings>>, tokens::Route),
    /// `None`: a route's, whose filter has them.
    Authz(Option<Arc<asking::Settings>>, Arc<asking::Route>),
    /// A filter's own steps, and those of routes; the most specific come last if the filter says so.
    Headers {
        own: Arc<Steps>,
        routes: Vec<Arc<Steps>>,
        specific_last: bool,
    },
}

impl Settings {
    /// A filter's settings, or a route's for it; `None`: they are of another type, which the walk reports.
    fn open(any: &Any, path: &str, notes: &mut Notes) -> Option<Self> {
        if let Some(fault) = open::<HttpFault>(any) {
            return Some(Self::Fault(Box::new(fault)));
        }
        if let Some(own) = own::open(any, path, notes) {
            return Some(Self::Own(Box::new(own)));
        }
        if let Some(fallback) = own::fallback(any, path, notes) {
            return Some(fallback);
        }
        if open::<GrpcWeb>(any).is_some() {
            return Some(Self::GrpcWeb);
        }
        if let Some(limit) = open::<LocalRateLimit>(any) {
            let limit = rate_limit::convert(&limit, path, notes);
            return Some(Self::RateLimit(Box::new(limit)));
        }
        if let Some(it) = open::<AdaptiveConcurrency>(any) {
            return Some(Self::Pressure(pressure::adaptive(&it, path, notes)));
        }
        if let Some(it) = open::<AdmissionControl>(any) {
            return Some(Self::Pressure(pressure::admission(&it, path, notes)));
        }
        if let Some(it) = open::<Rbac>(any) {
            return Some(Self::Rbac(Some(rbac::convert(&it, path, notes))));
        }
        if let Some(it) = open::<RbacPerRoute>(any) {
            let path = format!("{path}.rbac");
            let own = it.rbac.map(|it| rbac::convert(&it, &path, notes));
            return Some(Self::Rbac(own));
        }
        if let Some(it) = open::<JwtAuthentication>(any) {
            let own = jwt::convert(&it, path, notes);
            return Some(Self::Jwt(Some(own), tokens::Route::Rules));
        }
        if let Some(it) = open::<PerRouteConfig>(any) {
            return Some(Self::Jwt(None, jwt::of_route(&it, path, notes)));
        }
        if let Some(it) = open::<ExtAuthz>(any) {
            let own = authz::convert(&it, path, notes);
            return Some(Self::Authz(own.map(Arc::new), Arc::default()));
        }
        if let Some(it) = open::<ExtAuthzPerRoute>(any) {
            let route = authz::of_route(it, path, notes);
            return Some(Self::Authz(None, Arc::new(route)));
        }
        if open::<Cors>(any).is_some() {
            return Some(Self::Cors(None));
        }
        if let Some(policy) = open::<CorsPolicy>(any) {
            let policy = cors::policy(&policy, path, notes);
            return Some(Self::Cors(Some(Arc::new(policy))));
        }
        let mut steps = |it: Option<Mutations>| {
            let path = format!("{path}.mutations");
            Arc::new(mutation::steps(&it.unwrap_or_default(), &path, notes))
        };
        if let Some(it) = open::<HeaderMutation>(any) {
            return Some(Self::Headers {
                own: steps(it.mutations),
                routes: Vec::new(),
                specific_last: it.most_specific_header_mutations_wins,
            });
        }
        if let Some(it) = open::<HeaderMutationPerRoute>(any) {
            return Some(Self::Headers {
                own: Arc::default(),
                routes: vec![steps(it.mutations)],
                specific_last: false,
            });
        }
        let buffer =
            open::<Buffer>(any).or_else(|| match open::<BufferPerRoute>(any)?.r#override {
                Some(buffer_per_route::Override::Buffer(buffer)) => Some(buffer),
                Some(buffer_per_route::Override::Disabled(_)) | None => None,
            })?;
        Some(Self::Buffer(buffer::bytes(buffer, path, notes)))
    }

    /// What the filter is in a configuration.
    fn filters(&self) -> Vec<Filter> {
        match self {
            Self::Fault(_) | Self::Own(_) => vec![Filter::Faults],
            Self::Buffer(most) => most
                .map(|most| Filter::Buffer(ByteSize(most.into())))
                .into_iter()
                .collect(),
            Self::Fallback(_) => Vec::new(),
            Self::Pressure(it) => it.clone().into_iter().collect(),
            Self::Rbac(settings) => settings.clone().map(Filter::Rbac).into_iter().collect(),
            Self::Jwt(own, route) => own
                .iter()
                .map(|own| Filter::Jwt(Arc::clone(own), route.clone()))
                .collect(),
            // Where the route is looked up anew, its place in the list is looked for, even if the new route asks nobody.
            Self::Authz(own, route) => own
                .iter()
                .filter(|own| own.reroutes || !route.off)
                .map(|own| Filter::Authz(Arc::clone(own), Arc::clone(route)))
                .collect(),
            Self::GrpcWeb => vec![Filter::GrpcWeb],
            Self::RateLimit(it) => vec![Filter::RateLimit(Box::new(it.config.clone()))],
            Self::Cors(policy) => {
                let enabled = policy.clone().filter(|policy| policy.enabled);
                enabled.map(Filter::Cors).into_iter().collect()
            }
            Self::Headers {
                own,
                routes,
                specific_last,
            } => {
                let mut routes: Vec<_> = routes.iter().map(Arc::clone).collect();
                if !specific_last {
                    routes.reverse();
                }
                let all = std::iter::once(Arc::clone(own)).chain(routes);
                // One filter: an answer passes several from the last to the first.
                all.filter(|steps| !steps.is_empty())
                    .reduce(|first, then| Arc::new(first.then(&then)))
                    .map(Filter::Headers)
                    .into_iter()
                    .collect()
            }
        }
    }

    /// What the filter is where it is off: one that looks routes up anew is looked for in the new route's list.
    fn off(&self) -> Vec<Filter> {
        match self {
            Self::Authz(Some(own), _) if own.reroutes => {
                let route = asking::Route {
                    off: true,
                    ..asking::Route::default()
                };
                vec![Filter::Authz(Arc::clone(own), Arc::new(route))]
            }
            _ => Vec::new(),
        }
    }

    /// What a route says, over what was said outside of it.
    fn over(&self, outer: &Self) -> Self {
        match (self, outer) {
            (
                Self::Headers { routes: inner, .. },
                Self::Headers {
                    own,
                    routes,
                    specific_last,
                },
            ) => Self::Headers {
                own: Arc::clone(own),
                routes: routes.iter().chain(inner).map(Arc::clone).collect(),
                specific_last: *specific_last,
            },
            (Self::Cors(Some(inner)), Self::Cors(Some(outer))) => {
                Self::Cors(Some(Arc::new(inner.over(outer))))
            }
            (Self::Jwt(None, route), Self::Jwt(own, _)) => Self::Jwt(own.clone(), route.clone()),
            (Self::Authz(None, route), Self::Authz(own, outer)) => {
                Self::Authz(own.clone(), Arc::new(route.over(outer)))
            }
            _ => self.clone(),
        }
    }
}

/// What a route, a host or a route configuration says instead of the filters' own settings, by the filter's name.
pub(super) type Overrides = BTreeMap<String, Override>;

/// What is said instead of a filter's own settings.
#[derive(Debug, Clone)]
pub(super) enum Override {
    Off,
    /// The filter's own settings, also where it is switched off outside.
    On,
    /// The settings, and where they stand.
    Settings(Settings, String),
}

impl Override {
    /// It is said of a filter of this kind.
    fn fits(&self, filter: &Settings) -> bool {
        match self {
            Self::Off | Self::On => true,
            Self::Settings(settings, _) => match (settings, filter) {
                (Settings::Own(_), Settings::Fault(_)) | (Settings::Fault(_), Settings::Own(_)) => {
                    true
                }
                _ => discriminant(settings) == discriminant(filter),
            },
        }
    }
}

/// Reads the filters of a connection manager, of which the router is the last.
pub(super) fn convert(
    filters: &[HttpFilter],
    listener: &str,
    path: &str,
    notes: &mut Notes,
) -> Faults {
    let mut faults = Faults {
        listener: listener.to_owned(),
        filters: Vec::new(),
    };
    let mut router = None;
    for (index, filter) in filters.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            if filter.config_type.is_none() {
                notes.invalid(&path, "a `typed_config` is needed");
            }
            continue;
        };
        if open::<Router>(any).is_some() {
            router = Some(index);
        } else if let Some(settings) = Settings::open(any, &format!("{path}.typed_config"), notes) {
            faults.filters.push(Named {
                name: filter.name.clone(),
                path: format!("{path}.typed_config"),
                disabled: filter.disabled,
                settings,
            });
        }
    }
    if router.is_none() || router != filters.len().checked_sub(1) {
        notes.invalid(
            path,
            "the last filter, and no other, must be `envoy.filters.http.router`",
        );
    }
    faults
}

/// Reads a `typed_per_filter_config`.
pub(super) fn overrides<'a>(
    entries: impl IntoIterator<Item = (&'a String, &'a Any)>,
    faults: &Faults,
    path: &str,
    notes: &mut Notes,
) -> Overrides {
    let mut overrides = Overrides::new();
    for (name, any) in entries {
        let path = join(&format!("{path}.typed_per_filter_config"), &key_step(name));
        let inner;
        let any = if let Some(wrapper) = open::<FilterConfig>(any) {
            if wrapper.disabled {
                overrides.insert(name.clone(), Override::Off);
                continue;
            }
            let Some(config) = wrapper.config else {
                overrides.insert(name.clone(), Override::On);
                continue;
            };
            inner = config;
            &inner
        } else {
            any
        };
        let said = if switched_off(any) {
            Override::Off
        } else if open::<ExtAuthz>(any).is_some() {
            notes.invalid(&path, "an `ExtAuthzPerRoute` is needed");
            continue;
        } else if let Some(settings) = Settings::open(any, &path, notes) {
            Override::Settings(settings, path.clone())
        } else {
            continue;
        };
        match faults.filters.iter().find(|filter| filter.name == *name) {
            None => notes.invalid(
                &path,
                format!("there is no filter `{name}` in `http_filters`"),
            ),
            // In place of the filter they would be none.
            Some(filter) if !said.fits(&filter.settings) => {
                notes.invalid(&path, format!("these are no settings of `{name}`"));
            }
            Some(_) => {}
        }
        overrides.insert(name.clone(), said);
    }
    overrides
}

/// Settings of a route that are no more than a switch.
fn switched_off(any: &Any) -> bool {
    open::<BufferPerRoute>(any).is_some_and(|it| {
        matches!(
            it.r#override,
            Some(buffer_per_route::Override::Disabled(true))
        )
    })
}

/// What a level says, over what was said outside of it.
pub(super) fn lay_over(outer: &mut Overrides, inner: Overrides) {
    for (name, said) in inner {
        let said = match (&said, outer.get(&name)) {
            (Override::Settings(inner, path), Some(Override::Settings(outer, _))) => {
                Override::Settings(inner.over(outer), path.clone())
            }
            _ => said,
        };
        outer.insert(name, said);
    }
}

impl Faults {
    /// What requests pass whose route overrides nothing.
    pub(super) fn of_manager(&self) -> Vec<Filter> {
        self.filters
            .iter()
            .flat_map(|filter| {
                if filter.disabled {
                    filter.settings.off()
                } else {
                    filter.settings.filters()
                }
            })
            .collect()
    }

    /// What is done with a route's requests where their cluster takes nothing.
    pub(super) fn fallback(&self, overrides: &Overrides) -> Option<Fallback> {
        self.filters.iter().find_map(|filter| {
            let settings = match overrides.get(&filter.name) {
                Some(Override::Off) => return None,
                Some(Override::Settings(settings, _)) => settings,
                None if filter.disabled => return None,
                Some(Override::On) | None => &filter.settings,
            };
            match settings {
                Settings::Fallback(fallback) => fallback.clone(),
                _ => None,
            }
        })
    }

    /// What a route's requests pass; `None`: what the manager's do.
    pub(super) fn filters_of_route(
        &self,
        overrides: &Overrides,
        host: (&VirtualHost, &str),
        route: (&Route, &str),
        notes: &mut Notes,
    ) -> Option<Vec<Filter>> {
        let describes = !host.0.rate_limits.is_empty()
            || matches!(&route.0.action, Some(route::Action::Route(it)) if !it.rate_limits.is_empty());
        if overrides.is_empty() && !describes {
            return None;
        }
        Some(self.passed(overrides, host, route, notes))
    }

    /// What requests pass where all of this is said.
    pub(super) fn passed(
        &self,
        overrides: &Overrides,
        host: (&VirtualHost, &str),
        route: (&Route, &str),
        notes: &mut Notes,
    ) -> Vec<Filter> {
        let mut filters = Vec::new();
        for filter in &self.filters {
            let laid;
            let settings = match overrides.get(&filter.name) {
                Some(Override::Off) => {
                    filters.extend(filter.settings.off());
                    continue;
                }
                Some(Override::Settings(settings, _)) => {
                    laid = settings.over(&filter.settings);
                    &laid
                }
                None if filter.disabled => {
                    filters.extend(filter.settings.off());
                    continue;
                }
                Some(Override::On) | None => &filter.settings,
            };
            filters.extend(match settings {
                // Envoy asks only where a request would be sent on.
                Settings::Cors(_) if !matches!(route.0.action, Some(route::Action::Route(_))) => {
                    continue;
                }
                Settings::RateLimit(limit) => vec![Filter::RateLimit(Box::new(
                    limit.on_route(host, route, notes),
                ))],
                settings => settings.filters(),
            });
        }
        filters
    }

    /// The rules of requests whose route overrides nothing.
    pub(super) fn manager(&self, notes: &mut Notes) -> Vec<Rule> {
        let mut rules = Vec::new();
        for filter in self.filters.iter().filter(|filter| !filter.disabled) {
            match &filter.settings {
                Settings::Fault(settings) => {
                    let ours = self.rules(settings, &filter.name, "*", &filter.path, notes);
                    // Those for one cluster are given to its routes.
                    if settings.upstream_cluster.is_empty() {
                        rules.extend(ours);
                    }
                }
                Settings::Own(own) => rules.extend(self.own_rules(own, &filter.name, "*")),
                _ => {}
            }
        }
        rules
    }

    /// The rules of a route's requests; `None`: the manager's.
    pub(super) fn of_route(
        &self,
        overrides: &Overrides,
        clusters: &[(String, u32)],
        scope: &str,
        notes: &mut Notes,
    ) -> Option<Vec<Rule>> {
        let of_route = |it: &&Named| match &it.settings {
            Settings::Fault(own) => {
                !own.upstream_cluster.is_empty() || overrides.contains_key(&it.name)
            }
            Settings::Own(_) => overrides.contains_key(&it.name),
            _ => false,
        };
        self.filters.iter().find(of_route)?;
        let mut rules = Vec::new();
        for filter in &self.filters {
            let (settings, scope, path) = match overrides.get(&filter.name) {
                Some(Override::Off) => continue,
                Some(Override::Settings(settings, path)) => (settings, scope, path),
                None if filter.disabled => continue,
                Some(Override::On) | None => (&filter.settings, "*", &filter.path),
            };
            let settings = match settings {
                Settings::Fault(settings) => settings,
                Settings::Own(own) => {
                    rules.extend(self.own_rules(own, &filter.name, scope));
                    continue;
                }
                _ => continue,
            };
            let only = &settings.upstream_cluster;
            match clusters {
                _ if only.is_empty() => {}
                [(cluster, _)] if cluster == only => {}
                [_] | [] => continue,
                _ => {
                    notes.unsupported(
                        format!("{path}.upstream_cluster"),
                        "with a route to weighted clusters",
                    );
                    continue;
                }
            }
            // Their problems were told with the manager's.
            let mut told = Notes(Vec::new());
            let notes = if scope == "*" { &mut told } else { &mut *notes };
            rules.extend(self.rules(settings, &filter.name, scope, path, notes));
        }
        Some(rules)
    }

    /// Every kind is a rule with draws of its own.
    fn rules(
        &self,
        it: &HttpFault,
        name: &str,
        scope: &str,
        path: &str,
        notes: &mut Notes,
    ) -> Vec<Rule> {
        let matcher = fault::matcher(it, path, notes);
        let scoped = format!("{}>{scope}", self.listener);
        fault::kinds(it, path, notes)
            .into_iter()
            .map(|(suffix, share, kind)| {
                let id = format!("{name}.{suffix}");
                Rule {
                    name: format!("{id}@{scoped}"),
                    id: Arc::from(id),
                    matcher: matcher.clone(),
                    select: Select::Share(share),
                    max_active: it.max_active_faults.map(|most| most.value),
                    group: Some(format!("{name}@{scoped}")),
                    kind,
                    ..Rule::default()
                }
            })
            .collect()
    }

    /// The rules of faults of our own.
    fn own_rules(&self, it: &own::Own, name: &str, scope: &str) -> Vec<Rule> {
        let scoped = format!("{}>{scope}", self.listener);
        it.kinds
            .iter()
            .map(|(suffix, kind)| {
                let id = format!("{name}.{suffix}");
                Rule {
                    name: format!("{id}@{scoped}"),
                    id: Arc::from(id),
                    select: Select::Share(it.share),
                    max_active: it.max_active,
                    group: Some(format!("{name}@{scoped}")),
                    place: it.place,
                    kind: kind.clone(),
                    ..Rule::default()
                }
            })
            .collect()
    }
}

/// Without a percentage: never, as in Envoy.
pub(super) fn share(percent: Option<FractionalPercent>) -> Share {
    let percent = percent.unwrap_or_default();
    let of = denominator(Some(percent));
    Share::new(f64::from(percent.numerator) / f64::from(of)).unwrap_or(Share::ALL)
}

/// What a percentage is counted in.
fn denominator(percent: Option<FractionalPercent>) -> u32 {
    let percent = percent.unwrap_or_default();
    match DenominatorType::try_from(percent.denominator).unwrap_or_default() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    }
}

/// A duration of the file; `None` where it is not set.
pub(super) fn duration(
    it: Option<&protobuf::Duration>,
    path: &str,
    notes: &mut Notes,
) -> Option<Duration> {
    let it = it?;
    match (u64::try_from(it.seconds), u32::try_from(it.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Some(Duration::new(seconds, nanos)),
        _ => {
            notes.invalid(path, "a duration must not be below 0");
            None
        }
    }
}

/// Envoy's way to switch a timeout off is 0.
pub(super) fn unless_zero(it: Duration) -> Option<Duration> {
    (!it.is_zero()).then_some(it)
}

/// The message in an Any, if it is one of this type.
pub(super) fn open<M: Message + Default + Name>(any: &Any) -> Option<M> {
    let name = any.type_url.rsplit('/').next()?;
    (name == M::full_name())
        .then(|| M::decode(any.value.as_slice()).ok())
        .flatten()
}
