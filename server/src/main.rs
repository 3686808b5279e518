//! The `nexplane` executable.
fn main() {}
