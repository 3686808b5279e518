//! `vault.update_policy`: another text for an ACL policy.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kv::hidden;
use super::policy::{Policy, store};
use super::rights::{add, checks};
use super::target::{POLICY, policy_of};
use super::{Session, Vault};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};

/// Replaces the text of an ACL policy that is there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePolicy {
    /// The whole new text, in HCL or JSON, as the server's documentation on policies describes it.
    #[schemars(length(min = 1, max = 65536), extend("x-multiline" = true))]
    policy: String,
}

/// The policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct State(Policy);

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        self.0.fields()
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        self.0.fingerprinted()
    }
}

/// Policies of the server itself.
/// <https://developer.hashicorp.com/vault/docs/concepts/policies#built-in-policies>
const BUILT_IN: [&str; 4] = ["control-group", "default", "response-wrapping", "root"];

fn nothing() -> ConnectorError {
    ConnectorError::invalid("the policy was not there before: nothing can be changed or restored")
}

impl Action for UpdatePolicy {
    type Connector = Vault;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "update_policy",
        title: "Update a policy",
        description: "Replaces the text of an ACL policy. It holds at once for every token that has \
                      the policy. The server reads the text when it is written: one that it does not \
                      understand changes nothing. Its other settings stay as they are.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        target_types: &[POLICY],
        permissions: &["read and update on sys/policies/acl/<name>"],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "policy": "path \"secret/data/app/*\" {\n  capabilities = [\"read\"]\n}\n" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        Ok(State(Policy::read(session, policy_of(target)?).await?))
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = policy_of(target)?;
        let path = format!("sys/policies/acl/{name}");
        let (ok, detail) = match &state.0 {
            Policy::Present(text) if text.unknown.is_empty() => {
                (true, format!("{name} is there, and all of it is known"))
            }
            Policy::Present(text) => {
                let unknown = text.unknown.join(", ");
                (
                    false,
                    format!(
                        "{name} has fields that a write might lose: {unknown}; change it by hand"
                    ),
                )
            }
            Policy::Absent => (false, format!("there is no policy {name}: run discovery again")),
            Policy::Hidden => (false, add(&path, &["read", "update"])),
        };
        // The server knows policies in lower case.
        let lower = name.to_lowercase();
        let built_in = BUILT_IN.contains(&lower.as_str());
        let own = session.account.policies.contains(&lower);
        let mut answers = vec![
            check("the policy exists and can be restored", ok, detail),
            check(
                "the policy is not the server's own",
                !built_in,
                if built_in {
                    format!("{name} is built in: it is never a target")
                } else {
                    format!("{name} was made by its users")
                },
            ),
            check(
                "the policy is not the connection's own",
                !own,
                if own {
                    format!("the connection's token has {name}: change it by hand")
                } else {
                    format!("the connection's token does not have {name}")
                },
            ),
        ];
        answers.extend(checks(session, &[(path.as_str(), &["read", "update"])]).await?);
        Ok(answers)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let before = state.0.text().map(|text| text.text.as_str());
        Description {
            diff: (before != Some(self.policy.as_str()))
                .then(|| line(target, "policy", before, self.policy.as_str()))
                .into_iter()
                .collect(),
            summary: format!("Policy {} gets another text.", target.name),
            rollback: format!("Policy {} gets its earlier text back, byte for byte.", target.name),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let name = policy_of(&cx.step.target)?;
        let from = match &before.state.0 {
            Policy::Present(text) => text,
            Policy::Hidden => return Err(hidden(&format!("sys/policies/acl/{name}"))),
            Policy::Absent => return Err(nothing()),
        };
        let changed = store(session, name, from, &from.with(&self.policy)).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        match (now.0.text(), before.state.0.text()) {
            (Some(now), Some(before)) => now.is_like(&before.with(&self.policy)),
            _ => false,
        }
    }
}

impl Reversible for UpdatePolicy {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let to = before.state.0.text().ok_or_else(nothing)?;
        store(session, policy_of(&cx.step.target)?, &to.with(&self.policy), to).await
    }
}
