//! Fine time: absolute deadlines on the monotonic clock. The one place of the testbed that reads it directly, because
//! tokio's timer goes in steps of 1 ms.

use std::{num::NonZeroU64, time::Duration};

use rustix::{
    process::setpriority_process,
    thread::{clock_nanosleep_absolute, gettid, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};
use thread_priority::{
    ThreadPriority, ThreadSchedulePolicy,
    unix::{
        NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    },
};
use tokio::time::Instant;

use crate::event::Micros;

/// A run's clock: microseconds since its origin. Copies agree with each other on every thread.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The origin on the monotonic clock, in nanoseconds. It may lie in the future.
    origin_ns: i128,
}

impl Clock {
    /// The clock that is 0 at `origin`, which may lie in the future.
    pub fn starting_at(origin: Instant) -> Self {
        let now = Instant::now();
        let now_ns = monotonic_ns();
        let since = nanos(now.saturating_duration_since(origin));
        let until = nanos(origin.saturating_duration_since(now));
        Self {
            origin_ns: now_ns - since + until,
        }
    }

    /// Microseconds since the origin; 0 before it.
    pub fn now_us(&self) -> Micros {
        u64::try_from((monotonic_ns() - self.origin_ns) / 1000).unwrap_or(0)
    }

    /// Sleeps until that many microseconds after the origin: never less, and as little more as the system can do on a
    /// thread that called [`fine`]. It sleeps no longer than `at_most`; whether the time has come is the answer.
    pub fn sleep_until(&self, due_us: Micros, at_most: Duration) -> bool {
        let due = self.origin_ns + i128::from(due_us) * 1000;
        let limit = monotonic_ns() + nanos(at_most);
        let until = due.min(limit);
        while monotonic_ns() < until {
            // A signal ends the sleep early: the loop looks again. Any other error would make it spin, not stop.
            let _ = clock_nanosleep_absolute(ClockId::Monotonic, &timespec(until));
        }
        due <= limit
    }
}

/// Asks the kernel to wake this thread without slack (50 us by default), so that its sleeps end when they should.
pub fn fine() {
    // Refused, it wakes later, which the lateness shows.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// Asks the kernel to run this thread as soon as it wakes, whoever else is running: first in, first out, at the lowest
/// such priority. For a thread that sleeps nearly all of the time. It needs a privilege (`CAP_SYS_NICE`); without it a
/// wake-up on a busy machine waits for the slices of others: beside two spinning processes on two cores, 2,000 wake-ups a
/// second were 5,600 us late at p99, and 38 us with it.
pub fn first() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    // Refused, it wakes later, which the lateness shows.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

/// Lets this thread go before what it measures, where both want the same core. Needs the same privilege.
pub fn before_others() {
    let _ = setpriority_process(Some(gettid()), MEASURING_PRIORITY);
}

/// Lets this thread go after what it serves, where both want the same core: it has the rest, and a tenth when there is none.
/// What it starts later goes after others too.
pub fn after_others() {
    let _ = setpriority_process(Some(gettid()), SERVING_PRIORITY);
}

/// Lets this thread run when nothing else wants its core, and gives way at once: a thread that goes after others by its
/// niceness alone still keeps a slice that it has begun, and who wakes meanwhile waits for it.
pub fn only_when_idle() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).is_err() {
        after_others();
    }
}

/// Niceness of threads that work on what event loops hand over.
const SERVING_PRIORITY: i32 = 10;

/// Niceness of the thread that stamps sendings and answers: ten times the share of an ordinary thread. Beside two spinning
/// processes on two cores, requests waited 2,170 us for it at p99 without, 36 us with a lower niceness.
const MEASURING_PRIORITY: i32 = -10;

/// Processor time that this thread has used.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn monotonic_ns() -> i128 {
    let time = clock_gettime(ClockId::Monotonic);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn timespec(ns: i128) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (ns % 1_000_000_000) as _,
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_never_ends_before_its_time() {
        fine();
        let clock = Clock::starting_at(Instant::now());
        for due in (500..20_000).step_by(500) {
            assert!(clock.sleep_until(due, Duration::from_secs(1)));
            assert!(clock.now_us() >= due);
        }
    }

    #[test]
    fn a_sleep_is_cut_short_at_its_limit() {
        let clock = Clock::starting_at(Instant::now());
        assert!(!clock.sleep_until(3_600_000_000, Duration::from_millis(1)));
        assert!(clock.now_us() < 3_000_000);
    }

    #[test]
    fn before_its_origin_the_clock_is_0() {
        let clock = Clock::starting_at(Instant::now() + Duration::from_mins(1));
        assert_eq!(clock.now_us(), 0);
    }
}
