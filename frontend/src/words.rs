//! What states, classes and levels are called, and how they look. Colour never stands alone: every
//! tone comes with a glyph and a word.

use nexplane_core::api::{
    ChangeState, FreezeState, HostView, OrderKind, OrderState, QueueKind, ReceiptLink,
    ReceiptProof, StalledKind, StepState, TargetState,
};
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::risk::{Environment, RiskLevel};
use nexplane_core::time::Timestamp;

use crate::component::icon::Glyph;
use crate::format;

/// What a colour means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Grey: nothing known, or nothing to say.
    Neutral,
    /// The accent: somebody can go on.
    Active,
    /// Amber: waits.
    Waiting,
    /// Green: read back from the target and found as intended, or proven.
    Verified,
    /// Red.
    Failed,
    /// Violet.
    RolledBack,
}

impl Tone {
    pub const fn class(self) -> &'static str {
        match self {
            Self::Neutral => "tone-neutral",
            Self::Active => "tone-active",
            Self::Waiting => "tone-waiting",
            Self::Verified => "tone-verified",
            Self::Failed => "tone-failed",
            Self::RolledBack => "tone-rolled-back",
        }
    }
}

/// A word with its look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    pub text: &'static str,
    pub tone: Tone,
    pub glyph: Glyph,
}

const fn label(text: &'static str, tone: Tone, glyph: Glyph) -> Label {
    Label { text, tone, glyph }
}

pub const fn change_state(state: ChangeState) -> Label {
    match state {
        ChangeState::Draft => label("Draft", Tone::Neutral, Glyph::Pencil),
        ChangeState::Submitted => label("Submitted", Tone::Waiting, Glyph::Clock),
        ChangeState::Approved => label("Approved", Tone::Active, Glyph::Thumb),
        ChangeState::Scheduled => label("Scheduled", Tone::Waiting, Glyph::Calendar),
        ChangeState::Executing => label("Executing", Tone::Active, Glyph::Play),
        ChangeState::Complete => label("Complete", Tone::Verified, Glyph::Check),
        ChangeState::Failed => label("Failed", Tone::Failed, Glyph::Cross),
        ChangeState::OutcomeUnknown => label("Outcome unknown", Tone::Neutral, Glyph::Question),
        ChangeState::RollingBack => label("Rolling back", Tone::RolledBack, Glyph::Undo),
        ChangeState::RolledBack => label("Rolled back", Tone::RolledBack, Glyph::Undo),
        ChangeState::RollbackPartial => {
            label("Partly rolled back", Tone::RolledBack, Glyph::Warning)
        }
        ChangeState::RollbackBlocked => label("Rollback blocked", Tone::Failed, Glyph::Blocked),
        ChangeState::Rejected => label("Rejected", Tone::Failed, Glyph::Blocked),
        ChangeState::Cancelled => label("Cancelled", Tone::Neutral, Glyph::Cross),
        ChangeState::Expired => label("Expired", Tone::Neutral, Glyph::Hourglass),
    }
}

/// The same for one change. What a person said of an outcome that nobody could read has no colour, and no tick.
pub const fn change_standing(state: ChangeState, settled: bool) -> Label {
    match (state, settled) {
        (ChangeState::Complete, true) => label("Settled: applied", Tone::Neutral, Glyph::Eye),
        (ChangeState::Failed, true) => label("Settled: not applied", Tone::Neutral, Glyph::Eye),
        (state, _) => change_state(state),
    }
}

pub const fn step_state(state: StepState) -> Label {
    match state {
        StepState::Planned => label("Not started", Tone::Neutral, Glyph::Dot),
        StepState::Intended => label("Running", Tone::Active, Glyph::Play),
        StepState::Succeeded => label("Done, being verified", Tone::Active, Glyph::Eye),
        StepState::Verified => label("Verified", Tone::Verified, Glyph::Check),
        StepState::Failed => label("Failed", Tone::Failed, Glyph::Cross),
        StepState::Unknown => label("Outcome unknown", Tone::Neutral, Glyph::Question),
        StepState::Reconciled => label("Reconciled", Tone::Active, Glyph::Eye),
        StepState::Blocked => label("Blocked", Tone::Failed, Glyph::Blocked),
    }
}

