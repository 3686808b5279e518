//! Changes: one plan from its digest to its execution, with people other than its own behind it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Auditor, Rule, Seen, run};
use crate::actor::ActorKind;
use crate::change::event::{ChangeEvent, Draft, Quorum, Window};
use crate::id::{AssetId, CalendarId, ChangeId, ConnectionId, PersonId, RunId, StreamId};
use crate::plan::{Plan, PlanDigest, PlanHeader};
use crate::policy;
use crate::risk::{Environment, Risk, RiskLevel};
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

/// What is remembered of a change.
#[derive(Debug)]
pub(super) enum Track {
    /// Not to be judged.
    Unknown,
    Open(Box<Open>),
    Settled(Settled),
    /// Rejected, cancelled or expired.
    Closed,
}

/// Until it has executed.
#[derive(Debug)]
pub(super) struct Open {
    author: PersonId,
    editors: BTreeSet<PersonId>,
    pub rollback_of: Option<ChangeId>,
    request: Request,
    /// Digest of the newest plan, as recorded.
    plan: Option<PlanDigest>,
    overridden: BTreeSet<CalendarId>,
    pub phase: Phase,
}

/// The part of a draft that plans and executions are held to.
#[derive(Debug)]
struct Request {
    change_type: String,
    connection: ConnectionId,
    targets: Vec<AssetId>,
    parameters: Value,
    window: Option<Window>,
}

#[derive(Debug)]
pub(super) enum Phase {
    Draft,
    Submitted(Submission),
    Approved(Approval),
    Executing(Executing),
}

#[derive(Clone, Debug)]
pub(super) struct Submission {
    digest: PlanDigest,
    environment: Environment,
    needed: Needed,
    /// Valid ones only.
    approvals: Vec<Given>,
}

/// One approval.
#[derive(Clone, Copy, Debug)]
struct Given {
    by: PersonId,
    admin: bool,
    at: Timestamp,
}

impl Submission {
    /// Approvals that have not run out.
    fn standing(&self, at: Timestamp) -> impl Iterator<Item = &Given> {
        let valid_s = i64::from(self.needed.valid_s);
        self.approvals.iter().filter(move |given| at < given.at.plus_seconds(valid_s))
    }
}

/// The stricter of the recorded quorum and the policy's.
#[derive(Clone, Copy, Debug)]
struct Needed {
    approvals: u32,
    admin: bool,
    delay_s: u32,
    valid_s: u32,
}

#[derive(Debug)]
pub(super) struct Approval {
    submission: Submission,
    digest: PlanDigest,
    not_before: Timestamp,
    until: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) struct Executing {
    pub run: RunId,
    pub digest: PlanDigest,
    pub approvers: BTreeSet<PersonId>,
}

/// After its execution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub run: Option<RunId>,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Known,
    Unknown,
    RollingBack { rollback: ChangeId, run: RunId },
    RolledBack,
}

impl Auditor {
    pub(super) fn change(&mut self, seen: Seen, event: &ChangeEvent) {
        let id = seen.stream.id;
        let next = match self.changes.remove(&id) {
            None => self.begin(seen, event),
            Some(Track::Unknown) => Track::Unknown,
            Some(Track::Open(open)) => self.proceed(seen, open, event),
            Some(Track::Settled(settled)) => Track::Settled(self.settled(seen, settled, event)),
            Some(Track::Closed) => {
                self.accuse(seen, Rule::AfterTheEnd, "The change was closed.");
                Track::Closed
            }
        };
        self.changes.insert(id, next);
    }

    fn begin(&mut self, seen: Seen, event: &ChangeEvent) -> Track {
        let ChangeEvent::Drafted { draft, rollback_of } = event else {
            self.accuse(seen, Rule::OutOfOrder, "The change does not begin with its draft.");
            return Track::Unknown;
        };
        Track::Open(Box::new(Open {
            author: seen.by.person().unwrap_or(PersonId(seen.by.id)),
            editors: BTreeSet::new(),
            rollback_of: *rollback_of,
            request: Request::of(draft),
            plan: None,
            overridden: BTreeSet::new(),
            phase: Phase::Draft,
        }))
    }

