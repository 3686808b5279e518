//! Changes: one plan from its digest to its execution, with people other than its own behind it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::outcome::Settled;
use super::{Auditor, Rule, Seen};
use crate::actor::ActorKind;
use crate::change::GLASS_VALID_S;
use crate::change::event::{Beforehand, ChangeEvent, Draft, Quorum, Window};
use crate::id::{AssetId, ChangeId, ConnectionId, FreezeId, PersonId, RunId, StreamId};
use crate::plan::{Plan, PlanDigest, PlanHeader};
use crate::policy::{Case, Seat};
use crate::risk::{Environment, Risk, RiskLevel};
use crate::rollout::event::Strategy;
use crate::run::event::RunOutcome;
use crate::schedule::event::Template;
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
    /// What that plan says of itself to the policy, and the policy it was made under.
    planned: Option<(Case, u32)>,
    /// For the plan that is in review, or executes.
    overridden: BTreeSet<FreezeId>,
    windows_overridden: bool,
    /// As its targets say, at the end of its execution.
    pub undo_until: Option<Timestamp>,
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
    rollout: Option<Strategy>,
    auto_rollback: bool,
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
    pub digest: PlanDigest,
    environment: Environment,
    pub needed: Needed,
    /// Valid ones only.
    approvals: Vec<Given>,
    /// Somebody stands for the quorum.
    pub glass: Option<Given>,
    /// As it says itself.
    seats: Vec<Seat>,
}

/// What a submission says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub environment: Environment,
    pub risk: &'a Risk,
    pub quorum: &'a Quorum,
    pub tags: Option<&'a BTreeSet<String>>,
    pub beforehand: Option<&'a Beforehand>,
}

/// One approval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub by: PersonId,
    /// Whose it is.
    pub of: PersonId,
    pub admin: bool,
    pub at: Timestamp,
}

impl Submission {
    /// Approvals that have not run out.
    fn standing(&self, at: Timestamp) -> impl Iterator<Item = &Given> {
        let valid_s = i64::from(self.needed.valid_s);
        self.approvals.iter().filter(move |given| at < given.at.plus_seconds(valid_s))
    }

    /// Who is behind an execution that starts now. Where glass was broken, approvals may have run out since.
    fn approvers(&self, at: Timestamp) -> BTreeSet<PersonId> {
        match self.glass {
            None => self.approvals.iter().map(|given| given.by).collect(),
            Some(glass) => self.standing(at).chain([&glass]).map(|given| given.by).collect(),
        }
    }
}

/// The stricter of the recorded quorum and the policy's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needed {
    pub approvals: u32,
    pub admin: bool,
    pub delay_s: u32,
    pub valid_s: u32,
    pub break_glass: bool,
}

#[derive(Debug)]
pub(super) struct Approval {
    pub submission: Submission,
    digest: PlanDigest,
    pub not_before: Timestamp,
    until: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) struct Executing {
    pub run: RunId,
    pub digest: PlanDigest,
    environment: Option<Environment>,
    pub approvers: BTreeSet<PersonId>,
    started: Timestamp,
    /// When its approvals run out, as far as it had any.
    until: Option<Timestamp>,
    /// A step of it was intended.
    has_begun: bool,
}