/// Of one target of a rollout.
pub const fn target_state(state: TargetState) -> Label {
    match state {
        TargetState::Failed => label("Failed", Tone::Failed, Glyph::Cross),
        TargetState::OutcomeUnknown => label("Outcome unknown", Tone::Neutral, Glyph::Question),
        TargetState::Executing => label("Running", Tone::Active, Glyph::Play),
        TargetState::Waiting => label("Waiting", Tone::Waiting, Glyph::Clock),
        TargetState::NotStarted => label("Not begun", Tone::Neutral, Glyph::Dot),
        TargetState::Complete => label("Verified", Tone::Verified, Glyph::Check),
        TargetState::RolledBack => label("Rolled back", Tone::RolledBack, Glyph::Undo),
    }
}

pub const fn risk_level(level: RiskLevel) -> Label {
    match level {
        RiskLevel::Low => label("Low", Tone::Neutral, Glyph::Risk(1)),
        RiskLevel::Medium => label("Medium", Tone::Neutral, Glyph::Risk(2)),
        RiskLevel::High => label("High", Tone::Waiting, Glyph::Risk(3)),
        RiskLevel::Critical => label("Critical", Tone::Failed, Glyph::Risk(4)),
    }
}

pub const fn environment(environment: Environment) -> &'static str {
    match environment {
        Environment::Prod => "Production",
        Environment::Staging => "Staging",
        Environment::Dev => "Development",
    }
}

/// What an effect class means for somebody who approves.
pub const fn effect_class(class: EffectClass) -> (&'static str, &'static str) {
    match class {
        EffectClass::Keyed => (
            "Keyed",
            "The target remembers each request, so repeating it after a crash cannot do it twice.",
        ),
        EffectClass::Fenced => (
            "Fenced",
            "The target writes only if nobody changed it since it was read, so a repeat cannot do harm.",
        ),
        EffectClass::Verifiable => (
            "Verifiable",
            "The effect can be read back: after a crash it is settled by reading, never by repeating blindly.",
        ),
        EffectClass::Unprotected => (
            "Unprotected",
            "The target gives no way to tell whether it happened. After a crash a person has to decide.",
        ),
    }
}

/// Whether it can be undone: a word, its look, and the sentence behind it.
pub fn reversibility(reversibility: &Reversibility) -> (Label, String) {
    match reversibility {
        Reversibility::Reversible => (
            label("Reversible", Tone::Neutral, Glyph::Undo),
            "The state before is captured and can be restored exactly.".to_owned(),
        ),
        Reversibility::CompensateOnly { why } => {
            (label("Compensate only", Tone::Waiting, Glyph::Undo), sentence(why))
        }
        Reversibility::OneWay { why } => {
            (label("One-way", Tone::Failed, Glyph::OneWay), sentence(why))
        }
    }
}

/// First letter large, unless it begins a name such as `nginx.service`; a full stop at the end.
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let word = text.split([' ', ',', ':']).next().unwrap_or(text);
    let mut out = if word.trim_end_matches('.').chars().all(char::is_alphabetic) {
        first.to_uppercase().to_string()
    } else {
        first.to_string()
    };
    out.push_str(letters.as_str());
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

/// The name of a risk factor.
pub fn factor(name: &str) -> &str {
    match name {
        "base" => "Kind of change",
        "environment" => "Environment",
        "blast" => "Blast radius",
        "irreversibility" => "Way back",
        "history" => "History",
        other => other,
    }
}

pub fn connection_status(status: &str) -> Label {
    match status {
        "ok" => label("Tested", Tone::Active, Glyph::Check),
        "failing" => label("Failing", Tone::Failed, Glyph::Cross),
        _ => label("Not tested", Tone::Neutral, Glyph::Question),
    }
}

/// A schedule that somebody stopped for a while.
pub const PAUSED: Label = label("Paused", Tone::Neutral, Glyph::Hourglass);

pub const FROZEN: Label = label("Frozen", Tone::Waiting, Glyph::Lock);

pub const fn window_state(is_open: bool) -> Label {
    if is_open {
        label("Open", Tone::Active, Glyph::Play)
    } else {
        label("Closed", Tone::Neutral, Glyph::Clock)
    }
}

pub const fn freeze_state(state: FreezeState) -> Label {
    match state {
        FreezeState::InForce => label("In force", Tone::Waiting, Glyph::Lock),
        FreezeState::Upcoming => label("To come", Tone::Neutral, Glyph::Clock),
        FreezeState::Over => label("Over", Tone::Neutral, Glyph::Ring),
        FreezeState::Ended => label("Ended early", Tone::Neutral, Glyph::Ring),
    }
}

