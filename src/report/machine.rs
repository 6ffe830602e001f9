//! What the machine did meanwhile: how much of its processors went to other programs, which moves every latency and is
//! no one's regression. Linux only; elsewhere nothing is known.

use std::fs;

/// The processors' time so far, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Of all processors, idle or not.
    total: u64,
    /// Of those, busy.
    busy: u64,
    /// Of those, with this process and the children that it has waited for.
    own: u64,
}

impl Usage {
    /// Reads it; `None`: it cannot be known here.
    pub(super) fn now() -> Option<Self> {
        Self::parse(
            &fs::read_to_string("/proc/stat").ok()?,
            &fs::read_to_string("/proc/self/stat").ok()?,
        )
    }

    /// `proc(5)`: the first line of `stat` has user, nice, system, idle, iowait, irq, softirq and steal; `self/stat` has
    /// utime, stime, cutime and cstime as fields 14 to 17, counted from the command's closing parenthesis on as 3.
    fn parse(stat: &str, own: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .map_while(|field| field.parse().ok())
            .collect();
        let idle = ticks.get(3)? + ticks.get(4)?;
        let total = ticks.iter().sum();
        let after = own.rsplit_once(')')?.1;
        let own = after
            .split_whitespace()
            .skip(11)
            .take(4)
            .map_while(|field| field.parse::<u64>().ok())
            .sum();
        Some(Self {
            total,
            busy: total - idle,
            own,
        })
    }

    /// Share of all processors that others used between then and now.
    pub(super) fn others_since(&self, then: &Self) -> Option<f64> {
        let total = self
            .total
            .checked_sub(then.total)
            .filter(|total| *total > 0)?;
        let busy = self.busy.saturating_sub(then.busy);
        let own = self.own.saturating_sub(then.own);
        Some(busy.saturating_sub(own) as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_used_is_what_was_busy_without_us() {
        let at = |user: u64, idle: u64, own: u64| {
            let stat = format!("cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n");
            let own = format!("77 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 {own} 0 0 0 20 0\n");
            Usage::parse(&stat, &own).unwrap()
        };
        // 200 ticks passed, 150 of them busy, 50 with us.
        let share = at(250, 1050, 60).others_since(&at(100, 1000, 10)).unwrap();
        assert!((share - 0.5).abs() < 1e-12, "{share}");
        assert_eq!(
            at(100, 1000, 10).others_since(&at(100, 1000, 10)),
            None,
            "no time has passed"
        );
        assert_eq!(Usage::parse("", ""), None);
    }
}
