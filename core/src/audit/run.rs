//! Runs: who may run what, intents before outcomes, and an end that the steps bear out.

use std::collections::BTreeSet;

use super::change::{Executing, Phase, Track as Change};
use super::rollout::Unsent;
use super::{Auditor, Rule, Seen};
use crate::actor::ActorKind;
use crate::catalog::EffectClass;
use crate::id::{AssetId, ChangeId, PersonId, RunId};
use crate::plan::Plan;
use crate::rollout::event::Part;
use crate::run::event::{Finding, RunEvent, RunOutcome};
use crate::time::Timestamp;

/// Why a step of a part was not started: something stopped the rollout.
const STOPPED: &str = "stopped";

/// What is remembered of a run.
#[derive(Debug)]
pub(super) enum Track {
    /// Not to be judged.
    Unknown,
    Open(Box<Open>),
    /// A rollout, which has not ended.
    Rolling,
    Finished(RunOutcome),
}

#[derive(Debug)]
pub(super) struct Open {
    change: ChangeId,
    /// Whether it undoes another run.
    back: bool,
    /// 0 until the first claim.
    epoch: u32,
    steps: Vec<Step>,
    part: Option<Part>,
    target: Option<AssetId>,
    /// When its time in total is over.
    ends_by: Option<Timestamp>,
    /// A stop kept it from being sent.
    unsent: Option<Unsent>,
    is_cancelled: bool,
    due: Due,
}

/// Step and epoch of the intents on which the epoch that made them has not reported.
pub(super) type Due = BTreeSet<(u32, u32)>;

#[derive(Clone, Copy, Debug)]
struct Step {
    class: EffectClass,
    /// How often it was intended.
    attempts: u32,
    now: Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    Planned,
    Intended { epoch: u32 },
    Succeeded,
    Failed,
    Unknown,
    Applied,
    NotApplied,
    Conflict,
    Verified,
    Unverified,
    Blocked,
}

impl Auditor {
    pub(super) fn run(&mut self, seen: Seen, event: &RunEvent) {
        let id = seen.stream.id;
        let next = match self.runs.remove(&id) {
            None => self.first(seen, event),
            Some(Track::Rolling) => {
                let sentence = "The change is rolled out; only the parts of that are run.";
                self.accuse(seen, Rule::RunUnfounded, sentence);
                Track::Rolling
            }
            Some(Track::Unknown) => Track::Unknown,
            Some(Track::Open(open)) => self.next(seen, open, event),
            Some(Track::Finished(outcome)) if matches!(event, RunEvent::LateReported { .. }) => {
                self.late_after_end(seen, event);
                Track::Finished(outcome)
            }
            Some(Track::Finished(outcome)) => {
                self.accuse(seen, Rule::AfterTheEnd, "The run had finished.");
                Track::Finished(outcome)
            }
        };
        self.runs.insert(id, next);
    }

    fn first(&mut self, seen: Seen, event: &RunEvent) -> Track {
        let RunEvent::Started { change, plan, approvals, undoes, part } = event else {
            self.accuse(seen, Rule::RunUnfounded, "The run does not begin with its start.");
            return Track::Unknown;
        };
        if !plan.is_intact() {
            let sentence = format!("The plan says {}, its content says otherwise.", plan.digest);
            self.accuse(seen, Rule::PlanAltered, sentence);
        }
        if part.is_none() && (plan.parts.is_some() || plan.steps.is_empty()) {
            let sentence = "The plan has no steps of its own to be run.";
            self.accuse(seen, Rule::RunUnfounded, sentence);
        }
        self.founded(seen, *change, plan, approvals, *undoes, *part);
        let steps = plan.steps.iter().map(|step| Step {
            class: step.effect_class,
            attempts: 0,
            now: Now::Planned,
        });
        Track::Open(Box::new(Open {
            change: *change,
            back: undoes.is_some(),
            epoch: 0,
            target: plan.steps.first().map(|step| step.target.asset),
            steps: steps.collect(),
            part: *part,
            ends_by: plan.header.limit_s.map(|limit| seen.at.plus_seconds(i64::from(limit))),
            unsent: None,
            is_cancelled: false,
            due: Due::new(),
        }))
    }

