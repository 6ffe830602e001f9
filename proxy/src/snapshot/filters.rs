//! What requests pass on their way, compiled: one list for a listener, and one for each route that says something else.

use crate::config;

/// What requests pass, in order.
#[derive(Debug, Default)]
pub struct Filters {
    list: Box<[Filter]>,
}

/// One thing that requests pass.
#[derive(Debug)]
pub enum Filter {
    /// The faults of the route.
    Faults,
    /// The whole request is awaited, up to so many bytes.
    Buffer(u64),
}

impl Filters {
    /// Compiles a list; where it does not say when faults are met, they are met first.
    pub(super) fn compile(list: &[config::Filter], faults: bool) -> Self {
        let told = list.contains(&config::Filter::Faults);
        let first = (faults && !told).then_some(Filter::Faults);
        let list = list.iter().filter_map(|filter| match filter {
            config::Filter::Faults => faults.then_some(Filter::Faults),
            config::Filter::Buffer(size) => Some(Filter::Buffer(size.0)),
        });
        Self {
            list: first.into_iter().chain(list).collect(),
        }
    }

    /// There are none: requests go on as they are.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// They, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Filter> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Filters {
    type Item = &'a Filter;
    type IntoIter = std::slice::Iter<'a, Filter>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
