//! Every route and every kind of caller.

use nexplane_server::api;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Server, Shop, id, text};

/// Whom a route lets through to its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Public,
    SignedIn,
    Operator,
    Auditor,
    Admin,
}

/// What is promised, apart from the table that makes the routes.
const PROMISED: &[(&str, &str, Who)] = &[
    ("GET", "/approvals/inbox", Who::SignedIn),
    ("GET", "/assets", Who::SignedIn),
    ("GET", "/assets/{id}", Who::SignedIn),
    ("PATCH", "/assets/{id}", Who::Operator),
    ("GET", "/assets/{id}/blast-radius", Who::SignedIn),
    ("GET", "/assets/{id}/drift", Who::SignedIn),
    ("GET", "/assets/{id}/history", Who::SignedIn),
    ("GET", "/audit", Who::Auditor),
    ("GET", "/audit/events/{position}", Who::Auditor),
    ("GET", "/audit/events/{position}/proof", Who::Auditor),
    ("GET", "/audit/export", Who::Auditor),
    ("POST", "/auth/first-run", Who::Public),
    ("POST", "/auth/login", Who::Public),
    ("POST", "/auth/logout", Who::SignedIn),
    ("GET", "/auth/me", Who::SignedIn),
    ("POST", "/auth/refresh", Who::Public),
    ("GET", "/calendar", Who::SignedIn),
    ("GET", "/calendar/open", Who::SignedIn),
    ("GET", "/catalog", Who::SignedIn),
    ("GET", "/change-requests", Who::SignedIn),
    ("POST", "/change-requests", Who::SignedIn),
    ("GET", "/change-requests/{id}", Who::SignedIn),
    ("PATCH", "/change-requests/{id}", Who::SignedIn),
    ("POST", "/change-requests/{id}/approve", Who::SignedIn),
    ("GET", "/change-requests/{id}/blast-radius", Who::SignedIn),
    ("POST", "/change-requests/{id}/break-glass", Who::SignedIn),
    ("POST", "/change-requests/{id}/cancel", Who::SignedIn),
    ("GET", "/change-requests/{id}/context", Who::SignedIn),
    ("GET", "/change-requests/{id}/events", Who::SignedIn),
    ("POST", "/change-requests/{id}/execute", Who::SignedIn),
    ("POST", "/change-requests/{id}/override-freeze", Who::SignedIn),
    ("POST", "/change-requests/{id}/override-window", Who::SignedIn),
    ("POST", "/change-requests/{id}/pause", Who::SignedIn),
    ("POST", "/change-requests/{id}/plan", Who::SignedIn),
    ("POST", "/change-requests/{id}/reject", Who::SignedIn),
    ("POST", "/change-requests/{id}/resume", Who::SignedIn),
    ("POST", "/change-requests/{id}/review", Who::SignedIn),
    ("POST", "/change-requests/{id}/rollback", Who::SignedIn),
    ("POST", "/change-requests/{id}/settle", Who::SignedIn),
    ("POST", "/change-requests/{id}/stop", Who::SignedIn),
    ("POST", "/change-requests/{id}/submit", Who::SignedIn),
    ("GET", "/change-requests/{id}/targets", Who::SignedIn),
    ("GET", "/change-requests/{id}/targets/order", Who::SignedIn),
    ("GET", "/change-requests/{id}/targets/{no}", Who::SignedIn),
    ("GET", "/change-requests/{id}/undo", Who::SignedIn),
    ("POST", "/change-requests/{id}/withdraw", Who::SignedIn),
    ("GET", "/connections", Who::SignedIn),
    ("POST", "/connections", Who::Admin),
    ("DELETE", "/connections/{id}", Who::Admin),
    ("GET", "/connections/{id}", Who::SignedIn),
    ("GET", "/connections/{id}/history", Who::SignedIn),
    ("PATCH", "/connections/{id}", Who::Admin),
    ("POST", "/connections/{id}/discover", Who::Operator),
    ("POST", "/connections/{id}/test", Who::Operator),
    ("GET", "/freeze-windows", Who::SignedIn),
    ("POST", "/freeze-windows", Who::Admin),
    ("POST", "/freeze-windows/{id}/end", Who::Admin),
    ("GET", "/home", Who::SignedIn),
    ("GET", "/hosts", Who::SignedIn),
    ("GET", "/hosts/{id}", Who::SignedIn),
    ("GET", "/hosts/{id}/history", Who::SignedIn),
    ("GET", "/hosts/{id}/orders", Who::SignedIn),
    ("GET", "/hosts/summary", Who::SignedIn),
    ("POST", "/hosts/enrollment-tokens", Who::Admin),
    ("POST", "/hosts/{id}/revoke", Who::Admin),
    // It checks the token of its subprotocol itself.
    ("GET", "/live", Who::Public),
    ("GET", "/log/checkpoint", Who::SignedIn),
    ("GET", "/log/key", Who::SignedIn),
    ("GET", "/log/tile/{*path}", Who::Auditor),
    ("GET", "/maintenance-windows", Who::SignedIn),
    ("POST", "/maintenance-windows", Who::Admin),
    ("POST", "/maintenance-windows/{id}/remove", Who::Admin),
    ("GET", "/operations", Who::SignedIn),
    ("GET", "/policies", Who::SignedIn),
    ("POST", "/policies", Who::Admin),
    ("POST", "/policies/simulate", Who::SignedIn),
    ("GET", "/projections", Who::SignedIn),
    ("GET", "/projects", Who::SignedIn),
    ("POST", "/projects", Who::SignedIn),
    ("GET", "/projects/{id}", Who::SignedIn),
    ("PATCH", "/projects/{id}", Who::SignedIn),
    ("POST", "/projects/{id}/close", Who::SignedIn),
    ("POST", "/projects/{id}/dependencies", Who::SignedIn),
    ("POST", "/projects/{id}/execute", Who::SignedIn),
    ("POST", "/projects/{id}/members", Who::SignedIn),
    ("POST", "/projects/{id}/remove-member", Who::SignedIn),
    ("POST", "/projects/{id}/rollback", Who::SignedIn),
    ("GET", "/risk/calibration", Who::SignedIn),
    ("GET", "/risk/summary", Who::SignedIn),
    ("GET", "/saved-views", Who::SignedIn),
    ("POST", "/saved-views", Who::SignedIn),
    ("GET", "/schedules", Who::SignedIn),
    ("POST", "/schedules", Who::SignedIn),
    ("GET", "/schedules/{id}", Who::SignedIn),
    ("PATCH", "/schedules/{id}", Who::SignedIn),
    ("POST", "/schedules/{id}/delete", Who::SignedIn),
    ("POST", "/schedules/{id}/pause", Who::SignedIn),
    ("POST", "/schedules/{id}/resume", Who::SignedIn),
    ("GET", "/secret-sources", Who::Admin),
    ("POST", "/secrets/{id}/reveal", Who::SignedIn),
    ("GET", "/tokens", Who::SignedIn),
    ("POST", "/tokens", Who::SignedIn),
    ("DELETE", "/tokens/{id}", Who::SignedIn),
    ("GET", "/users", Who::Auditor),
    ("POST", "/users", Who::Admin),
    ("PATCH", "/users/{id}", Who::Admin),
    ("GET", "/users/{id}/delegations", Who::SignedIn),
    ("POST", "/users/{id}/delegations", Who::SignedIn),
    ("DELETE", "/users/{id}/delegations/{delegation}", Who::SignedIn),
];

