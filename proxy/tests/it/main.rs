//! The tests of the proxy.