    fn proceed(&mut self, seen: Seen, mut open: Box<Open>, event: &ChangeEvent) -> Track {
        use ChangeEvent as E;
        let is_executing = matches!(open.phase, Phase::Executing(_));
        let in_review = matches!(open.phase, Phase::Submitted(_) | Phase::Approved(_));
        match event {
            E::Edited { draft } if !is_executing => {
                open.editors.extend(seen.by.person());
                open.request = Request::of(draft);
                open.plan = None;
                open.phase = Phase::Draft;
            }
            E::Planned { plan } if !is_executing => {
                self.planned(seen, &open, plan);
                open.plan = Some(plan.digest.clone());
                open.phase = Phase::Draft;
            }
            E::Submitted { digest, environment, risk, quorum }
                if matches!(open.phase, Phase::Draft) =>
            {
                let submission = self.submitted(seen, &open, digest, *environment, risk, quorum);
                open.phase = Phase::Submitted(submission);
            }
            E::ApprovalGiven { digest, as_admin, comment: _ } => {
                self.approval_given(seen, &mut open, digest, *as_admin);
            }
            E::Approved { digest, not_before, until } => {
                self.approved(seen, &mut open, digest, *not_before, *until);
            }
            E::Withdrawn {} if in_review => open.phase = Phase::Draft,
            E::Rejected { .. } if in_review => return Track::Closed,
            E::Cancelled { .. } if !is_executing => return Track::Closed,
            E::Expired {} if has_run_out(&open.phase, seen.at) => return Track::Closed,
            E::FreezeOverridden { freeze, justification: _ } if !is_executing => {
                if seen.by.kind == ActorKind::User {
                    open.overridden.insert(*freeze);
                } else {
                    self.accuse(seen, Rule::NotAPerson, "No person overrode the freeze.");
                }
            }
            E::ExecutionStarted { run, digest } if !is_executing => {
                let approvers = self.execution_started(seen, &open, digest);
                let digest = digest.clone();
                open.phase = Phase::Executing(Executing { run: *run, digest, approvers });
            }
            E::Completed { run, .. } if is_executing => {
                return self.ended(seen, &open, *run, RunOutcome::Complete);
            }
            E::Failed { run, .. } if is_executing => {
                return self.ended(seen, &open, *run, RunOutcome::Failed);
            }
            E::OutcomeUnknown { run, .. } if is_executing => {
                return self.ended(seen, &open, *run, RunOutcome::OutcomeUnknown);
            }
            E::RollbackPartial { rollback, run, .. }
                if is_executing && rollback.0 == seen.stream.id =>
            {
                return self.ended(seen, &open, *run, RunOutcome::RollbackPartial);
            }
            E::RollbackBlocked { rollback, run, .. }
                if is_executing && rollback.0 == seen.stream.id =>
            {
                return self.ended(seen, &open, *run, RunOutcome::RollbackBlocked);
            }
            // Nothing has an outcome that can be undone before it has executed.
            E::RollbackStarted { .. } => self.accuse(
                seen,
                Rule::RollbackOfUnknown,
                "A rollback starts of a change that has no outcome yet.",
            ),
            E::Drafted { .. }
            | E::Edited { .. }
            | E::Planned { .. }
            | E::Submitted { .. }
            | E::Rejected { .. }
            | E::Withdrawn {}
            | E::Cancelled { .. }
            | E::Expired {}
            | E::FreezeOverridden { .. }
            | E::ExecutionStarted { .. }
            | E::Completed { .. }
            | E::Failed { .. }
            | E::OutcomeUnknown { .. }
            | E::RolledBack { .. }
            | E::RollbackPartial { .. }
            | E::RollbackBlocked { .. }
            | E::SecretRevealed { .. } => self.out_of_order(seen, &open.phase),
        }
        Track::Open(open)
    }

    fn out_of_order(&mut self, seen: Seen, phase: &Phase) {
        let sentence = format!("This cannot happen while the change is {}.", phase.name());
        self.accuse(seen, Rule::OutOfOrder, sentence);
    }

    fn planned(&mut self, seen: Seen, open: &Open, plan: &Plan) {
        if !plan.is_intact() {
            let sentence = format!("The plan says {}, its content says otherwise.", plan.digest);
            self.accuse(seen, Rule::PlanAltered, sentence);
        }
        if let Some(what) = open.differs(seen.stream, &plan.header) {
            let sentence = format!("The {what} in the plan is not that of the change.");
            self.accuse(seen, Rule::PlanOfAnother, sentence);
        }
    }

