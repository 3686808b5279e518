//! Every page, for everybody: it opens, has no errors, fits small screens, and follows the server.

use crate::browser::Browser;
use crate::sandbox::Sandbox;
use crate::{browser_home, browser_operations, browser_restart, browser_session, demo};

/// Address of a page and what can be seen there once it has been read.
pub const PAGES: [(&str, &str); 14] = [
    ("/", "home-health"),
    ("/changes", "change-list"),
    ("/changes/new", "action-list"),
    ("/approvals", "inbox-mine"),
    ("/calendar", "schedules-none"),
    ("/assets", "asset-list"),
    ("/connections", "connection-list"),
    ("/hosts", "host-list"),
    ("/audit", "audit-list"),
    ("/audit/0", "proof-verdict"),
    ("/policies", "policy-source"),
    ("/risk", "risk-counts"),
    ("/people", "person-list"),
    ("/operations", "projection-list"),
];

#[tokio::test]
async fn the_pages() {
    // One sandbox for all of it: making one takes longer than what happens in it.
    let mut server = Sandbox::demo().await;
    demo::has_what_it_promises(&server).await;
    a_wrong_password_is_explained_and_a_right_one_forgiven(&server).await;
    every_page_opens_without_errors_on_any_screen(&server).await;
    an_asset_says_what_it_is_and_keeps_what_operators_say_of_it(&server).await;
    a_connection_says_what_it_may_and_how_often_it_is_discovered(&server).await;
    a_freeze_is_declared_and_ended(&server).await;
    browser_operations::answers_say_what_browsers_may_do_with_them(&server).await;
    browser_operations::the_calendar_answers_and_windows_are_kept_there(&server).await;
    browser_operations::the_operations_page_says_what_waits(&server).await;
    browser_operations::a_policy_is_read_tried_and_published(&server).await;
    an_auditor_finds_and_opens_events(&server).await;
    the_filters_of_the_audit_page_are_its_address(&server).await;
    keys_are_enough(&server).await;
    browser_home::each_has_a_day_of_their_own(&server).await;
    browser_home::filters_get_a_name(&server).await;
    browser_home::the_palette_finds_what_the_server_has(&server).await;
    browser_home::the_tour_points_at_what_is_there(&server).await;
    the_theme_is_remembered(&server).await;
    browser_session::pages_follow_notices_and_ask_nothing_by_themselves(&server).await;
    browser_session::an_expired_token_is_renewed_once_and_the_call_repeated(&server).await;
    browser_session::a_line_that_was_cut_comes_back_with_a_renewed_token(&server).await;
    browser_session::a_session_that_is_over_leads_to_the_sign_in_form_and_back(&server).await;
    lists_follow_what_others_do(&server).await;
    browser_restart::a_server_that_is_killed_and_started_again_is_found_again(&mut server).await;
}

pub async fn signed_in(server: &Sandbox, name: &str) -> Browser {
    let (email, password) = server.person(name);
    let browser = Browser::open(&server.base).await;
    browser.goto("/changes").await;
    browser.sign_in(&email, &password).await;
    browser
}

async fn every_page_opens_without_errors_on_any_screen(server: &Sandbox) {
    let nobody = Browser::open(&server.base).await;
    nobody.goto("/changes").await;
    nobody.see("login-email").await;
    nobody.pictures("sign-in").await;
    nobody.goto("/first-run#token=first_example").await;
    nobody.see("first-run-email").await;
    nobody.pictures("first-run").await;
    nobody.end().await;

    let ada = signed_in(server, "ada").await;
    for (path, testid) in PAGES {
        ada.goto(path).await;
        ada.see(testid).await;
        ada.see_with("live-state", "data-state", "live").await;
        ada.gone("skeleton").await;
        ada.gone("loading").await;
        let name = path.trim_start_matches('/').replace('/', "-");
        ada.pictures(if name.is_empty() { "home" } else { &name }).await;
        assert_eq!(ada.errors().await, "[]", "{path}");
    }
    ada.goto("/nowhere").await;
    ada.see("not-found").await;
    ada.pictures("nowhere").await;
    ada.end().await;
}