    /// Whether the change is executing just this.
    fn founded(
        &mut self,
        seen: Seen,
        change: ChangeId,
        plan: &Plan,
        approvals: &[PersonId],
        undoes: Option<RunId>,
        part: Option<Part>,
    ) {
        let run = part.map_or(RunId(seen.stream.id), |part| RunId(part.rollout.0));
        let (executing, rollback_of) = match self.changes.get(&change.0) {
            Some(Change::Unknown) => return,
            None if self.is_partial() => {
                let sentence =
                    format!("Change {change}, which it executes, is not among the events.");
                return self.miss(seen.position, seen.stream, sentence);
            }
            Some(Change::Open(open)) => match &open.phase {
                Phase::Executing(executing) if executing.run == run => {
                    (executing.clone(), open.rollback_of)
                }
                Phase::Draft | Phase::Submitted(_) | Phase::Approved(_) | Phase::Executing(_) => {
                    return self.unfounded(seen, change);
                }
            },
            Some(Change::Settled(_) | Change::Closed) | None => {
                return self.unfounded(seen, change);
            }
        };
        let Executing { digest, approvers, .. } = executing;
        if let Some(part) = part {
            self.part_started(seen, change, &digest, plan, part);
        } else if plan.digest != digest {
            let sentence =
                format!("It runs the plan {}; the change executes {digest}.", plan.digest);
            self.accuse(seen, Rule::ForeignDigest, sentence);
        }
        if approvals.iter().copied().collect::<BTreeSet<_>>() != approvers {
            let sentence = "The approvals that it names are not those of the change.";
            self.accuse(seen, Rule::RunUnfounded, sentence);
        }
        if part.is_some() {
            if rollback_of.is_some() != undoes.is_some() {
                let sentence = "It does not undo a run of the change that is rolled back.";
                self.accuse(seen, Rule::RunUnfounded, sentence);
            }
            return;
        }
        let undone = match rollback_of.map(|original| self.changes.get(&original.0)) {
            None => None,
            Some(Some(Change::Settled(original))) => original.run,
            Some(Some(Change::Unknown)) => return,
            Some(None) if self.is_partial() => return,
            Some(Some(Change::Open(_) | Change::Closed) | None) => None,
        };
        if undoes != undone || rollback_of.is_some() != undoes.is_some() {
            let sentence = "It does not undo the run of the change that is rolled back.";
            self.accuse(seen, Rule::RunUnfounded, sentence);
        }
    }

    pub(super) fn unfounded(&mut self, seen: Seen, change: ChangeId) {
        let sentence = format!("Change {change} is not executing this run.");
        self.accuse(seen, Rule::RunUnfounded, sentence);
    }

