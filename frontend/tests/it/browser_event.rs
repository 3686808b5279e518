//! The page of an event: its proof is computed in the browser, and a lie is noticed there.

use nexplane_store::testing::{TestDatabase, event_records, tamper};
use serde_json::Value;

use crate::browser::Browser;
use crate::browser_first_run::{first_run, link};
use crate::sandbox::Sandbox;

/// A verifier key that is right in itself, of some other log.
const OTHER_KEY: &str = "log.example+891bac2d+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";

/// The first answers say that there is no checkpoint yet, as many as the page is told.
const UNSEALED: &str = r#"
(() => {
  const fetched = window.fetch.bind(window);
  const unsealed = JSON.stringify({
    type: "about:blank", title: "Not Found", status: 404, detail: "Not sealed.", instance: "",
    code: "log.not_sealed", trace_id: "00000000-0000-0000-0000-000000000000",
  });
  window.__unsealed = 2;
  window.fetch = async (request) => {
    const proof = request instanceof Request && request.url.endsWith("/proof");
    if (!proof || window.__unsealed === 0) return fetched(request);
    if (window.__unsealed === 1) await new Promise((go) => (window.__seal = go));
    window.__unsealed -= 1;
    const headers = { "content-type": "application/problem+json" };
    return new Response(unsealed, { status: 404, headers });
  };
})();
"#;

#[tokio::test]
async fn the_proof_of_an_event() {
    // One server for all of it: starting one takes longer than what happens in it.
    let database = TestDatabase::empty().await;
    let server = Sandbox::on(&database).await;
    let ada = Browser::open(&server.base).await;
    first_run(&ada, &link(&server)).await;
    let position = an_event_is_verified_from_the_record_on_the_screen(&ada, &database).await;
    a_pinned_key_is_remembered_and_another_one_is_a_loud_failure(&ada, position).await;
    what_is_not_sealed_yet_is_looked_for_again(&server).await;
    a_record_that_was_altered_is_found(&ada, &database, position).await;
    ada.end().await;
}

/// What was found about each step, in order.
async fn found(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('[data-testid=\"proof-step\"]')]\
                  .map((step) => step.dataset.found);";
    serde_json::from_str(&browser.script(script).await).unwrap()
}

async fn text_of(browser: &Browser, testid: &str) -> String {
    let script =
        format!("return document.querySelector('[data-testid=\"{testid}\"]').textContent;");
    serde_json::from_str(&browser.script(&script).await).unwrap()
}

async fn an_event_is_verified_from_the_record_on_the_screen(
    ada: &Browser,
    database: &TestDatabase,
) -> usize {
    let records = event_records(database.pool()).await.unwrap();
    let position = records.iter().position(|record| record.contains("\"admin\"")).unwrap();
    ada.click("nav-audit").await;
    let row = format!("[data-testid='audit-row'][data-position='{position}'] a");
    ada.click_css(&row).await;
    ada.see_with("proof", "data-state", "verified").await;
    assert_eq!(ada.path().await, format!("/audit/{position}"));
    assert_eq!(found(ada).await, ["holds", "holds", "holds", "holds", "open"]);
    assert_eq!(text_of(ada, "event-record").await, records[position]);
    let key = "return fetch('/api/v1/log/key').then((answer) => answer.text());";
    let key: String = serde_json::from_str(&ada.script(key).await).unwrap();
    assert_eq!(text_of(ada, "key-shown").await, key.trim());
    ada.reads("proof-verdict", "Verified").await;

    // The fields are those of the record, and what is beside it can be reached.
    let record: Value = serde_json::from_str(&records[position]).unwrap();
    ada.reads("event-facts", record["command"].as_str().unwrap()).await;
    ada.reads("event-facts", record["id"].as_str().unwrap()).await;
    ada.script("document.querySelectorAll('article details').forEach((one) => (one.open = true));")
        .await;
    ada.see("audit-proof").await;
    ada.pictures("event-explained").await;
    if position + 1 < records.len() {
        ada.click("event-next").await;
        ada.see_with("event-page", "data-position", &(position + 1).to_string()).await;
        ada.see_with("proof", "data-state", "verified").await;
        ada.click("event-previous").await;
        ada.see_with("event-page", "data-position", &position.to_string()).await;
    }
    position
}

