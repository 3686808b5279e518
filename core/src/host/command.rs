//! What can be asked of a host.
//!
//! A state does not know whose it is: where a command may come from the host's own agent, `host`
//! names the host of this stream, and an agent of another one is refused.

use crate::host::event::Certificate;
use crate::id::{HostId, JobId};
use crate::job::{Distrusted, RefusalCode};
use crate::refusal::Refused;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCommand {
    /// By Nexplane, when an agent has shown a valid enrolment token.
    Enroll {
        /// As in RFC 1123, with underscores allowed inside labels; at most 253 characters.
        hostname: String,
        /// 1–64 characters.
        agent_version: String,
        /// Of the host owner's policy file; none when there is no file.
        policy_hash: Option<String>,
        certificate: Certificate,
    },
    /// By the host or Nexplane, when a new certificate was issued. Nothing happens when it is the
    /// one that counts already.
    Renew { host: HostId, certificate: Certificate },
    /// By the host or Nexplane. Nothing happens when it is online already.
    ComeOnline { host: HostId },
    /// By the host or Nexplane. Nothing happens when it is offline or locked already.
    GoOffline {
        host: HostId,
        /// 1–500 characters.
        reason: String,
    },
    /// By the host or Nexplane. Nothing happens when the hash is the one known.
    ReportPolicy {
        host: HostId,
        /// Of the host owner's policy file; none when there is no file.
        policy_hash: Option<String>,
    },
    /// By the host or Nexplane. Nothing happens when the version is the one known.
    ReportAgent {
        host: HostId,
        /// 1–64 characters.
        agent_version: String,
    },
    /// By Nexplane or an admin: the host gets no more jobs. Nothing happens when it is locked.
    Lock {
        /// 1–500 characters.
        reason: String,
    },
    /// By an admin. For good.
    Revoke {
        /// 1–500 characters.
        reason: String,
    },
    /// By Nexplane, when the gateway refused something in the name of this host, in whatever phase that is.
    RecordRefused { refused: Refused },
    /// By Nexplane, when the host's agent has signed that it refuses orders of this control plane, in
    /// whatever phase it is.
    RecordOrderRefused {
        code: RefusalCode,
        count: u64,
        since: Timestamp,
        job: JobId,
        /// What the agent says; it is made plain and cut.
        detail: String,
    },
    /// By the host or Nexplane. Nothing happens when that many are known.
    ReportDistrusted { host: HostId, distrusted: Distrusted },
}
