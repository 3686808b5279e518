//! `postgres.set_role_setting`: a setting that the role's sessions begin with.
//!
//! Only settings that limit what a session may use up. Not those that change what a statement means,
//! such as `search_path`, and none that only a superuser may set.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::definition::{Setting, beyond, reset_setting, settings};
use super::login::{gone, moved};
use super::role::{ROLE, Role, role_of, target_checks};
use super::session::Reader;
use super::sql::Name;
use super::{Postgres, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, ErrorKind,
    Reversible, StepContext, TargetState, check, line,
};

/// Sets, or takes away, a setting that the role's sessions begin with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRoleSetting {
    /// Which setting.
    name: Known,
    /// As PostgreSQL writes it: a number with a unit, such as 30s or 64MB, or on and off. Without it
    /// the role's own setting is taken away, and what holds for everybody holds for the role.
    value: Option<Text>,
}

/// The settings that may be set.
/// <https://www.postgresql.org/docs/current/runtime-config-client.html>,
/// <https://www.postgresql.org/docs/current/runtime-config-resource.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    DefaultTransactionReadOnly,
    IdleInTransactionSessionTimeout,
    IdleSessionTimeout,
    LockTimeout,
    MaintenanceWorkMem,
    StatementTimeout,
    WorkMem,
}

impl Known {
    const fn as_str(self) -> &'static str {
        match self {
            Self::DefaultTransactionReadOnly => "default_transaction_read_only",
            Self::IdleInTransactionSessionTimeout => "idle_in_transaction_session_timeout",
            Self::IdleSessionTimeout => "idle_session_timeout",
            Self::LockTimeout => "lock_timeout",
            Self::MaintenanceWorkMem => "maintenance_work_mem",
            Self::StatementTimeout => "statement_timeout",
            Self::WorkMem => "work_mem",
        }
    }

    fn with(self, value: &str) -> Setting {
        Setting { database: None, name: self.as_str().to_owned(), value: value.to_owned() }
    }
}

/// A value: letters and digits, beginning with one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_plain =
            (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_plain {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom("a value has 1 to 16 letters and digits"))
        }
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Za-z]+$", "maxLength": 16 })
    }
}

/// The role's own value of the setting, in all databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    name: Known,
    role_exists: bool,
    value: Option<String>,
    /// The names behind it in the server's list, which a setting that is made again has to get in
    /// front of. Others may set them as they like, so they are not fingerprinted.
    behind: Vec<String>,
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new(self.name.as_str(), self.value.clone())]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "role_exists": self.role_exists, "setting": self.name, "value": self.value })
    }
}

impl SetRoleSetting {
    async fn read(&self, reader: &Reader, role: Option<&Role>) -> Result<State, ConnectorError> {
        let mut own = match role {
            Some(role) => everywhere(reader, role).await?,
            None => Vec::new(),
        };
        let at = own.iter().position(|setting| setting.name == self.name.as_str());
        let mut rest = at.map_or_else(Vec::new, |at| own.split_off(at)).into_iter();
        Ok(State {
            name: self.name,
            role_exists: role.is_some(),
            value: rest.next().map(|setting| setting.value),
            behind: rest.map(|setting| setting.name).collect(),
        })
    }

    fn wanted(&self) -> Option<&str> {
        self.value.as_ref().map(|text| text.0.as_str())
    }

    /// Brings the setting from `from` to `to`, which stood in front of `behind`; answers whether
    /// anything had to change.
    async fn set(
        &self,
        session: &Session,
        cx: &StepContext,
        (from, to): (Option<&str>, Option<&str>),
        behind: &[String],
    ) -> Result<bool, ConnectorError> {
        let name = role_of(&cx.step.target)?;
        let work = session.begin(&session.account.database, cx.deadline).await?;
        work.lock_role(session, &name).await?;
        let role = Role::find(work.reader(), &name).await?.ok_or_else(|| gone(&name))?;
        let now = self.read(work.reader(), Some(&role)).await?;
        if now.value.as_deref() == to {
            return Ok(false);
        }
        if now.value.as_deref() != from {
            return Err(moved(&name));
        }
        let sql = match to {
            None => reset_setting(&name, self.name.as_str()),
            Some(value) if now.value.is_some() => self.name.with(value).statement(&name),
            Some(value) => {
                let own = everywhere(work.reader(), &role).await?;
                put(&name, &self.name.with(value), &own, behind)
            }
        };
        work.reader().batch(&sql).await?;
        work.commit().await?;
        Ok(true)
    }
}

/// What the role's sessions begin with in all databases, in the server's order.
async fn everywhere(reader: &Reader, role: &Role) -> Result<Vec<Setting>, ConnectorError> {
    let all = settings(reader, role.oid).await?;
    Ok(all.into_iter().filter(|setting| setting.database.is_none()).collect())
}

/// Adds a setting in front of the first of `behind` that is there. The server adds at the end, so what
/// follows is taken away and set again, with the values that it has now.
fn put(role: &Name, setting: &Setting, own: &[Setting], behind: &[String]) -> String {
    let at = own.iter().position(|other| behind.contains(&other.name)).unwrap_or(own.len());
    let (_, rest) = own.split_at(at);
    rest.iter()
        .map(|other| reset_setting(role, &other.name))
        .chain(std::iter::once(setting.statement(role)))
        .chain(rest.iter().map(|other| other.statement(role)))
        .collect::<Vec<_>>()
        .join("; ")
}

