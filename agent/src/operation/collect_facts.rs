//! Facts of the host, for discovery: a probe, not an operation, so nobody approves it.

use std::collections::BTreeSet;

use nexplane_core::job::{AccountFact, HostFacts, PackageFact, ServiceFact};

use crate::host::package::Listed;
use crate::host::{Host, HostError, HostPath, Release, account};

const SMALL: u64 = 64 * 1024;
const LARGE: u64 = 64 * 1024 * 1024;
const MOST: usize = 10_000;

/// Reads the facts. What a host does not have (a package manager that the agent knows, systemd) stays empty; so do
/// accounts, packages and services of a host that is not Linux.
///
/// # Errors
/// When one of the files is there but cannot be read.
pub fn collect(host: &dyn Host) -> Result<HostFacts, HostError> {
    let system = host.system();
    let of_host = host.release();
    let is_linux = of_host.is_none();
    let release = match of_host {
        Some(Release { id, name, version }) => {
            format!("ID={id}\nPRETTY_NAME={name}\nVERSION_ID={version}\n")
        }
        None => os_release(host)?,
    };
    let entry = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    Ok(HostFacts {
        hostname: system.hostname,
        os: entry("ID"),
        os_name: entry("PRETTY_NAME"),
        os_version: entry("VERSION_ID"),
        kernel: system.kernel,
        architecture: system.architecture,
        cpus: system.cpus,
        memory_bytes: system.memory_bytes,
        uptime_s: system.uptime_s,
        agent_version: crate::release::VERSION.to_owned(),
        accounts: if is_linux { account::accounts(host)? } else { Vec::new() }
            .into_iter()
            .take(MOST)
            .map(|account| AccountFact {
                name: account.name,
                uid: account.uid,
                gid: account.gid,
                home: account.home,
                shell: account.shell,
            })
            .collect(),
        packages: if is_linux { packages(host)?.unwrap_or_default() } else { Vec::new() },
        services: if is_linux { services(host)? } else { Vec::new() },
    })
}

/// `/etc/os-release` is usually a symbolic link to the other one, and links are not followed.
pub(super) fn os_release(host: &dyn Host) -> Result<String, HostError> {
    for path in ["/usr/lib/os-release", "/etc/os-release"] {
        match text(host, path, SMALL) {
            Ok(Some(text)) => return Ok(text),
            Ok(None) | Err(HostError::Unsafe { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::new())
}

/// Installed packages: as the package manager lists them, or as dpkg's file has them. None where neither is.
pub(super) fn packages(host: &dyn Host) -> Result<Option<Vec<PackageFact>>, HostError> {
    if let Ok(manager) = host.package_manager()
        && let Some(listed) = manager.listed()?
    {
        let facts = listed.into_iter().map(|Listed { name, version, architecture }| PackageFact {
            name,
            version,
            architecture,
        });
        return Ok(Some(facts.take(MOST).collect()));
    }
    let Some(status) = text(host, "/var/lib/dpkg/status", LARGE)? else { return Ok(None) };
    let packages = status.split("\n\n").filter_map(|paragraph| {
        let entry = |key: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        };
        entry("Status").filter(|status| status.ends_with(" installed"))?;
        Some(PackageFact {
            name: entry("Package")?.to_owned(),
            version: entry("Version")?.to_owned(),
            architecture: entry("Architecture").unwrap_or_default().to_owned(),
        })
    });
    Ok(Some(packages.take(MOST).collect()))
}

fn services(host: &dyn Host) -> Result<Vec<ServiceFact>, HostError> {
    const OWN: &str = "/etc/systemd/system";
    let names = |directory: &str| host.list(&path(directory));
    let is_unit = |name: &String| name.ends_with(".service") && !name.contains('@');
    let mut units: BTreeSet<String> = names(OWN)?.into_iter().filter(is_unit).collect();
    for directory in ["/usr/lib/systemd/system", "/lib/systemd/system"] {
        match names(directory) {
            Ok(found) => units.extend(found.into_iter().filter(is_unit)),
            // `/lib` is a symbolic link where `/usr` is merged.
            Err(HostError::Unsafe { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut enabled = BTreeSet::new();
    for directory in names(OWN)? {
        if directory.strip_suffix(".wants").is_some() {
            enabled.extend(names(&format!("{OWN}/{directory}"))?);
        }
    }
    Ok(units
        .into_iter()
        .take(MOST)
        .map(|unit| ServiceFact { enabled: enabled.contains(&unit), unit })
        .collect())
}

fn text(host: &dyn Host, file: &str, limit: u64) -> Result<Option<String>, HostError> {
    let view = host.read(&path(file), limit)?;
    Ok(view.map(|view| String::from_utf8_lossy(&view.content).into_owned()))
}

fn path(text: &str) -> HostPath {
    text.parse().expect("the paths in this file are normal and absolute")
}
