//! The language of checks, guards and conditions.