    fn submitted(
        &mut self,
        seen: Seen,
        open: &Open,
        digest: &PlanDigest,
        environment: Environment,
        risk: &Risk,
        quorum: &Quorum,
    ) -> Submission {
        if open.plan.as_ref() != Some(digest) {
            let sentence = format!("What is submitted, {digest}, is not the newest plan.");
            self.accuse(seen, Rule::ForeignDigest, sentence);
        }
        let level = risk.level.max(RiskLevel::of(risk.score));
        if level != risk.level {
            let sentence = format!(
                "A risk of {} is called {} and is {}.",
                risk.score,
                risk.level.as_str(),
                level.as_str()
            );
            self.accuse(seen, Rule::QuorumWeakened, sentence);
        }
        let Quorum { policy_version, approvals, admin, delay_s, valid_s, rule: _ } = *quorum;
        let mut needed = Needed { approvals, admin, delay_s, valid_s };
        if policy_version == policy::VERSION {
            let asked = policy::quorum(level, environment, open.rollback_of.is_some());
            if approvals < asked.approvals
                || asked.admin && !admin
                || delay_s < asked.delay_s
                || valid_s > asked.valid_s
            {
                let sentence = format!("Policy version {policy_version} says: {}.", asked.rule);
                self.accuse(seen, Rule::QuorumWeakened, sentence);
            }
            needed = Needed {
                approvals: approvals.max(asked.approvals),
                admin: admin || asked.admin,
                delay_s: delay_s.max(asked.delay_s),
                valid_s: valid_s.min(asked.valid_s),
            };
        } else {
            let sentence = format!("This build does not know policy version {policy_version}.");
            self.miss(seen.position, seen.stream, sentence);
        }
        Submission { digest: digest.clone(), environment, needed, approvals: Vec::new() }
    }

    fn approval_given(&mut self, seen: Seen, open: &mut Open, digest: &PlanDigest, admin: bool) {
        let own = seen.by.person().filter(|person| open.is_own(*person));
        let Phase::Submitted(submission) = &mut open.phase else {
            return self.out_of_order(seen, &open.phase);
        };
        let person = match (seen.by.kind, seen.by.person()) {
            (ActorKind::User, Some(person)) => person,
            (ActorKind::User | ActorKind::Machine | ActorKind::Agent | ActorKind::System, _) => {
                return self.accuse(seen, Rule::NotAPerson, "No person gave this approval.");
            }
        };
        if own.is_some() {
            let sentence = format!("Person {person} wrote or edited the change and approved it.");
            self.accuse(seen, Rule::SelfApproval, sentence);
        } else if submission.digest != *digest {
            let sentence = format!("The plan {digest} was approved, another was submitted.");
            self.accuse(seen, Rule::ForeignDigest, sentence);
        } else if submission.standing(seen.at).any(|given| given.by == person) {
            let sentence = format!("Person {person} approved the plan a second time.");
            self.accuse(seen, Rule::ApprovedTwice, sentence);
        } else {
            let given = Given { by: person, admin, at: seen.at };
            submission.approvals = submission.standing(seen.at).copied().chain([given]).collect();
        }
    }

    fn approved(
        &mut self,
        seen: Seen,
        open: &mut Open,
        digest: &PlanDigest,
        not_before: Timestamp,
        until: Timestamp,
    ) {
        let Phase::Submitted(submission) = &open.phase else {
            return self.out_of_order(seen, &open.phase);
        };
        if submission.digest != *digest {
            let sentence = format!("The quorum is for {digest}, another plan was submitted.");
            self.accuse(seen, Rule::ForeignDigest, sentence);
        }
        self.complete(seen, submission);
        let Needed { delay_s, valid_s, .. } = submission.needed;
        let earliest = seen.at.plus_seconds(i64::from(delay_s));
        // Approvals run out one by one: the oldest of them ends what they allow together.
        let oldest = submission.approvals.iter().map(|given| given.at).min().unwrap_or(seen.at);
        let latest = oldest.plus_seconds(i64::from(delay_s) + i64::from(valid_s));
        if not_before < earliest || until > latest {
            let sentence = format!(
                "It may run from {not_before} until {until}; its policy allows from {earliest} until {latest}."
            );
            self.accuse(seen, Rule::ApprovalTimes, sentence);
        }
        open.phase = Phase::Approved(Approval {
            submission: submission.clone(),
            digest: digest.clone(),
            not_before,
            until,
        });
    }

    fn complete(&mut self, seen: Seen, submission: &Submission) {
        let Submission { needed, approvals, .. } = submission;
        let given = u32::try_from(approvals.len()).unwrap_or(u32::MAX);
        let lacks_admin = needed.admin && !approvals.iter().any(|given| given.admin);
        if given < needed.approvals || lacks_admin {
            let sentence = format!(
                "{given} of {} approvals are valid{}.",
                needed.approvals,
                if lacks_admin { ", none of them an admin's" } else { "" }
            );
            self.accuse(seen, Rule::QuorumIncomplete, sentence);
        }
    }

