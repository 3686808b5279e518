//! The whole life of a change, by the people who play a part in it, each in a browser of their own.

use std::os::unix::fs::PermissionsExt as _;

use crate::browser::Browser;
use crate::sandbox::Sandbox;
use crate::{browser_approve, demo};

#[tokio::test]
async fn the_life_of_changes() {
    // One sandbox for all of it: making one takes longer than what happens in it.
    let mut server = Sandbox::demo().await;
    a_change_is_planned_approved_executed_and_undone(&server).await;
    browser_approve::an_approver_needs_no_mouse(&server).await;
    browser_approve::a_plan_that_moved_is_looked_at_again(&server).await;
    a_rejection_reaches_the_requester_with_its_reason(&server).await;
    a_change_is_shown_as_it_was(&server).await;
    two_edits_of_a_draft_meet(&server).await;
    a_produced_password_is_shown_once_to_its_requester(&server).await;
    an_approved_change_on_a_host_is_executed_by_its_agent(&server).await;
    what_is_missing_in_the_form_is_said_where_it_is_missing(&server).await;
    demo::ends_with_everything_it_started(&mut server).await;
}

async fn signed_in(server: &Sandbox, name: &str) -> Browser {
    let (email, password) = server.person(name);
    let browser = Browser::open(&server.base).await;
    browser.goto("/changes").await;
    browser.sign_in(&email, &password).await;
    browser.see_with("live-state", "data-state", "live").await;
    browser
}

/// Fills in the form of a change on a database role and gives its address.
pub async fn draft(browser: &Browser, action: &str, target: &str) -> String {
    browser.goto("/changes").await;
    browser.click("new-change").await;
    browser.fill("action-search", action).await;
    browser.click("action-option").await;
    browser.fill("target-search", target).await;
    browser.reads("target-option", target).await;
    browser.click("target-option").await;
    browser.reads("target-chosen", target).await;
    browser.fill("draft-reason", "The contract ended on Friday.").await;
    browser.pictures("changes-new-filled").await;
    browser.click("draft-submit").await;
    browser.see("change").await;
    browser.path().await
}