/// How often something happens by itself; 0 s is never.
pub fn every(seconds: u32) -> String {
    let of = |unit: u32, one: &str, many: &str| match seconds / unit {
        1 => format!("Every {one}"),
        count => format!("Every {count} {many}"),
    };
    match seconds {
        0 => "Only when somebody asks".to_owned(),
        _ if seconds.is_multiple_of(604_800) => of(604_800, "week", "weeks"),
        _ if seconds.is_multiple_of(86_400) => of(86_400, "day", "days"),
        _ if seconds.is_multiple_of(3600) => of(3600, "hour", "hours"),
        _ if seconds.is_multiple_of(60) => of(60, "minute", "minutes"),
        _ => of(1, "second", "seconds"),
    }
}

pub fn host_status(status: &str) -> Label {
    match status {
        "online" => label("Online", Tone::Active, Glyph::Dot),
        "offline" => label("Offline", Tone::Neutral, Glyph::Ring),
        "locked" => label("Locked", Tone::Waiting, Glyph::Lock),
        "revoked" => label("Revoked", Tone::Failed, Glyph::Blocked),
        _ => label("Unknown", Tone::Neutral, Glyph::Question),
    }
}

/// Whether a host's agent is there, and why not, in a sentence or two.
pub fn host_presence(host: &HostView, now: Timestamp) -> String {
    let since = format::span(host.status_since, now);
    let reason = host.reason.as_deref().map(str::trim).unwrap_or_default();
    let ended = host.certificate_expires_at.filter(|end| *end <= now);
    match (host.status.as_str(), ended) {
        ("online", _) => match late_certificate(host, now) {
            Some(end) => format!(
                "Its certificate was not renewed in time, and ends in {}.",
                format::span(now, end)
            ),
            None => "Its agent is connected.".to_owned(),
        },
        ("offline", Some(end)) => format!(
            "Certificate ended {} ago, no poll for {since}. The agent can still renew it for a week after its \
             end; then the host has to be enrolled again.",
            format::span(end, now)
        ),
        // A host is offline without a reason from its enrolment to its first poll.
        ("offline", None) if reason.is_empty() => {
            format!("Enrolled {since} ago, and its agent has not polled yet.")
        }
        ("offline", None) if reason == STOPPED_POLLING => format!("No poll for {since}."),
        ("offline", None) => format!("No poll for {since}: {}", ending(reason)),
        ("locked", _) => format!("Locked: {}", ending(reason)),
        ("revoked", _) => match &host.revoked_by_name {
            Some(name) => format!("Revoked by {name}: {}", ending(reason)),
            None => format!("Revoked: {}", ending(reason)),
        },
        _ => sentence(reason),
    }
}

/// What the gateway gives as the reason when there is nothing more to say than that.
const STOPPED_POLLING: &str = "its agent stopped polling";

/// When the certificate of a connected host ends, once three quarters of its life are over: it ought to have been
/// renewed at half of it.
fn late_certificate(host: &HostView, now: Timestamp) -> Option<Timestamp> {
    let end = host.certificate_expires_at?;
    let life = end.seconds_since(host.certificate_issued_at);
    (now.seconds_since(host.certificate_issued_at) > life / 4 * 3).then_some(end)
}

fn ending(reason: &str) -> String {
    let stop = if reason.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{reason}{stop}")
}

pub const fn order_kind(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Inspect => "Question: what would change",
        OrderKind::Verify => "Question: is it so",
        OrderKind::CollectFacts => "Question: facts of the host",
        OrderKind::Apply => "Order",
        OrderKind::Revert => "Order to undo",
    }
}

