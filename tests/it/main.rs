//! The tests of the testbed.
