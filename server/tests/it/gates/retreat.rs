//! The way of a project that goes back: it makes the rollback of a member, and starts it as soon as that is
//! approved. Nobody is there to hear a refusal; the project waits, or stops and says why.

use nexplane_core::change::event::ChangeEvent;
use serde_json::{Value, json};

use super::{GATES, Gate, Person, Stage, Way, person};
use crate::harness::{eventually, id, text};
use crate::planted;

impl Gate {
    /// Why this gate is not on this way, where it is not.
    const fn absent_going_back(self) -> Option<&'static str> {
        use Gate as G;
        match self {
            G::OwnApprovalOfEditor | G::Superseded => {
                Some("a rollback is not edited, and its plan comes from the captured state")
            }
            G::WindowNotOpen | G::WindowOver => Some("a rollback has no window"),
            G::FrozenExecution => Some("it starts with the approval, which a freeze holds up"),
            G::DependencyMissing => Some("a rollback comes after no member"),
            G::KeyReused => Some("the project has no key"),
            G::OwnApprovalThroughDelegate
            | G::EditorsApprovalThroughDelegate
            | G::DelegatorRevoked => {
                Some("who approves for whom is for the rollback itself, and shown on its own way")
            }
            G::QuorumMissing
            | G::OwnApprovalOfAuthor
            | G::StaleDigest
            | G::Expired
            | G::TargetMoved
            | G::Withdrawn
            | G::Rejected
            | G::Cancelled
            | G::FrozenApproval
            | G::OperatorRevoked
            | G::ApproverRevoked
            | G::Suspended
            | G::OutOfOrder
            | G::Conflict => None,
        }
    }

    /// What the project is then, and what it says.
    fn leaves_back(self) -> (&'static str, &'static str) {
        use Gate as G;
        match self {
            G::Rejected => ("back_blocked", "rejected"),
            G::Cancelled => ("back_blocked", "cancelled"),
            G::TargetMoved => ("back_blocked", "blocked"),
            G::OperatorRevoked | G::Suspended => ("back_blocked", "operator role"),
            G::Expired => ("back_blocked", "ran out"),
            G::OutOfOrder => ("back_blocked", "Later changes"),
            G::Conflict => ("back_blocked", "comes first"),
            G::QuorumMissing
            | G::OwnApprovalOfAuthor
            | G::StaleDigest
            | G::Withdrawn
            | G::FrozenApproval
            | G::ApproverRevoked => ("going_back", "Waits for #"),
            G::OwnApprovalOfEditor
            | G::Superseded
            | G::WindowNotOpen
            | G::WindowOver
            | G::FrozenExecution
            | G::DependencyMissing
            | G::OwnApprovalThroughDelegate
            | G::EditorsApprovalThroughDelegate
            | G::DelegatorRevoked
            | G::KeyReused => panic!("{self:?} is not on this way"),
        }
    }
}

impl Stage {
    /// A member that was applied, alone in its project, which somebody has go back.
    async fn going_back(&self, role: &str, asker: &Person) -> (String, Value) {
        let done = self.applied("postgres.rotate_user_password", role).await;
        (self.project_of(role, &done, asker).await, json!(done))
    }

    async fn project_of(&self, role: &str, done: &str, asker: &Person) -> String {
        let author = &self.author.session;
        let project = id(&author.post("/projects", json!({ "name": role })).await.is(201));
        let path = format!("/projects/{project}/members");
        author.post(&path, json!({ "change": done })).await.is(200);
        let path = format!("/projects/{project}/rollback");
        asker.comes.post(&path, json!({ "reason": "It is wrong." })).await.is(200);
        project
    }

    /// The rollback that the project made, in review.
    async fn made(&self, project: &str) -> Value {
        eventually("its rollback is in review", async || {
            let author = &self.author.session;
            let view = author.get(&format!("/projects/{project}")).await.is(200);
            let rollback = author.change(view["members"][0]["rollback"].as_str()?).await;
            (rollback["state"] == "submitted").then_some(rollback)
        })
        .await
    }

