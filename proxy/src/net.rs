//! Dialling, sockets, and the fine timer.
