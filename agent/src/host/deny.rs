//! What no order can reach, whoever approved it.

use super::{Access, HostError, HostPath};

/// Directories and files that are never touched, with everything beneath them.
const DENIED: &[(&str, &str)] = &[
    ("/dev", "devices are not files"),
    ("/etc/nexplane-agent", "it belongs to the agent and the host's owner"),
    ("/etc/sudoers", "it decides who becomes root"),
    ("/etc/sudoers.d", "it decides who becomes root"),
    ("/proc", "it is the kernel's"),
    ("/sys", "it is the kernel's"),
    ("/usr/local/bin/nexplane-agent", "it is the agent"),
    ("/var/lib/nexplane-agent", "it belongs to the agent"),
];

/// Files whose name alone is denied, in any directory.
const DENIED_NAMES: &[(&str, &str)] = &[
    ("authorized_keys", "it decides who may sign in"),
    ("authorized_keys2", "it decides who may sign in"),
    ("nexplane-agent-guard.service", "it belongs to the agent"),
    ("nexplane-agent-takeback.service", "it belongs to the agent"),
    ("nexplane-agent.service", "it belongs to the agent"),
];

/// Where systemd's own files are, in all places that it looks in (`systemd.unit(5)`, `systemd-system.conf(5)`), as
/// components.
const SYSTEMD: &[&[&str]] = &[
    &["etc", "systemd"],
    &["lib", "systemd"],
    &["run", "systemd"],
    &["usr", "lib", "systemd"],
    &["usr", "local", "lib", "systemd"],
    &["usr", "local", "share", "systemd"],
    &["usr", "share", "systemd"],
];

/// Its directories of units, in each of them.
const UNIT_DIRECTORIES: &[&str] = &[
    "generator",
    "generator.early",
    "generator.late",
    "system",
    "system.attached",
    "system.control",
    "transient",
];

/// What decides about all units.
const MANAGER: &[&str] = &["system.conf", "system.conf.d"];

/// Names of units without their kind, up to an instance: the agent's own.
const OWN_UNITS: &[&str] = &["nexplane-agent", "nexplane-agent-guard", "nexplane-agent-takeback"];

/// Drop-ins for all services, and for all whose names begin so: the agent's own are among them.
const SHARED_DROP_INS: &[&str] = &["nexplane-.service.d", "nexplane-agent-.service.d", "service.d"];

/// Files whose content is neither read nor replaced: it would end up in a plan.
const SECRET: &[&str] = &["/etc/gshadow", "/etc/gshadow-", "/etc/shadow", "/etc/shadow-"];

/// The deny list of one agent: the fixed one and the agent's own files.
#[derive(Clone, Debug, Default)]
pub struct Deny {
    own: Vec<HostPath>,
}

impl Deny {
    /// `own` are the agent's own files and directories, as paths within the root.
    #[cfg(any(unix, test))]
    pub const fn new(own: Vec<HostPath>) -> Self {
        Self { own }
    }

    /// The agent's own files and directories.
    #[cfg(unix)]
    pub fn own(&self) -> &[HostPath] {
        &self.own
    }