pub const fn order_state(state: OrderState, kind: OrderKind) -> Label {
    match (state, kind) {
        (OrderState::Waiting, _) => label("Waits for the agent", Tone::Waiting, Glyph::Hourglass),
        (OrderState::Delivered | OrderState::Received, _) => {
            label("With the agent", Tone::Active, Glyph::Play)
        }
        (OrderState::Started, _) => label("Running", Tone::Active, Glyph::Play),
        (OrderState::Done, OrderKind::Apply) => {
            label("Done and read back", Tone::Verified, Glyph::Check)
        }
        (OrderState::Done, OrderKind::Revert) => label("Undone", Tone::RolledBack, Glyph::Undo),
        (OrderState::Done, OrderKind::Inspect | OrderKind::Verify | OrderKind::CollectFacts) => {
            label("Answered", Tone::Neutral, Glyph::Check)
        }
        (OrderState::Unchanged, _) => label("Was so already", Tone::Verified, Glyph::Check),
        (OrderState::Refused, _) => label("Refused by the agent", Tone::Failed, Glyph::Blocked),
        (OrderState::Failed, _) => label("Failed", Tone::Failed, Glyph::Cross),
        (OrderState::Unknown, _) => label("Outcome unknown", Tone::Neutral, Glyph::Question),
        (OrderState::Withdrawn, _) => label("Withdrawn", Tone::Neutral, Glyph::Cross),
        (OrderState::Expired, _) => label("Not fetched in time", Tone::Neutral, Glyph::Hourglass),
    }
}

/// What a receipt proves, in a word. Nothing is found of one whose content is forgotten.
pub fn receipt(proof: Option<&ReceiptProof>) -> Label {
    match proof {
        Some(proof) if proof.holds() => label("Verified", Tone::Verified, Glyph::Check),
        Some(ReceiptProof {
            hash_holds: true,
            signature_holds: true,
            link: ReceiptLink::Missing,
            ..
        }) => label("The one before is missing", Tone::Waiting, Glyph::Question),
        Some(_) => label("Does not hold", Tone::Failed, Glyph::Warning),
        None => label("Only its hash is kept", Tone::Neutral, Glyph::Ring),
    }
}

pub fn asset_status(status: &str) -> Label {
    match status {
        "present" => label("Present", Tone::Neutral, Glyph::Dot),
        "gone" => label("Gone", Tone::Waiting, Glyph::Ring),
        _ => label("Unknown", Tone::Neutral, Glyph::Question),
    }
}

/// What a queue waits for, and who ends that.
pub const fn queue(kind: QueueKind) -> (&'static str, &'static str) {
    match kind {
        QueueKind::Approval => ("An approval", "changes in review"),
        QueueKind::Execution => ("Somebody to execute it", "approved changes"),
        QueueKind::Scheduled => ("Its moment", "changes that start by themselves"),
        QueueKind::Executing => ("Its end", "changes under way, by their last step"),
        QueueKind::Turn => ("Its turn at a target", "runs after others"),
        QueueKind::Order => ("A host's agent to fetch it", "orders"),
        QueueKind::Answer => ("A host's agent to answer", "orders that were fetched"),
        QueueKind::Settlement => ("Somebody to settle it", "changes whose outcome nobody knows"),
        QueueKind::Reaction => ("Nexplane to act on it", "events"),
    }
}

/// For programs: the name of a kind of stalled work.
pub const fn stalled(kind: StalledKind) -> &'static str {
    match kind {
        StalledKind::Unattended => "unattended",
        StalledKind::Silent => "silent",
        StalledKind::NotStarted => "not_started",
        StalledKind::Host => "host",
        StalledKind::Unsettled => "unsettled",
        StalledKind::Reactions => "reactions",
        StalledKind::Seal => "seal",
    }
}

pub fn projection_state(state: &str) -> Label {
    match state {
        "live" => label("Live", Tone::Active, Glyph::Dot),
        "rebuilding" => label("Rebuilding", Tone::Waiting, Glyph::Hourglass),
        "stalled" => label("Stalled", Tone::Failed, Glyph::Warning),
        _ => label("Unknown", Tone::Neutral, Glyph::Question),
    }
}

