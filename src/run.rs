//! Executes a scenario: brings services and proxies up, plays, breaks, collects, tears down.
