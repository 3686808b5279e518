//! Rollouts: manifests that are what was approved, batches in their order, and a tally that the runs of the
//! parts bear out.

use std::collections::BTreeSet;

use super::change::{Phase, Track as Change};
use super::run::Track as Run;
use super::{Auditor, Rule, Seen};
use crate::actor::ActorKind;
use crate::id::{ChangeId, ManifestId, RunId};
use crate::manifest::event::ManifestEvent;
use crate::plan::{Plan, PlanDigest, Step, part_digest};
use crate::rollout::event::{Part, RolloutEvent, Strategy, Tally};
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

/// What is remembered of a manifest.
#[derive(Debug)]
pub(super) enum Manifest {
    /// Not to be judged.
    Unknown,
    /// No plan has named it yet.
    Steps(Vec<Step>),
    /// The plan that named it, and the digest of each of its parts.
    Parts { plan: PlanDigest, parts: Vec<PlanDigest> },
}

/// What is remembered of a rollout.
#[derive(Debug)]
pub(super) enum Track {
    /// Not to be judged.
    Unknown,
    Open(Box<Open>),
    Finished,
}

/// Whether further targets may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Free,
    Paused,
    Stopped,
}

/// Why nothing was sent to a part's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    Stopped,
    /// Somebody moved it, or took it away.
    Moved,
}

#[derive(Debug)]
pub(super) struct Open {
    change: ChangeId,
    manifest: ManifestId,
    size: u32,
    strategy: Strategy,
    back: bool,
    hold: Hold,
    /// Batches that have ended, and the parts in them.
    ended: u32,
    ended_at: Option<Timestamp>,
    /// A person let it go on after the canary.
    was_looked_at: bool,
    done: u32,
    tally: Tally,
    /// Of those that failed, what was moved, or taken away, before it could be undone.
    moved: u32,
    /// More did not end well than was agreed.
    is_bad: bool,
    batch: Option<Batch>,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    no: u32,
    first: u32,
    count: u32,
    /// What the runs of its parts said.
    counted: Tally,
    /// Of those that failed: what they say was moved, or taken away, since.
    moved: u32,
    /// Parts that say that the rollout was stopped, when nothing had stopped it.
    unstopped: u32,
}

impl Auditor {
    pub(super) fn manifest(&mut self, seen: Seen, event: &ManifestEvent) {
        let ManifestEvent::PageAdded { change: _, steps } = event;
        let manifest =
            self.manifests.entry(seen.stream.id).or_insert_with(|| Manifest::Steps(Vec::new()));
        match manifest {
            Manifest::Steps(known) => known.extend(steps.iter().cloned()),
            // Every plan that names it from here on is another one.
            Manifest::Parts { .. } => {
                let sentence = "A page was added after a plan had named the manifest.";
                self.accuse(seen, Rule::PlanAltered, sentence);
            }
            Manifest::Unknown => {}
        }
    }

    /// A plan in parts: its manifest is there, and is what the digest covers.
    pub(super) fn planned_in_parts(&mut self, seen: Seen, plan: &Plan) {
        let Some(parts) = &plan.parts else { return };
        let id = parts.manifest;
        let is_partial = self.is_partial();
        match self.manifests.get_mut(&id.0) {
            Some(Manifest::Unknown) => {}
            Some(manifest @ Manifest::Steps(_)) => {
                let Manifest::Steps(steps) = std::mem::replace(manifest, Manifest::Unknown) else {
                    return;
                };
                let is_so = plan.is_made_of(&steps);
                let digests = steps.iter().map(|step| part_digest(&plan.header, step));
                let digest = plan.digest.clone();
                *manifest = Manifest::Parts { plan: digest, parts: digests.collect() };
                if !is_so {
                    let sentence = format!("Manifest {id} is not what the plan's digest covers.");
                    self.accuse(seen, Rule::PlanAltered, sentence);
                }
            }
            Some(Manifest::Parts { .. }) => {
                self.accuse(seen, Rule::PlanAltered, format!("Two plans name manifest {id}."));
            }
            None if is_partial => {
                let sentence = format!("Manifest {id}, which it names, is not among the events.");
                self.miss(seen.position, seen.stream, sentence);
                self.manifests.insert(id.0, Manifest::Unknown);
            }
            None => {
                let sentence = format!("Manifest {id}, which it names, does not exist.");
                self.accuse(seen, Rule::PlanAltered, sentence);
            }
        }
    }

