//! Gates on approvals that are given for somebody else.

use serde_json::{Value, json};

use super::{Ask, Gate, Person, Stage, person};
use crate::harness::{Client, id};

impl Stage {
    /// A change that nobody but somebody's delegate would approve, and who tries: the approver, for the
    /// author, for an editor, or for an approver who lost the role.
    pub(super) async fn delegated(&self, gate: Gate, role: &str) -> (Value, Ask, Client) {
        let submitted = self.submitted(role).await;
        let (submitted, delegator) = match gate {
            Gate::EditorsApprovalThroughDelegate => {
                let edited = self.edited(&id(&submitted)).await;
                (edited, self.delegate(&self.editor).await)
            }
            Gate::DelegatorRevoked => {
                let leaver = person(&self.server, self.way, "delegator", &["approver"]).await;
                let delegator = self.delegate(&leaver).await;
                self.dismiss(&leaver, gate).await;
                (submitted, delegator)
            }
            _ => (submitted, self.delegate(&self.author).await),
        };
        let ask = Ask::ApproveFor(submitted["plan"]["digest"].clone(), delegator);
        (submitted, ask, self.approver.comes.clone())
    }

    /// Lets the approver approve for this person.
    async fn delegate(&self, delegator: &Person) -> String {
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let body = json!({
            "to": self.approver.session.id,
            "until": format!("{until:.6}"),
            "reason": "On leave",
        });
        let delegator = &delegator.session;
        let path = format!("/users/{}/delegations", delegator.id);
        delegator.post(&path, body).await.is(201);
        delegator.id.to_string()
    }
}
