//! What a run tells the world: one linear stream of events.
