//! One line per permission that discovery or an action needs. Rights belong to entries, so they are asked of one
//! user and one group that are there.

use nexplane_core::plan::Check;

use super::Session;
use super::credentials::Protection;
use super::entry::Entry;
use super::policy::enforced;
use super::session::Kind;
use super::target::{Sort, Written, may_write};
use crate::sdk::{ConnectorError, check};

const ASKED: [&str; 5] = [
    "objectSid",
    "isCriticalSystemObject",
    "allowedAttributesEffective",
    "objectClass",
    "userPassword",
];

pub async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
    let protection = match session.protection() {
        Protection::Ldaps => "ldaps",
        Protection::Starttls => "StartTLS",
    };
    let (account, vendor) = (session.account(), &session.vendor);
    let mut checks = vec![
        check("connect", true, format!("{account} at {vendor}, protected by {protection}")),
        enforced(session),
    ];
    let users = sample(session, Sort::User).await?;
    let groups = sample(session, Sort::Group).await?;
    let seen = !users.is_empty() || !groups.is_empty();
    checks.push(check(
        "read users and groups (discovery)",
        seen,
        if seen {
            format!("entries below {} are visible", session.base)
        } else {
            format!(
                "let the directory's administrator give {account} the right to read below {}",
                session.base
            )
        },
    ));
    let user =
        users.iter().find(|user| !session.is_own(user) && !user.is_true("isCriticalSystemObject"));
    let of_user: &[(&str, Written)] = match session.kind {
        Kind::OpenLdap { policies: true } => &[
            ("lock and unlock users", ("pwdAccountLockedTime", "99991231235959Z")),
            ("expire passwords", ("pwdReset", "TRUE")),
            ("reset passwords", ("userPassword", "{NONE}")),
        ],
        Kind::OpenLdap { policies: false } => &[("reset passwords", ("userPassword", "{NONE}"))],
        Kind::ActiveDirectory => &[
            ("lock and unlock users", ("userAccountControl", "")),
            ("expire and reset passwords", ("pwdLastSet", "")),
        ],
    };
    if let Some(user) = user {
        for (what, written) in of_user {
            checks.push(right(session, user, what, *written).await?);
        }
        if session.kind != Kind::ActiveDirectory {
            let readable = !user.values("userPassword").is_empty();
            checks.push(check(
                "read stored passwords (reset_password)",
                readable,
                if readable {
                    format!("that of {} is readable", user.dn)
                } else {
                    format!(
                        "{} has none, or let the directory's administrator give {account} the right to \
                         read userPassword",
                        user.dn
                    )
                },
            ));
        }
    }
    if let Some(group) = groups.first() {
        let written = if group.has_class("groupOfUniqueNames") {
            ("uniqueMember", "cn=nexplane-asks-whether-it-may-write")
        } else if group.has_class("posixGroup") && !group.has_class("groupOfNames") {
            ("memberUid", "nexplane-asks-whether-it-may-write")
        } else {
            ("member", "cn=nexplane-asks-whether-it-may-write")
        };
        checks.push(right(session, group, "change members of groups", written).await?);
    }
    Ok(checks)
}

async fn sample(session: &Session, sort: Sort) -> Result<Vec<Entry>, ConnectorError> {
    session.line().sample(&session.base, sort.filter(session.kind), &ASKED).await
}

async fn right(
    session: &Session,
    entry: &Entry,
    what: &str,
    (attribute, value): Written,
) -> Result<Check, ConnectorError> {
    let (may, account, dn) =
        (may_write(session, entry, attribute, value).await?, session.account(), &entry.dn);
    Ok(check(
        what,
        may,
        if may {
            format!("{account} may write {attribute}, asked of {dn}")
        } else {
            format!(
                "let the directory's administrator give {account} the right to write {attribute}, asked \
                 of {dn}"
            )
        },
    ))
}