    /// # Errors
    /// [`HostError::Denied`] with the reason.
    pub fn check(&self, path: &HostPath, access: Access) -> Result<(), HostError> {
        let within = |directory: &str| {
            path.as_str()
                .strip_prefix(directory)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let fixed = DENIED.iter().find(|(directory, _)| within(directory));
        let named = DENIED_NAMES.iter().find(|(name, _)| path.name() == *name);
        let own = self.own.iter().find(|own| path.is_within(own));
        let why = if let Some((_, why)) = fixed.or(named) {
            why
        } else if let Some(why) = of_systemd(path) {
            why
        } else if own.is_some() {
            "it belongs to the agent"
        } else if access == Access::Content && SECRET.contains(&path.as_str()) {
            "it holds password hashes, which must not appear in a plan"
        } else {
            return Ok(());
        };
        Err(HostError::Denied { path: path.clone(), why })
    }
}

/// Why a file of systemd's would change the agent's own units.
fn of_systemd(path: &HostPath) -> Option<&'static str> {
    let components: Vec<&str> = path.relative().split('/').collect();
    let rest = SYSTEMD.iter().find_map(|place| components.strip_prefix(*place))?;
    let (kind, rest) = rest.split_first()?;
    if MANAGER.contains(kind) {
        return Some("it decides about every unit, the agent's included");
    }
    let name = rest.first().filter(|_| UNIT_DIRECTORIES.contains(kind))?;
    let stem = name.split(['.', '@']).next().unwrap_or_default();
    if OWN_UNITS.contains(&stem) {
        return Some("it belongs to the agent");
    }
    SHARED_DROP_INS.contains(name).then_some("it changes the agent's unit with all others")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_agents_own_units_is_denied_wherever_systemd_reads_it() {
        let deny = Deny::default();
        let places = [
            "/etc/systemd/system",
            "/etc/systemd/system.control",
            "/etc/systemd/system.attached",
            "/lib/systemd/system",
            "/run/systemd/system",
            "/run/systemd/generator.early",
            "/run/systemd/transient",
            "/usr/lib/systemd/system",
            "/usr/local/lib/systemd/system",
        ];
        for place in places {
            for file in [
                "nexplane-agent.service",
                "nexplane-agent.service.d/override.conf",
                "nexplane-agent-guard.service",
                "nexplane-agent-guard.service.d/x.conf",
                "nexplane-agent-takeback.service",
                "nexplane-agent-takeback.service.d/x.conf",
                "nexplane-agent.timer",
                "nexplane-agent@x.service.d/x.conf",
                "nexplane-.service.d/x.conf",
                "nexplane-agent-.service.d/x.conf",
                "service.d/10-all.conf",
            ] {
                let path: HostPath = format!("{place}/{file}").parse().unwrap();
                for access in [Access::Content, Access::Permission] {
                    assert!(deny.check(&path, access).is_err(), "{path}");
                }
            }
            for file in [
                "nexplane-agents.service",
                "nexplane-.service",
                "nginx.service.d/nexplane-agent.conf",
                "myservice.d/x.conf",
                "service.data",
            ] {
                let path: HostPath = format!("{place}/{file}").parse().unwrap();
                assert!(deny.check(&path, Access::Content).is_ok(), "{path}");
            }
        }
        for path in [
            "/etc/systemd/system.conf",
            "/etc/systemd/system.conf.d/10-x.conf",
            "/run/systemd/system.conf.d/10-x.conf",
            "/usr/lib/systemd/system.conf.d/10-x.conf",
        ] {
            assert!(deny.check(&path.parse().unwrap(), Access::Content).is_err(), "{path}");
        }
        for path in [
            "/etc/systemd/system.confx",
            "/etc/systemd/journald.conf",
            "/etc/systemd/user/service.d/x.conf",
            "/srv/etc/systemd/system/service.d/x.conf",
            "/etc/systemd/systemx/service.d/x.conf",
        ] {
            assert!(deny.check(&path.parse().unwrap(), Access::Content).is_ok(), "{path}");
        }
    }

    #[test]
    fn the_list_holds_by_component_and_by_name() {
        let deny = Deny::new(vec!["/var/lib/agent".parse().unwrap()]);
        for path in [
            "/proc/self/mem",
            "/dev/sda",
            "/sys/kernel/x",
            "/etc/sudoers",
            "/etc/sudoers.d/90-ops",
            "/home/b/.ssh/authorized_keys",
            "/home/a/.ssh/authorized_keys2",
            "/etc/nexplane-agent/policy.toml",
            "/etc/systemd/system/nexplane-agent.service",
            "/etc/systemd/system/nexplane-agent.service.d/override.conf",
            "/usr/local/bin/nexplane-agent",
            "/var/lib/nexplane-agent/identity.json",
            "/var/lib/agent",
            "/var/lib/agent/journal",
            "/etc/shadow",
        ] {
            let path = path.parse().unwrap();
            assert!(deny.check(&path, Access::Content).is_err(), "{path}");
        }
        for path in ["/etc/motd", "/process/x", "/var/lib/agents/x", "/etc/sudoers_note"] {
            let path = path.parse().unwrap();
            assert!(deny.check(&path, Access::Content).is_ok(), "{path}");
        }
        assert!(deny.check(&"/etc/shadow".parse().unwrap(), Access::Permission).is_ok());
    }
}
