//! What no order can reach, whoever approved it.

use super::{Access, HostError, HostPath};

/// Directories and files that are never touched, with everything beneath them.
const DENIED: &[(&str, &str)] = &[
    ("/dev", "devices are not files"),
    ("/etc/nexplane-agent", "it belongs to the agent and the host's owner"),
    ("/etc/systemd/system/nexplane-agent.service.d", "it belongs to the agent"),
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
    ("nexplane-agent.service", "it belongs to the agent"),
];

/// Files whose content is neither read nor replaced: it would end up in a plan.
const SECRET: &[&str] = &["/etc/gshadow", "/etc/gshadow-", "/etc/shadow", "/etc/shadow-"];

/// The deny list of one agent: the fixed one and the agent's own files.
#[derive(Clone, Debug, Default)]
pub struct Deny {
    own: Vec<HostPath>,
}

impl Deny {
    /// `own` are the agent's own files and directories, as paths within the root.
    pub const fn new(own: Vec<HostPath>) -> Self {
        Self { own }
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

#[cfg(test)]
mod tests {
    use super::*;

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