const ROLES: [&str; 6] = ["viewer", "operator", "approver", "auditor", "responder", "admin"];

impl Who {
    fn lets(self, role: &str) -> bool {
        match self {
            Self::Public | Self::SignedIn => true,
            Self::Operator => matches!(role, "operator" | "admin"),
            Self::Auditor => matches!(role, "auditor" | "admin"),
            Self::Admin => role == "admin",
        }
    }
}

#[test]
fn every_route_has_a_promise_and_every_promise_a_route() {
    let mut routes: Vec<_> =
        api::routes().iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let mut promised: Vec<_> =
        PROMISED.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    routes.sort();
    promised.sort();
    assert_eq!(routes, promised, "say in PROMISED who may use a new route");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_through_whom_it_should_and_nobody_else() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let mut people = Vec::new();
    for role in ROLES {
        people.push((role, server.person(&format!("only-{role}"), &[role]).await));
    }
    let machine = machine(&people[1].1).await;
    let mut wrong = Vec::new();
    for (method, path, who) in PROMISED {
        // A body that no route takes is the same to all guards, and changes nothing.
        let ask = async |client: &Client| {
            let path = path.replace("{id}", &Uuid::now_v7().to_string());
            let request = client.request(method.parse().unwrap(), &path);
            let body = json!({ "no-such-field": 1 });
            let request =
                if *method == "POST" || *method == "PATCH" { request.json(&body) } else { request };
            client.send(request).await
        };
        // Ends the session: last, below.
        if *path == "/auth/logout" {
            ask(&nobody).await.refused(401, "auth.invalid");
            continue;
        }
        let answer = ask(&nobody).await;
        match who {
            Who::Public => {
                if answer.status == 403 || answer.status >= 500 {
                    wrong.push(format!("{method} {path} for nobody: {}", answer.status));
                }
                continue;
            }
            Who::SignedIn | Who::Operator | Who::Auditor | Who::Admin => {
                answer.is_problem();
                if answer.status != 401 {
                    wrong.push(format!("{method} {path} for nobody: {}", answer.status));
                }
            }
        }
        let callers = people.iter().map(|(role, client)| (*role, *role, client));
        // The token of a machine has the roles of its owner, an operator, at the guard.
        for (name, role, client) in callers.chain([("machine", "operator", &machine)]) {
            let answer = ask(client).await;
            let refused = answer.status == 401 || answer.status == 403;
            // Machines draft and plan; credentials are not opened for them for anything else.
            let opens = *method == "POST" && path.starts_with("/connections/{id}/");
            let lets = who.lets(role) && !(name == "machine" && opens);
            if refused == lets || answer.status >= 500 {
                let code = &answer.json["code"];
                wrong.push(format!("{method} {path} for {name}: {} {code}", answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    machine.post("/auth/logout", json!({})).await.refused(409, "auth.not_a_session");
    for (_, client) in &people {
        client.post("/auth/logout", json!({})).await.is(204);
        client.get("/auth/me").await.refused(401, "auth.expired");
    }
}

/// A client with a machine token of this person.
async fn machine(owner: &Client) -> Client {
    let body = json!({ "name": "pipeline", "kind": "machine" });
    let made = owner.post("/tokens", body).await.is(201);
    owner.with_token(&text(&made["token"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_to_a_change_is_decided_by_role_and_authorship() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let author = server.operator().await;
    let approver = server.approver().await;
    let role = shop.role(&server, "app").await;
    let request = shop.request(&author, "postgres.lock_user", &role).await;
    let mut people = Vec::new();
    for name in ["viewer", "auditor", "approver"] {
        let client = server.person(&format!("only-{name}"), &[name]).await;
        client.post("/change-requests", request.clone()).await.refused(403, "access.denied");
        people.push(client);
    }
    let [viewer, auditor, _] = &people[..] else { unreachable!() };
    let other = server.person("oscar", &["operator"]).await;
    let of_author = machine(&author).await;
    let of_approver = machine(&approver).await;

    // A machine proposes, and that is all.
    let drafted = of_author.post("/change-requests", request.clone()).await.is(201);
    let change = id(&drafted);
    of_author.act(&change, "plan").await.is(200);
    of_author.act(&change, "submit").await.refused(403, "access.denied");
    for client in [viewer, auditor, &approver] {
        for action in ["plan", "submit"] {
            client.act(&change, action).await.refused(403, "access.denied");
        }
        let path = format!("/change-requests/{change}");
        client.patch(&path, json!({ "title": "x" })).await.refused(403, "access.denied");
    }
    let submitted = author.act(&change, "submit").await.is(200);
    let digest = &submitted["plan"]["digest"];
    // What a person's machine proposed is the person's own.
    author.approve(&change, digest).await.refused(403, "change.own_approval");
    for client in [viewer, auditor, &other, &of_approver] {
        client.approve(&change, digest).await.refused(403, "access.denied");
        let path = format!("/change-requests/{change}/reject");
        client.post(&path, json!({ "reason": "no" })).await.refused(403, "access.denied");
    }
    for client in [viewer, &other] {
        client.act(&change, "withdraw").await.refused(403, "access.denied");
    }
    approver.approve(&change, digest).await.is(200);
    for client in [viewer, auditor, &approver, &of_author] {
        client.act(&change, "execute").await.refused(403, "access.denied");
    }
    let done = other.executed(&change).await;
    assert_eq!(done["state"], "complete", "{done:#}");
    for client in [viewer, auditor] {
        client.act(&change, "rollback").await.refused(403, "access.denied");
    }

    // Roles work at once: no token has to run out first.
    let path = format!("/users/{}", other.id);
    server.admin.patch(&path, json!({ "roles": ["viewer"] })).await.is(200);
    other.post("/change-requests", request).await.refused(403, "access.denied");
    server.admin.patch(&path, json!({ "disabled": true })).await.is(200);
    assert_eq!(other.get("/auth/me").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_of_another_site_changes_nothing() {
    let server = Server::start().await;
    let token = server.admin.token.clone().unwrap();
    let body = json!({ "email": "eve@example.org", "name": "Eve", "roles": ["admin"] });
    let ask = async |headers: &[(&str, &str)]| {
        let nobody = server.nobody();
        let mut request = nobody
            .request(Method::POST, "/users")
            .header("cookie", format!("nexplane_session={token}"))
            .json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        nobody.send(request).await
    };
    ask(&[("origin", "https://evil.example")]).await.refused(403, "access.denied");
    ask(&[("origin", "null")]).await.refused(403, "access.denied");
    ask(&[("sec-fetch-site", "cross-site")]).await.refused(403, "access.denied");
    let own: Value = server.base.lock().unwrap().clone().into();
    ask(&[("origin", own.as_str().unwrap())]).await.is(201);
}
