//! What is on a server: KV mounts and the paths of their secrets, policies, auth methods, database secrets engines
//! and their static roles.
//!
//! Values of secrets are not read. A folder that the account's policies do not let it list is left out, as it is
//! for whoever uses that account in the server's own interface; the mount says that there are such folders,
//! and a database secrets engine whether its roles may be listed.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Session;
use super::rights::add;
use super::session::{Answer, Answered, Listing, refusal};
use super::target::{
    AUTH_METHOD, DATABASE_MOUNT, DATABASE_ROLE, KV_MOUNT, POLICY, Place, SECRET, escape,
};
use crate::sdk::{Advice, ConnectorError, DiscoveredAsset, Discovery, ErrorKind, Relation};

/// Most secrets, and most folders of secrets, that one discovery reads.
const MOST_SECRETS: usize = 50_000;
const MOST_FOLDERS: usize = 10_000;
/// Most static roles of one database secrets engine.
const MOST_ROLES: usize = 10_000;
/// How many folders are listed at once.
const AT_ONCE: usize = 8;

/// A mount that we look into.
pub struct Mount {
    /// Without a slash at its end.
    pub path: String,
    /// KV version 2; else a database secrets engine.
    pub is_kv: bool,
}

/// The mounts that we look into, by path; none when the account may not see them.
pub async fn mounts(session: &Session) -> Result<Option<Vec<Mount>>, ConnectorError> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(rename = "type")]
        kind: String,
        options: Option<BTreeMap<String, Value>>,
    }
    let reply = match session.read("sys/mounts").await? {
        Answer::Found(reply) => reply,
        Answer::Denied => return Ok(None),
        Answer::Absent(reply) | Answer::Refused(reply) => return Err(refusal(&reply)),
    };
    let found = reply.json::<Answered<BTreeMap<String, Found>>>()?.data;
    let ours = found.into_iter().filter_map(|(path, found)| {
        let version = found.options.as_ref().and_then(|options| options.get("version"));
        let is_kv = match found.kind.as_str() {
            "kv" if version == Some(&json!("2")) => true,
            "database" => false,
            _ => return None,
        };
        Some(Mount { path: path.trim_end_matches('/').to_owned(), is_kv })
    });
    Ok(Some(ours.collect()))
}

pub async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
    let denied = || forbidden(&add("sys/mounts", &["read"]));
    let mut assets = Vec::new();
    for mount in mounts(session).await?.ok_or_else(denied)? {
        if mount.is_kv {
            secrets(session, &mount.path, &mut assets).await?;
        } else {
            database_roles(session, &mount.path, &mut assets).await?;
        }
    }
    policies(session, &mut assets).await?;
    auth_methods(session, &mut assets).await?;
    Ok(Discovery { assets })
}

fn forbidden(what_to_do: &str) -> ConnectorError {
    let message = format!("the connection may not see all that it should: {what_to_do}");
    ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
}

fn bounded(count: usize, most: usize, what: &str) -> Result<(), ConnectorError> {
    if count <= most {
        return Ok(());
    }
    Err(ConnectorError::invalid(format!("the server has more than {most} {what}")))
}

fn mount_key(mount: &str) -> String {
    format!("mount/{}", escape(mount))
}

fn part_of(kind: &str, mount_key: &str) -> Vec<Relation> {
    vec![Relation {
        kind: "part_of".to_owned(),
        to_kind: kind.to_owned(),
        to_external_key: mount_key.to_owned(),
    }]
}