async fn a_change_is_planned_approved_executed_and_undone(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;

    // Drafted and planned: the diff says what exactly will happen.
    let address = draft(&olivia, "lock a role", "legacy_batch").await;
    olivia.see("diff-field").await;
    assert_eq!(olivia.attribute("change-state", "data-state").await.unwrap(), "draft");
    let digest = olivia.attribute("plan-digest", "data-digest").await.unwrap();
    assert_eq!(digest.len(), 64);
    let diff = olivia.text("diff").await;
    assert!(diff.contains("legacy_batch"));
    let (before, after) = diff.split_once("NOLOGIN").expect("what it becomes");
    assert!(before.contains("LOGIN") && after.trim().is_empty(), "{diff}");
    olivia.pictures("change-draft").await;

    // Submitted: its author cannot approve it, and is told why.
    olivia.click("action-submit").await;
    olivia.see_with("change-state", "data-state", "submitted").await;
    olivia.see("risk-panel").await;
    assert!(!olivia.see("action-approve").await.is_enabled().await.unwrap());
    let why_not = olivia.see_css("[data-testid='why-not'][data-actions~='approve']").await;
    assert!(why_not.text().await.unwrap().contains("Somebody else with the approver role"));
    assert!(olivia.text("change-waits").await.contains("approv"));
    olivia.pictures("change-submitted-own").await;

    // It appears in the approver's inbox, with the number of those that wait.
    let arun = signed_in(server, "arun").await;
    arun.see("nav-approvals-count").await;
    arun.click("nav-approvals").await;
    let id = address.trim_start_matches("/changes/").to_owned();
    arun.see_css(&format!("[data-testid='inbox-item'][data-id='{id}'][data-may-approve='true']"))
        .await;
    arun.pictures("approvals-inbox").await;
    arun.goto(&address).await;
    arun.see("diff").await;
    arun.pictures("change-submitted").await;
    let needed: u32 =
        arun.attribute("quorum", "data-needed").await.unwrap().parse().expect("a number");
    approve(&arun, "Checked with the batch team.").await;
    if needed > 1 {
        let beata = signed_in(server, "beata").await;
        beata.goto(&address).await;
        approve(&beata, "").await;
        beata.end().await;
    }

    // The requester's page follows by itself.
    olivia.see_with("change-state", "data-state", "approved").await;
    olivia.reads("approvals", "Checked with the batch team.").await;
    olivia.pictures("change-approved").await;
    olivia.click("action-execute").await;
    olivia.see("confirm").await;
    olivia.pictures("change-execute").await;
    olivia.click("confirm-execute").await;
    olivia.see_with("change-state", "data-state", "complete").await;
    olivia.see_with("step", "data-state", "verified").await;
    // So does the approver's.
    arun.see_with("change-state", "data-state", "complete").await;
    arun.see_css("[data-testid='event'][data-type='change.completed']").await;
    // What undoing would do is said as far as anybody has looked, and what depends on it.
    olivia.see_with("undo-says", "data-read", "false").await;
    olivia.reads("undo-preview", "Not read since").await;
    olivia.see("change-radius").await;
    olivia.pictures("change-complete").await;
    the_report_has_all_of_it(&olivia, &address, &digest).await;

    // Undone: a change of its own, with its own approval.
    olivia.goto(&address).await;
    olivia.click("undo-ask").await;
    olivia.click("confirm-rollback").await;
    olivia.see("rollback-of").await;
    let rollback = olivia.path().await;
    assert_ne!(rollback, address);
    olivia.see_with("change-state", "data-state", "submitted").await;
    assert!(olivia.all("action-submit").await.is_empty(), "it is submitted already");
    olivia.pictures("change-rollback").await;
    // Planning it has read the target.
    olivia.goto(&address).await;
    olivia.see_with("undo-says", "data-read", "true").await;
    olivia.see_with("undo-field", "data-moved", "false").await;
    olivia.pictures("change-undo-read").await;
    olivia.goto(&rollback).await;
    arun.goto(&rollback).await;
    approve(&arun, "").await;
    olivia.see_with("change-state", "data-state", "approved").await;
    olivia.click("action-execute").await;
    olivia.click("confirm-execute").await;
    olivia.see_with("change-state", "data-state", "complete").await;
    olivia.goto(&address).await;
    olivia.see_with("change-state", "data-state", "rolled_back").await;
    olivia.see("rolled-back-by").await;
    olivia.pictures("change-rolled-back").await;
    olivia.end().await;
    arun.end().await;
}

async fn the_report_has_all_of_it(olivia: &Browser, address: &str, digest: &str) {
    olivia.click("change-report").await;
    olivia.see("report").await;
    assert_eq!(olivia.path().await, format!("{address}/report"));
    assert!(olivia.all("nav-changes").await.is_empty(), "nothing is around it");
    assert_eq!(olivia.text("report-digest").await, digest);
    olivia.reads("report-approvals", "Checked with the batch team.").await;
    olivia.reads("report-approvals", " UTC").await;
    olivia.reads("report-run", "NOLOGIN").await;
    olivia.reads("report-verify", "nexplane audit verify").await;
    olivia.see("report-checkpoint").await;
    assert!(olivia.all("report-event").await.len() > 5);
    olivia.script("window.print = () => { window.__printed = true; };").await;
    olivia.click("report-print").await;
    assert_eq!(olivia.script("return window.__printed;").await, "true");
    olivia.pictures("change-report").await;
    olivia.click("report-back").await;
    olivia.see_with("change-state", "data-state", "complete").await;
}

