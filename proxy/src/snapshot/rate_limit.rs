//! A limit on requests, compiled; its buckets outlive the configuration.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::shelf::Shelf;
use crate::{
    config,
    policy::rate_limit::{Buckets, Describe, Settings},
};

/// A limit on requests.
#[derive(Debug)]
pub struct RateLimit {
    /// The limit.
    pub settings: Settings,
    /// The name of its statistics.
    pub stat_prefix: Arc<str>,
    /// Its buckets, which all event loops share.
    pub buckets: Arc<Buckets>,
    /// How requests are described.
    pub describe: Vec<Describe>,
    /// What a refused request is answered.
    pub status: StatusCode,
    /// Headers of that answer.
    pub answer_headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers of a request that would have been refused.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
}

impl RateLimit {
    /// Compiles a limit; the error says what of it cannot be.
    pub(super) fn compile(
        limit: &config::RateLimit,
        shelf: &Shelf<Settings, Buckets>,
    ) -> Result<Self, String> {
        let settings = limit.settings.clone();
        let describe = limit.actions.iter().map(|actions| Describe::new(actions));
        Ok(Self {
            stat_prefix: settings.stat_prefix.as_str().into(),
            buckets: shelf.get(&limit.name, &limit.settings, Buckets::new),
            describe: describe.collect::<Result<_, _>>()?,
            status: StatusCode::from_u16(settings.status)
                .map_err(|_| format!("{} is not a status", settings.status))?,
            answer_headers: headers(&settings.answer_headers)?,
            request_headers: headers(&settings.request_headers)?,
            settings,
        })
    }
}

fn headers(pairs: &[(String, String)]) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let headers = pairs.iter().map(|(name, value)| {
        let made = HeaderName::try_from(name).ok();
        made.zip(HeaderValue::try_from(value).ok())
            .ok_or_else(|| format!("`{name}: {value}` is not a header"))
    });
    headers.collect()
}
