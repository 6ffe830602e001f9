//! Executes a scenario: brings services and proxies up, plays, breaks, collects, tears down.
//!
//! The shape that others may count on:
//!
//! ```text
//! run::execute(scenario, Options { workers }, events: UnboundedSender<RunEvent>, commands: UnboundedReceiver<Command>)
//!     -> Result<Outcome, Failure>        Command = Stop | SwitchFault(id, bool); returns after rollback
//! ```