/// Two people edit the same draft: the second one sees both versions, and nothing that was typed is lost.
async fn two_edits_of_a_draft_meet(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    let address = draft(&olivia, "unlock a role", "intern").await;
    olivia.see("diff").await;
    olivia.goto(&format!("{address}/edit")).await;
    olivia.see("draft-form").await;
    olivia.fill("draft-reason", "My reason.").await;
    let other = signed_in(server, "olivia").await;
    other.goto(&format!("{address}/edit")).await;
    other.fill("draft-reason", "Another reason.").await;
    other.fill("draft-ticket", "OPS-7").await;
    other.click("draft-submit").await;
    other.reads("change-reason", "Another reason.").await;
    other.end().await;

    olivia.see("edit-moved").await;
    olivia.click("draft-submit").await;
    olivia.see_with("conflict-field", "data-field", "reason").await;
    olivia.reads("edit-conflict", "My reason.").await;
    olivia.reads("edit-conflict", "Another reason.").await;
    assert_eq!(olivia.all("conflict-field").await.len(), 1, "only what both changed");
    assert!(!olivia.see("conflict-save").await.is_enabled().await.unwrap());
    olivia.pictures("change-edit-conflict").await;
    olivia.click("conflict-mine").await;
    olivia.click("conflict-save").await;
    olivia.reads("change-reason", "My reason.").await;
    let page = olivia.script("return document.body.innerText;").await;
    assert!(page.contains("OPS-7"), "what only the other one changed stays");
    olivia.end().await;
}

async fn approve(browser: &Browser, comment: &str) {
    browser.click("action-approve").await;
    browser.fill("confirm-comment", comment).await;
    browser.click("confirm-approve").await;
    browser.gone("confirm").await;
}

async fn a_rejection_reaches_the_requester_with_its_reason(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    let address = draft(&olivia, "unlock a role", "intern").await;
    olivia.see("diff").await;
    olivia.click("action-submit").await;
    olivia.see_with("change-state", "data-state", "submitted").await;
    let arun = signed_in(server, "arun").await;
    arun.goto(&address).await;
    arun.click("action-reject").await;
    arun.see("confirm").await;
    assert!(!arun.see("confirm-reject").await.is_enabled().await.unwrap(), "a reason is needed");
    arun.fill("confirm-reason", "The intern has left for good.").await;
    arun.click("confirm-reject").await;
    olivia.see_with("change-state", "data-state", "rejected").await;
    olivia.reads("closing-reason", "The intern has left for good.").await;
    olivia.pictures("change-rejected").await;
    olivia.end().await;
    arun.end().await;
}

async fn a_change_is_shown_as_it_was(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.choose("changes-state", "Submitted").await;
    olivia.click_css("[data-testid='change-row'][data-state='submitted'] a").await;
    olivia.see_with("change-state", "data-state", "submitted").await;
    olivia.see("action-withdraw").await;
    let address = olivia.path().await;
    olivia.see_with("moments", "data-past", "false").await;
    olivia.see("event").await;
    let all = olivia.all("event").await.len();

    // With the keyboard alone: to the beginning, where it was a draft without a plan.
    olivia.script("document.querySelector('[data-testid=\"moment\"]').focus();").await;
    olivia.press("\u{e011}").await; // Home
    olivia.see_with("moments", "data-stop", "1").await;
    olivia.see_with("change-state", "data-state", "draft").await;
    olivia.see("plan-empty").await;
    olivia.reads("moment-text", &format!("event 1 of {all}")).await;
    assert!(olivia.path().await.starts_with(&format!("{address}?at=")));
    let actions = "return document.querySelectorAll('[data-testid^=\"action-\"]').length;";
    assert_eq!(olivia.script(actions).await, "0", "nothing can be done to the past");
    let later = "return document.querySelectorAll('[data-later]').length;";
    assert_eq!(olivia.script(later).await, (all - 1).to_string());
    // Event by event to where it was planned; opening the credentials is an event, too.
    olivia.press("\u{e014}\u{e014}").await; // right, right
    olivia.see_with("moments", "data-stop", "3").await;
    olivia.see("diff").await;
    olivia.pictures("change-past").await;

    // The address leads there; what happens now does not disturb it, and is there afterwards.
    let then = olivia.path().await;
    olivia.goto(&then).await;
    olivia.see_with("change-state", "data-state", "draft").await;
    let arun = signed_in(server, "arun").await;
    arun.goto(&address).await;
    arun.click("action-reject").await;
    arun.fill("confirm-reason", "Not before the inventory.").await;
    arun.click("confirm-reject").await;
    arun.see_with("change-state", "data-state", "rejected").await;
    arun.end().await;
    olivia.reads("moment-text", &format!("event 3 of {}", all + 1)).await;
    assert_eq!(olivia.attribute("change-state", "data-state").await.unwrap(), "draft");
    olivia.click("moment-now").await;
    olivia.see_with("change-state", "data-state", "rejected").await;
    assert_eq!(olivia.path().await, address);

    // One event at a time, to the last, which is now.
    olivia.click("moment-earlier").await;
    olivia.see_with("change-state", "data-state", "submitted").await;
    olivia.click("moment-later").await;
    olivia.see_with("moments", "data-past", "false").await;
    olivia.see_with("change-state", "data-state", "rejected").await;
    assert_eq!(olivia.path().await, address);

    // Before it existed there is nothing to be seen, and a way out.
    olivia.goto(&format!("{address}?at=0")).await;
    olivia.see("problem").await;
    olivia.click("moment-now").await;
    olivia.see_with("change-state", "data-state", "rejected").await;
    olivia.end().await;
}

