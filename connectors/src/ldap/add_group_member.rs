//! `ldap.add_group_member`: one more direct member.

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

/// Makes a user or a group a direct member of the group.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddGroupMember {
    /// DN of the user or group that is the member, or its key in the inventory (user/… or group/…).
    #[schemars(length(min = 1, max = 1024))]
    member: String,
}

impl AddGroupMember {
    fn member(&self) -> Member<'_> {
        Member(&self.member)
    }
}

impl Action for AddGroupMember {
    type Connector = Directory;
    type State = Membership;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "add_group_member",
        title: "Add a member to a group",
        description: "Makes one user or group a direct member of the group, by member, uniqueMember or memberUid as the group has it. All other members stay.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
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
        membership::precheck(session, target, self.member(), false).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Membership) -> Description {
        let member = state.value.as_deref().unwrap_or(&self.member);
        let now = |is_member: bool| if is_member { json!(member) } else { Value::Null };
        Description {
            diff: if state.is_member {
                Vec::new()
            } else {
                vec![line(target, "member", now(false), now(true))]
            },
            summary: format!("{member} becomes a direct member of group {}.", target.name),
            rollback: if state.is_member {
                "Nothing changes, so there is nothing to undo.".to_owned()
            } else {
                format!("{member} is removed from group {} again.", target.name)
            },
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        membership::set(session, cx, self.member(), &before.state, true).await
    }

    fn verify(&self, now: &Membership, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.is_member
    }
}

impl Reversible for AddGroupMember {
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
