//! The report bundle: a run, serialised.
