//! Every page, for everybody: it opens, has no errors, fits small screens, and follows the server.

use crate::browser::Browser;
use crate::sandbox::Sandbox;

/// Address of a page and what can be seen there once it has been read.
const PAGES: [(&str, &str); 10] = [
    ("/", "change-list"),
    ("/changes/new", "action-list"),
    ("/approvals", "inbox-mine"),
    ("/assets", "asset-list"),
    ("/connections", "connection-list"),
    ("/hosts", "host-list"),
    ("/audit", "audit-list"),
    ("/risk", "risk-counts"),
    ("/people", "person-list"),
    ("/operations", "projection-list"),
];

#[tokio::test]
async fn the_pages() {
    // One sandbox for all of it: making one takes longer than what happens in it.
    let server = Sandbox::demo().await;
    a_wrong_password_is_explained_and_a_right_one_forgiven(&server).await;
    every_page_opens_without_errors_on_any_screen(&server).await;
    an_asset_says_what_it_is_and_keeps_what_operators_say_of_it(&server).await;
    an_auditor_finds_and_opens_events(&server).await;
    keys_are_enough(&server).await;
    the_theme_is_remembered(&server).await;
    lists_follow_what_others_do(&server).await;
}

async fn signed_in(server: &Sandbox, name: &str) -> Browser {
    let (email, password) = server.person(name);
    let browser = Browser::open(&server.base).await;
    browser.goto("/").await;
    browser.sign_in(&email, &password).await;
    browser
}

async fn every_page_opens_without_errors_on_any_screen(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    for (width, height) in [(1440, 900), (360, 760)] {
        ada.resize(width, height).await;
        for (path, testid) in PAGES {
            ada.goto(path).await;
            ada.see(testid).await;
            assert_eq!(ada.errors().await, "[]", "{path} at {width}");
            // Headless Chromium has a least width of its own, so the page is measured against that.
            let overflow = "return document.documentElement.scrollWidth - window.innerWidth;";
            let overflow: i64 = ada.script(overflow).await.parse().unwrap();
            assert!(overflow <= 0, "{path} is {overflow} pixels too wide at {width}");
        }
    }
    ada.goto("/nowhere").await;
    ada.see("not-found").await;
    ada.end().await;
}

async fn an_asset_says_what_it_is_and_keeps_what_operators_say_of_it(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.goto("/assets?q=app_orders").await;
    olivia.click("asset-link").await;
    assert_eq!(olivia.text("asset-name").await, "app_orders");
    olivia.see("blast-radius").await;
    olivia.fill("asset-owner", "Team Shop").await;
    olivia.fill("asset-tags", "pci, shop").await;
    olivia.click("asset-save").await;
    olivia.see("toast").await;
    // From here, one click leads to a change of it.
    olivia.goto("/assets?q=app_orders&tag=pci").await;
    olivia.reads("asset-list", "Team Shop").await;
    olivia.click("asset-link").await;
    olivia.click("asset-action").await;
    olivia.reads("target-chosen", "app_orders").await;
    olivia.end().await;
}

async fn an_auditor_finds_and_opens_events(server: &Sandbox) {
    let audrey = signed_in(server, "audrey").await;
    assert!(audrey.all("nav-people").await.is_empty(), "people are an administrator's");
    audrey.click("nav-audit").await;
    audrey.see("audit-list").await;
    audrey.choose("audit-type", "Change rejected").await;
    audrey.see_with("audit-row", "data-type", "change.rejected").await;
    assert_eq!(audrey.all("audit-row").await.len(), 1);
    audrey.click("audit-open").await;
    audrey.reads("audit-payload", "Lock it first").await;
    audrey.end().await;
}

async fn lists_follow_what_others_do(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.see_with("live-state", "data-state", "live").await;
    olivia.see_with("change-row", "data-state", "submitted").await;
    let arun = signed_in(server, "arun").await;
    arun.goto("/?state=submitted").await;
    arun.click("change-link").await;
    arun.click("action-reject").await;
    arun.fill("confirm-reason", "Not now.").await;
    arun.click("confirm-reject").await;
    arun.see_with("change-state", "data-state", "rejected").await;
    olivia.reads("change-list", "Not now.").await;
    olivia.end().await;
    arun.end().await;
}

async fn keys_are_enough(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    ada.see("change-list").await;
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
    ada.press("\u{e00c}").await;
    ada.gone("help").await;
    ada.press("\u{e009}k").await; // Ctrl-K
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
