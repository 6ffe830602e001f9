//! A scenario, validated and resolved: ready to run.