    async fn held_up_going_back(&self, gate: Gate, role: &str) {
        let (what, start) = (format!("going back, {gate:?}"), self.server.events().await);
        let leaver;
        let asker = match gate {
            Gate::OperatorRevoked | Gate::Suspended => {
                let name = format!("back{gate:?}").to_lowercase();
                leaver = person(&self.server, Way::Session, &name, &["operator"]).await;
                &leaver
            }
            _ => &self.executor,
        };
        let mut freezes = Vec::new();
        let project = if gate == Gate::Conflict {
            let done = self.applied("postgres.rotate_user_password", role).await;
            let first = self.forward("postgres.lock_user", role, None).await;
            self.approve(&first).await;
            self.refuse_conflicts().await;
            self.project_of(role, &done, asker).await
        } else {
            self.going_back(role, asker).await.0
        };
        let made = self.made(&project).await;
        let rollback = id(&made);
        let digest = made["plan"]["digest"].clone();
        let say = async |by: &Person, verb: &str| {
            let path = format!("/change-requests/{rollback}/{verb}");
            by.session.post(&path, json!({ "reason": "not today" })).await.is(200);
        };
        match gate {
            Gate::QuorumMissing => {}
            Gate::OwnApprovalOfAuthor => {
                let own = asker.session.approve(&rollback, &digest).await;
                own.refused(403, "change.own_approval");
            }
            Gate::StaleDigest => {
                let stale = self.approver.session.approve(&rollback, &json!("0".repeat(64))).await;
                stale.refused(409, "change.stale_digest");
            }
            Gate::Expired => {
                self.approve_until(&made, planted::now().plus_seconds(-1)).await;
            }
            Gate::Withdrawn => {
                asker.session.act(&rollback, "withdraw").await.is(200);
                self.approver
                    .session
                    .approve(&rollback, &digest)
                    .await
                    .refused(409, "change.not_in_state");
            }
            Gate::Rejected => say(&self.approver, "reject").await,
            Gate::Cancelled => say(asker, "cancel").await,
            Gate::FrozenApproval => {
                freezes.push(self.freeze("inventory").await);
                self.approver
                    .session
                    .approve(&rollback, &digest)
                    .await
                    .refused(423, "change.frozen");
            }
            Gate::ApproverRevoked => {
                let gone = person(&self.server, Way::Session, "backleaver", &["approver"]).await;
                self.dismiss(&gone, gate).await;
                gone.comes.approve(&rollback, &digest).await.refused(403, "access.denied");
            }
            Gate::OperatorRevoked | Gate::Suspended => {
                self.dismiss(asker, gate).await;
                self.approve(&made).await;
            }
            Gate::TargetMoved => {
                let sql = format!("ALTER ROLE {role} PASSWORD 'of somebody else'");
                self.shop.sql(&sql).await;
                self.approver.session.approve(&rollback, &digest).await.is(200);
            }
            Gate::OutOfOrder => {
                self.applied("postgres.lock_user", role).await;
                self.approver.session.approve(&rollback, &digest).await.is(200);
            }
            Gate::Conflict => {
                self.approver.session.approve(&rollback, &digest).await.is(200);
            }
            gate => panic!("{gate:?} is not on this way"),
        }
        let before = self.row(role).await;
        let (state, words) = gate.leaves_back();
        // What waits would have gone on by now.
        if state == "going_back" {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        eventually(&what, async || {
            let path = format!("/projects/{project}");
            let view = self.author.session.get(&path).await.is(200);
            let says = view["waiting_for"].as_str().unwrap_or_default();
            (view["state"] == state && says.contains(words)).then_some(())
        })
        .await;
        let history = self.author.session.history(&rollback).await;
        assert!(!history.contains(&"run.step_intended".to_owned()), "{what}: {history:?}");
        assert_eq!(self.row(role).await, before, "{what}: the target was touched");
        assert!(self.seen_since(start, "project.going_back").await, "{what}");
        for freeze in &freezes {
            self.end(freeze).await;
        }
        let close = json!({ "reason": text(&json!("tried")) });
        let path = format!("/projects/{project}/close");
        self.author.session.post(&path, close).await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_going_back_passes_no_gate() {
    let stage = Stage::new(Way::Session).await;
    let names: Vec<_> = (0..=GATES.len()).map(|no| format!("r{no}x")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut roles = stage.shop.roles(&stage.server, &names).await;
    // With nothing in the way it goes back, or the rest would prove nothing.
    let free = roles.pop().unwrap();
    let (project, done) = stage.going_back(&free, &stage.executor).await;
    let made = stage.made(&project).await;
    stage.approve(&made).await;
    eventually("it has gone back", async || {
        let view = stage.author.session.get(&format!("/projects/{project}")).await.is(200);
        (view["state"] == "went_back").then_some(())
    })
    .await;
    let undone = stage.author.session.undone(done.as_str().unwrap()).await;
    assert_eq!(undone["state"], "rolled_back", "{undone:#}");
    for (gate, role) in GATES.into_iter().zip(&roles) {
        match gate.absent_going_back() {
            Some(why) => eprintln!("going back has no {gate:?}: {why}"),
            None => stage.held_up_going_back(gate, role).await,
        }
    }
}

/// Whoever sees first that the approvals ran out, the project or the timer: it stops, with the same words.
#[tokio::test(flavor = "multi_thread")]
async fn a_project_says_why_its_rollback_was_closed_by_the_timer() {
    let stage = Stage::new(Way::Session).await;
    let role = stage.shop.roles(&stage.server, &["swept"]).await.remove(0);
    let (project, _) = stage.going_back(&role, &stage.executor).await;
    let made = stage.made(&project).await;
    let log = planted::log_of(&stage.server).await;
    let until = planted::now().plus_seconds(-1);
    let digest = text(&made["plan"]["digest"]);
    let events =
        vec![ChangeEvent::Approved { digest, not_before: until, until }, ChangeEvent::Expired {}];
    planted::of_change(&log, &made, &stage.approver.session, events).await;
    let (state, words) = Gate::Expired.leaves_back();
    eventually("the project stops", async || {
        let view = stage.author.session.get(&format!("/projects/{project}")).await.is(200);
        let says = view["waiting_for"].as_str().unwrap_or_default();
        (view["state"] == state && says.contains(words)).then_some(())
    })
    .await;
}