async fn an_asset_says_what_it_is_and_keeps_what_operators_say_of_it(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.goto("/assets?q=app_orders").await;
    olivia.click("asset-link").await;
    assert_eq!(olivia.text("asset-name").await, "app_orders");
    olivia.see("blast-radius").await;
    olivia.gone("skeleton").await;
    olivia.pictures("asset").await;
    olivia.fill("asset-owner", "Team Shop").await;
    olivia.fill("asset-tags", "pci, shop").await;
    olivia.click("asset-save").await;
    olivia.see("toast").await;
    an_asset_is_shown_as_it_was_known(&olivia).await;
    two_edits_of_an_asset_meet(server, &olivia).await;
    // From here, one click leads to a change of it.
    olivia.goto("/assets?q=app_orders&tag=pci").await;
    olivia.reads("asset-list", "Team Shop").await;
    olivia.click("asset-link").await;
    olivia.click("asset-action").await;
    olivia.reads("target-chosen", "app_orders").await;
    olivia.end().await;
}

async fn an_asset_is_shown_as_it_was_known(olivia: &Browser) {
    let address = olivia.path().await;
    olivia.see("drift-none").await;
    olivia.see_css("[data-testid='event'][data-type='asset.annotated']").await;
    // The moment is in the address; before it was annotated it had no owner.
    let then = "const id = location.pathname.split('/').pop();\
                return fetch(`/api/v1/assets/${id}/history`).then((answer) => answer.json())\
                .then((page) => page.items[page.items.length - 1].position);";
    let then = olivia.script(then).await;
    olivia.goto(&format!("{address}?at={then}")).await;
    olivia.see_with("asset-moment", "data-past", "true").await;
    olivia.see("asset-said").await;
    assert!(!olivia.text("asset-said").await.contains("Team Shop"));
    assert!(olivia.all("asset-save").await.is_empty(), "nothing can be done to the past");
    olivia.pictures("asset-past").await;
    olivia.click("asset-now").await;
    olivia.see("asset-save").await;
    assert_eq!(olivia.path().await, address);
}

/// The second one who saves sees both versions, and nothing that was typed is lost.
async fn two_edits_of_an_asset_meet(server: &Sandbox, olivia: &Browser) {
    let address = olivia.path().await;
    olivia.fill("asset-owner", "Team Mine").await;
    let other = signed_in(server, "olivia").await;
    other.goto(&address).await;
    other.fill("asset-owner", "Team Theirs").await;
    other.fill("asset-tags", "pci, shop, eu").await;
    other.click("asset-save").await;
    other.see("toast").await;
    other.end().await;

    // It follows by itself: what was not touched here, and a question about what was.
    olivia.see_with("conflict-field", "data-field", "owner").await;
    olivia.reads("edit-conflict", "Team Theirs").await;
    let value = |testid: &str| {
        format!("return document.querySelector('[data-testid=\"{testid}\"]').value;")
    };
    olivia.script_says(&value("asset-tags"), "\"eu, pci, shop\"").await;
    assert_eq!(olivia.script(&value("asset-owner")).await, "\"Team Mine\"");
    assert!(!olivia.see("asset-save").await.is_enabled().await.unwrap());
    olivia.pictures("asset-conflict").await;
    olivia.click("conflict-theirs").await;
    olivia.gone("edit-conflict").await;
    olivia.script_says(&value("asset-owner"), "\"Team Theirs\"").await;
    olivia.fill("asset-owner", "Team Shop").await;
    olivia.click("asset-save").await;
    olivia.see("toast").await;
}

async fn a_connection_says_what_it_may_and_how_often_it_is_discovered(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    ada.goto("/connections").await;
    ada.see("connection-list").await;
    ada.click_css(
        "[data-testid='connection'][data-name='shop-db'] [data-testid='connection-open']",
    )
    .await;
    assert_eq!(ada.text("connection-name").await, "shop-db");
    ada.see("connection-checks").await;
    ada.see("least-privilege").await;
    ada.reads("connection-every-shown", "Only when somebody asks").await;
    ada.click("connection-edit").await;
    ada.choose("connection-every", "Every hour").await;
    ada.click("connection-save").await;
    ada.reads("connection-every-shown", "Every hour").await;
    ada.reads("connection-history", "discovered every 3600 s").await;
    ada.pictures("connection").await;
    ada.end().await;
}

