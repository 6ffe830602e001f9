//! Assembly: a configuration and its dependencies in, a running proxy out.
//!
//! The shape that others may count on:
//!
//! ```text
//! Proxy::start(config, Deps { observer, workers }) -> Result<Handle, StartError>   // all listeners are bound when it returns
//! Handle::addresses()        name of listener -> bound address (for port 0)
//! Handle::publish(config)    swaps the configuration on every event loop; Err(problems): the old one stays
//! Handle::metrics()          Prometheus text, all event loops merged
//! Handle::cpu()              CPU time of the event loops so far
//! Handle::drain(within)      stops accepting, waits for what is under way, at most so long
//! Handle::shutdown()         ends at once; also on drop
//! ```
