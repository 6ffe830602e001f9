//! What a run amounts to: a fold over its events. Constant cost per event, memory that grows with seconds, not requests.

use crate::event::Id;

/// A half-open window of intended time, in microseconds since the run's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// First microsecond.
    pub begin_us: u64,
    /// First microsecond after it.
    pub end_us: u64,
}

/// Which requests a metric is about; the default is all. Known before the run, so that each filter gets its own tallies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Filter {
    /// A status such as 404, or a class: 5 is 5xx.
    pub status: Option<u16>,
    /// Method.
    pub method: Option<String>,
    /// Path without query; `*` is any run of characters.
    pub path: Option<String>,
}

/// What must be known before the first event.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Phases in order: id, window, whether it is recorded.
    pub phases: Vec<(Id, Window, bool)>,
    /// Services that traffic drives: measured at the generator.
    pub driven: Vec<Id>,
    /// All services.
    pub services: Vec<Id>,
    /// Faults, in file order.
    pub faults: Vec<Id>,
    /// Shadows, in file order.
    pub shadows: Vec<Id>,
    /// Filters that metrics will ask for, with the service.
    pub filters: Vec<(Id, Filter)>,
    /// What counts as an error.
    pub errors: ErrorRule,
}

/// What counts as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRule {
    /// No complete response counts.
    pub no_response: bool,
    /// Status classes that count: `5` is 5xx.
    pub classes: Vec<u16>,
    /// Statuses that count.
    pub statuses: Vec<u16>,
    /// A gRPC status other than 0 counts.
    pub grpc_nonzero: bool,
}

impl Default for ErrorRule {
    fn default() -> Self {
        Self {
            no_response: true,
            classes: vec![5],
            statuses: Vec::new(),
            grpc_nonzero: true,
        }
    }
}

impl ErrorRule {
    /// Whether an answer is an error.
    pub fn is_error(&self, status: Option<u16>, complete: bool, grpc_status: Option<u32>) -> bool {
        let Some(status) = status.filter(|_| complete) else {
            return self.no_response;
        };
        self.classes.contains(&(status / 100))
            || self.statuses.contains(&status)
            || (self.grpc_nonzero && grpc_status.is_some_and(|grpc| grpc != 0))
    }
}
