//! The `meshbed-proxy` binary.

fn main() {}