/// `postgres.lock_user` as words, for when the catalog is not at hand.
pub fn change_type(id: &str) -> String {
    let action = id.split_once('.').map_or(id, |(_, action)| action);
    crate::format::humanise(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_said_in_the_largest_unit() {
        let said = [0, 90, 900, 3600, 21_600, 86_400, 604_800].map(every);
        let expected = [
            "Only when somebody asks",
            "Every 90 seconds",
            "Every 15 minutes",
            "Every hour",
            "Every 6 hours",
            "Every day",
            "Every week",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn green_is_only_for_what_was_verified() {
        for state in ChangeState::ALL {
            let green = change_state(state).tone == Tone::Verified;
            assert_eq!(green, state == ChangeState::Complete, "{state:?}");
            assert_ne!(change_standing(state, true).tone, Tone::Verified, "{state:?}");
            assert_eq!(change_standing(state, false), change_state(state));
        }
        for (state, green) in [
            (StepState::Planned, false),
            (StepState::Intended, false),
            (StepState::Succeeded, false),
            (StepState::Verified, true),
            (StepState::Failed, false),
            (StepState::Unknown, false),
            (StepState::Reconciled, false),
            (StepState::Blocked, false),
        ] {
            assert_eq!(step_state(state).tone == Tone::Verified, green, "{state:?}");
        }
    }

    #[test]
    fn every_state_has_its_own_word() {
        let words: std::collections::BTreeSet<_> =
            ChangeState::ALL.into_iter().map(|state| change_state(state).text).collect();
        assert_eq!(words.len(), ChangeState::ALL.len());
    }

    fn host(status: &str, reason: Option<&str>) -> HostView {
        let at = Timestamp::from_micros(0);
        HostView {
            id: uuid::Uuid::nil().into(),
            hostname: "web-1".to_owned(),
            status: status.to_owned(),
            agent_version: "0.1.0".to_owned(),
            agent_is_behind: false,
            policy_hash: None,
            policy_changed_at: None,
            certificate_key_hash: "a".repeat(64),
            certificate_issued_at: at,
            certificate_expires_at: Some(at.plus_seconds(86_400)),
            connection_id: uuid::Uuid::nil().into(),
            asset_id: None,
            enrolled_at: at,
            status_since: at,
            reason: reason.map(str::to_owned),
            revoked_by: None,
            revoked_by_name: None,
            version: 1,
        }
    }

    #[test]
    fn an_absence_has_its_reason() {
        let says = |host: &HostView, seconds: i64| {
            host_presence(host, Timestamp::from_micros(0).plus_seconds(seconds))
        };
        let online = host("online", None);
        assert_eq!(says(&online, 43_200), "Its agent is connected.");
        assert!(says(&online, 70_000).starts_with("Its certificate was not renewed in time"));
        let silent = host("offline", Some(STOPPED_POLLING));
        assert_eq!(says(&silent, 180), "No poll for 3 min.");
        assert!(
            says(&silent, 100_000).starts_with("Certificate ended 4 h ago, no poll for 1 day.")
        );
        let left = host("offline", Some("its gateway stopped"));
        assert_eq!(says(&left, 180), "No poll for 3 min: its gateway stopped.");
        let new = host("offline", None);
        assert_eq!(says(&new, 180), "Enrolled 3 min ago, and its agent has not polled yet.");
        assert_eq!(says(&host("locked", Some("two agents")), 9), "Locked: two agents.");
        let mut revoked = host("revoked", Some("sold."));
        assert_eq!(says(&revoked, 9), "Revoked: sold.");
        revoked.revoked_by_name = Some("Ada".to_owned());
        assert_eq!(says(&revoked, 9), "Revoked by Ada: sold.");
    }

    #[test]
    fn a_receipt_is_green_only_when_everything_holds() {
        let proof = |hash_holds, signature_holds, link| ReceiptProof {
            signed_at: Timestamp::from_micros(0),
            hash_holds,
            signature_holds,
            link,
            previous: "0".repeat(64),
        };
        let links =
            [ReceiptLink::First, ReceiptLink::Follows, ReceiptLink::Missing, ReceiptLink::Broken];
        for link in links {
            for (hash, signature) in [(true, true), (true, false), (false, true), (false, false)] {
                let is_green = receipt(Some(&proof(hash, signature, link))).tone == Tone::Verified;
                let holds = matches!(link, ReceiptLink::First | ReceiptLink::Follows);
                assert_eq!(is_green, hash && signature && holds, "{hash} {signature} {link:?}");
            }
        }
        assert_eq!(receipt(None).tone, Tone::Neutral);
    }

    #[test]
    fn reasons_become_sentences() {
        assert_eq!(sentence("the key is gone"), "The key is gone.");
        assert_eq!(sentence("nginx.service moved"), "nginx.service moved.");
        assert_eq!(sentence("Sure?"), "Sure?");
        assert_eq!(sentence(" "), "");
    }

    #[test]
    fn an_action_id_reads_as_words() {
        assert_eq!(change_type("postgres.lock_user"), "Lock user");
        assert_eq!(change_type("plain"), "Plain");
    }
}