async fn a_produced_password_is_shown_once_to_its_requester(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    let address = draft(&olivia, "rotate role", "reporting").await;
    olivia.see("diff").await;
    olivia.click("action-submit").await;
    olivia.see_with("change-state", "data-state", "submitted").await;
    for name in ["arun", "beata"] {
        let approver = signed_in(server, name).await;
        approver.goto(&address).await;
        approver.see("change").await;
        let asked = !approver.all("action-approve").await.is_empty();
        if asked {
            approve(&approver, "").await;
        }
        approver.end().await;
        if !asked {
            break; // one was enough
        }
    }
    olivia.see_with("change-state", "data-state", "approved").await;
    olivia.click("action-execute").await;
    olivia.click("confirm-execute").await;
    olivia.see_with("change-state", "data-state", "complete").await;

    let arun = signed_in(server, "arun").await;
    arun.goto(&address).await;
    arun.see("secret").await;
    assert!(arun.all("reveal-secret").await.is_empty(), "only the requester may see it");
    arun.end().await;

    olivia.click("reveal-secret").await;
    olivia.see("reveal-dialog").await;
    olivia.pictures("change-secret").await; // before there is one to be seen
    olivia.click("reveal-confirm").await;
    let password = olivia.text("secret-value").await;
    assert!(password.len() >= 16);
    olivia.click("secret-done").await;
    olivia.see_with("secret", "data-revealed", "true").await;
    olivia.reload().await;
    olivia.see_with("secret", "data-revealed", "true").await;
    assert!(olivia.all("reveal-secret").await.is_empty());
    assert!(!olivia.script("return document.body.innerText;").await.contains(&password));
    olivia.see_css("[data-testid='event'][data-type='change.secret_revealed']").await;
    olivia.end().await;
}

async fn an_approved_change_on_a_host_is_executed_by_its_agent(server: &Sandbox) {
    let file = server.host_file("/etc/shop/backup.sh");
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o777);
    let olivia = signed_in(server, "olivia").await;
    olivia.goto("/changes?state=approved&q=backup").await;
    olivia.click_css("[data-testid='change-row'][data-state='approved'] a").await;
    olivia.see_with("change-state", "data-state", "approved").await;
    olivia.reads("diff", "0755").await;
    olivia.click("action-execute").await;
    olivia.click("confirm-execute").await;
    olivia.see_with("change-state", "data-state", "complete").await;
    assert_eq!(mode(), 0o755);
    olivia.end().await;
}

async fn what_is_missing_in_the_form_is_said_where_it_is_missing(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.goto("/changes/new?action=postgres.create_read_only_user").await;
    olivia.click("draft-submit").await;
    olivia.see_css("[data-testid='parameter-user'][aria-invalid='true']").await;
    olivia.see_css("[data-testid='draft-reason'][aria-invalid='true']").await;
    olivia.pictures("changes-new-missing").await;
    let focus = "return document.activeElement.getAttribute('aria-invalid');";
    assert_eq!(olivia.script(focus).await, "\"true\"", "the cursor is at the first one");
    olivia.end().await;
}
