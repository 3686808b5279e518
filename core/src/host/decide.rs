//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::event::Event;
use crate::host::command::HostCommand;
use crate::host::event::{Certificate, HostEvent};
use crate::host::evolve::evolve;
use crate::host::rejection::HostRejection as No;
use crate::host::state::{Enrolment, HostState, Locked, Offline, Online, Revoked};
use crate::id::{Category, HostId, JobId};
use crate::job::{Distrusted, RefusalCode};
use crate::refusal::{self, Refused};
use crate::time::Timestamp;

/// Most characters of a host name (RFC 1035, 2.3.4: 255 octets on the wire).
pub const MAX_HOSTNAME: usize = 253;

/// Most characters of one part of a host name (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;
const MAX_REASON: usize = 500;
const MAX_DETAIL: usize = 300;
const MAX_AGENT_VERSION: usize = 64;
const MAX_POLICY_HASH: usize = 128;
/// Hexadecimal digits of a SHA-256.
const KEY_HASH: usize = 64;

const ADMIN: &str = "the admin role, as a person who is signed in";
const ADMIN_OR_SYSTEM: &str = "the admin role, as a person who is signed in, or Nexplane itself";
const THE_HOST: &str = "the agent of this very host, or Nexplane itself";
const THE_SYSTEM: &str = "Nexplane itself";

/// The host aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl Decider for Host {
    const CATEGORY: Category = Category::Host;
    type State = HostState;
    type Command = HostCommand;
    type Event = HostEvent;
    type Rejection = No;

    fn decide(state: &HostState, asked: Asked<HostCommand>) -> Result<Vec<HostEvent>, No> {
        let Asked { by, at, command } = asked;
        permitted(&by, &command)?;
        match state {
            HostState::Absent => enroll(at, command),
            HostState::Offline(Offline { enrolment, .. }) => act(enrolment, false, at, command),
            HostState::Online(Online { enrolment, .. }) => act(enrolment, true, at, command),
            HostState::Locked(locked) => act_locked(locked, command),
            HostState::Revoked(revoked) => act_revoked(revoked, command),
        }
    }

    fn evolve(state: HostState, event: &HostEvent, _by: Actor, at: Timestamp) -> HostState {
        evolve(state, event, at)
    }

    fn own(event: &Event) -> Option<&HostEvent> {
        if let Event::Host(event) = event { Some(event) } else { None }
    }
}

impl From<HostEvent> for Event {
    fn from(event: HostEvent) -> Self {
        Self::Host(event)
    }
}

