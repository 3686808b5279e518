//! `ldap.expire_password`: the user must choose a new password before anything else.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Directory;
use super::error::{ASSERTION_FAILED, NO_SUCH_ATTRIBUTE, refused};
use super::line::Part;
use super::name::escape;
use super::policy::{Policies, enforced};
use super::session::{Kind, Session};
use super::target::{
    ANY, Sort, USER, find, gone, moved, not_protected, nothing_before, target_checks,
};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};

const RESET: &str = "pwdReset";
const LAST_SET: &str = "pwdLastSet";
/// `ADS_UF_DONT_EXPIRE_PASSWD` of `userAccountControl`.
/// <https://learn.microsoft.com/windows/win32/adschema/a-useraccountcontrol>
const NEVER_EXPIRES: i64 = 0x1_0000;
/// `ADS_UF_PASSWORD_EXPIRED` of `msDS-User-Account-Control-Computed`.
/// <https://learn.microsoft.com/windows/win32/adschema/a-msds-user-account-control-computed>
const EXPIRED: i64 = 0x80_0000;

/// Makes the user choose a new password at the next login.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpirePassword {}

/// Whether the user must choose a new password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expiry {
    /// There is no such user.
    Gone,
    /// OpenLDAP: `pwdReset` as it is written there.
    Reset(Option<String>),
    /// Active Directory: `pwdLastSet`, 100 ns since 1601; 0 is "must be changed at the next logon".
    LastSet(i64),
}

impl Expiry {
    fn expired(&self) -> Option<bool> {
        match self {
            Self::Gone => None,
            Self::Reset(reset) => Some(reset.as_deref() == Some("TRUE")),
            Self::LastSet(last_set) => Some(*last_set == 0),
        }
    }
}

impl TargetState for Expiry {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new("must_change_password", self.expired())]
    }

    /// The moment of the last change can be set to now only, so it is not in it: neither can it come back.
    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match self {
            Self::Gone => json!({ "must_change_password": null }),
            Self::Reset(reset) => json!({ "must_change_password": reset }),
            Self::LastSet(_) => json!({ "must_change_password": self.expired() }),
        }
    }
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

async fn read(
    session: &Session,
    target: &TargetRef,
) -> Result<(Option<String>, Expiry), ConnectorError> {
    let Some(entry) = find(session, target, Sort::User, &[RESET, LAST_SET]).await? else {
        return Ok((None, Expiry::Gone));
    };
    let state = match session.kind {
        Kind::OpenLdap { .. } => Expiry::Reset(entry.text(RESET).map(str::to_owned)),
        Kind::ActiveDirectory => Expiry::LastSet(entry.number(LAST_SET).unwrap_or_default()),
    };
    Ok((Some(entry.dn), state))
}

/// Makes one modification of the user, which is known to be in state `now`.
async fn modify(
    session: &Session,
    dn: &str,
    now: &Expiry,
    to: &Expiry,
) -> Result<Effect<Outcome>, ConnectorError> {
    let (parts, only_if) = match (now, to) {
        (Expiry::Reset(now), Expiry::Reset(to)) => {
            let condition = match now {
                Some(reset) => format!("({RESET}={})", escape(reset.as_bytes())),
                None => format!("(!({RESET}=*))"),
            };
            let values = to.iter().map(|reset| reset.as_bytes().to_vec()).collect();
            (vec![Part::Replace(RESET, values)], Some(condition))
        }
        (Expiry::LastSet(now), Expiry::LastSet(to)) => {
            // Active Directory takes 0, and −1 for "now". Deleting the old value fails when it is another.
            let to = if *to == 0 { "0" } else { "-1" };
            let delete = Part::Delete(LAST_SET, now.to_string().into_bytes());
            (vec![delete, Part::Add(LAST_SET, to.as_bytes().to_vec())], None)
        }
        (Expiry::Gone | Expiry::Reset(_) | Expiry::LastSet(_), _) => return Err(nothing_before()),
    };
    match session.line().modify(dn, parts, only_if.as_deref()).await? {
        Ok(()) => Ok(Effect { changed: true, outcome: Outcome {} }),
        Err(result) if matches!(result.rc, ASSERTION_FAILED | NO_SUCH_ATTRIBUTE) => Err(moved(dn)),
        Err(result) => Err(refused(&result)),
    }
}

fn unchanged() -> Effect<Outcome> {
    Effect { changed: false, outcome: Outcome {} }
}

