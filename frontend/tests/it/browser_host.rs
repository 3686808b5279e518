//! Hosts: enrolled with the wizard by a real agent, seen, ordered, gone and revoked.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::browser::Browser;
use crate::browser_page::signed_in;
use crate::sandbox::{Sandbox, executable};

const NAME: &str = "web-2";
const ROWS: &str = "return document.querySelectorAll('[data-testid=\"host-row\"]').length;";

/// An agent as a process, on a directory of its own.
struct Agent {
    /// Killed when dropped.
    child: Child,
    _dir: TempDir,
}

impl Agent {
    /// Started with what the command has that people paste, and nothing else.
    fn start(command: &str) -> Self {
        let between = |start: &str, end: &str| {
            let from = command.find(start).unwrap_or_else(|| panic!("no {start} in {command}"));
            let rest = &command[from..];
            let to = rest.find(end).map_or(rest.len(), |at| at + end.len());
            rest[..to].trim().to_owned()
        };
        let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let token = between("npx_enroll_", "\n");
        let token = token.split(|c| !is_of_token(c)).next().unwrap();
        let gateway = between("--control-plane ", "\n");
        let gateway = gateway.split_whitespace().nth(1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, between("-----BEGIN CERTIFICATE", "-----END CERTIFICATE-----"))
            .unwrap();
        let child = Command::new(executable("nexplane-agent"))
            .args(["run", "--control-plane", gateway, "--name", NAME, "--ca"])
            .arg(ca)
            .arg("--config-dir")
            .arg(dir.path().join("config"))
            .arg("--root")
            .arg(dir.path().join("root"))
            .env("NEXPLANE_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, _dir: dir }
    }
}

#[tokio::test]
async fn browser_a_host_is_enrolled_seen_ordered_missed_and_revoked() {
    let server = Sandbox::demo().await;
    only_an_administrator_has_buttons(&server).await;

    let ada = signed_in(&server, "ada").await;
    let watcher = signed_in(&server, "audrey").await;
    watcher.goto("/hosts").await;
    watcher.script_says(ROWS, "1").await;
    let (mut agent, page) = enrolled_with_the_wizard(&server, &ada).await;
    // Whoever looks at the list has it without asking.
    watcher.script_says(ROWS, "2").await;
    watcher.reads("host-list", NAME).await;
    watcher.reads("hosts-count-online", "2").await;

    a_change_is_among_its_orders_with_a_receipt_that_holds(&server, &ada).await;
    the_list_is_filtered_and_searched(&ada).await;

    ada.goto(&page).await;
    agent.child.kill().await.unwrap();
    ada.see_with("host", "data-status", "offline").await;
    ada.reads("host-reason", "No poll for").await;
    ada.pictures("host-offline").await;
    revoked_with_its_name_typed(&ada).await;
    let row = "return document.querySelector('[data-status=\"revoked\"] [data-testid=\"host-reason\"]')?.textContent;";
    watcher.script_says(row, "\"Revoked by Ada Admin: sold to a museum.\"").await;
    watcher.reads("hosts-count-revoked", "1").await;
    watcher.pictures("hosts-revoked").await;
    ada.end().await;
    watcher.end().await;
}

async fn only_an_administrator_has_buttons(server: &Sandbox) {
    let olivia = signed_in(server, "olivia").await;
    olivia.goto("/hosts").await;
    olivia.see("host-list").await;
    olivia.reads("hosts-why-not", "Only an administrator").await;
    for testid in ["enrol-host", "host-revoke"] {
        assert!(olivia.all(testid).await.is_empty(), "{testid}");
    }
    olivia.click("host-link").await;
    olivia.see_with("host", "data-status", "online").await;
    olivia.reads("host-why-not", "Only an administrator").await;
    for testid in ["host-enrol-again", "host-revoke"] {
        assert!(olivia.all(testid).await.is_empty(), "{testid}");
    }
    // What an operator may do here: ask for a change of it.
    olivia.click("host-new-change").await;
    olivia.see("action-list").await;
    olivia.end().await;
}

/// The agent that came in, and the address of its host.
async fn enrolled_with_the_wizard(server: &Sandbox, ada: &Browser) -> (Agent, String) {
    ada.goto("/hosts").await;
    ada.click("enrol-host").await;
    ada.fill("enrol-hostname", "not a name").await;
    ada.click("enrol-submit").await;
    ada.see("problem-detail").await;
    ada.fill("enrol-hostname", NAME).await;
    ada.choose("enrol-lifetime", "1 hour").await;
    ada.pictures("host-enrol-which").await;
    ada.click("enrol-submit").await;
    ada.see("enrol-waiting").await;
    let command = ada.text("enrol-command").await;
    assert!(command.find("-----BEGIN CERTIFICATE").unwrap() < command.find("npx_enroll_").unwrap());
    let left = ada.text("enrol-left").await;
    assert!(left.starts_with("59:") || left.starts_with("1:00:00"), "{left}");
    ada.script_says(
        &format!("return document.querySelector('[data-testid=\"enrol-left\"]').textContent !== '{left}';"),
        "true",
    )
    .await;
    ada.pictures("host-enrol-command").await;
    // A key that was pressed by mistake does not lose the command, which is shown only once.
    ada.press("\u{e00c}").await; // Escape
    ada.see("enrol-command").await;

    let agent = Agent::start(&command);
    ada.reads("enrol-arrived", "is here").await;
    ada.gone("enrol-command").await;
    ada.pictures("host-enrol-arrived").await;
    ada.click("enrol-open").await;
    ada.see_with("host", "data-status", "online").await;
    assert_eq!(ada.text("host-name").await, NAME);
    assert!(ada.all("host-enrol-again").await.is_empty(), "it is here");
    ada.see("host-asset").await;
    ada.see("orders-none").await;
    ada.reads("host-history", "enrolled").await;
    let page = ada.path().await;
    assert!(page.starts_with("/hosts/"), "{page} of {}", server.base);
    (agent, page)
}

async fn a_change_is_among_its_orders_with_a_receipt_that_holds(server: &Sandbox, ada: &Browser) {
    let olivia = signed_in(server, "olivia").await;
    let assets = api(&olivia, "GET", "/assets?type=host&q=web-2", &Value::Null).await;
    let asset = &assets["items"][0];
    let draft = json!({
        "title": "Greet whoever logs in", "reason": "A greeting is missing.",
        "change_type": "host.set_file_content", "connection_id": asset["connection_id"],
        "targets": [asset["id"]], "parameters": { "path": "/etc/motd", "content": "Welcome.\n" },
    });
    let change = api(&olivia, "POST", "/change-requests", &draft).await;
    let path = format!("/change-requests/{}", change["id"].as_str().unwrap());
    api(&olivia, "POST", &format!("{path}/plan"), &json!({})).await;
    let submitted = api(&olivia, "POST", &format!("{path}/submit"), &json!({})).await;
    // A change of it appears as soon as it is asked for.
    ada.reads("host-changes", "Greet whoever logs in").await;
    for name in ["arun", "beata"] {
        let approver = signed_in(server, name).await;
        if api(&approver, "GET", &path, &Value::Null).await["state"] == "submitted" {
            let body = json!({ "plan_digest": submitted["plan"]["digest"] });
            api(&approver, "POST", &format!("{path}/approve"), &body).await;
        }
        approver.end().await;
    }
    api(&olivia, "POST", &format!("{path}/execute"), &json!({})).await;
    ada.see_with("order", "data-state", "done").await;
    ada.reads("order-change", "Greet whoever logs in").await;
    ada.see_with("receipt", "data-state", "verified").await;
    ada.see_with("change-row", "data-state", "complete").await;
    ada.click_css("[data-testid='receipt'] summary").await;
    ada.reads("receipt", "It names the hash of receipt").await;
    ada.gone("skeleton").await;
    ada.pictures("host").await;
    let orders = "return document.querySelectorAll('[data-testid=\"order\"]').length;";
    assert_eq!(ada.script(orders).await, "1");
    ada.click("orders-questions").await;
    ada.script_says(&format!("{} > 2;", orders.trim_end_matches(';')), "true").await;
    ada.click("orders-questions").await;
    ada.script_says(orders, "1").await;
    ada.click("order-change").await;
    ada.see_with("change-state", "data-state", "complete").await;
    olivia.end().await;
}

async fn the_list_is_filtered_and_searched(ada: &Browser) {
    ada.goto("/hosts").await;
    ada.script_says(ROWS, "2").await;
    ada.pictures("hosts-two").await;
    ada.fill("hosts-search", "WEB-2").await;
    ada.script_says(ROWS, "1").await;
    ada.script_says("return location.search;", "\"?q=WEB-2\"").await;
    ada.reads("hosts-count-all", "1").await;
    ada.click_css("[data-testid='hosts-status'][data-status='locked']").await;
    ada.see("hosts-none").await;
    // The address is the list, for whoever it is sent to.
    ada.goto("/hosts?status=online&q=web-2").await;
    ada.script_says(ROWS, "1").await;
    let pressed =
        "return document.querySelector('[data-status=\"online\"][aria-pressed]').ariaPressed;";
    assert_eq!(ada.script(pressed).await, "\"true\"");
    ada.click_css("[data-testid='hosts-status'][data-status='']").await;
    ada.script_says("return location.search;", "\"?q=web-2\"").await;
    // By keyboard to its page.
    ada.script("document.activeElement.blur();").await;
    ada.press("j").await;
    ada.press("\u{e007}").await; // Enter
    ada.see("host-name").await;
}

async fn revoked_with_its_name_typed(ada: &Browser) {
    ada.click("host-revoke").await;
    ada.see("revoke-dialog").await;
    ada.fill("revoke-name", NAME).await;
    let disabled = "return document.querySelector('[data-testid=\"revoke-confirm\"]').disabled;";
    assert_eq!(ada.script(disabled).await, "true", "without a reason");
    ada.fill("revoke-reason", "sold to a museum").await;
    ada.fill("revoke-name", "web-1").await;
    assert_eq!(ada.script(disabled).await, "true", "with the name of another host");
    ada.fill("revoke-name", NAME).await;
    ada.pictures("host-revoke").await;
    ada.click("revoke-confirm").await;
    ada.see_with("host", "data-status", "revoked").await;
    ada.reads("host-reason", "Revoked by Ada Admin: sold to a museum.").await;
    ada.gone("revoke-dialog").await;
    for testid in ["host-revoke", "host-new-change"] {
        assert!(ada.all(testid).await.is_empty(), "{testid}: there is nothing more to do to it");
    }
    ada.reads("host-certificate", "Since the host was revoked").await;
    ada.reads("host-history", "The host was revoked.").await;
    ada.pictures("host-revoked-page").await;
    // Again, as a new host of the same name.
    ada.click("host-enrol-again").await;
    let name = "return document.querySelector('[data-testid=\"enrol-hostname\"]').value;";
    ada.script_says(name, &format!("\"{NAME}\"")).await;
    ada.click("dialog-close").await;
    ada.gone("enrol-dialog").await;
}

/// What the API answers to the person in this browser.
pub async fn api(browser: &Browser, method: &str, path: &str, body: &Value) -> Value {
    let body =
        if body.is_null() { "undefined".to_owned() } else { json!(body.to_string()).to_string() };
    let script = format!(
        "return fetch('/api/v1{path}', {{ method: '{method}', body: {body}, \
         headers: {{ 'Content-Type': 'application/json' }} }}).then((answer) => answer.text());"
    );
    let text: String = serde_json::from_str(&browser.script(&script).await).unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert!(answer.get("code").is_none(), "{method} {path}: {answer:#}");
    answer
}
