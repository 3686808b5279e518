//! A new installation: the one-time link makes the first administrator, once.

use crate::browser::Browser;
use crate::sandbox::Sandbox;

#[tokio::test]
async fn the_first_administrator_is_made_with_the_one_time_link() {
    let server = Sandbox::empty().await;
    let link = link(&server);
    let browser = Browser::open(&server.base).await;
    first_run(&browser, &link).await;

    assert_eq!(browser.text("account-name").await, "Ada Lovelace");
    assert_eq!(browser.path().await, "/");
    browser.see("home-steps").await;
    browser.click("nav-changes").await;
    browser.see("changes-empty").await;
    browser.click("nav-connections").await;
    browser.see("connections-empty").await;
    browser.click("nav-people").await;
    browser.see_with("person-row", "data-email", "ada@example.org").await;

    // The password works, and the page that was asked for comes back.
    browser.click("sign-out").await;
    browser.see("login-email").await;
    browser.goto("/hosts").await;
    browser.sign_in("ada@example.org", "correct horse battery").await;
    browser.see("hosts-empty").await;
    assert_eq!(browser.path().await, "/hosts");
    browser.end().await;

    let second = Browser::open(&server.base).await;
    second.goto(&link).await;
    // The token leaves the address as soon as the page has it.
    second.script_says("return location.hash;", "\"\"").await;
    second.fill("first-run-name", "Mallory").await;
    second.fill("first-run-email", "mallory@example.org").await;
    second.fill("first-run-password", "correct horse battery").await;
    second.click("first-run-submit").await;
    assert_eq!(second.text("problem-code").await, "auth.invalid");
    second.see("problem-trace").await;
    second.end().await;
}

pub fn link(server: &Sandbox) -> String {
    server.link.clone().expect("a new server prints a first-run link")
}

/// Makes the first administrator, who is signed in by that.
pub async fn first_run(browser: &Browser, link: &str) {
    browser.goto(link).await;
    browser.fill("first-run-name", "Ada Lovelace").await;
    browser.fill("first-run-email", "ada@example.org").await;
    browser.fill("first-run-password", "correct horse battery").await;
    browser.click("first-run-submit").await;
    browser.see("account-name").await;
}
