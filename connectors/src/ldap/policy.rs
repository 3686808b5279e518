//! Which password policy of OpenLDAP (overlay ppolicy) holds for a user.
//!
//! A policy is an entry of class `pwdPolicy`. A user can name one in `pwdPolicySubentry`; for all others the
//! server's configuration names one, which no client can read. So where a user names none, what is asked must
//! hold of every policy that can be seen.
//! <https://www.openldap.org/software/man.cgi?query=slapo-ppolicy>

use nexplane_core::plan::Check;

use super::entry::Entry;
use super::session::{Kind, Session};
use super::target::ANY;
use crate::sdk::{ConnectorError, check};

/// The policies that can hold for a user.
pub struct Policies(Vec<Entry>);

impl Policies {
    /// For the user at `dn`.
    pub async fn of(session: &Session, dn: &str) -> Result<Self, ConnectorError> {
        let wanted = ["pwdLockout", "pwdMustChange", "pwdCheckQuality"];
        let user = session.line().entry(dn, ANY, &["pwdPolicySubentry"]).await?;
        let named = user.as_ref().and_then(|user| user.text("pwdPolicySubentry"));
        Ok(Self(match named {
            Some(policy) => session.line().entry(policy, ANY, &wanted).await?.into_iter().collect(),
            None => {
                session.line().search(&session.base, "(objectClass=pwdPolicy)", &wanted).await?
            }
        }))
    }

    /// That the policy has `attribute` TRUE, without which an effect would be none.
    pub fn demands(&self, attribute: &str, name: &str) -> Check {
        let lacking = self.0.iter().find(|policy| !policy.is_true(attribute));
        match lacking {
            None if self.0.is_empty() => check(
                name,
                false,
                format!(
                    "no password policy can be seen: let the directory's administrator set up one \
                     with {attribute} TRUE that this account may read"
                ),
            ),
            None => check(name, true, format!("{attribute} is TRUE")),
            Some(policy) => check(
                name,
                false,
                format!(
                    "let the directory's administrator set {attribute} TRUE in {}, or name the \
                     user's policy in pwdPolicySubentry",
                    policy.dn
                ),
            ),
        }
    }

    /// That hashes are taken for passwords.
    pub fn takes_hashes(&self) -> Check {
        let name = "the password policy takes a hash for a new password";
        let strict = self.0.iter().find(|policy| policy.text("pwdCheckQuality") == Some("2"));
        match strict {
            None => check(name, true, "pwdCheckQuality is not 2"),
            Some(policy) => check(
                name,
                false,
                format!(
                    "with pwdCheckQuality 2 the directory takes no hashes, and a password in clear \
                     may be stored as it is: let the directory's administrator set it to 1 in {}",
                    policy.dn
                ),
            ),
        }
    }
}

/// That the directory enforces password policies at all.
pub fn enforced(session: &Session) -> Check {
    let name = "the directory enforces password policies";
    match session.kind {
        Kind::ActiveDirectory => check(name, true, "Active Directory always does"),
        Kind::OpenLdap { policies: true } => check(name, true, "it offers the control of ppolicy"),
        Kind::OpenLdap { policies: false } => check(
            name,
            false,
            "let the directory's administrator load the overlay ppolicy: without it the directory \
             has neither locks nor expiry",
        ),
    }
}
