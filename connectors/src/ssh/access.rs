//! What locking and unlocking share: whether an account lets anybody in.

use nexplane_agent::host::shadow::AccountName;
use nexplane_core::plan::{Check, DiffLine, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::{Found, Shadow, account_of, moved, refuse_own, target_checks};
use super::command::{Command, Expiry};
use super::session::Session;
use crate::sdk::{ConnectorError, DigestKey, StepContext, TargetState, check, line};

/// The day that a locked account has expired on: 1970-01-02. Without it a key still opens the door
/// (`usermod(8)`, option `--lock`); 0 is not used because `shadow(5)` calls it ambiguous.
const LONG_AGO: u32 = 1;

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Access {
    /// There is no such account.
    Absent,
    /// The connection's account may not read `/etc/shadow`.
    Unreadable,
    Known(Known),
}

/// What `/etc/shadow` says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// No password is accepted: the field begins with `!`.
    pub locked: bool,
    /// There is a hash, locked or not.
    pub has_password: bool,
    /// Everybody is let in without a password.
    pub is_open: bool,
    /// From this day on nobody is let in, by key or by password: days since 1970-01-01.
    pub expires: Option<u32>,
}

impl TargetState for Access {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Absent => vec![Field::new("exists", false)],
            Self::Unreadable => vec![Field::redacted("password", "not readable by the connection")],
            Self::Known(known) => vec![
                Field::new("password_locked", known.locked),
                Field::new("has_password", known.has_password),
                Field::new("expires", shown(known.expires)),
            ],
        }
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match self {
            Self::Absent => json!({ "exists": false }),
            Self::Unreadable => json!({ "exists": true, "readable": false }),
            Self::Known(known) => json!({
                "exists": true,
                "locked": known.locked,
                "has_password": known.has_password,
                "is_open": known.is_open,
                "expires": known.expires,
            }),
        }
    }
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

/// The way that an action leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Lock,
    Unlock,
}

impl Way {
    /// Where it leads from there.
    pub fn goal(self, from: &Known) -> Known {
        match self {
            Self::Lock => Known { locked: true, expires: Some(LONG_AGO), ..from.clone() },
            // An account that never had a password stays without one: `!` taken from nothing would let
            // everybody in.
            Self::Unlock => Known {
                locked: from.locked && !from.has_password,
                expires: from.expires.filter(|day| *day > LONG_AGO),
                ..from.clone()
            },
        }
    }
}

pub async fn snapshot(session: &Session, target: &TargetRef) -> Result<Access, ConnectorError> {
    read(session, &account_of(target)?).await
}

async fn read(session: &Session, name: &AccountName) -> Result<Access, ConnectorError> {
    Ok(match Shadow::find(session, name).await? {
        Found::Absent => Access::Absent,
        Found::Unreadable => Access::Unreadable,
        Found::Line(shadow) => Access::Known(Known {
            locked: shadow.is_locked(),
            has_password: shadow.hash().is_some(),
            is_open: shadow.is_empty(),
            expires: shadow.expires,
        }),
    })
}

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    state: &Access,
    way: Way,
) -> Result<Vec<Check>, ConnectorError> {
    let name = account_of(target)?;
    let lock = Some(way == Way::Lock);
    let set = Command::SetAccess { user: &name, lock, expires: Some(Expiry::Never) };
    let mut checks = target_checks(session, &name, &[Command::Shadow(&name), set]).await?;
    if let Access::Known(known) = state {
        match way {
            Way::Lock => checks.push(check(
                "the account has a password, or cannot have one",
                !known.is_open,
                if known.is_open {
                    "it lets everybody in without one, and usermod(8) would not unlock it again: give it a \
                     password, or '*' for none, first"
                } else {
                    "a lock can be taken away again"
                },
            )),
            Way::Unlock => {}
        }
    }
    Ok(checks)
}

/// The lines that differ.
pub fn diff(target: &TargetRef, state: &Access, way: Way) -> Vec<DiffLine> {
    let Access::Known(from) = state else { return Vec::new() };
    let to = way.goal(from);
    let mut diff = Vec::new();
    if from.locked != to.locked {
        diff.push(line(target, "password_locked", from.locked, to.locked));
    }
    if from.expires != to.expires {
        diff.push(line(target, "expires", shown(from.expires), shown(to.expires)));
    }
    diff
}

/// Goes the way; answers whether anything had to change.
pub async fn go(
    session: &Session,
    cx: &StepContext,
    before: &Access,
    way: Way,
) -> Result<bool, ConnectorError> {
    let from = known(before)?;
    bring(session, cx, from, &way.goal(from)).await
}

/// Goes it back.
pub async fn back(
    session: &Session,
    cx: &StepContext,
    before: &Access,
    way: Way,
) -> Result<bool, ConnectorError> {
    let to = known(before)?;
    bring(session, cx, &way.goal(to), to).await
}

/// Whether the way is gone: nothing is left to do from here, and it began there.
pub fn is_gone(now: &Access, before: &Access, way: Way) -> bool {
    match (now, before) {
        (Access::Known(now), Access::Known(before)) => *now == way.goal(before),
        (
            Access::Absent | Access::Unreadable | Access::Known(_),
            Access::Absent | Access::Unreadable | Access::Known(_),
        ) => false,
    }
}

fn known(state: &Access) -> Result<&Known, ConnectorError> {
    match state {
        Access::Known(known) => Ok(known),
        Access::Absent | Access::Unreadable => Err(ConnectorError::invalid(
            "what /etc/shadow said of the account could not be read before, so nothing was changed",
        )),
    }
}

async fn bring(
    session: &Session,
    cx: &StepContext,
    from: &Known,
    to: &Known,
) -> Result<bool, ConnectorError> {
    let name = account_of(&cx.step.target)?;
    refuse_own(session, &name).await?;
    let Access::Known(now) = read(session, &name).await? else { return Err(moved(&name)) };
    if now == *to {
        return Ok(false);
    }
    if now != *from {
        return Err(moved(&name));
    }
    let lock = (now.locked != to.locked).then_some(to.locked);
    let expires =
        (now.expires != to.expires).then(|| to.expires.map_or(Expiry::Never, Expiry::Day));
    session.change(&Command::SetAccess { user: &name, lock, expires }, cx.deadline).await?;
    Ok(true)
}

fn shown(expires: Option<u32>) -> Value {
    expires.map_or_else(|| json!("never"), |day| json!(super::command::date(day)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_way_back_from_everywhere() {
        let known =
            |locked, has_password, expires| Known { locked, has_password, is_open: false, expires };
        let never = known(false, true, None);
        assert_eq!(Way::Lock.goal(&never), known(true, true, Some(1)));
        assert_eq!(Way::Unlock.goal(&Way::Lock.goal(&never)), never);
        let own = known(true, true, Some(20_000));
        assert_eq!(Way::Unlock.goal(&own), known(false, true, Some(20_000)));
        let without = known(true, false, Some(1));
        assert_eq!(Way::Unlock.goal(&without), known(true, false, None));
        assert!(
            is_gone(&Access::Known(never.clone()), &Access::Known(own.clone()), Way::Unlock)
                == (never == Way::Unlock.goal(&own))
        );
    }
}
