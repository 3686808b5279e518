//! One line per permission that discovery or an action needs, as far as one can tell without a target.

use nexplane_core::plan::Check;

use super::Session;
use super::discover::{Mount, mounts};
use super::rights::{add, one};
use crate::sdk::{ConnectorError, check};

/// A name that stands for any: what a policy allows for `*` it allows for this one.
const ANY: &str = "nexplane-asks-for-any-name";

pub async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
    let account = &session.account;
    let mut answers = vec![
        check("log in", true, format!("a token of {}", account.name)),
        check(
            "the connection's own token does not hang on another (revoke_token)",
            account.orphan,
            if account.orphan {
                "it is an orphan"
            } else {
                "give the connection an orphan token, or an AppRole: else nothing is revoked"
            },
        ),
    ];
    let mut needs: Vec<(String, &[&str])> = vec![
        ("sys/mounts".to_owned(), &["read"]),
        ("sys/auth".to_owned(), &["read"]),
        ("sys/policies/acl".to_owned(), &["list"]),
        (format!("sys/policies/acl/{ANY}"), &["read", "update"]),
        ("auth/token/lookup-accessor".to_owned(), &["update"]),
        ("auth/token/revoke-accessor".to_owned(), &["update"]),
    ];
    match mounts(session).await? {
        Some(mounts) => {
            for Mount { path, is_kv } in mounts {
                let parts: &[(&str, &[&str])] = if is_kv {
                    &[
                        ("metadata", &["list", "read"]),
                        ("data", &["read", "update"]),
                        ("delete", &["update"]),
                        ("undelete", &["update"]),
                    ]
                } else {
                    &[("static-roles", &["list", "read"]), ("rotate-role", &["update"])]
                };
                needs.extend(
                    parts.iter().map(|(part, wanted)| (format!("{path}/{part}/{ANY}"), *wanted)),
                );
            }
        }
        None => answers.push(check(
            "see the secrets engines (discovery)",
            false,
            add("sys/mounts", &["read"]),
        )),
    }
    let paths: Vec<_> = needs.iter().map(|(path, _)| path.as_str()).collect();
    let held = session.capabilities(&paths).await?;
    answers.extend(needs.iter().map(|(path, wanted)| {
        let held = held.get(path).map(Vec::as_slice);
        one(session, held, (&path.replace(ANY, "*"), wanted))
    }));
    Ok(answers)
}