    /// Judges the start and says who approved it.
    fn execution_started(
        &mut self,
        seen: Seen,
        open: &Open,
        digest: &PlanDigest,
    ) -> BTreeSet<PersonId> {
        let submission = match &open.phase {
            Phase::Approved(approval) => {
                if approval.digest != *digest {
                    let sentence = format!("{digest} executes, {} is approved.", approval.digest);
                    self.accuse(seen, Rule::ForeignDigest, sentence);
                }
                self.complete(seen, &approval.submission);
                if seen.at < approval.not_before || approval.until <= seen.at {
                    let sentence = format!(
                        "It started at {}, approved from {} until {}.",
                        seen.at, approval.not_before, approval.until
                    );
                    self.accuse(seen, Rule::OutsideApproval, sentence);
                }
                Some(&approval.submission)
            }
            Phase::Submitted(submission) => {
                self.accuse(seen, Rule::NotApproved, "The change was not approved.");
                Some(submission)
            }
            Phase::Draft | Phase::Executing(_) => {
                self.accuse(seen, Rule::NotApproved, "The change was not approved.");
                None
            }
        };
        if let Some(Window { start, end }) = open.request.window
            && (seen.at < start || end <= seen.at)
        {
            let sentence = format!("It started at {}, its window is {start} to {end}.", seen.at);
            self.accuse(seen, Rule::OutsideWindow, sentence);
        }
        self.frozen(seen, open, submission.map(|submission| submission.environment));
        let approvals = submission.map_or(&[][..], |submission| &submission.approvals);
        approvals.iter().map(|given| given.by).collect()
    }

    fn frozen(&mut self, seen: Seen, open: &Open, environment: Option<Environment>) {
        for freeze in self.freezes.covering(seen.at, environment, &open.request.targets) {
            if !open.overridden.contains(&freeze) {
                let sentence = format!("It started at {}, inside the freeze {freeze}.", seen.at);
                self.accuse(seen, Rule::Frozen, sentence);
            }
        }
        if self.is_partial() && !self.freezes.told {
            self.freezes.told = true;
            let sentence = "Freezes declared before the first event are not known, so from here on \
                            it is not provable that executions kept them.";
            self.miss(seen.position, seen.stream, sentence.to_owned());
        }
    }

    /// The end of an execution, held against that of its run.
    fn ended(&mut self, seen: Seen, open: &Open, run: RunId, outcome: RunOutcome) -> Track {
        let own = match &open.phase {
            Phase::Executing(executing) => Some(executing.run),
            Phase::Draft | Phase::Submitted(_) | Phase::Approved(_) => None,
        };
        // A rollback that the change to be undone refuses fails without a run.
        let refused = open.rollback_of.is_some()
            && outcome == RunOutcome::Failed
            && !self.runs.contains_key(&run.0);
        if own == Some(run) {
            if !refused {
                self.agrees(seen, run, &[outcome], Rule::ChangeOutcome);
            }
        } else {
            let sentence = format!("Run {run} is not the run of this change.");
            self.accuse(seen, Rule::ChangeOutcome, sentence);
        }
        let how = match outcome {
            RunOutcome::OutcomeUnknown => How::Unknown,
            RunOutcome::Complete
            | RunOutcome::Failed
            | RunOutcome::RollbackPartial
            | RunOutcome::RollbackBlocked => How::Known,
        };
        Track::Settled(Settled { run: own, how })
    }

    fn agrees(&mut self, seen: Seen, run: RunId, outcomes: &[RunOutcome], rule: Rule) {
        let ended = match self.runs.get(&run.0) {
            Some(run::Track::Unknown) => return,
            Some(run::Track::Finished(outcome)) if outcomes.contains(outcome) => return,
            Some(run::Track::Finished(outcome)) => outcome.as_str(),
            Some(run::Track::Open(_)) => "not over",
            None => "not begun",
        };
        self.accuse(seen, rule, format!("Its run {run} says: {ended}."));
    }

