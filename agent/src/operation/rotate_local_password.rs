//! `host.rotate_local_password`
//!
//! The control plane makes the password and the order brings its hash: nothing on the host ever has it in
//! clear. Of the old one the before-state holds the hash, sealed under the host's own key.

use nexplane_core::catalog::EffectClass;
use nexplane_core::job::Prepared;
use nexplane_core::plan::{Check, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::local_account::{date, may_touch};
use super::{Meta, Operation, check};
use crate::host::shadow::{self, AccountName, Password, SHADOW};
use crate::host::{Host, HostError, HostPath, Sealed};

/// Gives a local account a new random password.
///
/// A lock, the expiry and the rules of ageing stay as they are, and so do open sessions and keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateLocalPassword {
    /// Name of the account on the host. It has a password; not root, and not the agent's own.
    #[schemars(example = &"deploy")]
    pub user: AccountName,
    /// What the order brings; absent in a question.
    #[serde(skip)]
    new: Option<Prepared>,
}

/// The password now, and when it was last changed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The hash; none of one that is not made yet.
    hash: Option<Sealed>,
    /// Days since 1970, as the file has them.
    changed: String,
}

impl Operation for RotateLocalPassword {
    const META: Meta = Meta {
        id: "host.rotate_local_password",
        title: "Rotate local password",
        description: "Gives a local account a new random password, which is handed over once. Only \
                      its hash goes to the host. A lock, keys and open sessions stay. Undone by \
                      putting the hash of the old one back.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        permissions: &["root to write /etc/shadow"],
    };
    const PRODUCES: &'static [&'static str] = &["password"];

    type State = State;

    fn example() -> Self {
        let user = "deploy".to_owned().try_into().expect("the name is well formed");
        Self { user, new: None }
    }

    fn take(&mut self, prepared: &Prepared) -> Result<(), String> {
        let Prepared::Password { hash, day } = prepared;
        if !is_sha512_crypt(hash) || *day == 0 {
            return Err("what the order brings is no hash of a new password".to_owned());
        }
        self.new = Some(prepared.clone());
        Ok(())
    }

    fn paths(&self) -> Vec<&HostPath> {
        vec![&SHADOW]
    }

    fn may_cut_line(&self) -> bool {
        false
    }

    fn summary(&self, target: &str) -> String {
        let user = &self.user;
        format!("Gives {user} on {target} a new random password, which is handed over once.")
    }

    fn rollback(&self) -> String {
        format!("Makes the old password of {} valid again, and the new one void.", self.user)
    }

    fn validate(&self, host: &dyn Host) -> Vec<Check> {
        let user = &self.user;
        let account_allowed = may_touch(host, user)
            .map(|()| format!("the agent may give {user} a new password"))
            .map_err(|error| error.sentence());
        let has_password = shadow::read_password(host, user)
            .map(|_| format!("{user} is a local account with a password"))
            .map_err(|error| error.sentence());
        let can_come_back = host
            .sealing_key()
            .map(|_| "the hash of the old password is kept sealed on the host".to_owned())
            .map_err(|error| error.sentence());
        vec![
            check("account_allowed", account_allowed),
            check("has_password", has_password),
            check("can_come_back", can_come_back),
        ]
    }

    fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
        let Password { hash, changed } = shadow::read_password(host, &self.user)?;
        Ok(State { hash: Some(host.sealing_key()?.seal(&hash)), changed })
    }

    fn intended(&self, host: &dyn Host, _before: &State) -> Result<State, HostError> {
        Ok(match &self.new {
            None => State { hash: None, changed: String::new() },
            Some(Prepared::Password { hash, day }) => {
                State { hash: Some(host.sealing_key()?.seal(hash)), changed: day.to_string() }
            }
        })
    }

    fn fields(state: &State) -> Vec<Field> {
        let Some(hash) = &state.hash else {
            return vec![
                Field::redacted("password", "a new random one"),
                Field::new("password_changed", "the day of the change"),
            ];
        };
        let changed = state.changed.parse().ok().and_then(date);
        vec![
            Field::redacted("password", format!("hash {}", hash.tag())),
            Field::new("password_changed", changed.unwrap_or_else(|| state.changed.clone())),
        ]
    }

    fn bring(&self, host: &dyn Host, from: Option<&State>, to: &State) -> Result<(), HostError> {
        may_touch(host, &self.user)?;
        let from = from.map(|state| self.open(host, state)).transpose()?;
        let to = self.open(host, to)?;
        shadow::bring_password(host, &self.user, from.as_ref(), &to)
    }
}

impl RotateLocalPassword {
    fn open(&self, host: &dyn Host, state: &State) -> Result<Password, HostError> {
        let fail =
            |why: &str| Err(HostError::Item { item: self.user.to_string(), why: why.to_owned() });
        let Some(sealed) = &state.hash else {
            return fail("the order brings no hash of a new password");
        };
        match host.sealing_key()?.open(sealed) {
            Some(hash) => Ok(Password { hash, changed: state.changed.clone() }),
            None => fail("the hash was sealed under another key than this host's"),
        }
    }
}

/// `$6$rounds=<n>$<16 characters>$<86 characters>` (`crypt(5)`), with no more rounds than a sign-in can bear.
/// Nothing else gets into the file: no other field, line or account, and no account without a password.
fn is_sha512_crypt(hash: &str) -> bool {
    let is_text = |text: &str, length| {
        text.len() == length
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
    };
    let is_rounds = |text: &str| {
        text.strip_prefix("rounds=")
            .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|number| number.parse().ok())
            .is_some_and(|rounds: u32| (1000..=1_000_000).contains(&rounds))
    };
    match hash.split('$').collect::<Vec<_>>().as_slice() {
        ["", "6", rounds, salt, sum] => is_rounds(rounds) && is_text(salt, 16) && is_text(sum, 86),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(hash: &str, day: u32) -> Result<RotateLocalPassword, String> {
        let mut operation = RotateLocalPassword::example();
        let prepared = Prepared::Password { hash: hash.to_owned(), day };
        operation.take(&prepared).map(|()| operation)
    }

    #[test]
    fn nothing_but_the_hash_of_a_password_is_taken() {
        let hash = format!("$6$rounds=5000${}${}", "s".repeat(16), "h".repeat(86));
        let operation = taken(&hash, 20_000).unwrap();
        let shown = format!("{operation:?} {}", json!(operation));
        assert!(!shown.contains("hhh"), "{shown}");
        assert!(taken(&hash, 0).is_err(), "0 means that it must be changed at once");
        for wrong in [
            String::new(),
            "*".to_owned(),
            "!".to_owned(),
            format!("!{hash}"),
            format!("{hash}:0:0:::::"),
            format!("{hash}\nroot2::0:::::::"),
            hash.replace("$6$", "$1$"),
            hash.replace("rounds=5000$", ""),
            hash.replace("5000", "999"),
            hash.replace("5000", "+5000"),
            hash.replace("5000", "999999999"),
            hash.replace("ss$", "s$"),
            hash.replacen('h', ":", 1),
            hash.replacen('h', "é", 1),
            hash.replacen('s', "\n", 3),
            hash[..hash.len() - 1].to_owned(),
        ] {
            assert!(taken(&wrong, 20_000).is_err(), "{wrong:?}");
        }
    }
}
