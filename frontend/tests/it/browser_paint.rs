//! How long somebody waits for the first page: what is transferred, when something is painted, and when the list is there.
//!
//! `just bench-page` prints it, for lines of several speeds, with an empty cache and with a full one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::browser_page::signed_in;
use crate::sandbox::Sandbox;

/// Name, bits per second, and ms that an answer takes longer.
const LINES: [(&str, f64, u32); 3] = [
    ("this machine", -1.0, 0),
    ("cable, 20 Mbit/s, 20 ms", 20e6, 20),
    ("slow 4G, 1.6 Mbit/s, 150 ms", 1.6e6, 150),
];
const ROUNDS: usize = 5;
/// On the slowest of them.
const PATIENCE: Duration = Duration::from_mins(1);

/// Notes when the first row of the list is on the page.
const USEFUL: &str = "
    new MutationObserver((_, observer) => {
        if (!document.querySelector('[data-testid=\"change-row\"]')) return;
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => (window.__useful = performance.now())));
    }).observe(document, { childList: true, subtree: true });";
const SEEN: &str = "
    const files = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
    const [paint] = performance.getEntriesByName('first-contentful-paint');
    if (!window.__useful || !paint) return null;
    return { bytes: files.reduce((sum, file) => sum + file.transferSize, 0), files: files.length,
             painted: paint.startTime, useful: window.__useful };";

#[tokio::test]
#[ignore = "it measures: just bench-page"]
async fn bench_first_page() {
    let server = Sandbox::demo().await;
    let olivia = signed_in(&server, "olivia").await;
    olivia.see("change-row").await;
    olivia.before_every_page(USEFUL).await;
    println!(
        "{:<30} {:>6} {:>6} {:>9} {:>11} {:>11}",
        "", "cache", "files", "bytes", "painted ms", "list ms"
    );
    for (name, bits, latency) in LINES {
        let speed = json!({
            "offline": false, "latency": latency, "downloadThroughput": bits / 8.0, "uploadThroughput": bits / 8.0,
        });
        olivia.devtools("Network.enable", json!({})).await;
        olivia.devtools("Network.emulateNetworkConditions", speed).await;
        for cache in ["empty", "full"] {
            let mut seen = Vec::new();
            for _ in 0..ROUNDS {
                seen.push(visit(&olivia, cache == "empty").await);
            }
            let middle = |key: &str| {
                let mut values: Vec<f64> =
                    seen.iter().map(|one| one[key].as_f64().unwrap()).collect();
                values.sort_by(f64::total_cmp);
                values[ROUNDS / 2]
            };
            let (files, bytes) = (middle("files"), middle("bytes"));
            let (painted, useful) = (middle("painted"), middle("useful"));
            println!("{name:<30} {cache:>6} {files:>6} {bytes:>9} {painted:>11.0} {useful:>11.0}");
        }
    }
    olivia.end().await;
}

/// Opens the list of changes as the first page of a tab.
async fn visit(olivia: &Browser, forget: bool) -> Value {
    if forget {
        olivia.devtools("Network.clearBrowserCache", json!({})).await;
    }
    olivia.goto("/changes").await;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let seen: Value = serde_json::from_str(&olivia.script(SEEN).await).unwrap();
        if !seen.is_null() {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing was painted, or there is no row");
}
