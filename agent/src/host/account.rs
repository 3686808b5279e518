//! Names of local accounts and groups, read from `/etc/passwd` and `/etc/group` of the host.
//!
//! Deliberately absent: directories such as LDAP. An agent is one static binary and loads no name
//! service modules; such an owner is given by its number.

use super::{Host, HostError, HostPath, Ids};

const LIMIT: u64 = 16 * 1024 * 1024;

/// One line of `/etc/passwd`, without the person's name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

/// The local accounts, in the order of the file.
pub fn accounts(host: &dyn Host) -> Result<Vec<Account>, HostError> {
    let text = text(host, "/etc/passwd")?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut parts = line.split(':');
            let name = parts.next()?.to_owned();
            let uid = parts.nth(1)?.parse().ok()?;
            let gid = parts.next()?.parse().ok()?;
            let home = parts.nth(1)?.to_owned();
            let shell = parts.next()?.to_owned();
            Some(Account { name, uid, gid, home, shell })
        })
        .collect())
}

/// Names of owner and group; the number where there is no name.
pub fn names(host: &dyn Host, ids: Ids) -> Result<(String, String), HostError> {
    let by_id = |file: &str, id: u32| -> Result<String, HostError> {
        let text = text(host, file)?;
        let found =
            entries(&text).find(|(_, number)| *number == id).map(|(name, _)| name.to_owned());
        Ok(found.unwrap_or_else(|| id.to_string()))
    };
    Ok((by_id("/etc/passwd", ids.uid)?, by_id("/etc/group", ids.gid)?))
}

/// Number of a local account given by name, or by the number itself.
pub fn uid(host: &dyn Host, name: &str) -> Result<u32, HostError> {
    number(host, "/etc/passwd", "account", name)
}

/// Number of a local group given by name, or by the number itself.
pub fn gid(host: &dyn Host, name: &str) -> Result<u32, HostError> {
    number(host, "/etc/group", "group", name)
}

fn number(host: &dyn Host, file: &str, kind: &'static str, name: &str) -> Result<u32, HostError> {
    // 4294967295 is "leave it as it is" to chown(2), not an account.
    if let Some(id) = name.parse().ok().filter(|id| *id != u32::MAX) {
        return Ok(id);
    }
    entries(&text(host, file)?)
        .find(|(entry, _)| *entry == name)
        .map(|(_, id)| id)
        .ok_or_else(|| HostError::UnknownName { kind, name: name.to_owned() })
}

fn entries(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        Some((name, parts.nth(1)?.parse().ok()?))
    })
}

fn text(host: &dyn Host, path: &str) -> Result<String, HostError> {
    let path: HostPath = path.parse().expect("the paths in this file are normal and absolute");
    let view = host.read(&path, LIMIT)?;
    Ok(view.map(|view| String::from_utf8_lossy(&view.content).into_owned()).unwrap_or_default())
}
