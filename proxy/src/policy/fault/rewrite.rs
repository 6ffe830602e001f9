//! An answer that is made another one: its status, headers, body.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] =
    &["rewrite: { status: 500, headers: { x-broken: \"1\" }, body: nonsense }"];

/// What becomes of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// Its status; `None`: the upstream's.
    pub status: Option<u16>,
    /// Headers that are set.
    pub headers: Vec<(String, String)>,
    /// Its body; `None`: the upstream's.
    pub body: Option<String>,
}

/// A [`Rewrite`], ready to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// See [`Rewrite::status`].
    pub status: Option<StatusCode>,
    /// See [`Rewrite::headers`].
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// See [`Rewrite::body`].
    pub body: Option<Bytes>,
}

impl Rewrite {
    /// Compiles it; the error names what no answer has.
    pub fn compile(&self) -> Result<Compiled, String> {
        let status = self.status.map(|status| {
            Some(status)
                .filter(|status| (200..600).contains(status))
                .and_then(|status| StatusCode::from_u16(status).ok())
                .ok_or_else(|| format!("the status {status} must be from 200 to 599"))
        });
        let headers = self.headers.iter().map(|(name, value)| {
            let made = HeaderName::try_from(name).ok();
            made.zip(HeaderValue::try_from(value).ok())
                .ok_or_else(|| format!("`{name}: {value}` is not a header"))
        });
        Ok(Compiled {
            status: status.transpose()?,
            headers: headers.collect::<Result<_, _>>()?,
            body: self.body.clone().map(Bytes::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_answer_has_is_refused() {
        let header = |name: &str| Rewrite {
            headers: vec![(name.to_owned(), "1".to_owned())],
            ..Rewrite::default()
        };
        assert!(header("x-ok").compile().is_ok() && header("x y").compile().is_err());
        let status = |status| Rewrite {
            status: Some(status),
            ..Rewrite::default()
        };
        assert!(status(599).compile().is_ok() && status(100).compile().is_err());
    }
}
