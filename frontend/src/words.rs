//! What states, classes and levels are called, and how they look. Colour never stands alone: every
//! tone comes with a glyph and a word.

use nexplane_core::api::{ChangeState, StepState};
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::risk::{Environment, RiskLevel};

use crate::component::icon::Glyph;

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

pub fn host_status(status: &str) -> Label {
    match status {
        "online" => label("Online", Tone::Active, Glyph::Dot),
        "offline" => label("Offline", Tone::Neutral, Glyph::Ring),
        "locked" => label("Locked", Tone::Waiting, Glyph::Lock),
        "revoked" => label("Revoked", Tone::Failed, Glyph::Blocked),
        _ => label("Unknown", Tone::Neutral, Glyph::Question),
    }
}

pub fn asset_status(status: &str) -> Label {
    match status {
        "present" => label("Present", Tone::Neutral, Glyph::Dot),
        "gone" => label("Gone", Tone::Waiting, Glyph::Ring),
        _ => label("Unknown", Tone::Neutral, Glyph::Question),
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
    fn green_is_only_for_what_was_verified() {
        for state in ChangeState::ALL {
            let green = change_state(state).tone == Tone::Verified;
            assert_eq!(green, state == ChangeState::Complete, "{state:?}");
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
