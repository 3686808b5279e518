//! What our token may do, asked of the server before anything is done.

use nexplane_core::plan::Check;

use super::session::Session;
use crate::sdk::{ConnectorError, check};

/// Capabilities at a path of the API.
/// <https://developer.hashicorp.com/vault/docs/concepts/policies#capabilities>
pub type Need<'a> = (&'a str, &'a [&'a str]);

/// One check per path, which says what to add to the policy where something is missing.
pub async fn checks(session: &Session, needs: &[Need<'_>]) -> Result<Vec<Check>, ConnectorError> {
    let paths: Vec<_> = needs.iter().map(|(path, _)| *path).collect();
    let held = session.capabilities(&paths).await?;
    let answer = |need: &Need<'_>| one(session, held.get(need.0).map(Vec::as_slice), *need);
    Ok(needs.iter().map(answer).collect())
}

/// Whether what is held at the path of the need is enough.
pub fn one(session: &Session, held: Option<&[String]>, (path, wanted): Need<'_>) -> Check {
    let held = held.unwrap_or_default();
    let has = |name: &str| held.iter().any(|held| held == name);
    let ok = has("root") || wanted.iter().all(|wanted| has(wanted));
    check(
        format!("the connection may {} {path}", wanted.join(" and ")),
        ok,
        if ok { format!("{} has the rights", session.account.name) } else { add(path, wanted) },
    )
}

/// How to give the right.
pub fn add(path: &str, wanted: &[&str]) -> String {
    let wanted: Vec<_> = wanted.iter().map(|wanted| format!("\"{wanted}\"")).collect();
    let path = path.replace('\\', "\\\\").replace('"', "\\\"");
    let wanted = wanted.join(", ");
    format!("add to the connection's policy: path \"{path}\" {{ capabilities = [{wanted}] }}")
}
