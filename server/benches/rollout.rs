//! A change on thousands of hosts: how long planning, carrying out and undoing it take, with the server killed
//! on the way, and how often one who looks at it hears of it. Checks that every host was changed once.
//!
//! `cargo bench --workspace --bench rollout -- [agents …]`

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "printing is what it is for, and a measurement that cannot go on has no result"
)]

#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../tests/it/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/harness_target.rs"]
mod harness_target;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/rollout_fleet.rs"]
mod rollout_fleet;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/simulated.rs"]
mod simulated;

#[tokio::main]
async fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|text| text.parse().ok()).collect();
    let sizes = if given.is_empty() { vec![1_000, 10_000] } else { given };
    for size in sizes {
        rollout_fleet::roll_out(size).await;
    }
}
