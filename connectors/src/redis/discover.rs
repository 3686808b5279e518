//! What is on a server: the instance itself, its users, its logical databases.

use std::collections::BTreeMap;

use serde_json::json;

use super::Session;
use super::saving::setting;
use super::target::{DATABASE, INSTANCE, INSTANCE_KEY, USER, database_key, user_key};
use crate::sdk::{Advice, ConnectorError, DiscoveredAsset, Discovery, ErrorKind, Relation};

/// Most users, and most databases, that one discovery reads.
const MOST: usize = 10_000;

pub async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
    let mut assets = vec![instance(session).await?];
    assets.extend(users(session).await?);
    assets.extend(databases(session).await?);
    Ok(Discovery { assets })
}

/// Part of the server.
fn of_instance(kind: &str) -> Vec<Relation> {
    vec![Relation {
        kind: kind.to_owned(),
        to_kind: INSTANCE.to_owned(),
        to_external_key: INSTANCE_KEY.to_owned(),
    }]
}

fn bounded(count: usize, what: &str) -> Result<(), ConnectorError> {
    if count <= MOST {
        Ok(())
    } else {
        Err(ConnectorError::invalid(format!("the server has more than {MOST} {what}")))
    }
}

/// `name:value` lines.
fn facts(info: &str) -> BTreeMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

async fn instance(session: &Session) -> Result<DiscoveredAsset, ConnectorError> {
    let greeting = &session.line.greeting;
    let info: String = session.line.ask(&["INFO"]).await?;
    let facts = facts(&info);
    let fact = |name: &str| facts.get(name).copied();
    let credentials = &session.way.credentials;
    let acl_file = setting(session, "aclfile").await?;
    let save = setting(session, "save").await?;
    let metadata = json!({
        "product": greeting.server,
        "version": greeting.version,
        "mode": greeting.mode,
        "role": if greeting.is_primary() { "primary" } else { "replica" },
        "primary_host": fact("master_host"),
        "operating_system": fact("os"),
        "port": credentials.port,
        "tls": credentials.tls,
        "config_file": fact("config_file").filter(|path| !path.is_empty()),
        "acl_file": acl_file,
        "requirepass": setting(session, "requirepass").await?.is_some(),
        "append_only_file": fact("aof_enabled") == Some("1"),
        "snapshots": save,
        "maxmemory_policy": setting(session, "maxmemory-policy").await?,
    });
    Ok(DiscoveredAsset {
        kind: INSTANCE.to_owned(),
        external_key: INSTANCE_KEY.to_owned(),
        name: format!("{}:{}", credentials.host, credentials.port),
        metadata,
        relations: Vec::new(),
    })
}

async fn users(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let lines: Vec<String> = session.line.ask(&["ACL", "LIST"]).await?;
    bounded(lines.len(), "users")?;
    lines.iter().map(|line| user(session, line)).collect()
}

/// A line of `ACL LIST`, such as `user app on #… ~app:* &* +@all`, without the hashes.
fn user(session: &Session, line: &str) -> Result<DiscoveredAsset, ConnectorError> {
    let mut words = line.split(' ');
    let (Some("user"), Some(name)) = (words.next(), words.next()) else {
        let message = "the server's list of users was not understood";
        return Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message));
    };
    let words: Vec<&str> = words.collect();
    let has = |flag: &str| words.contains(&flag);
    let is_secret = |word: &&str| word.starts_with(['#', '>']);
    let passwords = words.iter().filter(|word| is_secret(word)).count();
    let shown = |word: &&str| !is_secret(word) && !matches!(*word, "on" | "off" | "nopass");
    let rules: Vec<&str> = words.iter().copied().filter(shown).collect();
    let enabled = has("on");
    Ok(DiscoveredAsset {
        kind: USER.to_owned(),
        external_key: user_key(name),
        name: name.to_owned(),
        metadata: json!({
            "enabled": enabled,
            "nopass": has("nopass"),
            "passwords": passwords,
            "rules": rules.join(" "),
            "own": name == session.own().as_str(),
        }),
        relations: if enabled { of_instance("has_access_to") } else { Vec::new() },
    })
}

/// All that there are, so that an empty one does not come and go; how many keys each has moves by itself, and is
/// for the plans.
async fn databases(session: &Session) -> Result<Vec<DiscoveredAsset>, ConnectorError> {
    let cluster = session.line.greeting.is_cluster();
    let all = match setting(session, "databases").await?.and_then(|text| text.parse().ok()) {
        Some(all) if !cluster => all,
        _ => 1_u32,
    };
    bounded(usize::try_from(all).unwrap_or(usize::MAX), "databases")?;
    let database = |number: u32| DiscoveredAsset {
        kind: DATABASE.to_owned(),
        external_key: database_key(number),
        name: format!("db{number}"),
        metadata: json!({ "number": number }),
        relations: of_instance("runs_on"),
    };
    Ok((0..all).map(database).collect())
}
