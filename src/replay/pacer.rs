//! When is the next request due, and which are due by now? Sans-io: time is an argument. The schedule is fixed: a request
//! that is let go late does not move those after it.

use std::ops::Range;

use crate::event::Micros;

/// Walks over due times in ascending order.
#[derive(Debug, Clone)]
pub struct Pacer<'a, T> {
    planned: &'a [T],
    due: fn(&T) -> Micros,
    next: usize,
}

impl<'a, T> Pacer<'a, T> {
    /// Begins at the first. `due` tells when each is due; `planned` must ascend by it.
    pub fn new(planned: &'a [T], due: fn(&T) -> Micros) -> Self {
        debug_assert!(
            planned.is_sorted_by_key(due),
            "a schedule must ascend by its due times"
        );
        Self {
            planned,
            due,
            next: 0,
        }
    }

    /// When the next one is due; `None`: all have been let go.
    pub fn next_due(&self) -> Option<Micros> {
        self.planned.get(self.next).map(self.due)
    }

    /// The places of those that are due at `now` and were not let go before.
    pub fn release(&mut self, now: Micros) -> Range<usize> {
        let begin = self.next;
        while self.next_due().is_some_and(|due| due <= now) {
            self.next += 1;
        }
        begin..self.next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the moments at which it is asked: all are let go once, in order, none early, and none later than
        /// at the first question after its time; so a late release never delays another.
        #[test]
        fn each_is_let_go_once_in_order_at_the_first_question_after_its_time(
            mut due in proptest::collection::vec(0_u64..10_000, 0..200),
            steps in proptest::collection::vec(0_u64..500, 1..400),
        ) {
            due.sort_unstable();
            let mut pacer = Pacer::new(&due, |due| *due);
            let mut now = 0;
            let mut before = 0;
            let mut seen = 0;
            for step in steps {
                now += step;
                let released = pacer.release(now);
                prop_assert_eq!(released.start, seen);
                for &time in &due[released.clone()] {
                    prop_assert!(time <= now, "early");
                    prop_assert!(seen == 0 || time > before || before == 0, "should have gone at the last question");
                }
                seen = released.end;
                prop_assert_eq!(pacer.next_due(), due.get(seen).copied());
                prop_assert!(pacer.next_due().is_none_or(|next| next > now));
                before = now;
            }
            let rest = pacer.release(u64::MAX);
            prop_assert_eq!(rest, seen..due.len());
            prop_assert_eq!(pacer.next_due(), None);
        }

        /// A generator that oversleeps each time by up to 900 us still asks for the schedule's own times.
        #[test]
        fn oversleeping_does_not_add_up(overslept in proptest::collection::vec(0_u64..900, 100..300)) {
            let due: Vec<u64> = (0..overslept.len() as u64).map(|i| i * 1000).collect();
            let mut pacer = Pacer::new(&due, |due| *due);
            for (index, late) in overslept.into_iter().enumerate() {
                let next = pacer.next_due().unwrap();
                prop_assert_eq!(next, index as u64 * 1000);
                prop_assert_eq!(pacer.release(next + late), index..index + 1);
            }
        }
    }
}