    pub(super) fn rollout(&mut self, seen: Seen, event: &RolloutEvent) {
        let id = seen.stream.id;
        let next = match self.rollouts.remove(&id) {
            None => self.started(seen, event),
            Some(Track::Unknown) => Track::Unknown,
            Some(Track::Open(open)) => self.rolls(seen, open, event),
            Some(Track::Finished) => {
                self.accuse(seen, Rule::AfterTheEnd, "The rollout had finished.");
                Track::Finished
            }
        };
        self.rollouts.insert(id, next);
    }

    fn started(&mut self, seen: Seen, event: &RolloutEvent) -> Track {
        let RolloutEvent::Started { change, digest, manifest, size, strategy, approvals, undoes } =
            event
        else {
            self.accuse(seen, Rule::RunUnfounded, "The rollout does not begin with its start.");
            return Track::Unknown;
        };
        let run = RunId(seen.stream.id);
        if let Some(Run::Open(_) | Run::Finished(_)) = self.runs.insert(run.0, Run::Rolling) {
            let sentence = "It had been run in another way than as a rollout.";
            self.accuse(seen, Rule::RunUnfounded, sentence);
        }
        match self.changes.get(&change.0) {
            Some(Change::Unknown) => {}
            None if self.is_partial() => {
                let sentence =
                    format!("Change {change}, which it executes, is not among the events.");
                self.miss(seen.position, seen.stream, sentence);
            }
            Some(Change::Open(open)) => match &open.phase {
                Phase::Executing(executing) if executing.run == run => {
                    let (approved, agreed) = (executing.digest.clone(), open.rollout());
                    let approvers = executing.approvers.clone();
                    if approved != *digest {
                        let sentence =
                            format!("It carries out {digest}; the change executes {approved}.");
                        self.accuse(seen, Rule::ForeignDigest, sentence);
                    }
                    if approvals.iter().copied().collect::<BTreeSet<_>>() != approvers {
                        let sentence = "The approvals that it names are not those of the change.";
                        self.accuse(seen, Rule::RunUnfounded, sentence);
                    }
                    if agreed != Some(*strategy) {
                        let sentence = "Its strategy is not the one of the change.";
                        self.accuse(seen, Rule::RolloutOutOfOrder, sentence);
                    }
                }
                Phase::Draft | Phase::Submitted(_) | Phase::Approved(_) | Phase::Executing(_) => {
                    self.unfounded(seen, *change);
                }
            },
            Some(Change::Settled(_) | Change::Closed) | None => self.unfounded(seen, *change),
        }
        let (named, count) = match self.manifests.get(&manifest.0) {
            Some(Manifest::Parts { plan, parts }) => (plan == digest, Some(parts.len())),
            Some(Manifest::Unknown) => (true, None),
            Some(Manifest::Steps(_)) | None if self.is_partial() => (true, None),
            Some(Manifest::Steps(_)) | None => (true, Some(0)),
        };
        if !named {
            let sentence = format!("Manifest {manifest} is of another plan than {digest}.");
            self.accuse(seen, Rule::ForeignDigest, sentence);
        }
        if count.is_some_and(|count| usize::try_from(*size) != Ok(count)) {
            let sentence = format!("It has {size} parts, its manifest another number.");
            self.accuse(seen, Rule::RolloutOutOfOrder, sentence);
        }
        Track::Open(Box::new(Open {
            change: *change,
            manifest: *manifest,
            size: *size,
            strategy: *strategy,
            back: undoes.is_some(),
            hold: Hold::Free,
            ended: 0,
            ended_at: None,
            was_looked_at: false,
            done: 0,
            tally: Tally::default(),
            moved: 0,
            is_bad: false,
            batch: None,
        }))
    }

