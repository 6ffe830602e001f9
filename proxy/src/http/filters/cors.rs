//! Requests from other origins: preflights are answered here, other answers are marked.

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request};

use super::{super::log::Log, Reply};
use crate::{
    observe::Flags,
    policy::cors::{Compiled, Verdict},
};

/// The answer of a preflight; what another request's answer is marked with is remembered.
pub(super) fn ask(policy: &Compiled, log: &mut Log, head: &request::Parts) -> Option<Reply> {
    let headers = match policy.judge(&head.method, &head.headers) {
        Verdict::Plain => return None,
        Verdict::Allowed(origin) => {
            log.origin = Some(origin);
            return None;
        }
        Verdict::Preflight(origin, headers) => {
            log.origin = origin;
            headers
        }
    };
    let headers = headers.into_iter();
    Some(Reply {
        status: StatusCode::OK,
        body: Bytes::new(),
        grpc_status: None,
        headers: headers
            .filter_map(|(name, value)| Some((name?, value)))
            .collect(),
        flags: Flags::default(),
        details: Cow::Borrowed(super::CORS),
    })
}
