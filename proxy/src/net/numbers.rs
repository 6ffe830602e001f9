//! Numbers of connections: whoever opens one that a proxy of the same process accepts may say which it is, so that chance
//! goes by that and not by the order of arrival.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::policy::fault::tcp::Number;

/// The numbers of connections under way to a proxy, by the address that they come from.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<Mutex<HashMap<SocketAddr, Number>>>);

impl Numbers {
    /// The connection from this address is that one; to be said before it is opened.
    pub fn register(&self, from: SocketAddr, number: Number) {
        self.lock(|numbers| numbers.insert(from, number));
    }

    /// Which one the connection from this address is, and whether anybody has said so; else the number of its arrival.
    /// `numbered`: somebody may have. It can be asked once.
    pub fn of(&self, from: SocketAddr, numbered: bool, arrivals: &AtomicU64) -> (Number, bool) {
        let known = numbered.then(|| self.take(from)).flatten();
        let number = known.unwrap_or_else(|| Number {
            connection: arrivals.fetch_add(1, Ordering::Relaxed),
            reopenings: 0,
        });
        (number, known.is_some())
    }

    fn take(&self, from: SocketAddr) -> Option<Number> {
        self.lock(|numbers| numbers.remove(&from))
    }

    fn lock<T>(&self, act: impl FnOnce(&mut HashMap<SocketAddr, Number>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
