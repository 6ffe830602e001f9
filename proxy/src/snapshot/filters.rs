//! What requests pass on their way, compiled: one list for a listener, and one for each route that says something else.

use std::sync::Arc;

use super::{
    authz::Authz,
    headers::{Cache, Steps},
    pressure::{Adaptive, Admission, Shelves},
    rate_limit::RateLimit,
    shelf::Shelf,
};
use crate::{
    config,
    policy::{
        cors, jwt,
        rate_limit::{Buckets, Settings},
        rbac,
    },
};

/// What requests pass, in order.
#[derive(Debug, Default)]
pub struct Filters {
    list: Box<[Filter]>,
}

/// One thing that requests pass.
#[derive(Debug)]
pub enum Filter {
    /// The faults of the route.
    Faults,
    /// Calls of gRPC-Web are turned into gRPC's.
    GrpcWeb,
    /// The whole request is awaited, up to so many bytes.
    Buffer(u64),
    /// So many requests may pass in a time.
    RateLimit(Box<RateLimit>),
    /// Requests from other origins.
    Cors(Arc<cors::Compiled>),
    /// Requests are refused that policies do not allow.
    Rbac(Arc<rbac::Compiled>),
    /// Requests are refused that have no good token; a route may say which they need.
    Jwt(Arc<jwt::Compiled>, jwt::Route),
    /// Another service is asked whether requests may go on.
    Authz(Arc<Authz>),
    /// Headers are changed.
    Headers(Arc<Steps>),
    /// So many may be under way as go quickly.
    Adaptive(Arc<Adaptive>),
    /// The more fail, the more are turned away.
    Admission(Arc<Admission>),
}

/// What filters know beyond one configuration.
#[derive(Debug, Default)]
pub struct Known {
    limits: Shelf<Settings, Buckets>,
    pressure: Shelves,
}

impl Filters {
    /// Compiles a list; where it does not say when faults are met, they are met first. The error says which filter is
    /// wrong, and what with it. `clusters` knows their indexes.
    pub(super) fn compile(
        list: &[config::Filter],
        faults: bool,
        known: &Known,
        cache: &mut Cache,
        clusters: impl Fn(&str) -> Option<usize>,
    ) -> Result<Self, (usize, String)> {
        let told = list.contains(&config::Filter::Faults);
        let mut compiled = Vec::with_capacity(list.len());
        compiled.extend((faults && !told).then_some(Filter::Faults));
        for (index, filter) in list.iter().enumerate() {
            compiled.push(match filter {
                config::Filter::Faults if !faults => continue,
                config::Filter::Faults => Filter::Faults,
                config::Filter::GrpcWeb => Filter::GrpcWeb,
                config::Filter::Buffer(size) => Filter::Buffer(size.0),
                config::Filter::RateLimit(limit) => {
                    let limit =
                        RateLimit::compile(limit, &known.limits).map_err(|what| (index, what))?;
                    Filter::RateLimit(Box::new(limit))
                }
                config::Filter::Cors(policy) => {
                    Filter::Cors(cache.cors(policy).map_err(|what| (index, what))?)
                }
                config::Filter::Rbac(settings) => {
                    Filter::Rbac(cache.rbac(settings).map_err(|what| (index, what))?)
                }
                config::Filter::Jwt(settings, route) => {
                    let tokens = cache.jwt(settings).map_err(|what| (index, what))?;
                    Filter::Jwt(tokens, route.clone())
                }
                config::Filter::Authz(settings, route) => {
                    let service = cache.authz(settings).map_err(|what| (index, what))?;
                    let cluster = clusters(&settings.cluster);
                    let route = Arc::clone(route);
                    Filter::Authz(Arc::new(Authz::new(service, cluster, route)))
                }
                config::Filter::Adaptive(it) => {
                    Filter::Adaptive(Arc::new(Adaptive::compile(it, &known.pressure)))
                }
                config::Filter::Admission(it, enabled) => {
                    let compiled = Admission::compile(it, *enabled, &known.pressure);
                    Filter::Admission(Arc::new(compiled))
                }
                config::Filter::Headers(steps) => {
                    Filter::Headers(cache.steps(steps).map_err(|what| (index, what))?)
                }
            });
        }
        Ok(Self {
            list: compiled.into(),
        })
    }

    /// There are none: requests go on as they are.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What is done to answers looks at the request's headers.
    pub fn recalls(&self) -> bool {
        let recalls = |filter: &Filter| matches!(filter, Filter::Headers(steps) if steps.recalls);
        self.list.iter().any(recalls)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The one in this place.
    pub fn get(&self, at: usize) -> Option<&Filter> {
        self.list.get(at)
    }

    /// They, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Filter> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Filters {
    type Item = &'a Filter;
    type IntoIter = std::slice::Iter<'a, Filter>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
