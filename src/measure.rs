//! What a run amounts to: a fold over its events.
