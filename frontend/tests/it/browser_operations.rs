//! Policies, operations, and the questions that the calendar answers.

use serde_json::json;

use crate::browser::Browser;
use crate::browser_page::signed_in;
use crate::sandbox::Sandbox;

/// Puts a text into an area as if it was typed; typing a whole policy takes longer than the test.
async fn write(browser: &Browser, testid: &str, text: &str) {
    browser
        .script(&format!(
            "const area = document.querySelector('[data-testid=\"{testid}\"]'); area.value = {};\
             area.dispatchEvent(new InputEvent('input', {{ bubbles: true }}));",
            json!(text)
        ))
        .await;
}

/// The text in force, as it stands in the draft.
async fn written(browser: &Browser) -> String {
    browser.see("policy-text").await;
    let text = browser
        .script("return document.querySelector('[data-testid=\"policy-text\"]').value;")
        .await;
    serde_json::from_str(&text).unwrap()
}

pub async fn a_policy_is_read_tried_and_published(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    ada.click("nav-policies").await;
    ada.see("policy-current").await;
    ada.reads("policy-source", "Rule 1").await;
    ada.reads("policy-version", "Nexplane, built in").await;

    // A text that is none, and one that asks for what cannot be asked for, say the line.
    ada.click("policy-edit").await;
    ada.see("policy-text").await;
    let text = written(&ada).await;
    write(&ada, "policy-text", &text.replacen("\"approvals\"", "\"aprovals\"", 1)).await;
    ada.click("policy-simulate").await;
    ada.reads("policy-wrong", "aprovals").await;
    let wrong = text.replacen("\"approvals\": 1", "\"approvals\": 9", 1);
    let line = 1 + wrong.lines().position(|line| line.contains("\"approvals\": 9")).unwrap();
    write(&ada, "policy-text", &wrong).await;
    ada.click("policy-simulate").await;
    ada.see_with("policy-fault", "data-line", &line.to_string()).await;
    ada.pictures("policy-wrong").await;

    // One that asks for less: what it would have done, and what has to be typed to publish it.
    let less = text.replacen("\"approvals\": 2", "\"approvals\": 1", 1);
    assert_ne!(less, text);
    write(&ada, "policy-text", &less).await;
    ada.click("policy-simulate").await;
    ada.see_with("policy-outcome", "data-old", "false").await;
    ada.reads("policy-sentence", "of ").await;
    ada.reads("policy-findings", "Asks for less").await;
    ada.pictures("policy-draft").await;
    ada.click("policy-publish").await;
    ada.fill("policy-note", "One is enough for these.").await;
    assert!(!ada.see("policy-publish-save").await.is_enabled().await.unwrap(), "not typed yet");
    ada.pictures("policy-publish").await;
    ada.click("dialog-close").await;

    // Somebody else is faster: what was typed stays, beside theirs.
    let other = signed_in(server, "ada").await;
    other.goto("/policies?draft=true").await;
    let theirs = written(&other).await;
    assert_eq!(theirs, text, "a draft belongs to one browser");
    write(&other, "policy-text", &text.replacen("\"delay_s\": 900", "\"delay_s\": 1800", 1)).await;
    other.click("policy-publish").await;
    other.fill("policy-note", "Time for a second look.").await;
    other.click("policy-publish-save").await;
    other.see_with("policy", "data-version", "2").await;
    other.reads("policy-versions", "Time for a second look.").await;
    other.goto("/policies?version=2&with=1").await;
    other.reads("policy-diff", "1800").await;
    other.pictures("policy-diff").await;
    other.end().await;

    ada.click("policy-publish").await;
    ada.fill("policy-note", "One is enough for these.").await;
    ada.fill("policy-typed", "asks for less").await;
    ada.click("policy-publish-save").await;
    ada.reads("problem-code", "policy.moved").await;
    ada.click("dialog-close").await;
    ada.reads("policy-moved", "Time for a second look.").await;
    ada.reads("policy-moved", "1800").await;
    assert_eq!(written(&ada).await, less);
    ada.pictures("policy-moved").await;
    ada.click("policy-rebase").await;
    ada.gone("policy-moved").await;
    ada.click("policy-publish").await;
    ada.see("policy-weaker").await;
    let note = "return document.querySelector('[data-testid=\"policy-note\"]').value;";
    ada.script_says(note, "\"One is enough for these.\"").await;
    ada.fill("policy-typed", "asks for less").await;
    ada.click("policy-publish-save").await;
    ada.see_with("policy", "data-version", "3").await;
    assert_eq!(ada.path().await, "/policies");
    ada.pictures("policies-versions").await;
    assert_eq!(ada.errors().await, "[]");
    ada.end().await;

    // Whoever is no administrator may try one out.
    let olivia = signed_in(server, "olivia").await;
    olivia.goto("/policies?draft=true").await;
    olivia.click("policy-simulate").await;
    olivia.see("policy-outcome").await;
    assert!(olivia.all("policy-publish").await.is_empty());
    olivia.end().await;
}