async fn a_pinned_key_is_remembered_and_another_one_is_a_loud_failure(
    ada: &Browser,
    position: usize,
) {
    let address = format!("/audit/{position}");
    ada.click("key-pin").await;
    ada.reads("proof-verdict", "whose key you pinned").await;
    assert_eq!(found(ada).await, ["holds"; 5]);
    ada.reload().await;
    ada.reads("proof-verdict", "whose key you pinned").await;
    ada.click("key-unpin").await;
    ada.see("key-pin").await;

    // What is typed has to be a key.
    ada.click_css("details:has([data-testid='key-input']) summary").await;
    ada.fill("key-input", "nonsense").await;
    ada.click("key-save").await;
    ada.see_css("[data-testid='key-input'][aria-invalid='true']").await;
    ada.see_with("proof", "data-state", "verified").await;

    // Another log's key: nothing is green any more.
    let pin = format!("localStorage.setItem('nexplane.log_key', '{OTHER_KEY}');");
    ada.script(&pin).await;
    ada.goto(&address).await;
    ada.see_with("proof", "data-state", "other-key").await;
    ada.see_css("[data-testid='proof-verdict'][role='alert']").await;
    assert_eq!(found(ada).await, ["holds", "holds", "holds", "fails", "fails"]);
    assert_eq!(text_of(ada, "key-pinned").await, OTHER_KEY);
    ada.pictures("event-other-key").await;
    ada.click("key-unpin").await;
    ada.see_with("proof", "data-state", "verified").await;
}

async fn a_record_that_was_altered_is_found(
    ada: &Browser,
    database: &TestDatabase,
    position: usize,
) {
    let forge = "UPDATE {events} SET record = replace(record, '\"admin\"', '\"viewer\"')";
    tamper(database.pool(), &format!("{forge} WHERE position = {position}")).await.unwrap();
    ada.reload().await;
    ada.see_with("proof", "data-state", "other-record").await;
    assert_eq!(found(ada).await, ["fails", "holds", "fails", "holds", "open"]);
    ada.reads("proof-verdict", "Not the record that was sealed").await;
    ada.reads("event-contradiction", "Different: data").await;
    assert!(text_of(ada, "event-record").await.contains("\"viewer\""), "what is there is shown");
    ada.pictures("event-other-record").await;

    // Who forges the hash beside it as well gets as far as the root.
    let rehash =
        "UPDATE {events} SET leaf_hash = sha256('\\x00'::bytea || convert_to(record, 'UTF8'))";
    tamper(database.pool(), &format!("{rehash} WHERE position = {position}")).await.unwrap();
    ada.reload().await;
    ada.see_with("proof", "data-state", "other-tree").await;
    assert_eq!(found(ada).await, ["holds", "holds", "fails", "holds", "open"]);
}

async fn what_is_not_sealed_yet_is_looked_for_again(server: &Sandbox) {
    let late = Browser::open(&server.base).await;
    late.goto("/changes").await;
    late.sign_in("ada@example.org", "correct horse battery").await;
    late.before_every_page(UNSEALED).await;
    late.goto("/audit/0").await;
    late.see_with("proof", "data-state", "unsealed").await;
    late.reads("proof-verdict", "looks again by itself").await;
    assert_eq!(found(&late).await, ["pending"; 5]);
    late.script_says("return typeof window.__seal;", "\"function\"").await;
    late.pictures("event-unsealed").await;
    let height = "return document.querySelector('[data-testid=\"proof-verdict\"]').offsetHeight;";
    let before = late.script(height).await;
    late.script("window.__seal();").await;
    late.see_with("proof", "data-state", "verified").await;
    assert_eq!(late.script(height).await, before, "nothing jumps");
    late.end().await;
}
