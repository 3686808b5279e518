//! Gives a value another content.

use nexplane_connectors::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Session, Template, VALUE};

/// Gives a value another content. The fields are the parameters; each comment is the help in the form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetValue {
    /// What the value is to be: letters, digits, dots and dashes.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[A-Za-z0-9.-]*[A-Za-z0-9.]$"))]
    content: String,
}

/// What is read and written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    content: Option<String>,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new("content", json!(self.content))]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "content": self.content })
    }
}

fn name_of(target: &TargetRef) -> Result<&str, ConnectorError> {
    let name = target.external_key.strip_prefix("value/");
    let name = name.filter(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    name.ok_or_else(|| ConnectorError::invalid("the external key must be value/<name>"))
}

impl Action for SetValue {
    type Connector = Template;
    type State = State;
    type Prepared = ();
    type Outcome = ();

    const META: ActionMeta = ActionMeta {
        id: "set_value",
        title: "Set a value",
        description: "Gives a value another content, if nobody has changed it since the plan.",
        effect_class: EffectClass::Fenced,
        base_risk: 3,
        target_types: &[VALUE],
        permissions: &["write"],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "content": "on" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        Ok(State { content: session.get(name_of(target)?).await? })
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = &target.name;
        let Some(content) = &state.content else {
            let detail = format!("there is no value {name} on the server: run discovery again");
            return Ok(vec![check("the value exists", false, detail)]);
        };
        let differs = *content != self.content;
        let may_write = session.may_write().await?;
        Ok(vec![
            check("the value exists", true, format!("{name} is there")),
            check(
                "the content differs",
                differs,
                if differs {
                    "it is another one now"
                } else {
                    "it is that already: nothing is to do"
                },
            ),
            check(
                "the token may write",
                may_write,
                if may_write { "it may" } else { "as an administrator run: grant nexplane write" },
            ),
        ])
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let name = &target.name;
        Description {
            diff: vec![line(target, "content", json!(state.content), json!(self.content))],
            summary: format!("{name} gets the content {}", self.content),
            rollback: format!("{name} gets back the content that it has now"),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<()>, ConnectorError> {
        let name = name_of(&cx.step.target)?;
        if session.get(name).await?.as_ref() == Some(&self.content) {
            return Ok(Effect { changed: false, outcome: () });
        }
        session.set(name, before.state.content.as_deref(), Some(&self.content)).await?;
        Ok(Effect { changed: true, outcome: () })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&()>) -> bool {
        now.content.as_ref() == Some(&self.content)
    }
}

impl Reversible for SetValue {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&()>,
    ) -> Result<bool, ConnectorError> {
        let name = name_of(&cx.step.target)?;
        if session.get(name).await? == before.state.content {
            return Ok(false);
        }
        session.set(name, Some(&self.content), before.state.content.as_deref()).await?;
        Ok(true)
    }
}
