//! Who is to be woken.

use std::task::Waker;

/// Remembers the waker. One that wakes the same task is not made again.
pub fn remember(known: &mut Option<Waker>, waker: &Waker) {
    match known {
        Some(known) => known.clone_from(waker),
        None => *known = Some(waker.clone()),
    }
}
