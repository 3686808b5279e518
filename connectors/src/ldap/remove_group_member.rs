//! `ldap.remove_group_member`: one direct member less.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::membership::{self, Member, Membership, Outcome};
use super::target::{GROUP, nothing_before};
use super::{Directory, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext, line,
};

/// Takes a direct member out of the group.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveGroupMember {
    /// DN of the user or group that is the member, or its key in the inventory (user/… or group/…).
    #[schemars(length(min = 1, max = 1024))]
    member: String,
}

impl RemoveGroupMember {
    fn member(&self) -> Member<'_> {
        Member(&self.member)
    }
}

impl Action for RemoveGroupMember {
    type Connector = Directory;
    type State = Membership;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "remove_group_member",
        title: "Remove a member from a group",
        description: "Takes one direct member out of the group. Memberships by way of other groups, and the primary group of Active Directory, are not touched. All other members stay.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        target_types: &[GROUP],
        permissions: &[
            "OpenLDAP: write on member, uniqueMember or memberUid of the group",
            "Active Directory: write member of the group",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "member": "uid=ada,ou=people,dc=example,dc=org" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<Membership, ConnectorError> {
        membership::snapshot(session, target, self.member()).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &Membership,
    ) -> Result<Vec<Check>, ConnectorError> {
        membership::precheck(session, target, self.member(), true).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Membership) -> Description {
        let member = state.value.as_deref().unwrap_or(&self.member);
        let now = |is_member: bool| if is_member { json!(member) } else { Value::Null };
        Description {
            diff: if state.is_member {
                vec![line(target, "member", now(true), now(false))]
            } else {
                Vec::new()
            },
            summary: format!("{member} is no longer a direct member of group {}.", target.name),
            rollback: if state.is_member {
                format!("{member} becomes a direct member of group {} again.", target.name)
            } else {
                "Nothing changes, so there is nothing to undo.".to_owned()
            },
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        membership::set(session, cx, self.member(), &before.state, false).await
    }

    fn verify(&self, now: &Membership, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.value.is_some() && !now.is_member
    }
}

impl Reversible for RemoveGroupMember {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let state = &before.state;
        if state.value.is_none() {
            return Err(nothing_before());
        }
        Ok(membership::set(session, cx, self.member(), state, state.is_member).await?.changed)
    }
}
