//! The dashboard of an earlier moment: it says so, everything can be looked at, nothing can be changed.

use nexplane_store::testing::{TestDatabase, event_count};

use crate::browser::Browser;
use crate::browser_first_run::{first_run, link};
use crate::sandbox::Sandbox;

#[tokio::test]
async fn a_replay_shows_the_past_and_says_so() {
    let database = TestDatabase::empty().await;
    let server = Sandbox::on(&database).await;
    let ada = Browser::open(&server.base).await;
    first_run(&ada, &link(&server)).await;
    let last = u64::try_from(event_count(database.pool()).await.unwrap()).unwrap() - 1;
    // Later, and so not in the replay: she signs in again.
    ada.click("sign-out").await;
    ada.see("login-email").await;
    ada.sign_in("ada@example.org", "correct horse battery").await;
    ada.see("home-steps").await;

    let replay = Sandbox::replay(&database, last).await;
    let auditor = Browser::open(&replay.base).await;
    auditor.goto(replay.link.as_deref().unwrap()).await;
    auditor.reads("replay-banner", &format!("after event {last}")).await;
    auditor.reads("account-name", "Auditor").await;
    auditor.script_says("return location.hash;", "\"\"").await;
    auditor.click("nav-audit").await;
    auditor.see_with("audit-row", "data-position", &last.to_string()).await;
    let rows = "return document.querySelectorAll('[data-testid=\"audit-row\"]').length;";
    auditor.script_says(rows, &(last + 1).to_string()).await;
    auditor.pictures("replay-audit").await;
    auditor.goto(&format!("/audit/{last}")).await;
    auditor.see("replay-banner").await;
    auditor.see_with("proof", "data-state", "sealed-later").await;
    auditor.see_with("live-state", "data-state", "live").await;
    auditor.gone("offline-banner").await;
    auditor.pictures("replay-event").await;

    // The present is where it was, also in the same browser: cookies know no ports.
    ada.goto("/audit").await;
    ada.see_with("audit-row", "data-position", &(last + 1).to_string()).await;
    ada.gone("replay-banner").await;
    auditor.end().await;
    ada.end().await;
}
