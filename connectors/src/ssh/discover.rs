//! Everything on a host that can be a target: itself, its local accounts, its units.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::account::{ACCOUNT, Account, account_key};
use super::command::Command;
use super::host::{HOST, HOST_KEY};
use super::session::Session;
use super::unit::{SERVICE, service_key};
use crate::sdk::{Advice, ConnectorError, DiscoveredAsset, Discovery, ErrorKind, Relation};

/// Most accounts and most units of a host that are taken in: more is an error, not a part.
const MOST: usize = 10_000;
/// Where systemd says that it is process 1 (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

pub async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
    let mut assets = vec![host(session).await?];
    assets.extend(accounts(session).await?);
    assets.extend(services(session).await?);
    Ok(Discovery { assets })
}

async fn host(session: &Session) -> Result<DiscoveredAsset, ConnectorError> {
    let system = session.read(&Command::System).await?;
    let mut words = system.split_whitespace().map(str::to_owned);
    let (name, kernel, machine) = (words.next(), words.next(), words.next());
    let name = name.unwrap_or_else(|| session.address.clone());
    let release = session.ask(&Command::Release).await?.text();
    let release = os_release(&release);
    let said = |key: &str| release.get(key).map_or(Value::Null, |value| json!(value));
    Ok(DiscoveredAsset {
        kind: HOST.to_owned(),
        external_key: HOST_KEY.to_owned(),
        name,
        metadata: json!({
            "kernel": kernel,
            "architecture": machine,
            "os": said("ID"),
            "os_version": said("VERSION_ID"),
            "os_name": said("PRETTY_NAME"),
        }),
        relations: Vec::new(),
    })
}

/// `os-release(5)`: assignments, the value maybe in quotes.
fn os_release(text: &str) -> BTreeMap<&str, &str> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim(), value.trim().trim_matches(['"', '\'']))).collect()
}

async fn accounts(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let text = session.read(&Command::Accounts).await?;
    let accounts: Vec<_> = text.lines().filter_map(Account::read).collect();
    bounded(accounts.len(), "accounts")?;
    Ok(accounts
        .into_iter()
        .map(|account| DiscoveredAsset {
            kind: ACCOUNT.to_owned(),
            external_key: account_key(&account.name),
            metadata: json!({
                "uid": account.uid,
                "gid": account.gid,
                "home": account.home,
                "shell": account.shell,
            }),
            name: account.name,
            relations: vec![on_host()],
        })
        .collect())
}

/// None where systemd is not process 1: there are none then.
async fn services(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let booted = [BOOTED.to_owned()];
    if !session.ask(&Command::Look(&booted)).await?.ok() {
        return Ok(Vec::new());
    }
    let files = session.read(&Command::AllUnitFiles).await?;
    let states = session.read(&Command::AllUnits).await?;
    let active: BTreeMap<&str, &str> = states
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some((words.next()?, words.nth(1)?))
        })
        .collect();
    let mut found = Vec::new();
    for line in files.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(unit), Some(state)) = (words.next(), words.next()) else { continue };
        // A template is no unit; its instances are, and are not enabled by its file.
        if unit.contains("@.") || state == "alias" {
            continue;
        }
        found.push(DiscoveredAsset {
            kind: SERVICE.to_owned(),
            external_key: service_key(unit),
            name: unit.to_owned(),
            metadata: json!({
                "unit_file_state": state,
                "active_state": active.get(unit).copied().unwrap_or("inactive"),
            }),
            relations: vec![on_host()],
        });
    }
    bounded(found.len(), "units")?;
    Ok(found)
}

fn on_host() -> Relation {
    Relation {
        kind: "part_of".to_owned(),
        to_kind: HOST.to_owned(),
        to_external_key: HOST_KEY.to_owned(),
    }
}

fn bounded(count: usize, what: &str) -> Result<(), ConnectorError> {
    if count <= MOST {
        return Ok(());
    }
    let message = format!("the host has more than {MOST} {what}");
    Err(ConnectorError::new(ErrorKind::Invalid, Advice::Never, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_with_and_without_quotes() {
        let found =
            os_release("ID=debian\nPRETTY_NAME=\"Debian 12 (bookworm)\"\n# no\nVERSION_ID='12'\n");
        assert_eq!(found["ID"], "debian");
        assert_eq!(found["PRETTY_NAME"], "Debian 12 (bookworm)");
        assert_eq!(found["VERSION_ID"], "12");
    }
}
