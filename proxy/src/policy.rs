//! Policies: settings and a pure decision. Nothing below awaits, reads a clock, or owns randomness.
