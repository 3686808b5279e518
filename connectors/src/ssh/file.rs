//! Files, looked at before they are touched.
//!
//! A name could come to mean another file between the look and the change: over SSH there is no descriptor
//! to hold on to, as the agent has. So a file is refused unless everybody who could put another in its
//! place is trusted anyhow: every directory above it belongs to root (or, without root, to the connection's
//! own account) and nobody else may write to it; it is a regular file with one name, and no part of the
//! path is a symbolic link. What is left is a race against root itself, for the milliseconds between two
//! commands; `verify` looks again afterwards.
//!
//! The agent's list of what no order reaches (sudoers, `authorized_keys`, devices …) holds here as well.

use nexplane_agent::host::{Access, Deny, HostPath, Ids, Mode};
use nexplane_core::plan::{Check, TargetRef};
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::host::is_host;
use super::session::Session;
use crate::sdk::{Advice, ConnectorError, ErrorKind, check};

/// `st_mode`: the type of a file (`inode(7)`).
pub const TYPE: u32 = 0o170_000;
pub const REGULAR: u32 = 0o100_000;
pub const DIRECTORY: u32 = 0o040_000;
pub const LINK: u32 = 0o120_000;

/// A regular file with one name, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub mode: Mode,
    pub ids: Ids,
    /// `owner:group`, by name.
    pub names: String,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Place {
    /// The target is not the host of the connection.
    Elsewhere,
    /// There is a file, and it may be touched.
    File(File),
    /// Why nothing there is touched.
    Refused(String),
}

/// One line of `stat`.
struct Entry {
    mode: u32,
    ids: Ids,
    links: u64,
    names: String,
}

impl Entry {
    fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(5, ' ');
        let mode = u32::from_str_radix(parts.next()?, 16).ok()?;
        let ids = Ids { uid: parts.next()?.parse().ok()?, gid: parts.next()?.parse().ok()? };
        let links = parts.next()?.parse().ok()?;
        Some(Self { mode, ids, links, names: parts.next()?.to_owned() })
    }
}

/// Looks at the file and at every directory above it, in one command.
pub async fn look(
    session: &Session,
    target: &TargetRef,
    path: &HostPath,
) -> Result<Place, ConnectorError> {
    if !is_host(target)? {
        return Ok(Place::Elsewhere);
    }
    if let Err(denied) = Deny::default().check(path, Access::Permission) {
        return Ok(Place::Refused(denied.sentence()));
    }
    let mut names = vec![path.to_string()];
    let mut above = path.parent();
    while let Some(directory) = above {
        names.push(directory.to_string());
        above = directory.parent();
    }
    names.push("/".to_owned());
    names.reverse();
    let answer = session.ask(&Command::Look(&names)).await?;
    let text = answer.text();
    let entries: Option<Vec<_>> = text.lines().map(Entry::read).collect();
    let entries = entries.ok_or_else(|| {
        let message = "stat gave no answer that is understood";
        ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message)
    })?;
    if entries.len() != names.len() {
        return Ok(Place::Refused(format!(
            "{path} does not exist, or the connection's account may not look there"
        )));
    }
    // Who acts may write there anyhow.
    let own = if session.is_root() { 0 } else { session.uid };
    Ok(judge(&names, &entries, own))
}

/// Why nothing in a directory of this type, mode and owner is touched by `own`.
pub fn untrusted(mode: u32, owner: u32, own: u32) -> Option<&'static str> {
    match mode & TYPE {
        LINK => Some("is a symbolic link: give the path that it leads to"),
        DIRECTORY if owner != 0 && owner != own => Some(
            "belongs to somebody who could put another file there in the meantime: use the agent there",
        ),
        DIRECTORY if mode & 0o022 != 0 => Some(
            "may be written to by others, who could put another file there in the meantime: use the agent \
             there",
        ),
        DIRECTORY => None,
        _other => Some("is no directory"),
    }
}

fn judge(names: &[String], entries: &[Entry], own: u32) -> Place {
    let Some((file, directories)) = entries.split_last() else {
        return Place::Refused("there is no path".to_owned());
    };
    for (name, directory) in names.iter().zip(directories) {
        if let Some(why) = untrusted(directory.mode, directory.ids.uid, own) {
            return Place::Refused(format!("{name} {why}"));
        }
    }
    let name = names.last().map_or("", String::as_str);
    match file.mode & TYPE {
        REGULAR if file.links == 1 => Place::File(File {
            mode: Mode::from_bits(file.mode),
            ids: file.ids,
            names: file.names.clone(),
        }),
        REGULAR => Place::Refused(format!(
            "{name} has {} names (hard links): the others would change with it",
            file.links
        )),
        LINK => {
            Place::Refused(format!("{name} is a symbolic link: give the path that it leads to"))
        }
        _other => Place::Refused(format!("{name} is not a regular file")),
    }
}

/// Checks of what was found. None of the rest makes sense when there is no file.
pub fn place_checks(place: &Place) -> Vec<Check> {
    match place {
        Place::Elsewhere => Vec::new(),
        Place::Refused(why) => vec![check("the file may be touched", false, why.clone())],
        Place::File(_) => vec![check(
            "the file may be touched",
            true,
            "it is a regular file with one name, and only trusted accounts can replace it",
        )],
    }
}

/// The file of a before-state.
pub fn file(place: &Place) -> Result<&File, ConnectorError> {
    match place {
        Place::File(file) => Ok(file),
        Place::Refused(why) => Err(ConnectorError::conflict(format!("{why}; nothing was changed"))),
        Place::Elsewhere => Err(ConnectorError::invalid(
            "the target is another host than the one of the connection; nothing was changed",
        )),
    }
}

pub fn moved(path: &HostPath) -> ConnectorError {
    ConnectorError::conflict(format!(
        "somebody changed {path} since it was read; nothing was changed: plan again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lines: &[&str], own: u32) -> Place {
        let entries: Vec<_> = lines.iter().map(|line| Entry::read(line).unwrap()).collect();
        let names = ["/", "/srv", "/srv/f"].map(str::to_owned);
        judge(&names, &entries, own)
    }

    #[test]
    fn only_a_file_that_nobody_else_can_replace_is_touched() {
        let root = "41ed 0 0 19 root:root";
        let file = "81a4 1000 33 1 deploy:www-data";
        let good = File {
            mode: Mode::from_bits(0o644),
            ids: Ids { uid: 1000, gid: 33 },
            names: "deploy:www-data".to_owned(),
        };
        assert_eq!(place(&[root, root, file], 0), Place::File(good.clone()));
        assert_eq!(place(&[root, "41ed 7 7 2 me:me", file], 7), Place::File(good));
        for (lines, why) in [
            ([root, "41ed 1000 0 2 deploy:root", file], "belongs to somebody"),
            ([root, "41fd 0 0 2 root:root", file], "written to by others"),
            ([root, "43ff 0 0 2 root:root", file], "written to by others"),
            ([root, "a1ff 0 0 1 root:root", file], "symbolic link"),
            ([root, "81a4 0 0 1 root:root", file], "no directory"),
            ([root, root, "a1ff 0 0 1 root:root"], "symbolic link"),
            ([root, root, "81a4 0 0 2 root:root"], "hard links"),
            ([root, root, "41ed 0 0 2 root:root"], "not a regular file"),
            ([root, root, "21b6 0 0 1 root:root"], "not a regular file"),
        ] {
            let Place::Refused(said) = place(&lines, 0) else { panic!("{why}: it was accepted") };
            assert!(said.contains(why), "{said}");
        }
    }
}
