//! `host.lock_local_account` and `host.unlock_local_account`: one pair, two directions.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Meta, Operation, check};
use crate::host::shadow::{self, Access, AccountName, SHADOW};
use crate::host::{Host, HostError, HostPath, account};

/// The day that a locked account has expired on: 1970-01-02. Without it a key still opens the door
/// (`usermod(8)`, option `--lock`); 0 is not used because `shadow(5)` calls it ambiguous.
const LONG_AGO: &str = "1";

/// Lets nobody sign in to a local account any more.
///
/// The password is locked and the account expires, so that a key opens nothing either. Sessions that
/// are open stay open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockLocalAccount {
    /// Name of the account on the host. Not root, and not the agent's own.
    #[schemars(example = &"deploy")]
    pub user: AccountName,
}

/// Lets a locked local account sign in again.
///
/// A password that was locked is accepted again, and an expiry that came with the lock is taken away;
/// an expiry of the account's own stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockLocalAccount {
    /// Name of the account on the host. Not root, and not the agent's own.
    #[schemars(example = &"former")]
    pub user: AccountName,
}

/// What the two have in common; `goal` is the state that they lead to.
macro_rules! direction {
    ($goal:ident) => {
        type State = Access;

        fn may_cut_line(&self) -> bool {
            false
        }

        fn paths(&self) -> Vec<&HostPath> {
            vec![&SHADOW]
        }

        fn rollback(&self) -> String {
            format!("Makes lock and expiry of {} as they were.", self.user)
        }

        fn snapshot(&self, host: &dyn Host) -> Result<Access, HostError> {
            shadow::read(host, &self.user)
        }

        fn intended(&self, _host: &dyn Host, before: &Access) -> Result<Access, HostError> {
            Ok($goal(before))
        }

        fn fields(state: &Access) -> Vec<Field> {
            fields(state)
        }

        fn bring(
            &self,
            host: &dyn Host,
            from: Option<&Access>,
            to: &Access,
        ) -> Result<(), HostError> {
            may_touch(host, &self.user)?;
            shadow::bring(host, &self.user, from, to)
        }
    };
}

impl Operation for LockLocalAccount {
    const META: Meta = Meta {
        id: "host.lock_local_account",
        title: "Lock local account",
        description: "Locks a local account's password and lets the account expire, so that neither a \
                      password nor a key signs in. Open sessions stay. Undone by making both as they \
                      were.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        permissions: &["root to write /etc/shadow"],
    };

    fn example() -> Self {
        Self { user: name("deploy") }
    }

    fn summary(&self, target: &str) -> String {
        format!("Lets nobody sign in to {} on {target}.", self.user)
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        let found = shadow::read(host, &self.user);
        let account_known = match &found {
            Ok(_) => Ok(format!("{} is a local account", self.user)),
            Err(error) => Err(error.sentence()),
        };
        vec![
            check("account_allowed", allowed(host, &self.user)),
            check("account_known", account_known),
        ]
    }

    direction!(locked);
}

impl Operation for UnlockLocalAccount {
    const META: Meta = Meta {
        id: "host.unlock_local_account",
        title: "Unlock local account",
        description: "Accepts a local account's locked password again and takes away the expiry that \
                      came with the lock. Undone by making both as they were.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        permissions: &["root to write /etc/shadow"],
    };

    fn example() -> Self {
        Self { user: name("former") }
    }

    fn summary(&self, target: &str) -> String {
        format!("Lets {} sign in on {target} again.", self.user)
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        let account_known = match shadow::read(host, &self.user) {
            Ok(found) if found.has_password => {
                Ok(format!("{} is a local account with a password", self.user))
            }
            Ok(_) => Ok(format!(
                "{} is a local account without a password: only its expiry can go",
                self.user
            )),
            Err(error) => Err(error.sentence()),
        };
        vec![
            check("account_allowed", allowed(host, &self.user)),
            check("account_known", account_known),
        ]
    }

    direction!(unlocked);
}

fn name(text: &str) -> AccountName {
    text.to_owned().try_into().expect("the name is well formed")
}

fn locked(before: &Access) -> Access {
    Access { locked: true, expires: LONG_AGO.to_owned(), ..before.clone() }
}

/// An account that never had a password stays without one: `!` taken from nothing would let everybody in.
fn unlocked(before: &Access) -> Access {
    let expires = match before.expires.as_str() {
        "0" | LONG_AGO => String::new(),
        own => own.to_owned(),
    };
    Access { locked: before.locked && !before.has_password, expires, ..before.clone() }
}

fn fields(state: &Access) -> Vec<Field> {
    let expires = match state.expires.parse::<i64>() {
        Ok(days) => date(days).unwrap_or_else(|| state.expires.clone()),
        Err(_) if state.expires.is_empty() => "never".to_owned(),
        Err(_) => state.expires.clone(),
    };
    vec![
        Field::new("password_locked", state.locked),
        Field::new("has_password", state.has_password),
        Field::new("expires", expires),
    ]
}

/// The date of a day since 1970.
pub(super) fn date(days: i64) -> Option<String> {
    let days = jiff::Span::new().try_days(days).ok()?;
    jiff::civil::date(1970, 1, 1).checked_add(days).ok().map(|date| date.to_string())
}

/// Root's account is the owner's, and the agent does not lock itself out.
pub(super) fn may_touch(host: &dyn Host, user: &AccountName) -> Result<(), HostError> {
    let denied = |why| Err(HostError::Denied { path: SHADOW.clone(), why });
    match account::uid(host, user.as_str())? {
        0 => denied("root's account belongs to the host's owner"),
        uid if uid == host.own_ids().uid => denied("the account is the agent's own"),
        _ => Ok(()),
    }
}

fn allowed(host: &dyn Host, user: &AccountName) -> Result<String, String> {
    may_touch(host, user)
        .map(|()| format!("{user} may be locked and unlocked by the agent"))
        .map_err(|error| error.sentence())
}
