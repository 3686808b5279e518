//! `vault.update_policy`: another text for an ACL policy.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kv::{hidden, unseen};
use super::policy::{Policy, api, store};
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

/// The server knows policies in lower case.
fn is_built_in(name: &str) -> bool {
    BUILT_IN.contains(&name.to_lowercase().as_str())
}

fn is_own(session: &Session, name: &str) -> bool {
    session.account.policies.contains(&name.to_lowercase())
}

/// The policy that may be changed, asked again at the last moment: nothing may lock us out, or give us more.
fn target_of<'a>(session: &Session, target: &'a TargetRef) -> Result<&'a str, ConnectorError> {
    let name = policy_of(target)?;
    let why = if is_built_in(name) {
        "is built in"
    } else if is_own(session, name) {
        "is one of the connection's own token"
    } else {
        return Ok(name);
    };
    let message = format!("the policy {name} {why}: it is never a target; nothing was changed");
    Err(ConnectorError::invalid(message))
}

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

    async fn observe(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &Before<Self>,
    ) -> Result<State, ConnectorError> {
        let name = policy_of(target)?;
        match Policy::read(session, name).await? {
            Policy::Hidden => Err(unseen(&api(name))),
            seen @ (Policy::Absent | Policy::Present(_)) => Ok(State(seen)),
        }
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = policy_of(target)?;
        let path = api(name);
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
        let (built_in, own) = (is_built_in(name), is_own(session, name));
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
        let name = target_of(session, &cx.step.target)?;
        let from = match &before.state.0 {
            Policy::Present(text) => text,
            Policy::Hidden => return Err(hidden(&api(name))),
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
        let name = target_of(session, &cx.step.target)?;
        let to = before.state.0.text().ok_or_else(nothing)?;
        store(session, name, &to.with(&self.policy), to).await
    }
}
