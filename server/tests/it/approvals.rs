//! Who may approve: the owners of targets and people whom a policy names, and whoever they delegated to.

use std::time::{Duration, Instant};

use nexplane_core::audit::{Auditor, Report};
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::person::event::PersonEvent;
use nexplane_core::record;
use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, id, items, text};

struct Stage {
    server: Server,
    shop: Shop,
    operator: Client,
    anna: Client,
    bob: Client,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let operator = server.operator().await;
        let anna = server.approver().await;
        let bob = server.person("bob", &["approver"]).await;
        Self { server, shop, operator, anna, bob }
    }

    /// Version 2 asks for one approval, from these.
    async fn ask_for(&self, from: Value) {
        let answer = publish(&self.server.admin, &from).await;
        answer.is(201);
    }

    async fn own(&self, role: &str, owner: Value) {
        let asset = self.shop.asset(&self.operator, role).await;
        let path = format!("/assets/{}", id(&asset));
        self.operator.patch(&path, json!({ "owner": owner })).await.is(200);
    }

    async fn planned(&self, roles: &[&str]) -> String {
        let mut request = self.shop.request(&self.operator, "postgres.lock_user", roles[0]).await;
        let mut targets = Vec::new();
        for role in roles {
            targets.push(self.shop.asset(&self.operator, role).await["key"].clone());
        }
        request["targets"] = targets.into();
        let change = id(&self.operator.post("/change-requests", request).await.is(201));
        self.operator.act(&change, "plan").await.is(200);
        change
    }

    async fn submitted(&self, roles: &[&str]) -> Value {
        let change = self.planned(roles).await;
        self.operator.act(&change, "submit").await.is(200)
    }

    async fn events(&self) -> Vec<Recorded> {
        let pool = self.server.database().pool();
        let records = nexplane_store::testing::event_records(pool).await.unwrap();
        (0..)
            .zip(&records)
            .map(|(position, text)| {
                let (header, event) = Event::decode(record::decode(text).unwrap()).unwrap();
                Recorded { position, header, event }
            })
            .collect()
    }

    /// The log keeps all rules.
    async fn is_in_order(&self) {
        let report = judged(&self.events().await);
        assert!(report.violations.is_empty(), "{:#?}", report.violations);
        assert!(report.incomplete.is_empty(), "{:#?}", report.incomplete);
    }
}

fn judged(events: &[Recorded]) -> Report {
    let mut auditor = Auditor::starting_at(0);
    events.iter().for_each(|event| auditor.observe(event));
    auditor.finish()
}

async fn publish(by: &Client, from: &Value) -> crate::harness::Answer {
    let ask = json!({ "ask": { "approvals": 1, "from": from } });
    let rules = json!([
        { "when": { "rollback": false }, "then": ask },
        { "then": { "ask": { "approvals": 1 } } },
    ]);
    let body = json!({ "document": { "rules": rules }, "note": "x", "based_on": 1 });
    by.post("/policies", body).await
}

fn until(hours: i64) -> String {
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
    format!("{until:.6}")
}

async fn delegate(by: &Client, of: &Client, to: &Client) -> crate::harness::Answer {
    let body = json!({ "to": to.id, "until": until(1), "reason": "On leave" });
    by.post(&format!("/users/{}/delegations", of.id), body).await
}

fn approve(change: &Value, delegator: &str) -> (String, Value) {
    let path = format!("/change-requests/{}/approve", id(change));
    (path, json!({ "plan_digest": change["plan"]["digest"], "for": delegator }))
}

