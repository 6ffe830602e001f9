//! Builtin services, so that a first run needs nothing else.
