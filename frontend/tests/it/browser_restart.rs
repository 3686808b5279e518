//! The server is killed and started again while pages are open: they say so, find it again, and miss nothing.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::browser_host::api;
use crate::browser_page::signed_in;
use crate::demo;
use crate::sandbox::Sandbox;

const TYPED: &str = "Let Luis in from home, for the night of the move";

/// The first change in this state.
async fn in_state(browser: &Browser, state: &str) -> Value {
    let page = api(browser, "GET", &format!("/change-requests?state={state}"), &Value::Null).await;
    page["items"][0].clone()
}

/// Whether it is still the page that was opened first.
async fn is_the_same_page(browser: &Browser) {
    browser.script_says("return window.__opened === true;", "true").await;
    assert_eq!(browser.errors().await, "[]");
}

pub async fn a_server_that_is_killed_and_started_again_is_found_again(server: &mut Sandbox) {
    // A list, one change of it, a form that somebody types into, and somebody who acts.
    let list = signed_in(server, "olivia").await;
    list.see("change-list").await;
    let change = in_state(&list, "submitted").await;
    let id = change["id"].as_str().unwrap();
    let arun = signed_in(server, "arun").await;
    let one = signed_in(server, "beata").await;
    one.goto(&format!("/changes/{id}")).await;
    one.see_with("change-state", "data-state", "submitted").await;
    let form = signed_in(server, "ada").await;
    form.goto("/policies?draft=true").await;
    form.see("policy-text").await;
    form.script(&format!(
        "const area = document.querySelector('[data-testid=\"policy-text\"]');\
         area.value += {typed}; area.dispatchEvent(new InputEvent('input', {{ bubbles: true }}));",
        typed = json!(TYPED)
    ))
    .await;
    let pages = [&list, &one, &form, &arun];
    for page in pages {
        page.see_with("live-state", "data-state", "live").await;
        page.script("window.__opened = true;").await;
    }

    demo::is_killed(server).await;
    for page in pages {
        page.see("offline-banner").await;
    }
    list.pictures("offline").await;
    // Somebody goes on to another page meanwhile, which cannot be read.
    list.click("nav-assets").await;
    list.see("problem-detail").await;

    server.up_again().await;
    // What happens before the pages are there again, and what happens afterwards.
    let path = format!("/change-requests/{id}/reject");
    api(&arun, "POST", &path, &json!({ "reason": "While nobody looked." })).await;
    for page in pages {
        page.see_with("live-state", "data-state", "live").await;
        page.gone("offline-banner").await;
    }
    one.see_with("change-state", "data-state", "rejected").await;
    one.reads("closing-reason", "While nobody looked.").await;
    list.see("asset-list").await;
    list.gone("problem-detail").await;
    list.click("nav-changes").await;
    list.reads("change-list", "While nobody looked.").await;
    let draft = in_state(&arun, "draft").await;
    let path = format!("/change-requests/{}/cancel", draft["id"].as_str().unwrap());
    api(&list, "POST", &path, &json!({ "reason": "And afterwards." })).await;
    list.reads("change-list", "And afterwards.").await;
    let typed = "return document.querySelector('[data-testid=\"policy-text\"]').value;";
    assert!(form.script(typed).await.contains(TYPED), "what was typed is lost");
    // It is kept over a reload, too.
    is_the_same_page(&form).await;
    form.reload().await;
    form.see("policy-text").await;
    assert!(form.script(typed).await.contains(TYPED), "what was typed is lost with the page");
    for page in [&list, &one, &arun] {
        is_the_same_page(page).await;
    }
    for page in [list, one, form, arun] {
        page.end().await;
    }
}
