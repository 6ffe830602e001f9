//! An answer's body that breaks off: the client sees a connection that ends within it.

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["truncate: { after: 1KiB }"];

/// Where an answer's body breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Truncate {
    /// So many bytes come; a body that is no longer comes whole.
    pub after: u64,
}

impl Truncate {
    /// How many of so many bytes come, after so many that came.
    pub fn allow(self, before: u64, bytes: usize) -> usize {
        let left = self.after.saturating_sub(before);
        bytes.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_does_not_come() {
        let truncate = Truncate { after: 10 };
        for (before, bytes, allowed) in [(0, 10, 10), (0, 11, 10), (6, 3, 3), (6, 9, 4), (10, 1, 0)]
        {
            assert_eq!(truncate.allow(before, bytes), allowed, "{before} {bytes}");
        }
    }
}
