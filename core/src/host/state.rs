//! One struct per phase: a field that makes no sense in a phase does not exist there.

use std::collections::BTreeMap;

use crate::host::event::Certificate;
use crate::job::RefusalCode;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostState {
    #[default]
    Absent,
    Offline(Offline),
    Online(Online),
    Locked(Locked),
    Revoked(Revoked),
}

/// What is known of a host that may work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    pub hostname: String,
    /// As last reported.
    pub agent_version: String,
    /// Of the host owner's policy file, as last reported; none when there is no file.
    pub policy_hash: Option<String>,
    /// The newest.
    pub certificate: Certificate,
    /// How many orders the agent did not take for this control plane's, as far as it is recorded.
    pub distrusted: BTreeMap<RefusalCode, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offline {
    pub enrolment: Enrolment,
    pub since: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Online {
    pub enrolment: Enrolment,
    pub since: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    pub enrolment: Enrolment,
    pub reason: String,
    pub since: Timestamp,
}

/// What is left of a revoked host: enough to know its key when it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    pub hostname: String,
    /// The last one that counted.
    pub certificate: Certificate,
    pub reason: String,
    pub since: Timestamp,
}

impl HostState {
    /// What is known of a host that is neither absent nor revoked.
    pub const fn enrolment(&self) -> Option<&Enrolment> {
        match self {
            Self::Absent | Self::Revoked(_) => None,
            Self::Offline(phase) => Some(&phase.enrolment),
            Self::Online(phase) => Some(&phase.enrolment),
            Self::Locked(phase) => Some(&phase.enrolment),
        }
    }
}
