//! Sockets and time, as an event loop uses them.

use std::os::fd::AsFd;

use socket2::SockRef;

pub mod body;
pub mod buffer;
pub mod dial;
pub mod h1;
pub mod h2;
pub mod hop;
pub mod io;
pub mod listen;
pub mod numbers;
pub mod onward;
pub mod origin;
pub mod peek;
pub mod pipe;
pub mod sniff;
pub mod stock;
pub mod target;
pub mod timer;
pub mod tls;
pub mod waker;

/// For sockets to peers on this machine: nothing is lost on the loopback and nothing needs pacing, so the plainest
/// congestion control does, and costs least where the system's default is another. Where it cannot be had, nothing changes.
fn local(socket: &impl AsFd) {
    let _ = SockRef::from(socket).set_tcp_congestion(b"reno");
}