    fn settled(&mut self, seen: Seen, mut settled: Settled, event: &ChangeEvent) -> Settled {
        use ChangeEvent as E;
        use RunOutcome as O;
        let (how, rollback, run, outcomes): (How, ChangeId, RunId, &[O]) = match event {
            E::RollbackStarted { rollback, run } => {
                self.rollback_started(seen, settled.how, *rollback, *run);
                settled.how = How::RollingBack { rollback: *rollback, run: *run };
                return settled;
            }
            E::SecretRevealed { .. } => return settled,
            E::RolledBack { rollback, run } => (How::RolledBack, *rollback, *run, &[O::Complete]),
            E::RollbackPartial { rollback, run, .. } => {
                let outcomes = &[O::Failed, O::OutcomeUnknown, O::RollbackPartial];
                (How::Known, *rollback, *run, outcomes)
            }
            E::RollbackBlocked { rollback, run, .. } => {
                (How::Known, *rollback, *run, &[O::RollbackBlocked])
            }
            E::Drafted { .. }
            | E::Edited { .. }
            | E::Planned { .. }
            | E::Submitted { .. }
            | E::ApprovalGiven { .. }
            | E::Approved { .. }
            | E::Rejected { .. }
            | E::Withdrawn {}
            | E::Cancelled { .. }
            | E::Expired {}
            | E::FreezeOverridden { .. }
            | E::ExecutionStarted { .. }
            | E::Completed { .. }
            | E::Failed { .. }
            | E::OutcomeUnknown { .. } => {
                self.accuse(seen, Rule::AfterTheEnd, "The change had been executed.");
                return settled;
            }
        };
        if settled.how == (How::RollingBack { rollback, run }) {
            self.agrees(seen, run, outcomes, Rule::RollbackOutcome);
        } else {
            let sentence = format!("Change {rollback} was not rolling this one back by run {run}.");
            self.accuse(seen, Rule::RollbackOutcome, sentence);
        }
        settled.how = how;
        settled
    }

    fn rollback_started(&mut self, seen: Seen, how: How, rollback: ChangeId, run: RunId) {
        match how {
            How::Known => {}
            How::Unknown => self.accuse(
                seen,
                Rule::RollbackOfUnknown,
                "What became of the change is unknown, and a rollback of it starts.",
            ),
            How::RollingBack { .. } => {
                self.accuse(seen, Rule::OutOfOrder, "A rollback was under way already.");
            }
            How::RolledBack => {
                self.accuse(seen, Rule::OutOfOrder, "The change was rolled back already.");
            }
        }
        let named = match self.changes.get(&rollback.0) {
            Some(Track::Unknown) => true,
            None => self.is_partial(),
            Some(Track::Open(open)) => {
                open.rollback_of == Some(ChangeId(seen.stream.id))
                    && matches!(&open.phase, Phase::Executing(executing) if executing.run == run)
            }
            Some(Track::Settled(_) | Track::Closed) => false,
        };
        if !named {
            let sentence =
                format!("Change {rollback} is not a rollback of this one that runs {run}.");
            self.accuse(seen, Rule::RollbackUnnamed, sentence);
        }
    }
}

impl Open {
    fn is_own(&self, person: PersonId) -> bool {
        self.author == person || self.editors.contains(&person)
    }

    /// What a plan says of another change than this.
    fn differs(&self, stream: StreamId, header: &PlanHeader) -> Option<&'static str> {
        let Request { change_type, connection, targets, parameters, window: _ } = &self.request;
        [
            (header.change.0 == stream.id, "change"),
            (header.author == self.author, "author"),
            (header.editors.iter().eq(&self.editors), "list of editors"),
            (header.rollback_of == self.rollback_of, "change to be rolled back"),
            (header.change_type == *change_type, "type"),
            (header.connection == *connection, "connection"),
            (header.targets == *targets, "list of targets"),
            (header.parameters == *parameters, "set of parameters"),
        ]
        .into_iter()
        .find_map(|(same, what)| (!same).then_some(what))
    }
}

impl Request {
    fn of(draft: &Draft) -> Self {
        Self {
            change_type: draft.change_type.clone(),
            connection: draft.connection,
            targets: draft.targets.clone(),
            parameters: draft.parameters.clone(),
            window: draft.window,
        }
    }
}

impl Phase {
    const fn name(&self) -> &'static str {
        match self {
            Self::Draft => "a draft",
            Self::Submitted(_) => "submitted",
            Self::Approved(_) => "approved",
            Self::Executing(_) => "executing",
        }
    }
}

fn has_run_out(phase: &Phase, at: Timestamp) -> bool {
    match phase {
        Phase::Approved(approval) => approval.until <= at,
        Phase::Draft | Phase::Submitted(_) | Phase::Executing(_) => false,
    }
}