async fn a_freeze_is_declared_and_ended(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    ada.click("nav-calendar").await;
    ada.see("freezes-none").await;
    ada.click("freeze-declare").await;
    ada.choose("freeze-scope", "targets with a tag").await;
    ada.fill("freeze-tag", "nobody-has-this-tag").await;
    ada.fill("freeze-reason", "Books are closed.").await;
    assert!(!ada.see("freeze-save").await.is_enabled().await.unwrap(), "it has no end yet");
    // What is typed into such an input depends on the browser's language.
    ada.script(
        "const input = document.querySelector('[data-testid=\"freeze-until\"]');\
         const end = new Date(Date.now() + 26 * 3600e3 - new Date().getTimezoneOffset() * 60e3);\
         input.value = end.toISOString().slice(0, 16);\
         input.dispatchEvent(new InputEvent('input', { bubbles: true }));",
    )
    .await;
    ada.click("freeze-save").await;
    ada.see_with("freeze-row", "data-state", "in_force").await;
    ada.reads("freeze-list", "nobody-has-this-tag").await;
    ada.reads("freeze-list", "declared by Ada Admin").await;
    ada.pictures("calendar-frozen").await;

    // Whoever is no administrator sees it, and can do nothing about it.
    let olivia = signed_in(server, "olivia").await;
    olivia.goto("/calendar").await;
    olivia.reads("freeze-list", "Books are closed.").await;
    assert!(olivia.all("freeze-declare").await.is_empty());
    assert!(olivia.all("freeze-end").await.is_empty());
    olivia.end().await;

    ada.click("freeze-end").await;
    ada.fill("freeze-end-reason", "They were wrong about the date.").await;
    ada.click("freeze-end-save").await;
    ada.see_with("freeze-row", "data-state", "ended").await;
    ada.reads("freeze-list", "They were wrong about the date.").await;
    ada.end().await;
}

async fn an_auditor_finds_and_opens_events(server: &Sandbox) {
    let audrey = signed_in(server, "audrey").await;
    assert!(audrey.all("nav-people").await.is_empty(), "people are an administrator's");
    audrey.click("nav-audit").await;
    audrey.see("audit-list").await;
    audrey.choose("audit-type", "Change rejected").await;
    audrey.see_with("audit-row", "data-type", "change.rejected").await;
    let rows = "return document.querySelectorAll('[data-testid=\"audit-row\"]').length;";
    audrey.script_says(rows, "1").await;
    audrey.click("audit-open").await;
    audrey.reads("audit-payload", "Lock it first").await;
    audrey.see_with("proof", "data-state", "verified").await;
    audrey.pictures("audit-event").await;
    // From the event to its change, and from there to another event.
    audrey.click_css("[data-testid='event-about'] a").await;
    audrey.see_with("change-state", "data-state", "rejected").await;
    audrey.click("event-link").await;
    audrey.see_with("event-page", "data-type", "change.drafted").await;
    audrey.end().await;
}

async fn the_filters_of_the_audit_page_are_its_address(server: &Sandbox) {
    let audrey = signed_in(server, "audrey").await;
    let rows = "return document.querySelectorAll('[data-testid=\"audit-row\"]').length;";
    let value = |testid: &str| {
        format!("return document.querySelector('[data-testid=\"{testid}\"]').value;")
    };

    // An address that somebody sent.
    audrey.goto("/audit?type=change&actor=system&from=2020-01-01T00:00:00Z").await;
    audrey.see("audit-list").await;
    audrey.script_says(&value("audit-type"), "\"change\"").await;
    audrey.script_says(&value("audit-actor"), "\"system\"").await;
    assert!(audrey.script(&value("audit-from")).await.contains("T"), "the viewer's own hour");
    let others = "return [...document.querySelectorAll('[data-testid=\"audit-row\"]')]\
                  .filter((row) => !row.dataset.type.startsWith('change.')).length;";
    assert_eq!(audrey.script(others).await, "0");
    audrey.click("audit-reset").await;
    audrey.script_says(rows, "100").await;

    // Page by page, with rows for the keyboard.
    audrey.click("load-more").await;
    audrey.script_says(&format!("{} > 100;", rows.trim_end_matches(';')), "true").await;
    audrey.script("document.activeElement.blur();").await;
    audrey.press("jj").await;
    let row = "return document.activeElement.closest('tr').rowIndex;";
    assert_eq!(audrey.script(row).await, "2");

    // A change by the number that people say; the exports have the same filters.
    audrey.fill("audit-change", "1").await;
    audrey.press("\u{e007}").await; // Enter
    audrey.script_says("return location.search;", "\"?change_request_id=1\"").await;
    audrey.script_says(&format!("{} < 100;", rows.trim_end_matches(';')), "true").await;
    let exported = |testid: &str| {
        format!(
            "return fetch(document.querySelector('[data-testid=\"{testid}\"]').href)\
             .then((answer) => answer.text()).then((text) => text.trim().split('\\n').length);"
        )
    };
    let shown: usize = audrey.script(rows).await.parse().unwrap();
    assert_eq!(audrey.script(&exported("audit-export")).await, shown.to_string());
    assert_eq!(audrey.script(&exported("audit-export-csv")).await, (shown + 1).to_string());
    audrey.pictures("audit-filtered").await;

    // Nothing, and the way back to everything.
    audrey.goto("/audit?from=2100-01-01T00:00:00Z").await;
    audrey.see("audit-none").await;
    audrey.pictures("audit-none").await;
    audrey.end().await;
}

