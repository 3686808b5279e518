//! What can be asked of a change.

use std::collections::BTreeSet;

use crate::aggregate::Principal;
use crate::change::beforehand::Back;
use crate::change::event::{Draft, Found, Produced};
use crate::freeze::{Frozen, InTheWay};
use crate::id::{ChangeId, FreezeId, PersonId, ProjectId, RunId, ScheduleId, SecretId};
use crate::person::PersonState;
use crate::plan::{Plan, PlanDigest};
use crate::policy::{Known, PolicyState};
use crate::risk::{Environment, Risk};
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub enum ChangeCommand {
    /// By an operator, or a machine on an operator's behalf.
    Draft {
        draft: Draft,
        rollback_of: Option<ChangeId>,
    },
    /// By a schedule, in the name of its owner.
    DraftForSchedule {
        draft: Draft,
        schedule: ScheduleId,
        /// Who edited the template, besides the owner.
        editors: Vec<PersonId>,
    },
    /// By a project that goes back, in the name of whoever asked for that: the rollback of a member.
    DraftForProject {
        draft: Draft,
        rollback_of: ChangeId,
        project: ProjectId,
    },
    /// By an operator, before it is made a member. Nothing happens when it has joined already.
    JoinProject {
        project: ProjectId,
        /// Another one that is open and has it as a member.
        member_of: Option<ProjectId>,
    },
    /// By the runtime: a draft that a schedule made, and that can not be brought further, ends.
    GiveUp {
        reason: String,
    },
    /// By the runtime, for a person who asked for it beforehand: to submit or to execute it.
    OnBehalf {
        /// With the roles that they have now.
        asker: Principal,
        /// The project that they asked for, when it was not the schedule that made the change.
        project: Option<ProjectId>,
        command: Box<ChangeCommand>,
    },
    /// Makes the editor one who may not approve; reopens the review.
    Edit {
        draft: Draft,
    },
    /// A plan just made against the target. One with another digest reopens the review.
    RecordPlan {
        plan: Box<Plan>,
    },
    /// Needs a plan that is ready and fresh, and made under the policy that is in force.
    Submit {
        environment: Environment,
        risk: Risk,
        /// Of its targets.
        tags: BTreeSet<String>,
        /// Whom the policy may name; empty when it names nobody.
        known: Known,
        /// The one that is in force.
        policy: PolicyState,
    },
    Approve {
        digest: PlanDigest,
        comment: Option<String>,
        /// What the calendar says is in the way.
        frozen: Vec<Frozen>,
    },
    /// The same for somebody who had delegated approving to whoever asks.
    ApproveFor {
        delegator: PersonId,
        /// Of the delegator, as their stream says now.
        account: Box<PersonState>,
        digest: PlanDigest,
        comment: Option<String>,
        /// As in [`ChangeCommand::Approve`].
        frozen: Vec<Frozen>,
    },
    Reject {
        reason: String,
    },
    /// Back to draft, by its author or an editor.
    Withdraw,
    Cancel {
        reason: String,
    },
    /// By the timer, once the approvals have run out.
    Expire,
    /// By a responder, of the plan in review.
    OverrideFreeze {
        freeze: FreezeId,
        /// Whether the freeze covers the change at all, as the calendar says.
        covers: bool,
        /// 1–2,000 characters.
        justification: String,
    },
    /// By a responder, of the plan in review: it need not wait for a maintenance window.
    OverrideWindow {
        /// Whether a maintenance window holds it up at all, as the calendar says.
        covers: bool,
        /// 1–2,000 characters.
        justification: String,
    },
    /// By a responder, of the plan in review: it needs no approvals, nor the delay after them.
    BreakGlass {
        digest: PlanDigest,
        /// 1–2,000 characters.
        justification: String,
        /// What the calendar says is in the way.
        frozen: Vec<Frozen>,
        /// Changes of which they did so before, and nobody has reviewed that in time.
        overdue: Vec<ChangeId>,
    },
    /// By an operator. It starts, or is scheduled for when its window opens.
    StartExecution {
        run: RunId,
        in_the_way: InTheWay,
    },
    /// By the timer, for the person who had asked.
    StartScheduled {
        run: RunId,
        /// With the roles that they have now.
        asker: Principal,
        in_the_way: InTheWay,
    },
    /// By the runtime: somebody has to ask again.
    Unschedule {
        reason: String,
    },
    /// By the runtime: the rollback of a change that goes back by itself.
    GoBack {
        back: Box<Back>,
    },
    /// By the runtime, on such a rollback.
    StartBack {
        run: RunId,
        in_the_way: InTheWay,
    },
    /// By the runtime, when the run has finished.
    RecordOutcome {
        this: ChangeId,
        run: RunId,
        outcome: RunOutcome,
        reason: String,
        secrets: Vec<Produced>,
        /// Until when all that the run did can be undone, as far as targets say.
        undo_until: Option<Timestamp>,
    },
    /// By a person who looked at the target, when the outcome is unknown.
    Settle {
        finding: Found,
        /// 1–4,000 characters.
        evidence: String,
        /// What the target says, when it can be read again and says one of the two.
        read: Option<Found>,
    },
    /// By the runtime, on the change that `rollback` undoes.
    StartRollback {
        rollback: ChangeId,
        run: RunId,
        /// What was applied to one of its targets afterwards and still stands.
        later: Vec<ChangeId>,
    },
    /// By the runtime, on the change that `rollback` undoes.
    RecordRollback {
        rollback: ChangeId,
        run: RunId,
        outcome: RunOutcome,
        reason: String,
    },
    /// Looks back at an override, after the change has ended.
    Review {
        /// 1–2,000 characters.
        comment: String,
    },
    /// By the requester, once per secret.
    RevealSecret {
        secret: SecretId,
        /// Secrets that its run was told of after it had ended.
        late: Vec<Produced>,
    },
}
