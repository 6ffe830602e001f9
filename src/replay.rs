//! Drives a schedule through a sender until told to stop.
