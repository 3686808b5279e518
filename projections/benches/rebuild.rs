//! How fast read models are rebuilt. Prints events per second of each projection, and of all live
//! workers together catching up from the beginning.
//!
//! `NEXPLANE_BENCH_EVENTS` sets the length of the log; 50,000 when it is not given.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing else to say")]
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::pedantic,
    reason = "shared with the tests"
)]

#[path = "../tests/it/history.rs"]
mod history;
#[path = "../tests/it/support.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod support;

use std::time::{Duration, Instant};

use nexplane_projections::Role;

fn main() {
    // `cargo test --benches` only wants to know that it compiles.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let events = std::env::var("NEXPLANE_BENCH_EVENTS");
    let events = events.ok().and_then(|events| events.parse().ok()).unwrap_or(50_000);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(events));
}

async fn run(events: usize) {
    let world = support::World::new().await;
    let began = Instant::now();
    let last = world.append(history::History::new(1).more(events)).await;
    println!("appended {} events in {:.1} s", last + 1, began.elapsed().as_secs_f64());

    let projections = world.open().await;
    let began = Instant::now();
    projections.start(Role::Worker);
    projections.wait_for(last, Duration::from_secs(3600)).await.unwrap();
    report("all, live", last + 1, began.elapsed());
    for name in projections.names() {
        let began = Instant::now();
        projections.rebuild(name, |_| {}).await.unwrap();
        report(name, last + 1, began.elapsed());
    }
    projections.stop().await;
}

fn report(name: &str, events: u64, took: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let rate = events as f64 / took.as_secs_f64();
    println!("{name:<12} {rate:>9.0} events/s  ({:.2} s)", took.as_secs_f64());
}