/// Whether a text is a host name: labels of letters, digits, `-` and `_`, which begin and end with
/// a letter or digit (RFC 1123, 2.1, and the underscore of Windows and container networks); at most
/// 63 characters each and 253 with their dots.
pub fn is_hostname(text: &str) -> bool {
    text.len() <= MAX_HOSTNAME && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let at_the_ends = |c: char| c.is_ascii_alphanumeric();
    label.len() <= MAX_LABEL
        && label.starts_with(at_the_ends)
        && label.ends_with(at_the_ends)
        && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Who may ask for what, whatever the state.
fn permitted(by: &Principal, command: &HostCommand) -> Result<(), No> {
    use HostCommand as C;

    let is_system = by.actor.kind == ActorKind::System;
    let is_admin = by.actor.kind == ActorKind::User && by.has(Role::Admin);
    let is_host = |host: HostId| by.actor == Actor::agent(host);
    let (may, needed) = match command {
        C::Enroll { .. } | C::RecordRefused { .. } | C::RecordOrderRefused { .. } => {
            (is_system, THE_SYSTEM)
        }
        C::Renew { host, .. }
        | C::ComeOnline { host }
        | C::GoOffline { host, .. }
        | C::ReportPolicy { host, .. }
        | C::ReportAgent { host, .. }
        | C::ReportDistrusted { host, .. } => (is_host(*host) || is_system, THE_HOST),
        C::Lock { .. } => (is_admin || is_system, ADMIN_OR_SYSTEM),
        C::Revoke { .. } => (is_admin, ADMIN),
    };
    if may { Ok(()) } else { Err(No::Denied { needed }) }
}

fn enroll(at: Timestamp, command: HostCommand) -> Result<Vec<HostEvent>, No> {
    let HostCommand::Enroll { hostname, agent_version, policy_hash, certificate } = command else {
        return Err(No::NotFound);
    };
    if !is_hostname(&hostname) {
        return Err(No::Invalid {
            field: "hostname",
            problem: format!(
                "must be a host name of at most {MAX_HOSTNAME} characters, such as web-1.example"
            ),
        });
    }
    let agent_version = checked_text("agent_version", &agent_version, MAX_AGENT_VERSION)?;
    let policy_hash = checked_policy_hash(policy_hash)?;
    let certificate = checked_certificate(certificate, at)?;
    Ok(vec![HostEvent::Enrolled { hostname, agent_version, policy_hash, certificate }])
}

fn act(
    enrolment: &Enrolment,
    is_online: bool,
    at: Timestamp,
    command: HostCommand,
) -> Result<Vec<HostEvent>, No> {
    use HostCommand as C;
    use HostEvent as E;

    Ok(match command {
        C::Enroll { .. } => {
            return Err(No::AlreadyEnrolled { hostname: enrolment.hostname.clone() });
        }
        C::RecordRefused { refused } => vec![record_refused(refused)?],
        C::RecordOrderRefused { code, count, since, job, detail } => {
            vec![record_order_refused(code, count, since, job, &detail)?]
        }
        C::ReportDistrusted { distrusted, .. } => report_distrusted(enrolment, &distrusted)?,
        C::Renew { certificate, .. } if certificate == enrolment.certificate => Vec::new(),
        C::Renew { certificate, .. } => {
            vec![E::Renewed { certificate: checked_certificate(certificate, at)? }]
        }
        C::ComeOnline { .. } if is_online => Vec::new(),
        C::ComeOnline { .. } => vec![E::CameOnline {}],
        C::GoOffline { reason, .. } => {
            let reason = checked_text("reason", &reason, MAX_REASON)?;
            if is_online { vec![E::WentOffline { reason }] } else { Vec::new() }
        }
        C::ReportPolicy { policy_hash, .. } => {
            let policy_hash = checked_policy_hash(policy_hash)?;
            if policy_hash == enrolment.policy_hash {
                Vec::new()
            } else {
                vec![E::PolicyChanged { policy_hash }]
            }
        }
        C::ReportAgent { agent_version, .. } => {
            let agent_version = checked_text("agent_version", &agent_version, MAX_AGENT_VERSION)?;
            if agent_version == enrolment.agent_version {
                Vec::new()
            } else {
                vec![E::AgentChanged { agent_version }]
            }
        }
        C::Lock { reason } => {
            vec![E::Locked { reason: checked_text("reason", &reason, MAX_REASON)? }]
        }
        C::Revoke { reason } => {
            vec![E::Revoked { reason: checked_text("reason", &reason, MAX_REASON)? }]
        }
    })
}

/// A locked host can be revoked, and counts as offline already; what was refused is recorded.
fn act_locked(locked: &Locked, command: HostCommand) -> Result<Vec<HostEvent>, No> {
    use HostCommand as C;

    let hostname = || locked.enrolment.hostname.clone();
    match command {
        C::Enroll { .. } => Err(No::AlreadyEnrolled { hostname: hostname() }),
        C::Renew { .. } | C::ComeOnline { .. } | C::ReportPolicy { .. } | C::ReportAgent { .. } => {
            Err(No::Locked { hostname: hostname(), reason: locked.reason.clone() })
        }
        C::GoOffline { reason, .. } | C::Lock { reason } => {
            checked_text("reason", &reason, MAX_REASON)?;
            Ok(Vec::new())
        }
        C::Revoke { reason } => {
            Ok(vec![HostEvent::Revoked { reason: checked_text("reason", &reason, MAX_REASON)? }])
        }
        C::RecordRefused { refused } => Ok(vec![record_refused(refused)?]),
        C::RecordOrderRefused { code, count, since, job, detail } => {
            Ok(vec![record_order_refused(code, count, since, job, &detail)?])
        }
        // It came in before the lock.
        C::ReportDistrusted { distrusted, .. } => report_distrusted(&locked.enrolment, &distrusted),
    }
}

/// Nothing, but that what was refused is recorded.
fn act_revoked(revoked: &Revoked, command: HostCommand) -> Result<Vec<HostEvent>, No> {
    use HostCommand as C;

    match command {
        C::RecordRefused { refused } => Ok(vec![record_refused(refused)?]),
        C::RecordOrderRefused { code, count, since, job, detail } => {
            Ok(vec![record_order_refused(code, count, since, job, &detail)?])
        }
        C::Enroll { .. }
        | C::Renew { .. }
        | C::ComeOnline { .. }
        | C::GoOffline { .. }
        | C::ReportPolicy { .. }
        | C::ReportAgent { .. }
        | C::ReportDistrusted { .. }
        | C::Lock { .. }
        | C::Revoke { .. } => {
            Err(No::Revoked { hostname: revoked.hostname.clone(), reason: revoked.reason.clone() })
        }
    }
}

fn record_refused(refused: Refused) -> Result<HostEvent, No> {
    let Refused { cause, count, since, source } =
        refused.checked().map_err(|(field, problem)| invalid(field, problem))?;
    Ok(HostEvent::Refused { cause, count, since, source })
}

fn record_order_refused(
    code: RefusalCode,
    count: u64,
    since: Timestamp,
    job: JobId,
    detail: &str,
) -> Result<HostEvent, No> {
    if code.is_distrust() {
        return Err(invalid("code", "an order that is not ours is reported by the agent's count"));
    }
    if count == 0 {
        return Err(invalid("count", "nothing was refused"));
    }
    let detail = refusal::plain(detail, MAX_DETAIL);
    Ok(HostEvent::OrderRefused { code, count, since, job, detail })
}

/// The agent counts up; a count that went back is that of a journal that was lost, and says nothing.
fn report_distrusted(enrolment: &Enrolment, told: &Distrusted) -> Result<Vec<HostEvent>, No> {
    let Distrusted { code, total, last_at } = *told;
    if !code.is_distrust() {
        return Err(invalid("code", "such orders are refused by a receipt"));
    }
    let known = enrolment.distrusted.get(&code).copied().unwrap_or(0);
    let count = total.saturating_sub(known);
    let more = HostEvent::OrderDistrusted { code, count, total, last_at };
    Ok(if count == 0 { Vec::new() } else { vec![more] })
}

fn invalid(field: &'static str, problem: &str) -> No {
    No::Invalid { field, problem: problem.to_owned() }
}

fn checked_certificate(certificate: Certificate, at: Timestamp) -> Result<Certificate, No> {
    let invalid =
        |problem: &str| Err(No::Invalid { field: "certificate", problem: problem.to_owned() });
    let is_hash = certificate.key_hash.len() == KEY_HASH
        && certificate.key_hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    if !is_hash {
        return invalid("its key hash must be 64 lower-case hexadecimal digits");
    }
    if certificate.not_after <= at {
        return invalid("it has run out");
    }
    Ok(certificate)
}

/// The agent says it, so it is bounded; what it means is the host owner's.
fn checked_policy_hash(policy_hash: Option<String>) -> Result<Option<String>, No> {
    let is_fine = policy_hash.as_ref().is_none_or(|hash| {
        (1..=MAX_POLICY_HASH).contains(&hash.len()) && hash.chars().all(|c| c.is_ascii_graphic())
    });
    if is_fine {
        return Ok(policy_hash);
    }
    Err(No::Invalid {
        field: "policy_hash",
        problem: format!("must be 1 to {MAX_POLICY_HASH} visible ASCII characters"),
    })
}

fn checked_text(field: &'static str, text: &str, limit: usize) -> Result<String, No> {
    let text = text.trim();
    let invalid = |problem: String| Err(No::Invalid { field, problem });
    if text.is_empty() {
        return invalid("must not be empty".to_owned());
    }
    if text.chars().count() > limit {
        return invalid(format!("at most {limit} characters"));
    }
    if text.contains('\0') {
        return invalid("must not contain NUL".to_owned());
    }
    Ok(text.to_owned())
}