impl Action for ExpirePassword {
    type Connector = Directory;
    type State = Expiry;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "expire_password",
        title: "Expire a user's password",
        description: "The user must choose a new password at the next login: pwdReset in OpenLDAP, pwdLastSet \
                      0 in Active Directory. The password itself stays valid for that. Undone in Active \
                      Directory, the password counts as changed at the moment of the undo.",
        effect_class: EffectClass::Verifiable,
        base_risk: 3,
        target_types: &[USER],
        permissions: &[
            "OpenLDAP: write on pwdReset of the user, read on its password policy",
            "Active Directory: write pwdLastSet of the user",
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
    ) -> Result<Expiry, ConnectorError> {
        Ok(read(session, target).await?.1)
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &Expiry,
    ) -> Result<Vec<Check>, ConnectorError> {
        let (dn, _) = read(session, target).await?;
        let written: &[_] = match session.kind {
            Kind::OpenLdap { policies: true } => &[(RESET, "TRUE")],
            Kind::OpenLdap { policies: false } => &[],
            Kind::ActiveDirectory => &[(LAST_SET, "")],
        };
        let mut checks = target_checks(session, Sort::User, dn.as_deref(), written).await?;
        checks.push(enforced(session));
        let Some(dn) = dn else { return Ok(checks) };
        match session.kind {
            Kind::OpenLdap { policies: false } => {}
            Kind::OpenLdap { policies: true } => {
                let name = "the user's password policy makes users change it";
                checks.push(Policies::of(session, &dn).await?.demands("pwdMustChange", name));
            }
            Kind::ActiveDirectory => {
                let attributes = ["userAccountControl", "msDS-User-Account-Control-Computed"];
                let entry = session.line().entry(&dn, ANY, &attributes).await?;
                let [flags, computed] = attributes.map(|name| {
                    entry.as_ref().and_then(|entry| entry.number(name)).unwrap_or_default()
                });
                let never = flags & NEVER_EXPIRES != 0;
                checks.push(check(
                    "the user's password can expire",
                    !never,
                    if never {
                        "it is set to never expire (DONT_EXPIRE_PASSWORD): take that away first"
                    } else {
                        "it is not set to never expire"
                    },
                ));
                let by_age = computed & EXPIRED != 0 && flags & NEVER_EXPIRES == 0;
                let ok = !by_age || state.expired() == Some(true);
                checks.push(check(
                    "the password has not expired by its age",
                    ok,
                    if ok {
                        "an undo does not bring an expired password back to life"
                    } else {
                        "it has expired already, and an undo would make it valid again: nothing \
                         is to be done"
                    },
                ));
            }
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Expiry) -> Description {
        let expired = state.expired();
        let name = &target.name;
        Description {
            diff: if expired == Some(false) {
                vec![line(target, "must_change_password", false, true)]
            } else {
                Vec::new()
            },
            summary: format!("User {name} must choose a new password at the next login."),
            rollback: match state {
                Expiry::LastSet(_) => format!(
                    "User {name} need not choose a new password any more; the age of the old one begins \
                     anew, because Active Directory takes no other moment than now."
                ),
                Expiry::Gone | Expiry::Reset(_) => {
                    format!("pwdReset of user {name} is put back as it was.")
                }
            },
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let (dn, now) = read(session, &cx.step.target).await?;
        let dn = dn.ok_or_else(|| gone(Sort::User))?;
        not_protected(session, &dn).await?;
        if now.expired() == Some(true) {
            return Ok(unchanged());
        }
        if now != before.state {
            return Err(moved(&dn));
        }
        let to = match now {
            Expiry::Gone | Expiry::Reset(_) => Expiry::Reset(Some("TRUE".to_owned())),
            Expiry::LastSet(_) => Expiry::LastSet(0),
        };
        modify(session, &dn, &now, &to).await
    }

    fn verify(&self, now: &Expiry, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.expired() == Some(true)
    }
}

impl Reversible for ExpirePassword {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        if before.state == Expiry::Gone {
            return Err(nothing_before());
        }
        let (dn, now) = read(session, &cx.step.target).await?;
        let dn = dn.ok_or_else(|| gone(Sort::User))?;
        not_protected(session, &dn).await?;
        let is_back = match (&now, &before.state) {
            (Expiry::LastSet(_), Expiry::LastSet(_)) => now.expired() == before.state.expired(),
            (Expiry::Gone | Expiry::Reset(_) | Expiry::LastSet(_), _) => now == before.state,
        };
        if is_back {
            return Ok(false);
        }
        if now.expired() != Some(true) {
            return Err(moved(&dn));
        }
        Ok(modify(session, &dn, &now, &before.state).await?.changed)
    }
}
