//! The `date` of answers, put together once a second.

use std::{cell::RefCell, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use crate::net::h1::encode::Head;

/// As long as `Sun, 06 Nov 1994 08:49:37 GMT`.
const LENGTH: usize = 29;

struct Now {
    text: [u8; LENGTH],
    /// That, as a header's value.
    value: HeaderValue,
    until: Option<Instant>,
}

thread_local! {
    static NOW: RefCell<Now> = const { RefCell::new(Now { text: [b' '; LENGTH], value: HeaderValue::from_static(""), until: None }) };
}

/// The header's value.
pub(super) fn value() -> HeaderValue {
    NOW.with_borrow_mut(|now| {
        let at = Instant::now();
        if now.until.is_none_or(|until| until <= at) {
            now.refresh(at);
        }
        now.value.clone()
    })
}

/// Adds the header.
pub(super) fn row(out: &mut Head<'_>) {
    NOW.with_borrow_mut(|now| {
        let at = Instant::now();
        if now.until.is_none_or(|until| until <= at) {
            now.refresh(at);
        }
        out.row("date", &now.text);
    });
}

impl Now {
    fn refresh(&mut self, at: Instant) {
        #[expect(
            clippy::disallowed_methods,
            reason = "what the header tells is wall time; nothing is decided by it"
        )]
        let wall = std::time::SystemTime::now();
        let since = wall
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let text = httpdate::fmt_http_date(wall);
        for (digit, byte) in self.text.iter_mut().zip(text.bytes()) {
            *digit = byte;
        }
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&self.text)) {
            self.value = value;
        }
        let left = Duration::from_secs(1)
            .saturating_sub(Duration::from_nanos(u64::from(since.subsec_nanos())));
        self.until = Some(at + left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::http1::Names;

    #[test]
    fn the_date_has_the_form_of_http() {
        let mut out = Vec::new();
        row(&mut Head::new(&mut out, Names::Lower, None));
        let text = String::from_utf8(out).unwrap();
        let date = text.strip_prefix("date: ").unwrap().trim_end();
        assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
    }
}
