//! What requests pass between their route and the cluster: the HTTP filters, in the order of the file.

use std::sync::Arc;

use crate::{
    policy::{adaptive, admission, authz, cors, headers::Mutation, jwt, query, rate_limit, rbac},
    unit::{ByteSize, Share},
};

/// An HTTP filter that is switched on.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Here requests meet the faults of their route, or of the manager. Where no filter says so, they meet them first.
    Faults,
    /// A call of gRPC-Web goes on as one of gRPC.
    GrpcWeb,
    /// The request goes on when all of it has come; a longer body is answered 413.
    Buffer(ByteSize),
    /// So many requests may pass in a time.
    RateLimit(Box<RateLimit>),
    /// Requests from other origins are answered, or their answers marked.
    Cors(Arc<cors::Policy>),
    /// Requests are refused that policies do not allow.
    Rbac(Arc<rbac::Settings>),
    /// Requests are refused that have no good token; a route may say which they need.
    Jwt(Arc<jwt::Settings>, jwt::Route),
    /// Another service is asked whether requests may go on; a route may say what it is told.
    Authz(Arc<authz::Settings>, Arc<authz::Route>),
    /// Headers are changed.
    Headers(Arc<Steps>),
    /// So many may be under way as go quickly.
    Adaptive(Box<Named<adaptive::Settings>>),
    /// The more fail, the more are turned away, of this share of the requests.
    Admission(Box<Named<admission::Settings>>, Share),
}

/// Settings of something that goes on when the configuration is swapped, for as long as they stay the same.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Named<S> {
    /// What names its state.
    pub name: String,
    /// The settings.
    pub settings: S,
}

/// A limit on requests, kept in this process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RateLimit {
    /// What names its buckets; limits of the same name and settings share them, also when the configuration is swapped.
    pub name: String,
    /// The limit.
    pub settings: rate_limit::Settings,
    /// How requests are described; each list gives one description at most.
    pub actions: Vec<Vec<rate_limit::Action>>,
}

/// What a filter does to headers, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steps {
    /// To the request, before it is sent on.
    pub request: Vec<Mutation>,
    /// To the parameters of its path, after that.
    pub query: Vec<query::Change>,
    /// To what follows its body, if anything does.
    pub request_trailers: Vec<Mutation>,
    /// To the answer.
    pub response: Vec<Mutation>,
    /// To what follows its body, if anything does.
    pub response_trailers: Vec<Mutation>,
}

impl Steps {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let headers = [
            &self.request,
            &self.request_trailers,
            &self.response,
            &self.response_trailers,
        ];
        headers.iter().all(|steps| steps.is_empty()) && self.query.is_empty()
    }

    /// These, then those.
    #[must_use]
    pub fn then(&self, then: &Self) -> Self {
        let both = |of: fn(&Self) -> &[Mutation]| [of(self), of(then)].concat();
        Self {
            request: both(|it| &it.request),
            query: [self.query.as_slice(), &then.query].concat(),
            request_trailers: both(|it| &it.request_trailers),
            response: both(|it| &it.response),
            response_trailers: both(|it| &it.response_trailers),
        }
    }
}
