//! The page for approvers: from the sign-in form to an approved change without a mouse; and what becomes of a
//! decision whose plan moved.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::browser_change::draft;
use crate::browser_host::api;
use crate::browser_page::signed_in;
use crate::sandbox::Sandbox;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// Counts what only a mouse, or a finger, does.
const NO_MOUSE: &str = "window.__mouse = 0; \
    for (const kind of ['mousedown', 'pointerdown', 'touchstart']) \
    addEventListener(kind, () => { window.__mouse += 1; }, true);";

/// Where the focus is, and whether that can be seen: marked, on the screen, and in front of all else.
const FOCUS: &str = "const at = document.activeElement; const box = at.getBoundingClientRect(); \
    const x = box.left + Math.min(box.width, innerWidth) / 2, y = box.top + box.height / 2; \
    const front = document.elementFromPoint(x, y); \
    return [at.dataset.testid || at.id, at.matches(':focus-visible'), at.contains(front)];";

async fn focus_is_on(browser: &Browser, testid: &str) {
    browser.script_says(FOCUS, &json!([testid, true, true]).to_string()).await;
}

/// After the life of a change that was rolled back: a change like it, approved with the keyboard alone.
pub async fn an_approver_needs_no_mouse(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    let address = draft(&olivia, "lock a role", "legacy_batch").await;
    olivia.see("diff").await;
    olivia.click("action-submit").await;
    olivia.see_with("change-state", "data-state", "submitted").await;
    // Its author may read the page, and not decide.
    olivia.goto(&format!("{address}/approve")).await;
    olivia.reads("decision-why-not", "never approve").await;
    olivia.see_with("approve-way", "data-ok", "false").await;
    olivia.goto(&address).await;
    olivia.see("change-title").await;

    let (email, password) = server.person("arun");
    let arun = Browser::open(&server.base).await;
    arun.before_every_page(NO_MOUSE).await;
    arun.goto("/approvals").await;
    focus_is_on(&arun, "login-email").await;
    arun.press(&email).await;
    arun.press(TAB).await;
    focus_is_on(&arun, "login-password").await;
    arun.press(&password).await;
    arun.press(ENTER).await;
    arun.see("inbox-item").await;

    // From row to row to the change, and into it.
    let id = address.trim_start_matches("/changes/");
    let row = "return document.activeElement.closest('[data-testid=\"inbox-item\"]')?.dataset.id;";
    for _ in 0..50 {
        if arun.script(row).await == json!(id) {
            break;
        }
        arun.press("j").await;
    }
    assert_eq!(arun.script(row).await, json!(id).to_string());
    arun.script_says("return document.activeElement.matches(':focus-visible');", "true").await;
    arun.press(ENTER).await;
    arun.see("approve-headline").await;
    assert_eq!(arun.path().await, format!("{address}/approve"));
    arun.script_says("return document.activeElement.id;", "\"main\"").await;

    // What, where, why they, and what is known of the one before.
    arun.reads("approve-headline", "legacy_batch").await;
    arun.reads("approve-where", "shop-db").await;
    arun.see("diff-field").await;
    arun.see("risk-factor").await;
    arun.see_with("approve-way", "data-ok", "true").await;
    arun.reads("approve-others", "Beata").await;
    arun.reads("approve-four-eyes", "Olivia").await;
    arun.see_with("undo-proof", "data-here", "true").await;
    arun.see_with("similar-change", "data-state", "rolled_back").await;
    arun.gone("skeleton").await;
    arun.pictures("approve").await;

    // To the decision, which is on the screen wherever the page is scrolled to.
    arun.press("d").await;
    focus_is_on(&arun, "decide-comment").await;
    arun.press("Checked with the batch team.").await;
    arun.press(TAB).await;
    focus_is_on(&arun, "decide-approve").await;
    arun.press(ENTER).await;
    arun.reads("decision-done", "You approved").await;
    // What comes next has the focus.
    let next = "return document.activeElement.closest('.decision-next') !== null;";
    arun.script_says(next, "true").await;
    arun.script_says("return document.activeElement.matches(':focus-visible');", "true").await;
    arun.pictures("approve-done").await;
    arun.press(ENTER).await;
    arun.script_says(&format!("return location.pathname !== '{address}/approve';"), "true").await;
    assert_eq!(arun.script("return window.__mouse;").await, "0");
    arun.end().await;

    olivia.reads("approvals", "Checked with the batch team.").await;
    olivia.end().await;
}

/// Edited and submitted again while an approver looks at it.
pub async fn a_plan_that_moved_is_looked_at_again(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    let found = api(&olivia, "GET", "/assets?q=app_orders&type=postgres_role", &Value::Null).await;
    let asset = &found["items"][0];
    let request = json!({
        "title": "Fewer sessions for the orders", "reason": "The pool is too large.",
        "change_type": "postgres.set_connection_limit", "connection_id": asset["connection_id"],
        "targets": [asset["key"]], "parameters": { "limit": 20 },
    });
    let change = api(&olivia, "POST", "/change-requests", &request).await;
    let path = format!("/change-requests/{}", change["id"].as_str().unwrap());
    let submit = async || {
        api(&olivia, "POST", &format!("{path}/plan"), &json!({})).await;
        api(&olivia, "POST", &format!("{path}/submit"), &json!({})).await
    };
    let first = submit().await;

    let arun = signed_in(server, "arun").await;
    arun.goto(&format!("/changes/{}/approve", change["id"].as_str().unwrap())).await;
    arun.see_with("approve", "data-digest", first["plan"]["digest"].as_str().unwrap()).await;
    assert!(arun.see("decide-approve").await.is_enabled().await.unwrap());
    api(&olivia, "PATCH", &path, &json!({ "parameters": { "limit": 30 } })).await;
    let second = submit().await;
    assert_ne!(first["plan"]["digest"], second["plan"]["digest"]);

    // Both are shown, and nothing can be approved before the new one was looked at.
    arun.see_with("plan-moved", "data-new", second["plan"]["digest"].as_str().unwrap()).await;
    arun.reads("moved-field", "20").await;
    arun.reads("moved-field", "30").await;
    arun.see("decide-comment").await;
    assert!(!arun.see("decide-approve").await.is_enabled().await.unwrap());
    arun.gone("skeleton").await;
    arun.pictures("approve-moved").await;
    arun.click("moved-seen").await;
    arun.gone("plan-moved").await;
    // A rejection has a reason.
    arun.click("decide-reject").await;
    arun.see_css("#decide-comment[aria-invalid='true']").await;
    arun.fill("decide-comment", "Thirty is fine.").await;
    arun.click("decide-approve").await;
    arun.reads("decision-done", "You approved").await;
    let now = api(&olivia, "GET", &path, &Value::Null).await;
    assert_eq!(now["approvals"][0]["digest"], second["plan"]["digest"], "{now:#}");
    assert_eq!(now["approvals"][0]["comment"], "Thirty is fine.");
    olivia.end().await;
    arun.end().await;
}
