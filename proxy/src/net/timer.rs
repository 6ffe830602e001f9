//! A timer finer than tokio's wheel of 1 ms: a kernel timer and a queue of deadlines, one an event loop.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    io,
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

/// The timer of an event loop.
#[derive(Clone)]
pub struct Timer(Rc<Queue>);

/// Ends at a deadline, some tens of microseconds after it, never before. Dropping it forgets the deadline.
#[derive(Debug)]
pub struct Sleep {
    entry: Entry,
    at: Instant,
}

/// Wakes a task at the earliest of the times it was set to. For deadlines that move with every request: setting it to a
/// later time costs a comparison; it then rings early, and the owner sets it again.
#[derive(Debug)]
pub struct Alarm {
    entry: Entry,
    rung: Rc<Cell<bool>>,
}

struct Queue {
    fd: AsyncFd<OwnedFd>,
    waiting: RefCell<BTreeMap<Key, Waiting>>,
    count: Cell<u64>,
}

/// Deadlines may be equal, so each has a number.
type Key = (Instant, u64);

struct Waiting {
    waker: Waker,
    rung: Option<Rc<Cell<bool>>>,
}

struct Entry {
    queue: Rc<Queue>,
    key: Option<Key>,
}

impl Timer {
    /// A timer for this thread's runtime; [`Timer::run`] must be polled for it to ring.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        #[expect(
            deprecated,
            reason = "it is sound for an `OwnedFd`; its successor is `unsafe`, which is forbidden here"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self(Rc::new(Queue {
            fd,
            waiting: RefCell::default(),
            count: Cell::default(),
        })))
    }

    /// Rings deadlines until the runtime is gone.
    pub async fn run(self) -> io::Result<()> {
        loop {
            let mut guard = self.0.fd.readable().await?;
            let read = guard.try_io(|fd| {
                let mut expirations = [0_u8; 8];
                Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)
            });
            if let Ok(read) = read {
                read?;
            }
            self.0.ring(Instant::now());
        }
    }

    /// Ends at `at`.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep {
            entry: self.entry(),
            at,
        }
    }

    /// What the future comes to, if it does so by `at`.
    pub async fn by<F: Future>(&self, at: Instant, mut future: Pin<&mut F>) -> Option<F::Output> {
        let mut end = self.sleep_until(at);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Pin::new(&mut end).poll(cx).map(|()| None),
        })
        .await
    }

    /// An alarm that is not set.
    pub fn alarm(&self) -> Alarm {
        Alarm {
            entry: self.entry(),
            rung: Rc::default(),
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            queue: Rc::clone(&self.0),
            key: None,
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("waiting", &self.0.waiting.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            self.entry.forget();
            return Poll::Ready(());
        }
        let at = self.at;
        self.entry.wait(at, cx.waker(), None);
        Poll::Pending
    }
}

impl Alarm {
    /// Rings at `at` at the latest.
    pub fn set(&mut self, at: Instant, waker: &Waker) {
        if self.rung.get() {
            self.rung.set(false);
            self.entry.key = None;
        }
        if self.entry.key.is_none_or(|(set, _)| at < set) {
            let rung = Rc::clone(&self.rung);
            self.entry.wait(at, waker, Some(rung));
        }
    }

    /// It has rung since it was last set, or was never set.
    pub fn is_off(&self) -> bool {
        self.rung.get() || self.entry.key.is_none()
    }
}

impl Queue {
    fn ring(&self, now: Instant) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some(first) = waiting.first_entry() else {
                return;
            };
            let (at, _) = *first.key();
            if at > now {
                self.arm(at);
                return;
            }
            let due = first.remove();
            drop(waiting);
            if let Some(rung) = due.rung {
                rung.set(true);
            }
            due.waker.wake();
        }
    }

    fn arm(&self, at: Instant) {
        // A time of zero would disarm the timer.
        let left = at
            .saturating_duration_since(Instant::now())
            .max(std::time::Duration::from_nanos(1));
        let value = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            },
        };
        let set = timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &value);
        debug_assert!(set.is_ok(), "a relative time in range is always accepted");
    }
}

impl Entry {
    fn wait(&mut self, at: Instant, waker: &Waker, rung: Option<Rc<Cell<bool>>>) {
        let mut waiting = self.queue.waiting.borrow_mut();
        if let Some(key) = self.key {
            if key.0 == at
                && let Some(waiting) = waiting.get_mut(&key)
            {
                waiting.waker.clone_from(waker);
                return;
            }
            waiting.remove(&key);
        }
        let number = self.queue.count.get();
        self.queue.count.set(number + 1);
        let key = (at, number);
        let first = waiting
            .first_key_value()
            .is_none_or(|(first, _)| key < *first);
        waiting.insert(
            key,
            Waiting {
                waker: waker.clone(),
                rung,
            },
        );
        self.key = Some(key);
        drop(waiting);
        if first {
            self.queue.arm(at);
        }
    }

    fn forget(&mut self) {
        if let Some(key) = self.key.take() {
            self.queue.waiting.borrow_mut().remove(&key);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;

    fn run<F: Future>(test: impl FnOnce(Timer) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let timer = Timer::new().unwrap();
            tokio::task::spawn_local(timer.clone().run());
            test(timer).await
        })
    }

    #[test]
    fn sleeps_end_in_order_of_their_deadlines_and_never_early() {
        let ended = run(|timer| async move {
            let start = Instant::now();
            let ended = Rc::new(RefCell::new(Vec::new()));
            let mut tasks = Vec::new();
            for micros in [3_000, 500, 1_500, 500] {
                let (timer, ended) = (timer.clone(), Rc::clone(&ended));
                tasks.push(tokio::task::spawn_local(async move {
                    let at = start + Duration::from_micros(micros);
                    timer.sleep_until(at).await;
                    assert!(Instant::now() >= at);
                    ended.borrow_mut().push(micros);
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            ended.take()
        });
        assert_eq!(ended, [500, 500, 1_500, 3_000]);
    }

    #[test]
    fn a_dropped_sleep_is_forgotten() {
        run(|timer| async move {
            let mut sleep = timer.sleep_until(Instant::now() + Duration::from_hours(1));
            std::future::poll_fn(|cx| {
                assert!(Pin::new(&mut sleep).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            assert_eq!(timer.0.waiting.borrow().len(), 1);
            drop(sleep);
            assert_eq!(timer.0.waiting.borrow().len(), 0);
        });
    }

    #[test]
    fn an_alarm_rings_at_the_earliest_time_it_was_set_to() {
        run(|timer| async move {
            let start = Instant::now();
            let mut alarm = timer.alarm();
            std::future::poll_fn(|cx| {
                if alarm.is_off() && start.elapsed() > Duration::from_millis(2) {
                    return Poll::Ready(());
                }
                alarm.set(start + Duration::from_hours(1), cx.waker());
                alarm.set(start + Duration::from_millis(3), cx.waker());
                alarm.set(start + Duration::from_hours(2), cx.waker());
                Poll::Pending
            })
            .await;
            assert!(start.elapsed() < Duration::from_mins(1));
        });
    }
}
