//! What a listener wants of the headers of a request, beyond what HTTP/2 does.

use http::{HeaderName, request};

use crate::policy::http1::Underscores;

/// What heads are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    /// What becomes of headers with an underscore in their name.
    pub(super) underscores: Underscores,
}

impl Heads {
    /// Why the request is refused, in Envoy's words; `None`: it is not. Headers that are not wanted are taken off.
    pub(super) fn refuse(self, head: &mut request::Parts) -> Option<&'static str> {
        if self.underscores == Underscores::Allow {
            return None;
        }
        let has = |name: &&HeaderName| name.as_str().contains('_');
        let found: Vec<_> = head.headers.keys().filter(has).cloned().collect();
        if !found.is_empty() && self.underscores == Underscores::Reject {
            return Some("http2.unexpected_underscore");
        }
        for name in found {
            head.headers.remove(name);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> request::Parts {
        let (head, ()) = http::Request::get("/")
            .header("host", "a")
            .header("x_a", "1")
            .header("x-b", "2")
            .body(())
            .unwrap()
            .into_parts();
        head
    }

    #[test]
    fn underscores_are_taken_as_the_listener_wants() {
        for (underscores, why, left) in [
            (Underscores::Allow, None, 3),
            (Underscores::Drop, None, 2),
            (Underscores::Reject, Some("http2.unexpected_underscore"), 3),
        ] {
            let mut head = head();
            assert_eq!(Heads { underscores }.refuse(&mut head), why);
            assert_eq!(head.headers.len(), left);
        }
    }
}
