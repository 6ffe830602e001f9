//! Counters and gauges fed by records; Prometheus text.