    fn next(&mut self, seen: Seen, mut open: Box<Open>, event: &RunEvent) -> Track {
        use RunEvent as E;
        match event {
            E::Started { .. } => self.accuse(seen, Rule::StepOutOfOrder, "The run had started."),
            E::Claimed { epoch, worker: _ } => {
                if *epoch != open.epoch.saturating_add(1) {
                    let sentence = format!("Claim {epoch} follows claim {}.", open.epoch);
                    self.accuse(seen, Rule::ClaimOutOfOrder, sentence);
                }
                open.epoch = *epoch;
            }
            E::StepIntended { step, epoch, attempt, .. } => {
                self.intended(seen, &mut open, *step, *epoch, *attempt);
            }
            E::StepSucceeded { step, epoch, .. } => {
                open.due.remove(&(*step, *epoch));
                self.outcome(seen, &mut open, *step, *epoch, Now::Succeeded);
            }
            E::StepFailed { step, epoch, .. } => {
                open.due.remove(&(*step, *epoch));
                self.outcome(seen, &mut open, *step, *epoch, Now::Failed);
            }
            E::StepUnknown { step, epoch, .. } => {
                open.due.remove(&(*step, *epoch));
                self.outcome(seen, &mut open, *step, *epoch, Now::Unknown);
            }
            E::StepReconciled { step, finding, .. } => {
                let now = match finding {
                    Finding::Applied => Now::Applied,
                    Finding::NotApplied => Now::NotApplied,
                    Finding::Conflict => Now::Conflict,
                };
                self.follow(seen, &mut open, *step, &[Now::Unknown], now);
            }
            E::StepVerified { step, .. } => {
                self.follow(seen, &mut open, *step, &[Now::Succeeded, Now::Applied], Now::Verified);
            }
            E::StepUnverified { step, .. } => {
                let from = [Now::Succeeded, Now::Applied];
                self.follow(seen, &mut open, *step, &from, Now::Unverified);
            }
            E::StepBlocked { step, reason, .. } => {
                if let Some(part) = open.part.filter(|_| reason.kind == STOPPED) {
                    open.unsent = Some(Unsent::Stopped);
                    self.part_stopped(part);
                } else if reason.is_moved() {
                    open.unsent = Some(Unsent::Moved);
                }
                let from = [Now::Planned, Now::NotApplied];
                self.follow(seen, &mut open, *step, &from, Now::Blocked);
            }
            E::CancelAsked { reason: _ } => {
                if seen.by.kind != ActorKind::User {
                    let sentence = "The run was cancelled by nobody who is signed in.";
                    self.accuse(seen, Rule::NotAPerson, sentence);
                }
                open.is_cancelled = true;
            }
            E::LateReported { step, epoch, report: _ } => {
                let is_so = *epoch < open.epoch && open.due.remove(&(*step, *epoch));
                self.late(seen, is_so, *step, *epoch);
            }
            E::Finished { outcome, .. } => {
                let newest = open.epoch;
                let due: Due = open.due.iter().copied().filter(|(_, by)| *by < newest).collect();
                if !due.is_empty() {
                    self.late.insert(seen.stream.id, due);
                }
                let derived = end(&open);
                if derived != Some(*outcome) {
                    let by_steps = derived.map_or("not over", RunOutcome::as_str);
                    let sentence =
                        format!("It ends {}; its steps say: {by_steps}.", outcome.as_str());
                    self.accuse(seen, Rule::RunOutcome, sentence);
                }
                if let Some(part) = open.part {
                    self.part_ended(part, *outcome, open.unsent);
                }
                return Track::Finished(*outcome);
            }
        }
        Track::Open(open)
    }

    fn late_after_end(&mut self, seen: Seen, event: &RunEvent) {
        let RunEvent::LateReported { step, epoch, .. } = event else { return };
        let due = self.late.get_mut(&seen.stream.id);
        let is_so = due.is_some_and(|due| due.remove(&(*step, *epoch)));
        self.late(seen, is_so, *step, *epoch);
    }

    fn late(&mut self, seen: Seen, is_so: bool, step: u32, epoch: u32) {
        if !is_so {
            let sentence = format!("Epoch {epoch} had nothing to report late on step {step}.");
            self.accuse(seen, Rule::LateReportUnfounded, sentence);
        }
    }

    fn intended(&mut self, seen: Seen, open: &mut Open, no: u32, epoch: u32, attempt: u32) {
        if open.is_cancelled {
            let sentence = format!("Step {no} is intended, and the run had been cancelled.");
            self.accuse(seen, Rule::IntentAfterCancel, sentence);
        }
        if let Some(end) = open.ends_by.filter(|end| *end <= seen.at) {
            let sentence =
                format!("Step {no} is intended at {}; the run had until {end}.", seen.at);
            self.accuse(seen, Rule::IntentAfterTime, sentence);
        }
        open.due.insert((no, epoch));
        self.still_executing(seen, open.change, open.part);
        let own = open.target.filter(|_| open.part.is_some());
        self.intended_of(seen, open.change, no, own);
        if let Some(part) = open.part {
            self.part_intended(seen, part);
        }
        if epoch == 0 || epoch != open.epoch {
            let sentence = format!("Epoch {epoch} intends step {no}; the claim is {}.", open.epoch);
            self.accuse(seen, Rule::IntentUnclaimed, sentence);
        }
        let index = usize::try_from(no).unwrap_or(usize::MAX);
        let its_turn = open.steps.iter().take(index).all(|step| step.now == Now::Verified);
        let Some(step) = open.steps.get_mut(index) else {
            let sentence = format!("The plan has no step {no}.");
            return self.accuse(seen, Rule::IntentOutOfOrder, sentence);
        };
        let may = match step.now {
            Now::Planned => true,
            Now::NotApplied => step.class != EffectClass::Unprotected,
            Now::Intended { .. }
            | Now::Succeeded
            | Now::Failed
            | Now::Unknown
            | Now::Applied
            | Now::Conflict
            | Now::Verified
            | Now::Unverified
            | Now::Blocked => false,
        };
        step.attempts = step.attempts.saturating_add(1);
        let counted = step.attempts == attempt;
        step.now = Now::Intended { epoch };
        if !its_turn || !may || !counted {
            let sentence = format!("Attempt {attempt} at step {no} is not due.");
            self.accuse(seen, Rule::IntentOutOfOrder, sentence);
        }
    }

