//! The targets of a rollout as a grid: what is on the page stays small, those that need somebody come first, keys
//! and filters lead to each of them, and it can be stopped.
//!
//! `just bench-grid` measures the same with ten thousand.

use std::time::{Duration, Instant};

use nexplane_core::id::ChangeId;
use nexplane_core::rollout::event::Tally;
use nexplane_store::testing::TestDatabase;
use serde_json::Value;

use crate::browser::Browser;
use crate::browser_first_run::{first_run, link};
use crate::rollout_log;
use crate::sandbox::Sandbox;

const ROWS: &str = "return document.querySelectorAll('[data-testid=\"target-row\"]').length;";
const FIRST: &str = "return document.querySelector('[data-testid=\"target-row\"]')?.dataset.state;";
const CURRENT: &str = "return document.getElementById(document.querySelector(\
     '[data-testid=\"target-rows\"]').getAttribute('aria-activedescendant'))?.dataset.no;";
/// For those of ten thousand targets.
const READ_MODELS: Duration = Duration::from_mins(5);
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const HOME: &str = "\u{e011}";
const END: &str = "\u{e010}";
const RIGHT: &str = "\u{e014}";

/// A server with such a rollout, and its administrator who looks at it.
async fn looking(size: u32) -> (TestDatabase, Sandbox, Browser, ChangeId, Tally) {
    let database = TestDatabase::empty().await;
    let server = Sandbox::on(&database).await;
    let ada = Browser::open(&server.base).await;
    first_run(&ada, &link(&server)).await;
    let (change, tally) = rollout_log::paused(&database, size).await;
    // The read models of tens of thousands of events take their time.
    let state = format!(
        "return fetch('/api/v1/change-requests/{change}').then((answer) => answer.json()) \
         .then((change) => change.rollout?.progress?.state ?? null);"
    );
    let end = Instant::now() + READ_MODELS;
    while ada.script(&state).await != "\"paused\"" {
        assert!(Instant::now() < end, "the read models are behind");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ada.goto(&format!("/changes/{change}/targets")).await;
    ada.see_with("targets-page", "data-state", "paused").await;
    ada.see_with("target-row", "data-state", "failed").await;
    ada.gone("skeleton").await;
    (database, server, ada, change, tally)
}

#[tokio::test]
async fn browser_the_grid_of_a_rollout() {
    const SIZE: u32 = 400;
    let (_database, _server, ada, change, tally) = looking(SIZE).await;

    // Failed first, and a few rows of many are on the page; the scrollbar is as long as all of them.
    assert_eq!(ada.script(FIRST).await, "\"failed\"");
    ada.reads("target-rows", "No space left on device.").await;
    ada.reads("count-failed", &tally.failed.to_string()).await;
    ada.reads("rollout-stage", "Batch 6 of 11").await;
    ada.reads("targets-count", "400 shown").await;
    let rows: u32 = ada.script(ROWS).await.parse().unwrap();
    assert!((10..=60).contains(&rows), "{rows} rows");
    let grid = "document.querySelector('[data-testid=\"target-rows\"]')";
    let height = format!("return {grid}.scrollHeight;");
    assert_eq!(ada.script(&height).await, ((SIZE + 1) * 40).to_string());
    let told = format!("return {grid}.getAttribute('aria-rowcount');");
    assert_eq!(ada.script(&told).await, format!("\"{}\"", SIZE + 1));
    ada.pictures("grid-rows").await;

    // To the end, without what is in between; and back.
    ada.script(&format!("{grid}.focus();")).await;
    ada.press(END).await;
    ada.see_css("[data-testid='target-row'][aria-rowindex='401'] code").await;
    let rows: u32 = ada.script(ROWS).await.parse().unwrap();
    assert!((10..=60).contains(&rows), "{rows} rows at the end");
    ada.press(HOME).await;
    ada.press("jjk").await;
    let second = ada.script(CURRENT).await;
    let expected =
        "return [...document.querySelectorAll('[data-testid=\"target-row\"]')][1].dataset.no;";
    assert_eq!(second, ada.script(expected).await);

    // One of them, with what was approved, what happened, and what to do. Its address can be sent.
    ada.press(ENTER).await;
    ada.see("target-drawer").await;
    ada.reads("target-reason", "No space left on device.").await;
    ada.reads("target-advice", "new change").await;
    ada.see_with("step", "data-state", "failed").await;
    ada.see("target-events").await;
    ada.see("target-asset").await;
    assert_eq!(
        ada.path().await,
        format!("/changes/{change}/targets?target={}", second.trim_matches('"'))
    );
    ada.pictures("grid-drawer").await;
    ada.press(ESCAPE).await;
    ada.gone("target-drawer").await;

    // A number leads to its targets, names are searched, and both are the address.
    ada.click_css("[data-testid='count-outcome_unknown'] a").await;
    ada.reads("targets-count", &format!("{} shown", tally.unknown)).await;
    assert_eq!(ada.script(FIRST).await, "\"outcome_unknown\"");
    ada.goto(&format!("/changes/{change}/targets?q=web-0039")).await;
    ada.reads("targets-count", "10 shown").await;
    ada.reads("target-rows", "Waits for an operator to let the rollout go on.").await;
    ada.goto(&format!("/changes/{change}/targets?q=nothing-like-it")).await;
    ada.see("targets-empty").await;

    // All at one glance: a hundred elements, and the keys go from cell to cell.
    ada.goto(&format!("/changes/{change}/targets?view=cells")).await;
    ada.see("target-cells").await;
    let drawn = "return document.querySelectorAll('.target-field *').length;";
    assert!(ada.script(drawn).await.parse::<u32>().unwrap() < 100);
    ada.script("document.querySelector('[data-testid=\"target-cells\"]').focus();").await;
    ada.press(END).await;
    ada.reads("target-readout", "Verified").await;
    ada.press(HOME).await;
    ada.press(RIGHT).await;
    ada.reads("target-readout", "No space left on device.").await;
    ada.pictures("grid-cells").await;

    // Halt: asked once more, for a reason. What moves stays in its place until somebody wants it otherwise.
    ada.click("targets-rows").await;
    ada.choose("targets-filter", "Waiting").await;
    let waiting = SIZE - tally.sum();
    ada.reads("targets-count", &format!("{waiting} shown")).await;
    ada.click("action-stop").await;
    ada.fill("confirm-reason", "The disks are full.").await;
    ada.click("confirm-stop").await;
    ada.gone("confirm").await;
    ada.reads("count-not_started", &waiting.to_string()).await;
    ada.see_with("target-row", "data-state", "not_started").await;
    ada.reads("targets-show", &format!("{waiting} changed")).await;
    ada.reads("targets-count", &format!("{waiting} shown")).await;
    ada.click("targets-show").await;
    ada.see("targets-empty").await;
    ada.see_with("change-state", "data-state", "outcome_unknown").await;
    assert!(ada.all("action-pause").await.is_empty());
    assert_eq!(ada.errors().await, "[]");
    ada.end().await;
}

/// One wheel after the other, as a hand turns it, and how long each frame took meanwhile.
const MEASURE: &str = "
    window.__frames = (() => {
        const frames = []; let last; let on = true;
        const tick = (now) => { if (last !== undefined) frames.push(now - last); last = now; if (on) requestAnimationFrame(tick); };
        requestAnimationFrame(tick);
        return { end: () => { on = false; frames.sort((a, b) => a - b); const at = (p) => frames[Math.min(frames.length - 1, Math.floor(frames.length * p))];
            const over = (ms) => frames.filter((frame) => frame > ms).length / frames.length;
            return { frames: frames.length, p50: at(0.5), p95: at(0.95), worst: frames[frames.length - 1], over17: over(16.8), over33: over(33.4) }; } };
    })();";

async fn wheel(ada: &Browser, times: u32, pixels: i32) -> Value {
    ada.script(MEASURE).await;
    for _ in 0..times {
        ada.wheel(640, 600, pixels).await;
    }
    serde_json::from_str(&ada.script("return window.__frames.end();").await).unwrap()
}

async fn memory(ada: &Browser) -> Value {
    let heap = ada.heap().await;
    let elements = ada.script("return document.querySelectorAll('*').length;").await;
    serde_json::json!({ "heap_and_wasm": heap, "elements": elements })
}

#[tokio::test]
#[ignore = "it measures: just bench-grid"]
async fn bench_grid_of_ten_thousand() {
    let size = std::env::var("NEXPLANE_GRID").ok().and_then(|text| text.parse().ok());
    let size: u32 = size.unwrap_or(10_000);
    let start = Instant::now();
    let (_database, _server, ada, change, tally) = looking(size).await;
    println!("{size} targets, {tally:?}; written and shown after {:.1?}", start.elapsed());
    // The same wheel over a page that has the same length and nothing in it.
    ada.goto("/operations").await;
    ada.see("projection-list").await;
    ada.script(
        "const frame = document.createElement('div'); frame.id = 'empty'; document.body.replaceChildren(frame); \
         frame.className = 'target-rows'; const all = document.createElementNS('http://www.w3.org/2000/svg', 'svg'); \
         all.setAttribute('height', '400040'); frame.append(all); document.body.append(frame);",
    )
    .await;
    println!("empty page:   {}", wheel(&ada, 300, 400).await);
    println!("              {}", memory(&ada).await);
    ada.goto(&format!("/changes/{change}/targets")).await;
    ada.see_with("target-row", "data-state", "failed").await;
    ada.gone("skeleton").await;
    println!("at first:     {}", memory(&ada).await);
    let all = size * 40 / 1200 + 20;
    println!("all of it:    {}", wheel(&ada, all, 1200).await);
    println!("              {}", memory(&ada).await);
    println!("slowly back:  {}", wheel(&ada, 300, -400).await);
    println!("              {}", memory(&ada).await);
    ada.goto(&format!("/changes/{change}/targets?view=cells")).await;
    ada.see("target-cells").await;
    println!("as cells:     {}", wheel(&ada, 60, 100).await);
    println!("              {}", memory(&ada).await);
    let end = serde_json::from_value::<f64>(ada.heap().await["total"].clone()).unwrap();
    assert!(end < 200e6, "{end} bytes");
    ada.end().await;
}
