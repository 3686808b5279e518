//! `vault.rotate_database_credentials`: the server gives the database user of a static role a new password.
//!
//! Not `rotate-root` of a database connection: the server shows nothing by which one could tell afterwards whether
//! that happened. Of a static role it shows when its password was last changed.
//! <https://developer.hashicorp.com/vault/api-docs/secret/databases#rotate-static-role-credentials>

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kv::{hidden, unseen};
use super::rights::{add, checks};
use super::session::{Answer, Answered, refusal};
use super::target::{DATABASE_ROLE, Place, database_role_of};
use super::{Session, Vault};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, StepContext,
    TargetState, check, line,
};

/// Makes the server change the password of the static role's database user.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateDatabaseCredentials {}

/// A static role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Role {
    Absent,
    /// The connection may not read it.
    Hidden,
    Present {
        /// Name of the connection that the server has to the database.
        db_name: String,
        /// The database's user.
        username: String,
        /// When the password was last changed.
        last_vault_rotation: String,
    },
}

/// When the password was changed, by the server's clock.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    last_vault_rotation: Option<String>,
}

impl Role {
    async fn find(session: &Session, role: &Place) -> Result<Self, ConnectorError> {
        #[derive(Deserialize)]
        struct Found {
            db_name: String,
            username: String,
            last_vault_rotation: String,
        }
        Ok(match session.read(&role.api("static-roles")).await? {
            Answer::Found(reply) => {
                let found = reply.json::<Answered<Found>>()?.data;
                Self::Present {
                    db_name: found.db_name,
                    username: found.username,
                    last_vault_rotation: found.last_vault_rotation,
                }
            }
            Answer::Absent(_) => Self::Absent,
            Answer::Denied => Self::Hidden,
            Answer::Refused(reply) => return Err(refusal(&reply)),
        })
    }

    fn rotated(&self) -> Option<&str> {
        match self {
            Self::Present { last_vault_rotation, .. } => Some(last_vault_rotation),
            Self::Absent | Self::Hidden => None,
        }
    }

    /// Whether it is the same role, whenever its password was changed.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Present { db_name, username, .. },
                Self::Present { db_name: other_db, username: other_user, .. },
            ) => db_name == other_db && username == other_user,
            _ => false,
        }
    }
}

impl TargetState for Role {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Absent => vec![Field::new("exists", false)],
            Self::Hidden => vec![Field::redacted("exists", "not readable by the connection")],
            Self::Present { db_name, username, last_vault_rotation } => vec![
                Field::new("database", db_name.clone()),
                Field::new("username", username.clone()),
                Field::new("last_rotation", last_vault_rotation.clone()),
            ],
        }
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match self {
            Self::Absent => json!({ "state": "absent" }),
            Self::Hidden => json!({ "state": "hidden" }),
            Self::Present { db_name, username, last_vault_rotation } => json!({
                "state": "present",
                "db_name": db_name,
                "username": username,
                "last_vault_rotation": last_vault_rotation,
            }),
        }
    }
}

impl Action for RotateDatabaseCredentials {
    type Connector = Vault;
    type State = Role;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "rotate_database_credentials",
        title: "Rotate a database password",
        description: "Makes the server change the password of the database user behind a static role of \
                      a database secrets engine. The new one stays in the server, where its readers \
                      get it; nobody is told that theirs is void. A rotation that came in between, \
                      by schedule or by somebody else, counts as done.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[DATABASE_ROLE],
        permissions: &[
            "read on <mount>/static-roles/<role>",
            "update on <mount>/rotate-role/<role>",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({})
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<Role, ConnectorError> {
        Role::find(session, &database_role_of(target)?).await
    }

    async fn observe(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &Before<Self>,
    ) -> Result<Role, ConnectorError> {
        let place = database_role_of(target)?;
        match Role::find(session, &place).await? {
            Role::Hidden => Err(unseen(&place.api("static-roles"))),
            seen @ (Role::Absent | Role::Present { .. }) => Ok(seen),
        }
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        role: &Role,
    ) -> Result<Vec<Check>, ConnectorError> {
        let place = database_role_of(target)?;
        let [read, rotate] = ["static-roles", "rotate-role"].map(|part| place.api(part));
        let (ok, detail) = match role {
            Role::Present { username, db_name, .. } => {
                (true, format!("it is of user {username} of database {db_name}"))
            }
            Role::Absent => (false, format!("there is no {}: run discovery again", place.name())),
            Role::Hidden => (false, add(&read, &["read"])),
        };
        let mut answers = vec![check("the static role exists", ok, detail)];
        let needs: [(&str, &[&str]); 2] = [(&read, &["read"]), (&rotate, &["update"])];
        answers.extend(checks(session, &needs).await?);
        Ok(answers)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, role: &Role) -> Description {
        let user = match role {
            Role::Present { username, .. } => username,
            Role::Absent | Role::Hidden => &target.name,
        };
        Description {
            diff: vec![line(target, "last_rotation", role.rotated(), "now")],
            summary: format!("The password of database user {user} is changed by the server."),
            rollback: "The earlier password is kept nowhere, so it cannot come back.".to_owned(),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let place = database_role_of(&cx.step.target)?;
        let now = Role::find(session, &place).await?;
        if now == Role::Hidden {
            return Err(hidden(&place.api("static-roles")));
        }
        if !now.is_same(&before.state) {
            return Err(ConnectorError::conflict(format!(
                "somebody changed the static role {} since it was read; nothing was changed: plan again",
                place.name()
            )));
        }
        let changed = now == before.state;
        if changed {
            session.write(&place.api("rotate-role"), &json!({})).await?;
        }
        let rotated = if changed { None } else { now.rotated().map(str::to_owned) };
        Ok(Effect { changed, outcome: Outcome { last_vault_rotation: rotated } })
    }

    fn verify(&self, now: &Role, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.is_same(&before.state) && now.rotated() != before.state.rotated()
    }
}