impl Action for SetRoleSetting {
    type Connector = Postgres;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "set_role_setting",
        title: "Set a setting of a role",
        description: "Sets a time-out, a memory limit or read-only transactions as the default for \
                      the role's sessions in all databases, or takes it away. Sessions that are \
                      open keep what they have; a session may still choose another value, and what \
                      is set for the role in one database goes first there.",
        effect_class: EffectClass::Verifiable,
        base_risk: 3,
        target_types: &[ROLE],
        permissions: &["CREATEROLE with ADMIN OPTION on the role, or superuser"],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "name": "statement_timeout", "value": "30s" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        let role = Role::find(session.reader(), &role_of(target)?).await?;
        self.read(session.reader(), role.as_ref()).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = role_of(target)?;
        let reader = session.reader();
        let role = Role::find(reader, &name).await?;
        let mut checks = target_checks(session, &name, role.as_ref());
        let setting = self.name.as_str();
        let sql = "SELECT EXISTS (SELECT FROM pg_settings WHERE name = $1 AND context = 'user')";
        let known: bool = reader.row(sql, &[&setting]).await?.get(0)?;
        checks.push(check(
            "the server has the setting",
            known,
            if known {
                format!("{setting} is one of its settings")
            } else {
                format!("{setting} came with a later version of PostgreSQL: upgrade the server")
            },
        ));
        match self.wanted() {
            Some(value) if known => checks.push(accepted(reader, setting, value).await?),
            Some(_) => {}
            None => {
                let stuck = if session.account.superuser {
                    Vec::new()
                } else {
                    beyond(reader, state.behind.iter().map(String::as_str)).await?
                };
                checks.push(check(
                    "the connection could put the setting back in its place",
                    stuck.is_empty(),
                    if stuck.is_empty() {
                        format!("{} has the rights", session.account.name)
                    } else {
                        format!("only a superuser may set {}: connect as one", stuck.join(", "))
                    },
                ));
            }
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let (role, setting) = (&target.name, self.name.as_str());
        let say = |value: Option<&str>| match value {
            Some(value) => format!("New sessions of role {role} begin with {setting} = {value}"),
            None => {
                format!("New sessions of role {role} begin with {setting} as the server has it")
            }
        };
        let (before, after) = (state.value.as_deref(), self.wanted());
        Description {
            diff: (before != after)
                .then(|| line(target, setting, before, after))
                .into_iter()
                .collect(),
            summary: format!("{}.", say(after)),
            rollback: format!("{} again.", say(before)),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let ways = (before.state.value.as_deref(), self.wanted());
        let changed = self.set(session, cx, ways, &[]).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.role_exists && now.value.as_deref() == self.wanted()
    }
}

/// Asks the server what it thinks of the value; nothing but this one statement runs under it.
async fn accepted(reader: &Reader, setting: &str, value: &str) -> Result<Check, ConnectorError> {
    let question = "the server accepts the value";
    match reader.row("SELECT set_config($1, $2, true)", &[&setting, &value]).await {
        Ok(_) => Ok(check(question, true, format!("{setting} can be {value}"))),
        Err(no) if no.kind == ErrorKind::Invalid => Ok(check(question, false, no.message)),
        Err(error) => Err(error),
    }
}

impl Reversible for SetRoleSetting {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let State { role_exists, value, behind, .. } = &before.state;
        if !role_exists {
            return Err(ConnectorError::invalid("there was no role before: nothing to restore"));
        }
        self.set(session, cx, (self.wanted(), value.as_deref()), behind).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_comes_back_in_front_of_what_was_behind_it() {
        let role = Name::try_new("r").unwrap();
        let setting = |name: &str, value: &str| Setting {
            database: None,
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let own = [setting("jit", "off"), setting("work_mem", "7MB")];
        let back = setting("lock_timeout", "1s");
        assert_eq!(
            put(&role, &back, &own, &["gone".to_owned(), "work_mem".to_owned()]),
            "ALTER ROLE \"r\" RESET \"work_mem\"; \
             ALTER ROLE \"r\" SET \"lock_timeout\" TO '1s'; \
             ALTER ROLE \"r\" SET \"work_mem\" TO '7MB'"
        );
        // Nothing of that is there any more: the end is as good as any place.
        assert_eq!(
            put(&role, &back, &own, &["gone".to_owned()]),
            "ALTER ROLE \"r\" SET \"lock_timeout\" TO '1s'"
        );
    }

    #[test]
    fn values_are_plain() {
        for good in ["30s", "64MB", "on", "0"] {
            assert!(serde_json::from_value::<Text>(json!(good)).is_ok(), "{good}");
        }
        for bad in ["", "30 s", "-1", "'x'", "1; DROP", "12345678901234567"] {
            assert!(serde_json::from_value::<Text>(json!(bad)).is_err(), "{bad}");
        }
    }
}
