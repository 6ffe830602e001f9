//! Graceful shutdown: a watch that others hold; done when the last holder drops it.