    fn still_executing(&mut self, seen: Seen, change: ChangeId, part: Option<Part>) {
        let run = part.map_or(RunId(seen.stream.id), |part| RunId(part.rollout.0));
        let is_so = match self.changes.get(&change.0) {
            Some(Change::Unknown) => true,
            None => self.is_partial(),
            Some(Change::Open(open)) => {
                matches!(&open.phase, Phase::Executing(executing) if executing.run == run)
            }
            Some(Change::Settled(_) | Change::Closed) => false,
        };
        if !is_so {
            self.unfounded(seen, change);
        }
    }

    /// The answer to an intent: by the epoch that made it, or lost sight of by the newest.
    fn outcome(&mut self, seen: Seen, open: &mut Open, no: u32, epoch: u32, now: Now) {
        let newest = open.epoch;
        let step = usize::try_from(no).ok().and_then(|index| open.steps.get_mut(index));
        let answers = step.as_ref().is_some_and(|step| match step.now {
            Now::Intended { epoch: by } => epoch == newest && (epoch == by || now == Now::Unknown),
            Now::Planned
            | Now::Succeeded
            | Now::Failed
            | Now::Unknown
            | Now::Applied
            | Now::NotApplied
            | Now::Conflict
            | Now::Verified
            | Now::Unverified
            | Now::Blocked => false,
        });
        if let Some(step) = step {
            step.now = now;
        }
        if !answers {
            let sentence =
                format!("Epoch {epoch} reports on step {no} without an intent to report on.");
            self.accuse(seen, Rule::OutcomeWithoutIntent, sentence);
        }
    }

    fn follow(&mut self, seen: Seen, open: &mut Open, no: u32, from: &[Now], now: Now) {
        let step = usize::try_from(no).ok().and_then(|index| open.steps.get_mut(index));
        let follows = step.as_ref().is_some_and(|step| from.contains(&step.now));
        if let Some(step) = step {
            step.now = now;
        }
        if !follows {
            let sentence = format!("This cannot follow what was said of step {no} before.");
            self.accuse(seen, Rule::StepOutOfOrder, sentence);
        }
    }
}

/// How a run with these steps has ended: the first step that stopped it says so.
fn end(open: &Open) -> Option<RunOutcome> {
    let done = open.steps.iter().filter(|step| step.now == Now::Verified).count();
    if done == open.steps.len() {
        return Some(RunOutcome::Complete);
    }
    let partly = if open.back && done > 0 { Some(RunOutcome::RollbackPartial) } else { None };
    open.steps.iter().find_map(|step| match step.now {
        Now::Planned | Now::Intended { .. } | Now::Succeeded | Now::Applied | Now::Verified => None,
        // What protects itself is tried again; anything else is not.
        Now::NotApplied if step.class == EffectClass::Unprotected => {
            Some(partly.unwrap_or(RunOutcome::Failed))
        }
        Now::NotApplied => None,
        Now::Unknown | Now::Conflict => Some(RunOutcome::OutcomeUnknown),
        Now::Failed => Some(partly.unwrap_or(RunOutcome::Failed)),
        Now::Unverified if open.back => Some(RunOutcome::RollbackPartial),
        Now::Unverified => Some(RunOutcome::Failed),
        Now::Blocked if open.back => Some(partly.unwrap_or(RunOutcome::RollbackBlocked)),
        Now::Blocked => Some(RunOutcome::Failed),
    })
}