pub async fn answers_say_what_browsers_may_do_with_them(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.see("change-list").await;
    for path in ["/changes", "/api/v1/auth/me", "/api/v1/nowhere"] {
        for (name, wanted) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            let asked =
                format!("return fetch('{path}').then((answer) => answer.headers.get('{name}'));");
            assert_eq!(olivia.script(&asked).await, json!(wanted).to_string(), "{path} {name}");
        }
    }
    // What a proxy that speaks HTTPS says to the server.
    for (proto, wanted) in [("https", "\"max-age=31536000\""), ("http", "null")] {
        let asked = format!(
            "return fetch('/', {{ headers: {{ 'X-Forwarded-Proto': '{proto}' }} }})\
             .then((answer) => answer.headers.get('strict-transport-security'));"
        );
        assert_eq!(olivia.script(&asked).await, wanted);
    }
    // No text becomes markup, and nothing can be made that lets it.
    for forbidden in [
        "document.createElement('div').innerHTML = '<b>x</b>'",
        "document.createElement('script').src = '/assets/x.js'",
        "trustedTypes.createPolicy('mine', { createHTML: (text) => text })",
    ] {
        let tried =
            format!("try {{ {forbidden}; return 'done'; }} catch (error) {{ return error.name; }}");
        assert_eq!(olivia.script(&tried).await, "\"TypeError\"", "{forbidden}");
    }
    assert_eq!(olivia.errors().await.matches("content security policy").count(), 3, "each is told");
    olivia.reload().await;
    olivia.see("change-list").await;
    olivia.end().await;
}

pub async fn the_operations_page_says_what_waits(server: &Sandbox) {
    let audrey = signed_in(server, "audrey").await;
    audrey.goto("/operations").await;
    audrey.see("queue-list").await;
    audrey.see("stalled-none").await;
    audrey.see("seal-position").await;
    audrey.see("agent-version").await;
    audrey.reads("live-connections", "1").await;
    // The number leads to what waits.
    audrey
        .click_css("[data-testid='queue-row'][data-kind='approval'] [data-testid='queue-all']")
        .await;
    audrey.see_with("change-row", "data-state", "submitted").await;
    assert_eq!(audrey.path().await, "/changes?state=submitted");
    assert_eq!(audrey.errors().await, "[]");
    audrey.end().await;
}

pub async fn the_calendar_answers_and_windows_are_kept_there(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    ada.goto("/calendar").await;
    ada.see_with("ask-sentence", "data-open", "true").await;
    ada.see("week-day").await;
    // Opens for a minute a year: whatever day it is, it is closed.
    ada.click("window-define").await;
    ada.fill("window-name", "Leap day").await;
    ada.choose("window-scope", "Changes in staging").await;
    ada.fill("window-cron", "0 0 30 2 *").await;
    ada.fill("window-minutes", "60").await;
    ada.click("window-save").await;
    ada.reads("problem-detail", "cron").await;
    ada.pictures("window-form").await;
    ada.fill("window-cron", "0 0 29 2 *").await;
    ada.click("window-save").await;
    ada.reads("window-list", "Leap day").await;
    ada.choose("ask-environment", "staging").await;
    ada.see_with("ask-sentence", "data-open", "false").await;
    ada.reads("ask-sentence", "Leap day").await;
    assert_eq!(ada.path().await, "/calendar?environment=staging");
    ada.choose("ask-environment", "prod").await;
    ada.see_with("ask-sentence", "data-open", "true").await;
    ada.fill("ask-asset", "app_orders").await;
    ada.click("ask-asset-option").await;
    ada.reads("ask-sentence", "app_orders").await;

    // The week in which it opens has an address.
    ada.goto("/calendar?week=2028-02-29&environment=staging").await;
    ada.see_with("week", "data-week", "2028-02-28").await;
    ada.reads("week", "Window open: Leap day").await;
    ada.pictures("calendar-week").await;
    ada.click("week-later").await;
    ada.see_with("week", "data-week", "2028-03-06").await;
    ada.click("week-now").await;
    ada.see_css("[data-testid='week-day'][aria-current='date']").await;
    ada.click("window-remove").await;
    ada.fill("window-remove-reason", "It never comes.").await;
    ada.click("window-remove-save").await;
    ada.see("windows-none").await;
    ada.see_with("ask-sentence", "data-open", "true").await;
    assert_eq!(ada.errors().await, "[]");
    ada.end().await;
}
