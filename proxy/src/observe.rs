//! What the proxy tells others: one record a request.