impl Auditor {
    pub(super) fn change(&mut self, seen: Seen, event: &ChangeEvent) {
        let id = seen.stream.id;
        self.reviewed(seen, event);
        let next = match self.changes.remove(&id) {
            None => self.begin(seen, event),
            Some(Track::Unknown) => Track::Unknown,
            Some(Track::Open(open)) => self.proceed(seen, open, event),
            Some(Track::Settled(settled)) => Track::Settled(self.settled(seen, settled, event)),
            Some(Track::Closed) if matches!(event, ChangeEvent::Reviewed { .. }) => Track::Closed,
            Some(Track::Closed) => {
                self.accuse(seen, Rule::AfterTheEnd, "The change was closed.");
                Track::Closed
            }
        };
        self.reviews.follow(id, &next, seen.at);
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
            planned: None,
            overridden: BTreeSet::new(),
            windows_overridden: false,
            undo_until: None,
            phase: Phase::Draft,
        }))
    }

    fn proceed(&mut self, seen: Seen, mut open: Box<Open>, event: &ChangeEvent) -> Track {
        use ChangeEvent as E;
        let is_executing = matches!(open.phase, Phase::Executing(_));
        let in_review = matches!(open.phase, Phase::Submitted(_) | Phase::Approved(_));
        match event {
            E::MadeBySchedule { editors, schedule: _ } if matches!(open.phase, Phase::Draft) => {
                open.editors.extend(editors);
            }
            E::JoinedProject { project } if !is_executing => {
                self.projects.joined(ChangeId(seen.stream.id), *project);
            }
            E::Edited { draft } if !is_executing => {
                open.editors.extend(seen.by.person());
                open.request = Request::of(draft);
                (open.plan, open.planned) = (None, None);
                open.reopen();
            }
            E::Planned { plan } if !is_executing => {
                self.planned(seen, &open, plan);
                open.plan = Some(plan.digest.clone());
                open.planned = Some((Case::planned(plan), plan.header.policy_version));
                open.reopen();
            }
            E::Submitted { digest, environment, risk, quorum, tags, beforehand }
                if matches!(open.phase, Phase::Draft) =>
            {
                let (tags, beforehand) = (tags.as_ref(), beforehand.as_ref());
                let told = Told { environment: *environment, risk, quorum, tags, beforehand };
                let submission = self.submitted(seen, &open, digest, told);
                open.phase = Phase::Submitted(submission);
            }
            E::ApprovalGiven { digest, as_admin, delegator, comment: _ } => {
                self.approval_given(seen, &mut open, digest, *as_admin, *delegator);
            }
            E::Approved { digest, not_before, until } => {
                self.approved(seen, &mut open, digest, *not_before, *until);
            }
            E::Withdrawn {} if in_review => open.reopen(),
            E::Rejected { .. } if in_review => return Track::Closed,
            E::Cancelled { .. } if !is_executing => return Track::Closed,
            E::Expired {} if has_run_out(&open.phase, seen.at) => return Track::Closed,
            E::FreezeOverridden { freeze, justification: _ } if in_review => {
                self.overridden(seen, &mut open, Some(*freeze));
            }
            E::WindowOverridden { justification: _ } if in_review => {
                self.overridden(seen, &mut open, None);
            }
            E::GlassBroken { digest, justification: _ } => {
                self.glass_broken(seen, &mut open, digest);
            }
            E::Scheduled { .. } | E::Unscheduled { .. }
                if matches!(open.phase, Phase::Approved(_)) => {}
            E::ExecutionStarted { run, digest } if !is_executing => {
                let (environment, approvers) = self.execution_started(seen, &open, digest);
                let until = match &open.phase {
                    Phase::Approved(approval) => Some(approval.until),
                    Phase::Draft | Phase::Submitted(_) | Phase::Executing(_) => None,
                };
                open.phase = Phase::Executing(Executing {
                    run: *run,
                    digest: digest.clone(),
                    environment,
                    approvers,
                    started: seen.at,
                    until,
                    has_begun: false,
                });
            }
            E::UndoLimited { run, until } if open.is_executing(*run) => {
                open.undo_until = Some(*until);
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
            | E::MadeBySchedule { .. }
            | E::JoinedProject { .. }
            | E::Edited { .. }
            | E::Planned { .. }
            | E::Submitted { .. }
            | E::Rejected { .. }
            | E::Withdrawn {}
            | E::Cancelled { .. }
            | E::Expired {}
            | E::FreezeOverridden { .. }
            | E::WindowOverridden { .. }
            | E::Scheduled { .. }
            | E::Unscheduled { .. }
            | E::ExecutionStarted { .. }
            | E::UndoLimited { .. }
            | E::Completed { .. }
            | E::Failed { .. }
            | E::OutcomeUnknown { .. }
            | E::RolledBack { .. }
            | E::RollbackPartial { .. }
            | E::RollbackBlocked { .. }
            | E::Reviewed { .. }
            | E::SecretRevealed { .. }
            | E::Settled { .. } => self.out_of_order(seen, &open.phase),
        }
        Track::Open(open)
    }

    pub(super) fn out_of_order(&mut self, seen: Seen, phase: &Phase) {
        let sentence = format!("This cannot happen while the change is {}.", phase.name());
        self.accuse(seen, Rule::OutOfOrder, sentence);
    }

    fn planned(&mut self, seen: Seen, open: &Open, plan: &Plan) {
        if !plan.is_intact() {
            let sentence = format!("The plan says {}, its content says otherwise.", plan.digest);
            self.accuse(seen, Rule::PlanAltered, sentence);
        }
        self.planned_in_parts(seen, plan);
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
        told: Told<'_>,
    ) -> Submission {
        if open.plan.as_ref() != Some(digest) {
            let sentence = format!("What is submitted, {digest}, is not the newest plan.");
            self.accuse(seen, Rule::ForeignDigest, sentence);
        }
        let Told { environment, risk, .. } = told;
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
        let approvals = match told.beforehand {
            None => Vec::new(),
            Some(beforehand) => {
                self.beforehand(seen, open.rollback_of, beforehand);
                if beforehand.approvers.is_empty() && level == RiskLevel::Critical {
                    let sentence = "Nobody approved it beforehand, and its risk is critical.";
                    self.accuse(seen, Rule::QuorumWeakened, sentence);
                }
                let given = |by: &PersonId| Given { by: *by, of: *by, admin: false, at: seen.at };
                beforehand.approvers.iter().map(given).collect()
            }
        };
        let needed = self.asked(seen, open.planned.as_ref(), &open.request.targets, level, told);
        let seats = told.quorum.seats.clone();
        Submission { digest: digest.clone(), environment, needed, approvals, glass: None, seats }
    }

    fn approval_given(
        &mut self,
        seen: Seen,
        open: &mut Open,
        digest: &PlanDigest,
        admin: bool,
        delegator: Option<PersonId>,
    ) {
        let mut people = seen.by.person().into_iter().chain(delegator);
        let own = people.find(|person| open.is_own(*person));
        let Phase::Submitted(submission) = &mut open.phase else {
            return self.out_of_order(seen, &open.phase);
        };
        let person = match (seen.by.kind, seen.by.person()) {
            (ActorKind::User, Some(person)) => person,
            (ActorKind::User | ActorKind::Machine | ActorKind::Agent | ActorKind::System, _) => {
                return self.accuse(seen, Rule::NotAPerson, "No person gave this approval.");
            }
        };
        let of = delegator.unwrap_or(person);
        let both = [person, of];
        if let Some(own) = own {
            let sentence = if own == person {
                format!("Person {person} wrote or edited the change and approved it.")
            } else {
                format!(
                    "Person {own} wrote or edited the change, and {person} approved it for them."
                )
            };
            self.accuse(seen, Rule::SelfApproval, sentence);
        } else if submission.digest != *digest {
            let sentence = format!("The plan {digest} was approved, another was submitted.");
            self.accuse(seen, Rule::ForeignDigest, sentence);
        } else if let Some(twice) = submission
            .standing(seen.at)
            .flat_map(|given| [given.by, given.of])
            .find(|person| both.contains(person))
        {
            let sentence = format!("Person {twice} approved the plan a second time.");
            self.accuse(seen, Rule::ApprovedTwice, sentence);
        } else if delegator.is_none_or(|delegator| self.is_delegated(seen, delegator, person)) {
            let given = Given { by: person, of, admin, at: seen.at };
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
        let Needed { mut delay_s, mut valid_s, .. } = submission.needed;
        if submission.glass.is_some() {
            (delay_s, valid_s) = (0, valid_s.min(GLASS_VALID_S));
        }
        let earliest = seen.at.plus_seconds(i64::from(delay_s));
        // Approvals run out one by one: the oldest of them ends what they allow together.
        let approvals = submission.approvals.iter().map(|given| given.at);
        let oldest = submission.glass.map(|glass| glass.at).or(approvals.min()).unwrap_or(seen.at);
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
        if submission.glass.is_some() {
            return;
        }
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
        let of: Vec<_> = approvals.iter().map(|given| given.of).collect();
        self.seated(seen, &submission.seats, &of);
    }

    /// Judges the start and says for what environment it is, and who approved it.
    fn execution_started(
        &mut self,
        seen: Seen,
        open: &Open,
        digest: &PlanDigest,
    ) -> (Option<Environment>, BTreeSet<PersonId>) {
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
        let environment = submission.map(|submission| submission.environment);
        self.frozen(seen, open, &open.request.targets, environment, "It started");
        self.independent(seen);
        let approvers = submission.map(|submission| submission.approvers(seen.at));
        (environment, approvers.unwrap_or_default())
    }

    /// A freeze, or maintenance windows.
    fn overridden(&mut self, seen: Seen, open: &mut Open, freeze: Option<FreezeId>) {
        if seen.by.kind != ActorKind::User {
            return self.accuse(seen, Rule::NotAPerson, "No person overrode it.");
        }
        if let Some(person) = seen.by.person().filter(|person| open.is_own(*person)) {
            let sentence = format!("Person {person} wrote or edited the change.");
            return self.accuse(seen, Rule::SelfOverride, sentence);
        }
        if let Some(person) = seen.by.person() {
            self.reviews.overridden(seen.stream.id, person);
        }
        match freeze {
            Some(freeze) => drop(open.overridden.insert(freeze)),
            None => open.windows_overridden = true,
        }
    }

    /// An intent of the run of an executing change; of a part, at its own target.
    pub(super) fn intended_of(
        &mut self,
        seen: Seen,
        id: ChangeId,
        step: u32,
        own: Option<AssetId>,
    ) {
        // Out of the map for a moment: the report is written while it is read.
        let Some(mut track) = self.changes.remove(&id.0) else { return };
        if let Track::Open(open) = &mut track
            && let Phase::Executing(executing) = &mut open.phase
            && !std::mem::replace(&mut executing.has_begun, true)
        {
            let window = open.request.window.map(|window| window.end);
            let (started, until) = (executing.started, executing.until);
            self.begins(seen, id, started, [until, window]);
        }
        if let Track::Open(open) = &track
            && let Phase::Executing(executing) = &open.phase
        {
            let what = format!("Step {step} was intended");
            let targets = own.as_ref().map_or(&*open.request.targets, std::slice::from_ref);
            self.frozen(seen, open, targets, executing.environment, &what);
        }
        self.changes.insert(id.0, track);
    }

    fn frozen(
        &mut self,
        seen: Seen,
        open: &Open,
        targets: &[AssetId],
        environment: Option<Environment>,
        what: &str,
    ) {
        for freeze in self.freezes.covering(seen.at, environment, targets) {
            if !open.overridden.contains(&freeze) {
                let sentence = format!("{what} at {}, inside the freeze {freeze}.", seen.at);
                self.accuse(seen, Rule::Frozen, sentence);
            }
        }
        if !open.windows_overridden
            && let Some(window) = self.freezes.outside(seen.at, environment, targets)
        {
            let sentence =
                format!("{what} at {}, outside of the maintenance window “{window}”.", seen.at);
            self.accuse(seen, Rule::OutsideMaintenance, sentence);
        }
        if self.is_partial() && !self.freezes.told {
            self.freezes.told = true;
            let sentence = "Freezes and maintenance windows from before the first event are not known, so from here on \
                            it is not provable that executions kept them.";
            self.miss(seen.position, seen.stream, sentence.to_owned());
        }
    }
}

impl Open {
    /// Back to draft: what was let pass was the plan that was in review.
    fn reopen(&mut self) {
        self.overridden.clear();
        self.windows_overridden = false;
        self.phase = Phase::Draft;
    }

    /// How its targets are gone through, as drafted.
    pub(super) const fn rollout(&self) -> Option<Strategy> {
        self.request.rollout
    }

    /// Who approved that it is undone when its run fails; none when nobody wished that.
    pub(super) fn approved_to_go_back(&self) -> Option<BTreeSet<PersonId>> {
        match &self.phase {
            Phase::Executing(executing)
                if self.request.auto_rollback && self.rollback_of.is_none() =>
            {
                Some(executing.approvers.clone())
            }
            Phase::Draft | Phase::Submitted(_) | Phase::Approved(_) | Phase::Executing(_) => None,
        }
    }

    /// Author and editors.
    pub(super) fn own(&self) -> BTreeSet<PersonId> {
        self.editors.iter().copied().chain([self.author]).collect()
    }

    pub(super) fn is_by(&self, author: PersonId) -> bool {
        self.author == author
    }

    /// Whether it asks for what this template says.
    pub(super) fn is_made_of(&self, template: &Template) -> bool {
        let request = &self.request;
        request.change_type == template.change_type
            && request.connection == template.connection
            && request.targets == template.targets
            && request.parameters == template.parameters
            && request.window.is_none()
            && !request.auto_rollback
    }

    fn is_executing(&self, run: RunId) -> bool {
        matches!(&self.phase, Phase::Executing(executing) if executing.run == run)
    }

    fn is_own(&self, person: PersonId) -> bool {
        self.author == person || self.editors.contains(&person)
    }

    /// What a plan says of another change than this.
    fn differs(&self, stream: StreamId, header: &PlanHeader) -> Option<&'static str> {
        let Request {
            change_type,
            connection,
            targets,
            parameters,
            window: _,
            rollout,
            auto_rollback,
        } = &self.request;
        [
            (header.change.0 == stream.id, "change"),
            (header.author == self.author, "author"),
            (header.editors.iter().eq(&self.editors), "list of editors"),
            (header.rollback_of == self.rollback_of, "change to be rolled back"),
            (header.change_type == *change_type, "type"),
            (header.connection == *connection, "connection"),
            (header.targets == *targets, "list of targets"),
            (header.parameters == *parameters, "set of parameters"),
            (header.rollout == *rollout, "strategy of the rollout"),
            (header.auto_rollback == *auto_rollback, "wish to go back by itself"),
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
            rollout: draft.rollout,
            auto_rollback: draft.auto_rollback,
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
