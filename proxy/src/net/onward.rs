//! A request that is sent on.

use http::request;

/// A request, as [`http::Request`] is one; but its head is in a box, since it goes through many hands, and each would copy
/// it.
#[derive(Debug)]
pub struct Onward<B> {
    /// Its head.
    pub head: Box<request::Parts>,
    /// Its body.
    pub body: B,
}

impl<B> Onward<B> {
    /// One with this body, and with nothing in its head.
    pub fn new(body: B) -> Self {
        Self {
            head: Box::new(http::Request::new(()).into_parts().0),
            body,
        }
    }
}