async fn secrets(
    session: &Session,
    mount: &str,
    assets: &mut Vec<DiscoveredAsset>,
) -> Result<(), ConnectorError> {
    let (mut level, mut folders, mut unlisted) = (vec![String::new()], 1, 0_u32);
    let key = mount_key(mount);
    while !level.is_empty() {
        let list = async |folder: String| {
            let path = format!("{mount}/metadata/{folder}");
            let listing = session.list(path.trim_end_matches('/')).await?;
            Ok::<_, ConnectorError>((folder, listing))
        };
        let mut answers = stream::iter(std::mem::take(&mut level)).map(list).buffered(AT_ONCE);
        while let Some((folder, listing)) = answers.try_next().await? {
            let Listing::Names(names) = listing else {
                unlisted += 1;
                continue;
            };
            for name in names {
                let path = format!("{folder}{name}");
                if path.ends_with('/') {
                    folders += 1;
                    level.push(path);
                } else {
                    assets.push(secret(&Place::new(mount, &path), &key));
                }
                // At once, and not when all of a level is here.
                bounded(folders, MOST_FOLDERS, "folders of secrets")?;
                bounded(assets.len(), MOST_SECRETS, "secrets")?;
            }
        }
    }
    assets.push(DiscoveredAsset {
        kind: KV_MOUNT.to_owned(),
        external_key: key,
        name: mount.to_owned(),
        metadata: json!({ "folders": folders, "folders_not_listable": unlisted }),
        relations: Vec::new(),
    });
    Ok(())
}

fn secret(place: &Place, mount_key: &str) -> DiscoveredAsset {
    DiscoveredAsset {
        kind: SECRET.to_owned(),
        external_key: place.key("secret"),
        name: place.name(),
        metadata: json!({ "mount": place.mount, "path": place.path }),
        relations: part_of(KV_MOUNT, mount_key),
    }
}

/// The engine is an asset even where its roles may not be listed, and says so: they are then not known, which is
/// not the same as none.
async fn database_roles(
    session: &Session,
    mount: &str,
    assets: &mut Vec<DiscoveredAsset>,
) -> Result<(), ConnectorError> {
    let key = mount_key(mount);
    let listing = session.list(&format!("{mount}/static-roles")).await?;
    let names = match listing {
        Listing::Names(names) => Some(names),
        Listing::Denied => None,
    };
    assets.push(DiscoveredAsset {
        kind: DATABASE_MOUNT.to_owned(),
        external_key: key.clone(),
        name: mount.to_owned(),
        metadata: json!({ "roles_listable": names.is_some() }),
        relations: Vec::new(),
    });
    let names = names.unwrap_or_default();
    bounded(names.len(), MOST_ROLES, "static roles in one database secrets engine")?;
    // A name that ends in a slash is a folder of roles, which our targets do not name.
    for name in names.iter().filter(|name| !name.ends_with('/')) {
        let place = Place::new(mount, name);
        assets.push(DiscoveredAsset {
            kind: DATABASE_ROLE.to_owned(),
            external_key: place.key("database"),
            name: place.name(),
            metadata: json!({ "mount": mount, "role": name }),
            relations: part_of(DATABASE_MOUNT, &key),
        });
    }
    Ok(())
}

async fn policies(
    session: &Session,
    assets: &mut Vec<DiscoveredAsset>,
) -> Result<(), ConnectorError> {
    let Listing::Names(names) = session.list("sys/policies/acl").await? else {
        return Err(forbidden(&add("sys/policies/acl", &["list"])));
    };
    for name in names {
        let own = session.account.policies.contains(&name);
        assets.push(DiscoveredAsset {
            kind: POLICY.to_owned(),
            external_key: format!("policy/{name}"),
            metadata: json!({ "of_the_connection": own }),
            name,
            relations: Vec::new(),
        });
    }
    Ok(())
}

async fn auth_methods(
    session: &Session,
    assets: &mut Vec<DiscoveredAsset>,
) -> Result<(), ConnectorError> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        description: String,
    }
    let reply = match session.read("sys/auth").await? {
        Answer::Found(reply) => reply,
        Answer::Denied => return Err(forbidden(&add("sys/auth", &["read"]))),
        Answer::Absent(reply) | Answer::Refused(reply) => return Err(refusal(&reply)),
    };
    for (path, found) in reply.json::<Answered<BTreeMap<String, Found>>>()?.data {
        let path = path.trim_end_matches('/');
        assets.push(DiscoveredAsset {
            kind: AUTH_METHOD.to_owned(),
            external_key: format!("auth/{path}"),
            name: path.to_owned(),
            metadata: json!({ "type": found.kind, "description": found.description }),
            relations: Vec::new(),
        });
    }
    Ok(())
}