/// What a change's page says to somebody of approving it.
async fn may_approve(client: &Client, change: &Value) -> Value {
    let view = client.change(&id(change)).await;
    let allowed = items(&json!({ "items": view["allowed"] }));
    allowed.into_iter().find(|answer| answer["action"] == "approve").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_approve_what_is_theirs() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, anna, bob } = &stage;
    let roles = shop.roles(server, &["one", "two", "three"]).await;
    stage.ask_for(json!({ "owners": true })).await;
    let [one, two, three] = [roles[0].as_str(), roles[1].as_str(), roles[2].as_str()];

    // Deny by default, and say what to set.
    let change = stage.planned(&[one]).await;
    let no = operator.act(&change, "submit").await.refused(422, "change.no_approver");
    assert!(text(&no["detail"]).contains("has no owner; set it to the e-mail address"), "{no:#}");
    for (owner, why) in [
        ("the team", "which is no e-mail address of a person here"),
        ("olga@example.org", "is no approver, or wrote or edited the change"),
    ] {
        stage.own(one, json!(owner)).await;
        let no = operator.act(&change, "submit").await.refused(422, "change.no_approver");
        assert!(text(&no["detail"]).contains(why), "{no:#}");
    }

    // Of two targets both owners approve.
    stage.own(one, json!("Anna@example.org")).await;
    stage.own(two, json!("bob@example.org")).await;
    let submitted = stage.submitted(&[one, two]).await;
    assert_eq!(submitted["approvals_needed"], 2, "{submitted:#}");
    let waits = text(&submitted["waiting_for"]);
    assert!(waits.contains(&format!("1 approval for the owner of {one}: anna")), "{waits}");
    assert!(waits.contains(&format!("1 approval for the owner of {two}: bob")), "{waits}");
    let digest = &submitted["plan"]["digest"];
    let third = server.person("carl", &["approver"]).await;
    let no = third.approve(&id(&submitted), digest).await.refused(403, "change.not_named");
    assert!(text(&no["detail"]).contains("the owner of each target"), "{no:#}");
    let why = may_approve(&third, &submitted).await;
    assert!(text(&why["why_not"]).contains("Still needed: 1 approval for the owner"), "{why:#}");
    anna.approve(&id(&submitted), digest).await.is(200);

    // Who moves a target to another owner changes nothing for what is in review.
    stage.own(two, json!("carl@example.org")).await;
    third.approve(&id(&submitted), digest).await.refused(403, "change.not_named");
    let approved = bob.approve(&id(&submitted), digest).await.is(200);
    assert_eq!(approved["state"], "approved", "{approved:#}");
    let done = operator.executed(&id(&submitted)).await;
    assert_eq!(done["state"], "complete", "{done:#}");
    // The next one is the new owner's.
    let next = stage.submitted(&[two]).await;
    bob.approve(&id(&next), &next["plan"]["digest"]).await.refused(403, "change.not_named");
    let inbox = items(&bob.get("/approvals/inbox").await.is(200));
    assert_eq!(inbox[0]["code"], "change.not_named", "{inbox:#?}");
    assert!(text(&inbox[0]["why_not"]).contains("carl"), "{inbox:#?}");
    third.approve(&id(&next), &next["plan"]["digest"]).await.is(200);

    // Undoing it waits for nobody in particular.
    stage.own(three, Value::Null).await;
    let undone = operator.act(&id(&submitted), "rollback").await.is(201);
    assert_eq!(undone["approvals_needed"], 1, "{undone:#}");
    stage.is_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_named_by_address_and_have_to_be_somebody() {
    let stage = Stage::new().await;
    let named = json!({ "people": ["anna@example.org", "ann@x.org"] });
    let no = publish(&stage.server.admin, &named).await.refused(422, "validation.failed");
    let pointer = "/document/rules/0/then/ask/from/people/1";
    assert_eq!(no["errors"][0]["pointer"], pointer, "{no:#}");
    stage.ask_for(json!({ "people": ["anna@example.org", stage.operator.id] })).await;
    let role = stage.shop.role(&stage.server, "app").await;
    let submitted = stage.submitted(&[&role]).await;
    let digest = &submitted["plan"]["digest"];
    stage.bob.approve(&id(&submitted), digest).await.refused(403, "change.not_named");
    // Whoever has the seat of somebody who is named approves for them.
    delegate(&stage.anna, &stage.anna, &stage.bob).await.is(201);
    let (path, body) = approve(&submitted, "anna@example.org");
    let approved = stage.bob.post(&path, body).await.is(200);
    assert_eq!(approved["state"], "approved", "{approved:#}");
    let given = &approved["approvals"][0];
    assert_eq!((&given["by"], &given["for"]), (&json!(stage.bob.id), &json!(stage.anna.id)));
    assert_eq!(approved["names"][&stage.anna.id], "anna");
    stage.is_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegation_is_given_listed_used_and_ended() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, anna, bob } = &stage;
    let role = shop.role(server, "app").await;
    let cat = server.person("cat", &["viewer"]).await;
    let machine = anna.post("/tokens", json!({ "name": "x", "kind": "machine" })).await.is(201);
    let machine = anna.with_token(&text(&machine["token"]));
    delegate(&machine, anna, &cat).await.refused(403, "access.denied");
    delegate(bob, anna, &cat).await.refused(403, "access.denied");
    delegate(operator, operator, &cat).await.refused(409, "person.nothing_to_delegate");
    delegate(anna, anna, anna).await.refused(422, "validation.failed");
    let mut admin = server.admin.clone();
    admin.id = text(&admin.get("/auth/me").await.is(200)["id"]);
    delegate(&admin, anna, &admin).await.refused(403, "access.denied");
    let given = delegate(anna, anna, &cat).await.is(201);
    assert_eq!((&given["of_name"], &given["to_name"]), (&json!("anna"), &json!("cat")));
    // By an admin, for somebody who is away.
    let by_admin = delegate(&admin, bob, &cat).await.is(201);
    let list = async |by: &Client, of: &Client| {
        items(&by.get(&format!("/users/{}/delegations", of.id)).await.is(200)).len()
    };
    assert_eq!(list(&cat, &cat).await, 2);
    assert_eq!(list(anna, anna).await, 1);
    cat.get(&format!("/users/{}/delegations", anna.id)).await.refused(404, "not_found");

    let submitted = stage.submitted(&[&role]).await;
    cat.approve(&id(&submitted), &submitted["plan"]["digest"]).await.refused(403, "access.denied");
    let (path, body) = approve(&submitted, "bob@example.org");
    let approved = cat.post(&path, body.clone()).await.is(200);
    assert_eq!(approved["state"], "approved", "{approved:#}");
    cat.post(&path, body).await.is(200);
    operator.act(&id(&submitted), "withdraw").await.is(200);

    let end = |of: &Client, delegation: &Value| {
        format!("/users/{}/delegations/{}", of.id, id(delegation))
    };
    let ended =
        async |by: &Client, path: String| by.send(by.request(reqwest::Method::DELETE, &path)).await;
    ended(&cat, end(anna, &given)).await.refused(403, "access.denied");
    ended(anna, end(anna, &given)).await.is(204);
    ended(&admin, end(bob, &by_admin)).await.is(204);
    ended(anna, end(anna, &given)).await.refused(404, "not_found");
    ended(anna, format!("/users/{}/delegations/none", anna.id)).await.refused(404, "not_found");
    assert_eq!(list(&cat, &cat).await, 0);
    let again = operator.act(&id(&submitted), "submit").await.is(200);
    for delegator in ["anna@example.org", "bob@example.org"] {
        let (path, body) = approve(&again, delegator);
        cat.post(&path, body).await.refused(403, "change.not_delegated");
    }
    let (path, body) = approve(&again, "nobody@example.org");
    cat.post(&path, body).await.refused(422, "validation.failed");
    stage.is_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_approval_for_somebody_and_the_end_of_their_role_one_comes_first() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let cat = server.person("cat", &["viewer"]).await;
    let role = shop.role(server, "app").await;
    let change = stage.planned(&[&role]).await;
    let (mut given, mut refused) = (0, 0);
    // How long each takes: in turns, the other one comes from the beginning of that to after its end.
    let (mut approving_takes, mut revoking_takes) = [Duration::from_millis(50); 2].into();
    for round in 0..16 {
        let late = |takes: Duration| takes * (round / 2) / 5;
        let (approving_waits, revoking_waits) = if round % 2 == 0 {
            (late(revoking_takes), Duration::ZERO)
        } else {
            (Duration::ZERO, late(approving_takes))
        };
        let dora = server.person(&format!("dora{round}"), &["approver"]).await;
        delegate(&dora, &dora, &cat).await.is(201);
        operator.act(&change, "plan").await.is(200);
        let submitted = operator.act(&change, "submit").await.is(200);
        let (path, body) = approve(&submitted, &dora.id);
        let approving = async {
            tokio::time::sleep(approving_waits).await;
            let begun = Instant::now();
            (cat.post(&path, body).await, begun.elapsed())
        };
        let user = format!("/users/{}", dora.id);
        let revoking = async {
            tokio::time::sleep(revoking_waits).await;
            let begun = Instant::now();
            server.admin.patch(&user, json!({ "roles": ["viewer"] })).await.is(200);
            begun.elapsed()
        };
        let ((answer, approved_in), revoked_in) = tokio::join!(approving, revoking);
        (approving_takes, revoking_takes) = (approved_in, revoked_in);
        if answer.status == 200 {
            given += 1;
        } else {
            // Never a conflict: that the account moved is said in its own words.
            answer.refused(403, "change.not_delegated");
            refused += 1;
        }
        operator.act(&change, "withdraw").await.is(200);
    }
    eprintln!("{given} approvals came first, {refused} revocations");
    assert!(given > 0 && refused > 0, "both have to happen for it to be a race");
    let events = stage.events().await;
    let mut revoked = std::collections::BTreeSet::new();
    let mut approvals = 0;
    for Recorded { header, event, .. } in &events {
        match event {
            Event::Person(PersonEvent::RolesChanged { .. }) => {
                revoked.insert(header.stream.id);
            }
            Event::Change(ChangeEvent::ApprovalGiven { delegator: Some(delegator), .. }) => {
                assert!(!revoked.contains(&delegator.0), "after the role was gone");
                approvals += 1;
            }
            _ => {}
        }
    }
    assert_eq!((approvals, revoked.len()), (given, 16));
    stage.is_in_order().await;
}
