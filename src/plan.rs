//! What a run and its seed will do, before it does it.
