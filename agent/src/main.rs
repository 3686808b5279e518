//! The `nexplane-agent` executable.
fn main() {}