    fn rolls(&mut self, seen: Seen, mut open: Box<Open>, event: &RolloutEvent) -> Track {
        use RolloutEvent as E;
        match event {
            E::Started { .. } => {
                self.accuse(seen, Rule::RolloutOutOfOrder, "The rollout had started.");
            }
            E::BatchBegun { no, first, count } => {
                if open.is_held() {
                    let sentence = format!("Batch {no} began while nothing was to begin.");
                    self.accuse(seen, Rule::RolloutHeld, sentence);
                }
                self.waited(seen, &open, *no);
                let Strategy { canary, batch, .. } = open.strategy;
                let most = if open.is_canary() { canary } else { batch };
                let is_next = open.batch.is_none() && *no == open.ended && *first == open.done;
                let end = first.saturating_add(*count);
                if !is_next || *count == 0 || *count > most || end > open.size {
                    let sentence = format!("Batch {no} of {count} from {first} on is not due.");
                    self.accuse(seen, Rule::RolloutOutOfOrder, sentence);
                }
                let counted = Tally::default();
                let (no, first, count) = (*no, *first, *count);
                open.batch = Some(Batch { no, first, count, counted, moved: 0, unstopped: 0 });
            }
            E::BatchEnded { no, tally, moved, undo_until: _ } => {
                let batch = open.batch.take().filter(|batch| batch.no == *no);
                if !batch.is_some_and(|batch| batch.bears_out(*tally, *moved)) {
                    let sentence = format!("The tally of batch {no} is not what its runs say.");
                    self.accuse(seen, Rule::RolloutTally, sentence);
                }
                let unstopped = batch.map_or(0, |batch| batch.unstopped);
                open.is_bad = open.is_too_bad(*tally, *moved);
                if unstopped > 0 && open.hold != Hold::Stopped && !open.is_bad {
                    let sentence = format!(
                        "{unstopped} of batch {no} were left out as stopped, and nothing stopped the rollout."
                    );
                    self.accuse(seen, Rule::RolloutTally, sentence);
                }
                (open.ended, open.ended_at) = (no.saturating_add(1), Some(seen.at));
                open.done = open.done.saturating_add(tally.sum());
                open.tally = open.tally.plus(*tally);
                open.moved = open.moved.saturating_add(*moved);
            }
            E::Paused { .. } if open.hold == Hold::Stopped => {}
            E::Paused { .. } => open.hold = Hold::Paused,
            E::Resumed {} if seen.by.kind != ActorKind::User => {
                self.accuse(seen, Rule::NotAPerson, "No person let the rollout go on.");
            }
            E::Resumed {} => {
                if open.hold == Hold::Paused {
                    open.hold = Hold::Free;
                }
                open.was_looked_at |= !open.is_canary();
            }
            E::Stopped { .. } => open.hold = Hold::Stopped,
            E::Finished { outcome, reason: _, tally } => {
                let left = open.size.saturating_sub(open.done);
                let mut counted = open.tally;
                counted.not_started = counted.not_started.saturating_add(left);
                if open.batch.is_some()
                    || (left > 0 && open.hold != Hold::Stopped)
                    || counted != *tally
                {
                    let sentence = "It ended before its batches, or with another tally.";
                    self.accuse(seen, Rule::RolloutTally, sentence);
                }
                let derived = open.outcome(counted);
                if derived != *outcome {
                    let (told, so) = (outcome.as_str(), derived.as_str());
                    let sentence = format!("It ends {told}; its tally says: {so}.");
                    self.accuse(seen, Rule::RunOutcome, sentence);
                }
                self.runs.insert(seen.stream.id, Run::Finished(*outcome));
                self.manifests.remove(&open.manifest.0);
                return Track::Finished;
            }
        }
        Track::Open(open)
    }

    /// A batch that begins: as long after the one before as was approved, and after the canary only when a
    /// person let it.
    fn waited(&mut self, seen: Seen, open: &Open, no: u32) {
        let Strategy { pause_s, hold_after_canary, .. } = open.strategy;
        let due = open.ended_at.map(|ended| ended.plus_seconds(i64::from(pause_s)));
        if let Some(due) = due.filter(|due| seen.at < *due) {
            let sentence = format!("Batch {no} began at {}, not before {due} was agreed.", seen.at);
            self.accuse(seen, Rule::RolloutHeld, sentence);
        }
        if hold_after_canary && !open.is_canary() && !open.was_looked_at && !open.is_held() {
            let sentence = format!("Batch {no} began, and nobody let it after the first.");
            self.accuse(seen, Rule::RolloutHeld, sentence);
        }
    }

