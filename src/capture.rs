//! Captures: packets or records in, exchanges in time order out, and a reason for everything that was skipped.
