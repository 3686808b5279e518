//! Lives of runs as an auditor reads them.

use std::collections::BTreeMap;

use nexplane_core::catalog::EffectClass;
use nexplane_core::run::Run;
use nexplane_core::run::event::{Finding, RunEvent as E, RunOutcome};

use crate::*;

/// What is last known of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    Intended { epoch: u32 },
    Succeeded,
    Failed,
    Unknown,
    Found(Finding),
    Verified,
    Unverified,
    Blocked,
}

/// What an auditor writes down who reads the events one by one and knows nothing of `evolve`.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub classes: Vec<EffectClass>,
    pub back: bool,
    pub epoch: u32,
    pub attempts: BTreeMap<u32, u32>,
    pub known: BTreeMap<u32, Known>,
    pub over: bool,
}

impl Ledger {
    pub fn of(&self, step: u32) -> Known {
        self.known.get(&step).copied().unwrap_or(Known::Nothing)
    }

    pub fn attempts(&self, step: u32) -> u32 {
        self.attempts.get(&step).copied().unwrap_or(0)
    }

    /// Whether it is never repeated.
    pub fn is_unprotected(&self, step: u32) -> bool {
        (0..).zip(&self.classes).any(|(no, class)| no == step && *class == EffectClass::Unprotected)
    }

    pub fn read(&mut self, event: &E) {
        let (step, known) = match event {
            E::Started { plan, undoes, .. } => {
                self.classes = plan.steps.iter().map(|step| step.effect_class).collect();
                self.back = undoes.is_some();
                return;
            }
            E::Claimed { epoch, .. } => {
                self.epoch = *epoch;
                return;
            }
            E::Finished { .. } => {
                self.over = true;
                return;
            }
            E::StepIntended { step, epoch, attempt, .. } => {
                self.attempts.insert(*step, *attempt);
                (*step, Known::Intended { epoch: *epoch })
            }
            E::CancelAsked { .. } | E::LateReported { .. } => return,
            E::StepSucceeded { step, .. } => (*step, Known::Succeeded),
            E::StepFailed { step, .. } => (*step, Known::Failed),
            E::StepUnknown { step, .. } => (*step, Known::Unknown),
            E::StepReconciled { step, finding, .. } => (*step, Known::Found(*finding)),
            E::StepVerified { step, .. } => (*step, Known::Verified),
            E::StepUnverified { step, .. } => (*step, Known::Unverified),
            E::StepBlocked { step, .. } => (*step, Known::Blocked),
        };
        self.known.insert(step, known);
    }

    /// What the design says: complete when all is verified, else what the step that stopped it says.
    pub fn outcome(&self) -> Option<RunOutcome> {
        let mut verified = 0;
        let stopped = loop {
            if usize::try_from(verified) == Ok(self.classes.len()) {
                return Some(RunOutcome::Complete);
            }
            let known = self.of(verified);
            if known != Known::Verified {
                break known;
            }
            verified += 1;
        };
        let unprotected = self.is_unprotected(verified);
        match stopped {
            Known::Nothing
            | Known::Intended { .. }
            | Known::Succeeded
            | Known::Verified
            | Known::Found(Finding::Applied) => None,
            Known::Found(Finding::NotApplied) if !unprotected => None,
            Known::Unknown | Known::Found(Finding::Conflict) => Some(RunOutcome::OutcomeUnknown),
            Known::Failed
            | Known::Unverified
            | Known::Blocked
            | Known::Found(Finding::NotApplied)
                if !self.back =>
            {
                Some(RunOutcome::Failed)
            }
            Known::Unverified => Some(RunOutcome::RollbackPartial),
            Known::Failed | Known::Blocked | Known::Found(Finding::NotApplied) if verified > 0 => {
                Some(RunOutcome::RollbackPartial)
            }
            Known::Blocked => Some(RunOutcome::RollbackBlocked),
            Known::Failed | Known::Found(Finding::NotApplied) => Some(RunOutcome::Failed),
        }
    }
}

/// Every event of a life, with what the ledger said before it.
pub fn audited(moments: &[Moment<Run>]) -> Vec<(Ledger, &E)> {
    let mut ledger = Ledger::default();
    let mut lines = Vec::new();
    for event in moments.iter().flat_map(|moment| moment.answer.iter().flatten()) {
        lines.push((ledger.clone(), event));
        ledger.read(event);
    }
    lines
}
