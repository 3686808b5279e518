//! The gate that a change under way is for one that meets it, where the policy has the second one refused.

use serde_json::{Value, json};

use super::{Stage, Way};

impl Stage {
    /// An approved change, and one of the same target that was approved before it.
    pub(super) async fn met(&self, role: &str) -> Value {
        let undone = match self.way {
            Way::Rollback => Some(self.applied("postgres.rotate_user_password", role).await),
            _ => None,
        };
        let first = self.forward("postgres.rotate_user_password", role, None).await;
        self.approve(&first).await;
        self.refuse_conflicts().await;
        let second = match undone {
            Some(done) => self.author.session.act(&done, "rollback").await.is(201),
            None => self.forward("postgres.lock_user", role, None).await,
        };
        self.approve(&second).await;
        second
    }

    pub(super) async fn refuse_conflicts(&self) {
        let admin = &self.server.admin;
        let current = admin.get("/policies").await.is(200)["items"][0].clone();
        let mut document = current["document"].clone();
        document["on_conflict"] = json!("refuse");
        let body = json!({ "document": document, "note": "one at a time", "based_on": current["version"] });
        admin.post("/policies", body).await.is(201);
    }
}
