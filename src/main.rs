//! The `meshbed` binary.

fn main() {}