    /// The start of the run of a part: it is one of the plan that was approved, and its batch is under way.
    pub(super) fn part_started(
        &mut self,
        seen: Seen,
        change: ChangeId,
        whole: &PlanDigest,
        plan: &Plan,
        part: Part,
    ) {
        let Part { rollout, manifest, no } = part;
        let (index, run) = (usize::try_from(no).unwrap_or(usize::MAX), RunId(seen.stream.id));
        let approved = match self.manifests.get(&manifest.0) {
            Some(Manifest::Parts { plan: named, parts }) if named == whole => {
                parts.get(index).map(|digest| *digest == plan.digest)
            }
            Some(Manifest::Parts { .. }) => None,
            Some(Manifest::Steps(_)) | None if !self.is_partial() => None,
            Some(Manifest::Steps(_) | Manifest::Unknown) | None => Some(true),
        };
        if approved != Some(true) {
            let sentence =
                format!("Its plan {} is not part {no} of what was approved.", plan.digest);
            self.accuse(seen, Rule::ForeignDigest, sentence);
        }
        let is_founded = match self.rollouts.get(&rollout.0) {
            Some(Track::Unknown) => true,
            None => self.is_partial(),
            Some(Track::Finished) => false,
            Some(Track::Open(open)) => {
                let is_due = open.batch.is_some_and(|batch| batch.has(no));
                open.change == change && open.manifest == manifest && is_due
            }
        };
        if !is_founded || run != RunId::of_part(rollout, no) {
            let sentence = format!("Part {no} of rollout {rollout} is not due.");
            self.accuse(seen, Rule::RunUnfounded, sentence);
        }
    }

    /// An intent of a part: nothing holds the rollout.
    pub(super) fn part_intended(&mut self, seen: Seen, part: Part) {
        if let Some(Track::Open(open)) = self.rollouts.get(&part.rollout.0)
            && open.hold != Hold::Free
        {
            let sentence = format!("Part {} was intended while nothing was to begin.", part.no);
            self.accuse(seen, Rule::RolloutHeld, sentence);
        }
    }

    /// A part says that a stop kept it from being sent. What failed at the same time stops a rollout in its
    /// stream at the end of the batch only.
    pub(super) fn part_stopped(&mut self, part: Part) {
        let Some(Track::Open(open)) = self.rollouts.get_mut(&part.rollout.0) else { return };
        let is_stopped = open.hold == Hold::Stopped;
        if let Some(batch) = open.batch.as_mut().filter(|batch| batch.has(part.no) && !is_stopped) {
            batch.unstopped = batch.unstopped.saturating_add(1);
        }
    }

    /// How the run of a part ended, and why it was not begun when it was not. One that a stop kept from being
    /// sent does not count.
    pub(super) fn part_ended(&mut self, part: Part, outcome: RunOutcome, why: Option<Unsent>) {
        let Some(Track::Open(open)) = self.rollouts.get_mut(&part.rollout.0) else { return };
        let Some(batch) = open.batch.as_mut().filter(|batch| batch.has(part.no)) else { return };
        let count = match outcome {
            RunOutcome::Complete => &mut batch.counted.complete,
            RunOutcome::OutcomeUnknown => &mut batch.counted.unknown,
            RunOutcome::Failed | RunOutcome::RollbackPartial | RunOutcome::RollbackBlocked => {
                match why {
                    Some(Unsent::Stopped) => return,
                    Some(Unsent::Moved) if outcome == RunOutcome::RollbackBlocked => {
                        batch.moved = batch.moved.saturating_add(1);
                    }
                    Some(Unsent::Moved) | None => {}
                }
                &mut batch.counted.failed
            }
        };
        *count = count.saturating_add(1);
    }
}

impl Batch {
    const fn has(&self, no: u32) -> bool {
        no >= self.first && no < self.first.saturating_add(self.count)
    }

    /// Whether the tally is what the runs say; those that have none were not started. It may leave out what
    /// was moved: it is judged by all of its failures then.
    fn bears_out(&self, tally: Tally, moved: u32) -> bool {
        let begun = Tally { not_started: 0, ..tally };
        begun == self.counted && tally.sum() == self.count && (moved == 0 || moved == self.moved)
    }
}

impl Open {
    /// Nothing was sent yet to any target that could be undone.
    const fn is_canary(&self) -> bool {
        self.tally.tried(self.moved) == 0
    }

    /// Whether so many in all, with these of the batch that is under way, are more than was agreed.
    const fn is_too_bad(&self, batch: Tally, moved: u32) -> bool {
        if self.is_canary() {
            return batch.bad() > moved;
        }
        self.tally.bad().saturating_add(batch.bad()) > self.strategy.max_failed
    }

    /// Nothing further is to begin.
    fn is_held(&self) -> bool {
        self.hold != Hold::Free || self.is_bad
    }

    const fn outcome(&self, tally: Tally) -> RunOutcome {
        if tally.complete == self.size {
            RunOutcome::Complete
        } else if tally.unknown > 0 {
            RunOutcome::OutcomeUnknown
        } else if self.back && tally.complete > 0 {
            RunOutcome::RollbackPartial
        } else if self.back {
            RunOutcome::RollbackBlocked
        } else {
            RunOutcome::Failed
        }
    }
}
