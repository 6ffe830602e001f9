//! Work that is handed over by event loops, taken in bursts.

use std::time::Duration;

/// How long a thread naps under load.
const NAP: Duration = Duration::from_millis(2);

/// After so many naps in which nothing came it waits to be woken.
const NAPS: u32 = 20;

/// Hands on what comes, as long as `work` wants more. Under load the thread naps in between rather than being woken for each:
/// waking a thread costs an event loop, in the middle of a request, as much as a quarter of that request.
///
/// `wait`: the next, once it is there; `None`: there will be no other. `take`: the next, if it is there already.
pub fn in_bursts<T>(
    mut wait: impl FnMut() -> Option<T>,
    mut take: impl FnMut() -> Option<T>,
    mut work: impl FnMut(T) -> bool,
) {
    while let Some(first) = wait() {
        if !work(first) {
            return;
        }
        let mut naps = 0;
        while naps < NAPS {
            naps += 1;
            std::thread::sleep(NAP);
            while let Some(next) = take() {
                naps = 0;
                if !work(next) {
                    return;
                }
            }
        }
    }
}

/// To be called between one piece of work and the next by a thread that goes after others: whoever else wants the processor
/// has it now. Their waking alone does not take it away before the slice ends, and a burst lasts as long as many requests.
/// Where nobody wants it this is nothing. Not for a thread with much to do: at a full load it hardly gets on any more.
pub fn give_way() {
    std::thread::yield_now();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn all(from: &mpsc::Receiver<u32>, work: impl FnMut(u32) -> bool) {
        in_bursts(|| from.recv().ok(), || from.try_recv().ok(), work);
    }

    #[test]
    fn everything_is_handed_on_in_order_until_the_last_sender_ends() {
        let (to, from) = mpsc::channel();
        let sender = std::thread::spawn(move || {
            for number in 0..50 {
                to.send(number).unwrap();
                if number % 10 == 0 {
                    std::thread::sleep(NAP);
                }
            }
        });
        let mut got = Vec::new();
        all(&from, |number| {
            got.push(number);
            true
        });
        sender.join().unwrap();
        assert_eq!(got, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_taken_once_no_more_is_wanted() {
        let (to, from) = mpsc::channel();
        for number in 0..5 {
            to.send(number).unwrap();
        }
        all(&from, |number| number < 2);
        assert_eq!(from.try_recv(), Ok(3));
    }
}
