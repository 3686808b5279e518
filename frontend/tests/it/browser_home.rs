//! Home, named filters, the palette, and the tour of the sandbox.

use crate::browser::Browser;
use crate::browser_page::signed_in;
use crate::sandbox::Sandbox;

const ENTER: &str = "\u{e007}";

/// Somebody at their home page, once it is read.
async fn at_home(server: &Sandbox, name: &str) -> Browser {
    let browser = signed_in(server, name).await;
    browser.click("nav-home").await;
    browser.see("home-health").await;
    browser
}

pub async fn each_has_a_day_of_their_own(server: &Sandbox) {
    // An author goes on with what is theirs, and decides nothing.
    let olivia = at_home(server, "olivia").await;
    olivia.reads("home-next", "Have Maya Wright choose a new password").await;
    olivia.reads("home-ended", "Lock Jonas Berg").await;
    assert!(olivia.all("home-decide").await.is_empty());
    assert!(olivia.all("home-gaps").await.is_empty());
    assert!(olivia.all("home-steps").await.is_empty(), "all three steps are done");
    olivia.pictures("home-operator").await;
    // Each part leads to its list.
    olivia.click_css("[data-testid='home-next'] .panel-head a").await;
    olivia.script_says("return location.search;", "\"?waits=me\"").await;
    olivia.reads("change-list", "Have Maya Wright choose a new password").await;
    olivia.end().await;

    let arun = at_home(server, "arun").await;
    arun.reads("home-decide", "Let Luis Mendes reach the internal network from home").await;
    arun.pictures("home-approver").await;
    arun.click("home-link").await;
    arun.see("action-approve").await;
    arun.end().await;

    let audrey = at_home(server, "audrey").await;
    audrey.see("home-gaps").await;
    assert!(audrey.all("home-next").await.is_empty());
    audrey.end().await;
}

pub async fn filters_get_a_name(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.see("change-list").await;
    // Several states at once, and what is narrower.
    olivia.choose("changes-state", "Several").await;
    olivia.click_css("[data-testid='changes-several'][data-state='draft']").await;
    olivia.click_css("[data-testid='changes-several'][data-state='submitted']").await;
    olivia.script_says("return location.search;", "\"?state=draft%2Csubmitted\"").await;
    let others = "return [...document.querySelectorAll('[data-testid=\"change-row\"]')]\
                  .filter((row) => !['draft', 'submitted'].includes(row.dataset.state)).length;";
    olivia.script_says(others, "0").await;
    olivia.click("changes-more").await;
    olivia.choose("changes-environment", "Development").await;
    olivia.see("changes-none").await;
    olivia.click("changes-reset").await;
    olivia.see("change-list").await;
    olivia.pictures("changes-filtered").await;

    olivia.click("view-save").await;
    olivia.fill("view-name", "Before it runs").await;
    olivia.pictures("view-save").await;
    olivia.click("view-keep").await;
    olivia.gone("view-dialog").await;
    olivia.reads("changes-views", "Before it runs").await;
    // It is there in another browser of the same person.
    let elsewhere = signed_in(server, "olivia").await;
    elsewhere.click("changes-view").await;
    elsewhere.see_with("changes-view", "aria-current", "true").await;
    elsewhere.script_says("return location.search;", "\"?state=draft%2Csubmitted\"").await;
    elsewhere.click("view-edit").await;
    elsewhere.fill("view-rename", "Not run yet").await;
    elsewhere.click("views-keep").await;
    elsewhere.gone("views-dialog").await;
    elsewhere.reads("changes-views", "Not run yet").await;
    elsewhere.end().await;
    olivia.end().await;
}

pub async fn the_palette_finds_what_the_server_has(server: &Sandbox) {
    let ada = signed_in(server, "ada").await;
    ada.see("change-list").await;
    ada.press("\u{e009}k").await; // Ctrl-K
    ada.fill("palette-input", "lock").await;
    for kind in ["action", "change"] {
        ada.see_with("palette-row", "data-kind", kind).await;
    }
    ada.pictures("palette-found").await;
    ada.fill("palette-input", "olivia@").await;
    ada.see_with("palette-row", "data-kind", "person").await;
    // What was found before stays until the server has answered.
    ada.fill("palette-input", "jonas berg").await;
    let first = "return document.querySelector('[data-testid=\"palette-row\"][data-kind=\"change\"]')\
                 ?.textContent.includes('Jonas Berg') ?? false;";
    ada.script_says(first, "true").await;
    ada.click_css("[data-testid='palette-row'][data-kind='change']").await;
    ada.see("change-title").await;
    // What was chosen last is first.
    ada.press("\u{e009}k").await;
    ada.reads("palette", "Lock Jonas Berg").await;
    ada.see("palette-row").await;
    ada.press(ENTER).await;
    ada.gone("palette").await;
    ada.see("change-title").await;
    ada.end().await;
}

pub async fn the_tour_points_at_what_is_there(server: &Sandbox) {
    let arun = at_home(server, "arun").await;
    arun.click("tour-begin").await;
    for step in ["0", "1", "2", "3", "4"] {
        arun.see_with("tour", "data-step", step).await;
        arun.see_with("tour", "data-found", "true").await;
        if step == "1" || step == "4" {
            arun.pictures(&format!("tour-{step}")).await;
        }
        if step != "4" {
            arun.click("tour-next").await;
        }
    }
    // It led to a real change, and goes on where it was after the page is read again.
    arun.see("decide-approve").await;
    arun.reload().await;
    arun.see_with("tour", "data-step", "4").await;
    arun.click("tour-next").await;
    arun.gone("tour").await;
    arun.press("?").await;
    arun.click("tour-again").await;
    arun.see_with("tour", "data-step", "0").await;
    arun.click("tour-leave").await;
    arun.gone("tour").await;
    arun.click("nav-home").await;
    arun.see("home-health").await;
    assert!(arun.all("tour-invitation").await.is_empty(), "it was answered");
    arun.end().await;
}