async fn lists_follow_what_others_do(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.see_with("live-state", "data-state", "live").await;
    olivia.see_with("change-row", "data-state", "submitted").await;
    // The page of the sign-in and this one have been left and come to: one line is open.
    let open = "return fetch('/api/v1/operations').then((answer) => answer.json())\
                .then((view) => view.live_connections);";
    olivia.script_says(open, "1").await;
    let arun = signed_in(server, "arun").await;
    rejects(&arun, "Not now.").await;
    olivia.reads("change-list", "Not now.").await;

    // A list that was left has no line. It is kept, and goes on where it was when somebody comes back.
    olivia.script("window.__kept = true;").await;
    olivia.goto("/assets").await;
    olivia.see_with("live-state", "data-state", "live").await;
    olivia.script_says(open, "2").await;
    rejects(&arun, "Nor this one.").await;
    olivia.script("history.back();").await;
    olivia.reads("change-list", "Nor this one.").await;
    olivia.script_says("return window.__kept;", "true").await;
    olivia.see_with("live-state", "data-state", "live").await;
    olivia.end().await;
    arun.end().await;
}

async fn rejects(arun: &Browser, reason: &str) {
    arun.goto("/changes?state=submitted").await;
    arun.click("change-link").await;
    arun.click("action-reject").await;
    arun.fill("confirm-reason", reason).await;
    arun.click("confirm-reject").await;
    arun.see_with("change-state", "data-state", "rejected").await;
}

async fn keys_are_enough(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    ada.see("change-list").await;
    ada.press("gh").await;
    ada.see("home-health").await;
    ada.press("gm").await;
    ada.see("host-list").await;
    ada.press("gs").await;
    ada.see("asset-list").await;
    ada.press("gc").await;
    ada.see("change-list").await;
    ada.press("jj").await;
    let row = ada.script("return document.activeElement.dataset.testid;").await;
    assert_eq!(row, "\"change-link\"");
    ada.press("/").await;
    let focus = ada.script("return document.activeElement.dataset.testid;").await;
    assert_eq!(focus, "\"changes-search\"");
    ada.press("\u{e00c}").await; // Escape
    ada.script("document.activeElement.blur();").await;
    ada.press("?").await;
    ada.see("help").await;
    ada.pictures("help").await;
    ada.press("\u{e00c}").await;
    ada.gone("help").await;
    ada.press("\u{e009}k").await; // Ctrl-K
    ada.see("palette-row").await;
    ada.pictures("palette").await;
    ada.fill("palette-input", "operations").await;
    ada.press("\u{e007}").await; // Enter
    ada.see("projection-list").await;
    ada.end().await;
}

async fn the_theme_is_remembered(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    let theme = "return document.documentElement.dataset.theme || 'system';";
    assert_eq!(ada.script(theme).await, "\"system\"");
    ada.click("theme").await;
    ada.click("theme").await;
    assert_eq!(ada.script(theme).await, "\"dark\"");
    ada.reload().await;
    ada.see("change-list").await;
    assert_eq!(ada.script(theme).await, "\"dark\"");
    ada.end().await;
}

async fn a_wrong_password_is_explained_and_a_right_one_forgiven(server: &Sandbox) {
    let (email, password) = server.person("olivia");
    let browser = Browser::open(&server.base).await;
    browser.goto("/risk").await;
    browser.fill("login-email", &email).await;
    browser.fill("login-password", "not it").await;
    browser.click("login-submit").await;
    browser.reads("problem-detail", "wrong").await;
    browser.fill("login-password", &password).await;
    browser.click("login-submit").await;
    browser.see("risk-counts").await;
    assert_eq!(browser.path().await, "/risk");
    browser.end().await;
}
