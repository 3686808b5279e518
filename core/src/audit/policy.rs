//! Which policy was in force, and whether submissions asked for what it asks.

use std::collections::BTreeSet;

use super::change::{Needed, Told};
use super::{Auditor, Rule, Seen};
use crate::actor::ActorKind;
use crate::change::BEFOREHAND_VALID_S;
use crate::change::event::Quorum;
use crate::id::AssetId;
use crate::policy::event::PolicyEvent;
use crate::policy::{Case, PolicyState, VERSION, faults};
use crate::risk::RiskLevel;

/// The policy that is in force at a position.
#[derive(Debug)]
pub(super) struct Policies {
    /// `None` when these events do not tell.
    current: Option<PolicyState>,
}

impl Default for Policies {
    fn default() -> Self {
        Self { current: Some(PolicyState::default()) }
    }
}

impl Policies {
    pub const fn unknown() -> Self {
        Self { current: None }
    }
}

impl Auditor {
    pub(super) fn policy(&mut self, seen: Seen, event: &PolicyEvent) {
        let PolicyEvent::Published { version, document, note: _ } = event;
        if seen.by.kind != ActorKind::User {
            self.accuse(seen, Rule::PolicyUnfounded, "No person published the policy.");
        }
        let before = self.policies.current.as_ref().map(|policy| policy.version);
        if let Some(before) = before.filter(|before| before.saturating_add(1) != *version) {
            let sentence = format!("Version {version} follows version {before}.");
            self.accuse(seen, Rule::PolicyUnfounded, sentence);
        }
        if let Some(fault) = faults(document).first() {
            let sentence = format!("{} of version {version}: {}.", fault.pointer, fault.reason);
            self.accuse(seen, Rule::PolicyBelowFloor, sentence);
        }
        let (version, document) = (*version, document.clone());
        self.policies.current = Some(PolicyState { version, document });
    }

    /// What a submission has to be held to: the stricter of what it says and what the policy asks.
    pub(super) fn asked(
        &mut self,
        seen: Seen,
        planned: Option<&(Case, u32)>,
        targets: &[AssetId],
        level: RiskLevel,
        told: Told<'_>,
    ) -> Needed {
        let Told { environment, risk, quorum, tags, beforehand } = told;
        let Quorum {
            policy_version: said, approvals, admin, delay_s, valid_s, break_glass, ..
        } = *quorum;
        let recorded = Needed { approvals, admin, delay_s, valid_s, break_glass };
        // What is not planned is accused of that.
        let Some((case, planned)) = planned else { return recorded };
        if *planned != said {
            let sentence =
                format!("It was planned under policy version {planned}, submitted under {said}.");
            self.accuse(seen, Rule::PolicyOutdated, sentence);
        }
        let policy = match &self.policies.current {
            Some(policy) => policy.clone(),
            None if said == VERSION => PolicyState::default(),
            None => {
                let sentence = format!("What policy version {said} asks for is not known.");
                self.miss(seen.position, seen.stream, sentence);
                return recorded;
            }
        };
        if policy.version != said {
            let sentence = format!("It names version {said}, {} is in force.", policy.version);
            self.accuse(seen, Rule::PolicyOutdated, sentence);
        }
        let tags: BTreeSet<String> = match tags {
            // The tags of before the first event are not known.
            Some(tags) if self.is_partial() => tags.clone(),
            Some(_) | None => self.freezes.tags_of(targets),
        };
        let score = risk.score;
        let case = Case { score, level, environment, tags, ..case.clone() };
        let asked = match policy.quorum(&case) {
            Ok(asked) => asked,
            Err(no) => {
                let sentence = format!("Policy version {} says: {}.", no.version, no.rule);
                self.accuse(seen, Rule::QuorumWeakened, sentence);
                return recorded;
            }
        };
        // Those approvals were held against the policy of the change that is undone.
        if beforehand.is_some() {
            let valid_s = valid_s.min(asked.valid_s).min(BEFOREHAND_VALID_S);
            return Needed { valid_s, ..recorded };
        }
        if approvals < asked.approvals
            || asked.admin && !admin
            || delay_s < asked.delay_s
            || valid_s > asked.valid_s
            || quorum.on_conflict < asked.on_conflict
            || break_glass && !asked.break_glass
            || policy.pool(&case).is_some_and(|pool| self.lacks_seats(pool, targets, quorum))
        {
            let sentence = format!("Policy version {} says: {}.", policy.version, asked.rule);
            self.accuse(seen, Rule::QuorumWeakened, sentence);
        }
        Needed {
            approvals: approvals.max(asked.approvals),
            admin: admin || asked.admin,
            delay_s: delay_s.max(asked.delay_s),
            valid_s: valid_s.min(asked.valid_s),
            break_glass: break_glass && asked.break_glass,
        }
    }
}
