//! A change on many targets: planned, approved, a canary that somebody looks at, and the rest.

use crate::browser::Browser;
use crate::demo;
use crate::sandbox::Sandbox;

const ROLES: [&str; 5] = ["app_orders", "reporting", "contractor", "intern", "legacy_batch"];

#[tokio::test]
async fn browser_an_operator_looks_at_the_canary_and_lets_the_rest_go_on() {
    // It is about a database: what else the demo has may be missing.
    let server = Sandbox::small_demo().await;
    let olivia = signed_in(&server, "olivia").await;
    let change = drafted(&olivia).await;
    olivia.goto(&change).await;
    olivia.click("action-plan").await;
    olivia.see("diff").await;
    olivia.reads("rollout", "a canary of 1, then waits for a person").await;
    olivia.click("all-targets").await;
    for role in ROLES {
        olivia.reads("target-rows", role).await;
    }
    olivia.reads("target-rows", "In the canary; begins when the change is executed.").await;
    olivia.pictures("rollout-planned").await;
    olivia.click("targets-change").await;
    olivia.click("action-submit").await;
    olivia.see_with("change-state", "data-state", "submitted").await;

    for name in ["arun", "ada"] {
        let approver = signed_in(&server, name).await;
        approver.goto(&change).await;
        approver.see("rollout").await;
        let may = "return [...document.querySelectorAll('[data-testid=action-approve]')].some(b => !b.disabled);";
        if approver.script(may).await == "true" {
            approver.click("action-approve").await;
            approver.click("confirm-approve").await;
            approver.gone("confirm").await;
        }
        approver.end().await;
    }
    olivia.see_with("change-state", "data-state", "approved").await;
    olivia.click("action-execute").await;
    olivia.click("confirm-execute").await;
    olivia.gone("confirm").await;
    olivia.see_with("rollout", "data-state", "paused").await;
    olivia.reads("rollout-reason", "let the rest go on").await;
    olivia.reads("count-complete", "1").await;
    olivia.reads("count-waiting", "4").await;
    olivia.reads("change-waits", "1 of 5 targets are over. Waits for an operator").await;
    olivia.pictures("rollout-paused").await;

    // Whoever looks at the targets sees them move in their places, and brings them into order when they want to.
    olivia.click("all-targets").await;
    olivia.reads("target-rows", "Waits for an operator").await;
    let places = "return [...document.querySelectorAll('[data-testid=\"target-row\"]')].map(r => r.dataset.no).join();";
    let before = olivia.script(places).await;
    olivia.click("action-resume").await;
    olivia.click("confirm-resume").await;
    olivia.gone("confirm").await;
    olivia.see_with("change-state", "data-state", "complete").await;
    olivia.reads("targets-show", "4 changed").await;
    assert_eq!(olivia.script(places).await, before);
    olivia.click("targets-show").await;
    olivia.gone("targets-show").await;
    olivia.script_says(places, "\"0,1,2,3,4\"").await;
    olivia.click("targets-change").await;
    olivia.see_with("change-state", "data-state", "complete").await;
    olivia.reads("count-complete", "5").await;
    olivia.pictures("rollout-complete").await;
    olivia.click_css("[data-testid='count-complete'] a").await;
    olivia.reads("target-rows", "legacy_batch").await;
    olivia.reads("targets-count", "5 shown").await;
    assert!(olivia.all("action-pause").await.is_empty());
    demo::says_what_is_not_installed(&server, &olivia).await;
    olivia.end().await;
}

async fn signed_in(server: &Sandbox, name: &str) -> Browser {
    let (email, password) = server.person(name);
    let browser = Browser::open(&server.base).await;
    browser.goto("/changes").await;
    browser.sign_in(&email, &password).await;
    browser
}

/// What is asked for with the command line; its address.
async fn drafted(browser: &Browser) -> String {
    let roles = ROLES.map(|role| format!("'{role}'")).join(",");
    let script = format!(
        "window.__drafted = undefined; (async () => {{ \
         const found = await (await fetch('/api/v1/assets?type=postgres_role&limit=200')).json(); \
         const mine = found.items.filter(asset => [{roles}].includes(asset.name)); \
         const answer = await fetch('/api/v1/change-requests', {{method: 'POST', \
         headers: {{'Content-Type': 'application/json'}}, body: JSON.stringify({{ \
         title: 'No more than seven connections for each', reason: 'The pool is small.', \
         change_type: 'postgres.set_connection_limit', parameters: {{limit: 7}}, \
         connection_id: mine[0].connection_id, targets: mine.map(asset => asset.id), \
         rollout: {{canary: 1, batch: 2, parallel: 2, hold_after_canary: true}} }})}}); \
         const change = await answer.json(); \
         window.__drafted = change.id ? '/changes/' + change.id : JSON.stringify(change); }})();"
    );
    browser.script(&script).await;
    browser.script_says("return (window.__drafted || '').startsWith('/changes/');", "true").await;
    browser.script("return window.__drafted;").await.trim_matches('"').to_owned()
}
