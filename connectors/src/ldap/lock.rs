//! What locking and unlocking share: the one thing in an entry that an administrator locks it by.

use nexplane_core::plan::{Check, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{ASSERTION_FAILED, NO_SUCH_ATTRIBUTE, refused};
use super::line::Part;
use super::name::escape;
use super::policy::{Policies, enforced};
use super::session::{Kind, Session};
use super::target::{Sort, find, gone, moved, not_protected, target_checks};
use crate::sdk::{ConnectorError, DigestKey, Effect, StepContext, TargetState};

/// `pwdAccountLockedTime` of an account that only an administrator unlocks.
/// <https://datatracker.ietf.org/doc/html/draft-behera-ldap-password-policy-10#section-5.3.3>
const FOR_GOOD: &str = "000001010000Z";
/// A time that no account was ever locked at.
const NEVER: &str = "99991231235959Z";
const LOCKED_TIME: &str = "pwdAccountLockedTime";
const CONTROL: &str = "userAccountControl";
/// `ADS_UF_ACCOUNTDISABLE` of `userAccountControl`.
/// <https://learn.microsoft.com/windows/win32/adschema/a-useraccountcontrol>
pub const ACCOUNT_DISABLE: i64 = 2;

/// Whether an administrator has locked a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Lock {
    /// There is no such user.
    Gone,
    /// OpenLDAP: `pwdAccountLockedTime` as it is written there.
    Since(Option<String>),
    /// Active Directory: ACCOUNTDISABLE, whatever the other bits are.
    Disabled(bool),
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl Lock {
    /// The same with the lock put on or taken off.
    pub fn set(&self, locked: bool) -> Self {
        match self {
            Self::Gone => Self::Gone,
            Self::Since(_) => Self::Since(locked.then(|| FOR_GOOD.to_owned())),
            Self::Disabled(_) => Self::Disabled(locked),
        }
    }

    pub fn is(&self, locked: bool) -> bool {
        *self != Self::Gone && *self == self.set(locked)
    }

    /// As the directory has it.
    pub fn value(&self) -> Value {
        match self {
            Self::Gone => Value::Null,
            Self::Since(None) => json!("not locked"),
            Self::Since(Some(since)) if since == FOR_GOOD => json!("locked for good"),
            Self::Since(Some(since)) => json!(format!("locked since {since}")),
            Self::Disabled(true) => json!("disabled"),
            Self::Disabled(false) => json!("enabled"),
        }
    }
}

impl TargetState for Lock {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new("account", self.value())]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "account": self })
    }
}

/// The user as it is now: its DN, the lock, and `userAccountControl` where that is what holds it.
struct Now {
    dn: String,
    lock: Lock,
    control: i64,
}

async fn read(session: &Session, target: &TargetRef) -> Result<Option<Now>, ConnectorError> {
    let found = find(session, target, Sort::User, &[LOCKED_TIME, CONTROL]).await?;
    Ok(found.map(|entry| {
        let control = entry.number(CONTROL).unwrap_or_default();
        let lock = match session.kind {
            Kind::OpenLdap { .. } => Lock::Since(entry.text(LOCKED_TIME).map(str::to_owned)),
            Kind::ActiveDirectory => Lock::Disabled(control & ACCOUNT_DISABLE != 0),
        };
        Now { dn: entry.dn, lock, control }
    }))
}

pub async fn snapshot(session: &Session, target: &TargetRef) -> Result<Lock, ConnectorError> {
    Ok(read(session, target).await?.map_or(Lock::Gone, |now| now.lock))
}

pub async fn precheck(session: &Session, target: &TargetRef) -> Result<Vec<Check>, ConnectorError> {
    let now = read(session, target).await?;
    let dn = now.as_ref().map(|now| now.dn.as_str());
    let written: &[_] = match session.kind {
        Kind::OpenLdap { policies: true } => &[(LOCKED_TIME, NEVER)],
        Kind::OpenLdap { policies: false } => &[],
        Kind::ActiveDirectory => &[(CONTROL, "")],
    };
    let mut checks = target_checks(session, Sort::User, dn, written).await?;
    checks.push(enforced(session));
    if let (Some(dn), Kind::OpenLdap { policies: true }) = (dn, session.kind) {
        let name = "the user's password policy lets a lock count";
        checks.push(Policies::of(session, dn).await?.demands("pwdLockout", name));
    }
    Ok(checks)
}

/// Brings the lock from `from` to `to`.
pub async fn set(
    session: &Session,
    cx: &StepContext,
    from: &Lock,
    to: &Lock,
) -> Result<Effect<Outcome>, ConnectorError> {
    let now = read(session, &cx.step.target).await?.ok_or_else(|| gone(Sort::User))?;
    not_protected(session, &now.dn).await?;
    if now.lock == *to {
        return Ok(Effect { changed: false, outcome: Outcome {} });
    }
    if now.lock != *from {
        return Err(moved(&now.dn));
    }
    let (parts, only_if) = match (from, to) {
        (Lock::Since(from), Lock::Since(to)) => {
            let condition = match from {
                Some(since) => format!("({LOCKED_TIME}={})", escape(since.as_bytes())),
                None => format!("(!({LOCKED_TIME}=*))"),
            };
            let values = to.iter().map(|since| since.as_bytes().to_vec()).collect();
            (vec![Part::Replace(LOCKED_TIME, values)], Some(condition))
        }
        (Lock::Disabled(_), Lock::Disabled(disabled)) => {
            let control = if *disabled {
                now.control | ACCOUNT_DISABLE
            } else {
                now.control & !ACCOUNT_DISABLE
            };
            let octets = |number: i64| number.to_string().into_bytes();
            // Fails when the value is another by now: Active Directory has no assertion control.
            let delete = Part::Delete(CONTROL, octets(now.control));
            (vec![delete, Part::Add(CONTROL, octets(control))], None)
        }
        (Lock::Gone | Lock::Since(_) | Lock::Disabled(_), _) => {
            return Err(ConnectorError::invalid("the before-state is of another directory"));
        }
    };
    match session.line().modify(&now.dn, parts, only_if.as_deref()).await? {
        Ok(()) => Ok(Effect { changed: true, outcome: Outcome {} }),
        Err(result) if matches!(result.rc, ASSERTION_FAILED | NO_SUCH_ATTRIBUTE) => {
            Err(moved(&now.dn))
        }
        Err(result) => Err(refused(&result)),
    }
}
