//! Units of systemd, as `systemctl show` has them.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_agent::host::UnitName;
use nexplane_core::plan::TargetRef;

use super::command::Command;
use super::session::Session;
use crate::sdk::{Advice, ConnectorError, ErrorKind};

/// Asset type of units; external key `service/<unit>`.
pub const SERVICE: &str = "ssh_service";

pub fn service_key(unit: &str) -> String {
    format!("service/{unit}")
}

/// The unit that a target is.
pub fn service_of(target: &TargetRef) -> Result<UnitName, ConnectorError> {
    let name = (target.kind == SERVICE)
        .then(|| target.external_key.strip_prefix("service/"))
        .flatten()
        .ok_or_else(|| ConnectorError::invalid("the target must be a service: service/<unit>"))?;
    name.parse().map_err(|why| ConnectorError::invalid(format!("{why}")))
}

/// Properties of one unit (`org.freedesktop.systemd1(5)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    properties: BTreeMap<String, String>,
}

impl Unit {
    /// The unit, also when it is not there.
    pub async fn find(session: &Session, name: &UnitName) -> Result<Self, ConnectorError> {
        let units = Self::all(session, std::slice::from_ref(name)).await?;
        units.into_iter().next().ok_or_else(not_understood)
    }

    /// These units, in this order.
    pub async fn all(session: &Session, names: &[UnitName]) -> Result<Vec<Self>, ConnectorError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let text = session.read(&Command::Units(names)).await?;
        let units = Self::read(&text);
        if units.len() == names.len() { Ok(units) } else { Err(not_understood()) }
    }

    /// Blocks of `name=value` with an empty line in between.
    fn read(text: &str) -> Vec<Self> {
        let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
        blocks
            .map(|block| {
                let pairs = block.lines().filter_map(|line| line.split_once('='));
                let properties =
                    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                Self { properties }
            })
            .collect()
    }

    pub fn get(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }

    pub fn list(&self, name: &str) -> BTreeSet<&str> {
        self.get(name).split_ascii_whitespace().collect()
    }

    pub fn is_loaded(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    /// Runs, or is about to.
    pub fn is_active(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "activating" | "reloading" | "refreshing")
    }

    /// It runs or does not, and that is not about to become otherwise by itself.
    pub fn is_settled(&self) -> bool {
        matches!(self.get("ActiveState"), "active" | "inactive" | "failed")
    }

    /// Ends once its work is done, so it cannot be kept running.
    pub fn ends_by_itself(&self) -> bool {
        self.get("Type") == "oneshot" && self.get("RemainAfterExit") != "yes"
    }
}

/// How a unit's file stands on disk. What systemd has loaded may be older (`systemctl(1)`, daemon-reload).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// systemd's word, such as `enabled` or `static`; empty when there is no such file.
    pub state: String,
    /// Absolute paths of the links that `disable` would remove.
    pub paths: BTreeSet<String>,
}

impl Links {
    pub async fn find(session: &Session, name: &UnitName) -> Result<Self, ConnectorError> {
        // Its exit status says the same as the word.
        let answer = session.ask(&Command::UnitLinks(name)).await?;
        Ok(Self::read(&answer.text()))
    }

    /// A word, then a link in each line.
    fn read(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let state = lines.next().filter(|word| *word != "not-found").unwrap_or_default();
        Self { state: state.to_owned(), paths: lines.map(str::to_owned).collect() }
    }

    /// Whether it starts with the host; none when that cannot be switched.
    pub fn enabled(&self) -> Option<bool> {
        match self.state.as_str() {
            "enabled" => Some(true),
            "disabled" => Some(false),
            _ => None,
        }
    }
}

/// What the `[Install]` section of a unit's files says (`systemd.unit(5)`): values by the name of the option.
pub fn install_section(files: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut is_install = false;
    for line in files.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            is_install = section == "Install]";
        } else if line.starts_with("# /") {
            // `systemctl cat` says so where another file begins.
            is_install = false;
        } else if is_install
            && let Some((name, value)) = line.split_once('=')
            && !name.starts_with(['#', ';'])
        {
            let values = found.entry(name.trim().to_owned()).or_default();
            values.extend(value.split_ascii_whitespace().map(str::to_owned));
        }
    }
    found
}

fn not_understood() -> ConnectorError {
    let message = "systemctl show gave no answer that is understood";
    ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_says_is_read_by_name() {
        let units = Unit::read(
            "Id=a.service\nLoadState=loaded\nActiveState=active\nWants=x.service y.socket\n\n\
             Id=b.timer\nLoadState=not-found\nActiveState=inactive\n",
        );
        let [a, b] = units.as_slice() else { panic!("{units:?}") };
        assert_eq!((a.is_loaded(), a.is_active()), (true, true));
        assert_eq!(a.list("Wants"), BTreeSet::from(["x.service", "y.socket"]));
        assert_eq!((b.is_loaded(), b.is_active()), (false, false));
        assert_eq!(b.get("Id"), "b.timer");
    }

    #[test]
    fn links_are_those_on_disk() {
        let found = Links::read("enabled\n  /etc/systemd/system/a.target.wants/a.service\n");
        assert_eq!(found.enabled(), Some(true));
        assert!(found.paths.iter().eq(["/etc/systemd/system/a.target.wants/a.service"]));
        assert_eq!(Links::read("disabled\n").enabled(), Some(false));
        for text in ["", "not-found\n"] {
            assert_eq!(Links::read(text), Links::default());
        }
        assert_eq!(Links::read("static\n").enabled(), None);
    }

    #[test]
    fn only_the_install_section_counts() {
        let found = install_section(
            "# /lib/systemd/system/a.service\n[Unit]\nAlso=no.service\n[Install]\nWantedBy=multi-user.target x.target\n\
             # Also=no.service\nAlso=a.socket\n# /etc/systemd/system/a.service.d/b.conf\n[Service]\nAlias=no\n",
        );
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found["WantedBy"], words(&["multi-user.target", "x.target"]));
        assert_eq!(found["Also"], words(&["a.socket"]));
    }
}
