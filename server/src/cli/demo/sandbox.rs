//! The sandbox, seen through the API by its people.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nexplane_core::api::{
    AssetView, ChangeState, ChangeView, ConnectionView, LoginResponse, Page, TestResult,
};
use nexplane_core::id::ConnectionId;
use serde_json::{Value, json};

use super::Somebody;
use crate::cli::client::Client;
use crate::serve::Running;

/// How long anything in the sandbox may take to become what it should be.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Title, action, connection, target, parameters.
pub type Wish<'a> = (&'a str, &'a str, ConnectionId, String, Value);

/// Its people, signed in.
pub struct Sandbox {
    pub operator: Client,
    pub approvers: [Client; 2],
    pub admin: Client,
}

impl Sandbox {
    pub async fn open(running: &Running, people: &[Somebody]) -> anyhow::Result<Self> {
        let base = &running.ready.api;
        let mut clients = Vec::new();
        for somebody in people {
            let body = json!({ "email": somebody.email, "password": somebody.password });
            let login: LoginResponse = Client::with(base, "")?.post("/auth/login", &body).await?;
            clients.push(Client::with(base, &login.access_token)?);
        }
        let mut clients = clients.into_iter();
        let mut next = || clients.next().context("the sandbox has five people");
        let (operator, first, second) = (next()?, next()?, next()?);
        let (_auditor, admin) = (next()?, next()?);
        Ok(Self { operator, approvers: [first, second], admin })
    }

    /// Adds a connection, tests it, and reads what is there.
    pub async fn connect(&self, connection: &Value) -> anyhow::Result<ConnectionView> {
        let view: ConnectionView = self.admin.post("/connections", connection).await?;
        let path = format!("/connections/{}", view.id);
        let tested: TestResult = self.operator.post(&format!("{path}/test"), &json!({})).await?;
        if !tested.ok {
            let failed = tested.checks.iter().filter(|check| !check.ok);
            let failed: Vec<_> =
                failed.map(|check| format!("{}: {}", check.name, check.detail)).collect();
            bail!("the demo's connection '{}' fails its test: {}", view.name, failed.join("; "));
        }
        self.discover(view.id).await?;
        Ok(view)
    }

    /// Reads what is there.
    pub async fn discover(&self, connection: ConnectionId) -> anyhow::Result<()> {
        let path = format!("/connections/{connection}/discover");
        let _: Value = self.operator.post(&path, &json!({})).await?;
        Ok(())
    }

    /// The id of what was discovered under this name, as the target of a change.
    pub async fn asset(
        &self,
        connection: ConnectionId,
        kind: &str,
        name: &str,
    ) -> anyhow::Result<String> {
        let path = format!("/assets?connection={connection}&type={kind}&q={name}");
        let found: Page<AssetView> = self.operator.get(&path).await?;
        let asset = found.items.into_iter().find(|asset| asset.name == name);
        Ok(asset.with_context(|| format!("the demo has no {kind} '{name}'"))?.id.to_string())
    }

    pub async fn draft(&self, wish: Wish<'_>) -> anyhow::Result<ChangeView> {
        let (title, change_type, connection_id, target, parameters) = wish;
        let body = json!({
            "title": title,
            "reason": "Made by the demo, to have something to look at.",
            "change_type": change_type,
            "connection_id": connection_id,
            "targets": [target],
            "parameters": parameters,
        });
        Ok(self.operator.post("/change-requests", &body).await?)
    }

    pub async fn submit(&self, wish: Wish<'_>) -> anyhow::Result<ChangeView> {
        let draft = self.draft(wish).await?;
        let _: Value = self.act(&draft, "plan").await?;
        self.act(&draft, "submit").await
    }

    pub async fn approve(&self, change: &ChangeView) -> anyhow::Result<()> {
        let id = change.id;
        let digest = change.plan.as_ref().map(|plan| plan.digest.clone());
        for approver in &self.approvers {
            let now: ChangeView = approver.get(&format!("/change-requests/{id}")).await?;
            if now.state == ChangeState::Submitted {
                let body = json!({ "plan_digest": digest, "comment": "Looks right." });
                let _: Value =
                    approver.post(&format!("/change-requests/{id}/approve"), &body).await?;
            }
        }
        Ok(())
    }

    pub async fn complete(&self, wish: Wish<'_>) -> anyhow::Result<ChangeView> {
        let change = self.submit(wish).await?;
        self.approve(&change).await?;
        let _: Value = self.act(&change, "execute").await?;
        self.settled(&change, ChangeState::Complete).await?;
        Ok(change)
    }

    pub async fn roll_back(&self, change: &ChangeView) -> anyhow::Result<()> {
        let rollback: ChangeView = self.act(change, "rollback").await?;
        self.approve(&rollback).await?;
        let _: Value = self.act(&rollback, "execute").await?;
        self.settled(change, ChangeState::RolledBack).await
    }

    async fn settled(&self, change: &ChangeView, wanted: ChangeState) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let now: ChangeView =
                self.operator.get(&format!("/change-requests/{}", change.id)).await?;
            if now.state == wanted {
                return Ok(());
            }
            let moving = !now.state.is_settled() || now.state == ChangeState::Complete;
            if !moving || Instant::now() >= until {
                bail!(
                    "the demo's change '{}' became {} instead of {}: {}",
                    now.title,
                    now.state.as_str(),
                    wanted.as_str(),
                    now.closing_reason.unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn act<T: serde::de::DeserializeOwned>(
        &self,
        change: &ChangeView,
        verb: &str,
    ) -> anyhow::Result<T> {
        Ok(self
            .operator
            .post(&format!("/change-requests/{}/{verb}", change.id), &json!({}))
            .await?)
    }
}
