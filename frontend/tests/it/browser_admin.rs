//! An administrator's first day: from the one-time link to a real server that is connected and looked at, and people
//! who work with it: one who may ask for changes of it, and one who finds all of that in the log, with its proof.

use nexplane_peers::redis::{RedisServer, Setup};

use crate::browser::Browser;
use crate::browser_first_run::{first_run, link};
use crate::sandbox::Sandbox;

/// There are rows, and all of them are about people.
const ONLY_PEOPLE: &str =
    "const rows = [...document.querySelectorAll(\"[data-testid='audit-row']\")];
    return rows.length > 0 && rows.every((row) => row.dataset.type.startsWith('person.'));";

#[tokio::test]
async fn browser_an_administrator_connects_a_server_and_lets_people_in() {
    let redis = RedisServer::start(Setup::AclFile).await.unwrap();
    let server = Sandbox::empty().await;
    let ada = Browser::open(&server.base).await;
    first_run(&ada, &link(&server)).await;

    a_server_is_connected(&ada, &redis).await;
    its_password_is_kept_in_a_file(&ada, &redis, &server).await;
    let olga = let_in(&ada, "Olga Operator", "olga@example.org", "operator").await;
    let audrey = let_in(&ada, "Audrey Auditor", "audrey@example.org", "auditor").await;
    ada.pictures("people-two").await;
    ada.end().await;

    let browser = Browser::open(&server.base).await;
    browser.goto("/assets").await;
    browser.sign_in("olga@example.org", &olga).await;
    browser.reads("asset-list", "admin").await;
    // What an administrator does is not hers to do.
    browser.goto("/people").await;
    browser.see("problem-detail").await;
    browser.goto("/connections").await;
    browser.see("connection-list").await;
    assert!(!browser.see("new-connection").await.is_enabled().await.unwrap());
    browser.end().await;

    let browser = Browser::open(&server.base).await;
    browser.goto("/audit").await;
    browser.sign_in("audrey@example.org", &audrey).await;
    it_is_all_in_the_log(&browser).await;
    let secrets = [redis.password.as_str(), &olga, &audrey];
    for path in ["/audit", "/connections", "/people"] {
        browser.goto(path).await;
        browser.gone("skeleton").await;
        let page = browser.script("return document.documentElement.outerHTML;").await;
        assert!(secrets.iter().all(|secret| !page.contains(secret)), "{path} shows a secret");
    }
    browser.end().await;
}

async fn a_server_is_connected(ada: &Browser, redis: &RedisServer) {
    ada.click("nav-connections").await;
    ada.see("connections-empty").await;
    ada.click("new-connection").await;
    ada.choose("connection-type", "Redis").await;
    ada.fill("connection-name-input", "cache").await;
    ada.choose("connection-environment", "Staging").await;
    ada.fill("credential-host", "127.0.0.1").await;
    ada.fill("credential-port", &redis.port.to_string()).await;
    ada.fill("credential-username", RedisServer::ADMIN).await;
    ada.fill("credential-password", "not the password").await;
    ada.fill("credential-ca_certificate", redis.ca_pem.as_deref().unwrap()).await;
    ada.click("connection-save").await;
    ada.gone("connection-form").await;

    // With a wrong password nothing looks as if it worked, and it is said what to do.
    ada.click("connection-test").await;
    ada.see_with("connection", "data-status", "failing").await;
    ada.reads("connection-checks", "password").await;
    ada.pictures("connection-refused").await;
    is_replaced(ada, redis).await;
    ada.fill("credential-password", &redis.password).await;
    ada.click("connection-save").await;
    ada.gone("connection-form").await;
    ada.click("connection-test").await;
    ada.see_with("connection", "data-status", "ok").await;
    ada.click("connection-discover").await;
    ada.reads("connection-list", "discovered just now").await;
}

/// All of the credentials but the password.
async fn is_replaced(ada: &Browser, redis: &RedisServer) {
    ada.click("connection-edit").await;
    ada.click("connection-replace").await;
    ada.fill("credential-host", "127.0.0.1").await;
    ada.fill("credential-port", &redis.port.to_string()).await;
    ada.fill("credential-username", RedisServer::ADMIN).await;
    ada.fill("credential-ca_certificate", redis.ca_pem.as_deref().unwrap()).await;
}

/// It is read there, once whoever keeps it has said for which server.
async fn its_password_is_kept_in_a_file(ada: &Browser, redis: &RedisServer, server: &Sandbox) {
    server.keep("cache", &redis.password);
    is_replaced(ada, redis).await;
    ada.choose("credential-password-from", "In a file").await;
    ada.fill("credential-password-file", "cache").await;
    ada.pictures("connection-secret-in-file").await;
    ada.click("connection-save").await;
    ada.gone("connection-form").await;
    ada.click("connection-test").await;
    ada.see_with("connection", "data-status", "failing").await;
    ada.reads("connection-checks", "cache.hosts").await;
    server.keep("cache.hosts", &format!("127.0.0.1:{}", redis.port));
    ada.click("connection-test").await;
    ada.see_with("connection", "data-status", "ok").await;
}

/// The password that is shown once, to hand over.
async fn let_in(ada: &Browser, name: &str, email: &str, role: &str) -> String {
    ada.click("nav-people").await;
    ada.click("new-person").await;
    ada.fill("person-name", name).await;
    ada.fill("person-email", email).await;
    ada.click(&format!("role-{role}")).await;
    ada.click("person-save").await;
    let password = ada.text("person-password").await;
    ada.click("person-done").await;
    ada.see_with("person-row", "data-email", email).await;
    password
}

async fn it_is_all_in_the_log(browser: &Browser) {
    // The log has no names: what is found is what Olga did, and what was done about her.
    browser.fill("audit-search", "olga").await;
    browser.script_says(ONLY_PEOPLE, "true").await;
    browser.reads("audit-list", "Ada Lovelace").await;
    browser.reads("audit-list", "Signed in. Olga Operator").await;
    browser.pictures("audit-person").await;
    browser.see_with("audit-row", "data-type", "person.added").await;
    browser.click("audit-open").await;
    browser.see_with("proof", "data-state", "verified").await;
    browser.goto("/audit?q=cache").await;
    browser.reads("audit-list", "cache").await;
    browser.see("audit-export").await;
}
