//! What a change waits for, and who lets it pass: a freeze is overridden by a responder, and of two changes
//! to one target everybody is told.

use crate::browser::Browser;
use crate::sandbox::Sandbox;

const PASSWORD: &str = "correct-horse-battery-staple-9";

#[tokio::test]
async fn browser_a_responder_lets_a_change_pass_a_freeze() {
    let server = Sandbox::demo().await;
    let (email, password) = server.person("ada");
    let ada = signed_in(&server, &email, &password).await;
    let person = format!(
        "{{email: 'rita@demo.example', name: 'Rita Responder', roles: ['responder'], password: '{PASSWORD}'}}"
    );
    post(&ada, "/users", &person).await;

    // Two changes to one role: each names the other.
    let (email, password) = server.person("olivia");
    let olivia = signed_in(&server, &email, &password).await;
    let first = submitted(&olivia, "lock a role").await;
    let second = submitted(&olivia, "rotate role").await;
    olivia.see("conflicts").await;
    olivia.pictures("change-conflicts").await;
    olivia.click("conflict").await;
    olivia.see_with("change", "data-id", first.trim_start_matches("/changes/")).await;
    assert_ne!(first, second);

    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5);
    let freeze = format!(
        "{{scope: {{kind: 'all'}}, start: '2026-01-01T00:00:00Z', end: '{end}', reason: 'Year-end close'}}"
    );
    post(&ada, "/freeze-windows", &freeze).await;
    ada.end().await;
    let rita = signed_in(&server, "rita@demo.example", PASSWORD).await;
    rita.goto(&first).await;
    rita.reads("change-waits", "Year-end close").await;
    rita.click("action-override_freeze").await;
    rita.see("confirm").await;
    rita.reads("confirm", "Year-end close").await;
    assert!(!rita.see("confirm-override_freeze").await.is_enabled().await.unwrap());
    rita.fill("confirm-justification", "The key has leaked.").await;
    rita.pictures("change-override").await;
    rita.click("confirm-override_freeze").await;
    rita.gone("confirm").await;
    rita.gone("action-override_freeze").await;
    rita.reads("change-waits", "approval").await;
    rita.see_css("[data-testid='event'][data-type='change.freeze_overridden']").await;
    rita.pictures("change-overridden").await;
    // Nobody who has no part in it is offered that.
    olivia.reload().await;
    olivia.see("change-waits").await;
    assert!(olivia.all("action-override_freeze").await.is_empty());

    // Once it has ended, somebody else looks back at it.
    olivia.click("action-cancel").await;
    olivia.fill("confirm-reason", "Found another way.").await;
    olivia.click("confirm-cancel").await;
    olivia.see_with("change-state", "data-state", "cancelled").await;
    let (email, password) = server.person("arun");
    let arun = signed_in(&server, &email, &password).await;
    arun.goto(&first).await;
    arun.click("action-review").await;
    arun.reads("confirm", "The key has leaked.").await;
    arun.fill("confirm-findings", "It was not needed in the end.").await;
    arun.pictures("change-review").await;
    arun.click("confirm-review").await;
    arun.see_css("[data-testid='event'][data-type='change.reviewed']").await;
    arun.gone("action-review").await;
    for browser in [olivia, rita, arun] {
        browser.end().await;
    }
}

#[tokio::test]
async fn browser_a_responder_breaks_glass() {
    let server = Sandbox::demo().await;
    let (email, password) = server.person("ada");
    let ada = signed_in(&server, &email, &password).await;
    let person = format!(
        "{{email: 'rita@demo.example', name: 'Rita Responder', roles: ['responder'], password: '{PASSWORD}'}}"
    );
    post(&ada, "/users", &person).await;
    ada.end().await;
    let (email, password) = server.person("olivia");
    let olivia = signed_in(&server, &email, &password).await;
    let change = submitted(&olivia, "lock a role").await;
    assert!(olivia.all("action-break_glass").await.is_empty());

    let rita = signed_in(&server, "rita@demo.example", PASSWORD).await;
    rita.goto(&change).await;
    rita.click("action-break_glass").await;
    rita.see("confirm").await;
    let digest = rita.attribute("plan-digest", "data-digest").await.unwrap();
    let shown = rita.text("confirm-digest").await;
    assert!(digest.starts_with(&shown) && shown.len() == 12, "{shown} of {digest}");
    assert!(!rita.see("confirm-break_glass").await.is_enabled().await.unwrap());
    rita.fill("confirm-justification", "The key has leaked, and nobody else is awake.").await;
    rita.pictures("change-break-glass").await;
    rita.click("confirm-break_glass").await;
    rita.gone("confirm").await;
    rita.see_with("change-state", "data-state", "approved").await;
    rita.reads("glass", "Emergency").await;
    rita.reads("glass", "nobody else is awake").await;
    assert!(rita.all("approval").await.is_empty(), "no approval is made of it");
    rita.see_css("[data-testid='event'][data-type='change.glass_broken']").await;
    rita.pictures("change-glass-broken").await;

    // Once it has ended, it waits in the inbox of somebody else.
    olivia.reload().await;
    olivia.click("action-cancel").await;
    olivia.fill("confirm-reason", "Found another way.").await;
    olivia.click("confirm-cancel").await;
    olivia.see_with("change-state", "data-state", "cancelled").await;
    olivia.see("review-due").await;
    let (email, password) = server.person("arun");
    let arun = signed_in(&server, &email, &password).await;
    arun.goto("/approvals").await;
    arun.reads("inbox-review", "glass was broken").await;
    arun.pictures("inbox-review").await;
    arun.goto(&change).await;
    arun.click("action-review").await;
    arun.reads("confirm", "nobody else is awake").await;
    arun.fill("confirm-findings", "It was not needed in the end.").await;
    arun.click("confirm-review").await;
    arun.see_css("[data-testid='event'][data-type='change.reviewed']").await;
    arun.gone("review-due").await;
    for browser in [olivia, rita, arun] {
        browser.end().await;
    }
}

async fn signed_in(server: &Sandbox, email: &str, password: &str) -> Browser {
    let browser = Browser::open(&server.base).await;
    browser.goto("/changes").await;
    browser.sign_in(email, password).await;
    browser
}

/// What an admin would ask for with the command line.
async fn post(browser: &Browser, path: &str, body: &str) {
    let script = format!(
        "window.__posted = undefined; fetch('/api/v1{path}', {{method: 'POST', \
         headers: {{'Content-Type': 'application/json'}}, body: JSON.stringify({body})}}) \
         .then(answer => {{ window.__posted = answer.status; }});"
    );
    browser.script(&script).await;
    browser.script_says("return window.__posted;", "201").await;
}

/// A submitted change of the role of a contractor; its address.
async fn submitted(browser: &Browser, action: &str) -> String {
    browser.goto("/changes").await;
    browser.click("new-change").await;
    browser.fill("action-search", action).await;
    browser.click("action-option").await;
    browser.fill("target-search", "contractor").await;
    browser.reads("target-option", "contractor").await;
    browser.click("target-option").await;
    browser.reads("target-chosen", "contractor").await;
    browser.fill("draft-reason", "The contract ended on Friday.").await;
    browser.click("draft-submit").await;
    browser.see("diff").await;
    browser.click("action-submit").await;
    browser.see_with("change-state", "data-state", "submitted").await;
    browser.path().await
}
