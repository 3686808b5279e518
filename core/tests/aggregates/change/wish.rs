//! Lives of changes: what is wished of them, and by whom.

use std::collections::BTreeSet;

use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::event::{ChangeEvent as E, Draft, Found, Produced, Window};
use nexplane_core::change::{
    Approval, Change, ChangeCommand as C, ChangeState as S, MAX_PLAN_AGE_S, Outcome, Subject,
};
use nexplane_core::freeze::{Dependency, Frozen, InTheWay};
use nexplane_core::id::{
    AssetId, ChangeId, ConnectionId, FreezeId, ProjectId, RunId, ScheduleId, SecretId,
};
use nexplane_core::person::event::PersonEvent;
use nexplane_core::person::{Person, PersonState};
use nexplane_core::plan::{Check, Plan, PlanHeader, Step, TargetRef};
use nexplane_core::policy::{self, Known, PolicyState};
use nexplane_core::risk::{Environment, Risk, RiskLevel};
use nexplane_core::run::event::RunOutcome;
use serde_json::{Value, json};

use crate::*;

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(50));
const FIRST_RUN: RunId = RunId(Uuid::from_u128(1));
const SECOND_RUN: RunId = RunId(Uuid::from_u128(2));

/// What somebody wants of a change, whatever its state.
#[derive(Clone, Debug)]
pub enum Wish {
    Draft {
        draft: Draft,
    },
    Edit {
        draft: Draft,
    },
    /// `stale` is a plan of what the change was about before it was edited.
    Plan {
        found: Value,
        ready: bool,
        stale: bool,
    },
    Submit,
    /// `stale` names another plan.
    Approve {
        stale: bool,
    },
    /// For somebody, whose delegation stands or has just run out.
    ApproveFor {
        delegator: PersonId,
        stands: bool,
    },
    Reject,
    Withdraw,
    Cancel,
    Expire,
    Override {
        freeze: FreezeId,
    },
    OverrideWindow,
    /// `stale` names another plan, `overdue` is that a review of theirs is.
    BreakGlass {
        stale: bool,
        overdue: bool,
    },
    Execute {
        run: RunId,
    },
    /// For whoever had asked, with these roles.
    StartScheduled {
        run: RunId,
        roles: Vec<Role>,
    },
    /// By a schedule.
    DraftForSchedule {
        draft: Draft,
    },
    /// For the author, with these roles: to submit it, or to start it.
    OnBehalf {
        run: Option<RunId>,
        roles: Vec<Role>,
    },
    JoinProject {
        project: ProjectId,
        /// Whether it is a member of another one.
        taken: bool,
    },
    Unschedule,
    Review,
    /// Of the run that is going on, when none is named.
    RecordOutcome {
        run: Option<RunId>,
    },
    Settle {
        finding: Found,
    },
    StartRollback {
        run: RunId,
    },
    RecordRollback {
        run: Option<RunId>,
    },
    Reveal {
        secret: SecretId,
    },
}

#[derive(Clone, Debug)]
pub struct Wished {
    /// What comes next on the way to the end, when it is nothing in particular.
    pub wish: Option<Wish>,
    pub by: Principal,
    /// Whether orders of the runtime are given by `by` nevertheless, and plans are submitted that
    /// are not ready.
    pub presumes: bool,
    /// Seconds since the wish before.
    pub pause: i64,
    pub level: RiskLevel,
    pub environment: Environment,
    pub outcome: RunOutcome,
    /// Whether what is drafted is a rollback.
    pub rollback: bool,
    /// Whether a freeze is in the way.
    pub frozen: bool,
    /// Seconds until a maintenance window opens that it has to wait for.
    pub closed: Option<i64>,
    /// What it comes after, and is not complete.
    pub waits_for: Vec<Dependency>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let run = || id().prop_map(RunId);
    let one = || prop_oneof![4 => Just(None), 1 => id().prop_map(|id| Some(RunId(id)))];
    let secret = id().prop_map(SecretId);
    let unlikely = || prop::bool::weighted(0.2);
    prop_oneof![
        3 => draft().prop_map(|draft| Wish::Draft { draft }),
        1 => draft().prop_map(|draft| Wish::Edit { draft }),
        4 => (0..3, prop::bool::weighted(0.4), unlikely())
            .prop_map(|(found, failed, stale)| Wish::Plan { found: json!(found), ready: !failed, stale }),
        3 => Just(Wish::Submit),
        6 => unlikely().prop_map(|stale| Wish::Approve { stale }),
        4 => (id(), any::<bool>()).prop_map(|(id, stands)| Wish::ApproveFor {
            delegator: PersonId(id),
            stands,
        }),
        1 => Just(Wish::Reject),
        1 => Just(Wish::Withdraw),
        1 => Just(Wish::Cancel),
        1 => Just(Wish::Expire),
        1 => Just(Wish::OverrideWindow),
        2 => (unlikely(), unlikely()).prop_map(|(stale, overdue)| Wish::BreakGlass { stale, overdue }),
        4 => run().prop_map(|run| Wish::Execute { run }),
        1 => (run(), prop::sample::subsequence(Role::ALL.to_vec(), 0..=Role::ALL.len()))
            .prop_map(|(run, roles)| Wish::StartScheduled { run, roles }),
        1 => draft().prop_map(|draft| Wish::DraftForSchedule { draft }),
        1 => (one(), prop::sample::subsequence(Role::ALL.to_vec(), 0..=Role::ALL.len()))
            .prop_map(|(run, roles)| Wish::OnBehalf { run, roles }),
        1 => (id(), any::<bool>()).prop_map(|(project, taken)| Wish::JoinProject {
            project: ProjectId(project),
            taken,
        }),
        1 => Just(Wish::Unschedule),
        1 => id().prop_map(|id| Wish::Override { freeze: FreezeId(id) }),
        1 => Just(Wish::Review),
        3 => one().prop_map(|run| Wish::RecordOutcome { run }),
        1 => found().prop_map(|finding| Wish::Settle { finding }),
        1 => run().prop_map(|run| Wish::StartRollback { run }),
        3 => one().prop_map(|run| Wish::RecordRollback { run }),
        2 => secret.prop_map(|secret| Wish::Reveal { secret }),
    ]
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![Just(Found::Applied), Just(Found::NotApplied)]
}

fn draft() -> impl Strategy<Value = Draft> {
    let minutes = || 0..90_i64;
    let window = (minutes(), minutes())
        .prop_map(|(start, end)| Window { start: moment(start * 60), end: moment(end * 60) });
    let window = prop_oneof![3 => Just(None), 1 => window.prop_map(Some)];
    (text(), 0..2_u8, window).prop_map(|(title, value, window)| draft_of(title, value, window))
}

fn draft_of(title: String, value: u8, window: Option<Window>) -> Draft {
    Draft {
        title,
        reason: "It has to be.".to_owned(),
        ticket: None,
        change_type: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        targets: vec![AssetId(Uuid::from_u128(9))],
        parameters: json!(value),
        window,
        rollout: None,
        auto_rollback: false,
    }
}

/// Mostly people who could do everything, were it not for who they are.
fn somebody() -> impl Strategy<Value = Principal> {
    let colleague = (1..6_u128, any::<bool>()).prop_map(|(n, admin)| {
        let mut roles = vec![Role::Operator, Role::Approver, Role::Responder];
        roles.extend(admin.then_some(Role::Admin));
        Principal { actor: Actor::user(PersonId(Uuid::from_u128(n))), roles }
    });
    let machine = (1..6_u128).prop_map(|n| Principal {
        actor: Actor::machine(PersonId(Uuid::from_u128(n))),
        roles: Role::ALL.to_vec(),
    });
    prop_oneof![12 => colleague, 2 => machine, 2 => principal()]
}

pub fn wishes() -> impl Strategy<Value = Vec<Wished>> {
    let pause = prop_oneof![
        12 => 0..90_i64,
        1 => Just(900),
        1 => Just(3600),
        1 => Just(3601),
        1 => (70..75_i64).prop_map(|hours| hours * 3600),
    ];
    let level = prop::sample::select(vec![
        RiskLevel::Low,
        RiskLevel::Medium,
        RiskLevel::High,
        RiskLevel::Critical,
    ]);
    let environment = prop::sample::select(vec![Environment::Prod, Environment::Dev]);
    let presumes = prop::bool::weighted(0.1);
    let outcome = {
        use RunOutcome::{Complete, Failed, OutcomeUnknown, RollbackBlocked, RollbackPartial};
        let bad = vec![Failed, OutcomeUnknown, RollbackPartial, RollbackBlocked];
        prop_oneof![Just(Complete), prop::sample::select(bad)]
    };
    let wish = prop_oneof![1 => Just(None), 1 => wish().prop_map(Some)];
    let closed = prop_oneof![
        12 => Just(None),
        2 => (1_i64..1000).prop_map(Some),
        1 => Just(Some(0)),
        1 => Just(Some(1_000_000)),
    ];
    let frozen = prop::bool::weighted(0.03);
    let waits_for = prop::bool::weighted(0.03).prop_map(|waits| {
        let other = Dependency { change: CHANGE, number: None, state: "a draft" };
        waits.then_some(other).into_iter().collect()
    });
    let about = (level, environment, outcome, any::<bool>(), frozen, closed, waits_for);
    let wished = (wish, somebody(), presumes, pause, about).prop_map(
        |(wish, by, presumes, pause, about)| {
            let (level, environment, outcome, rollback, frozen, closed, waits_for) = about;
            Wished {
                wish,
                by,
                presumes,
                pause,
                level,
                environment,
                outcome,
                rollback,
                frozen,
                closed,
                waits_for,
            }
        },
    );
    prop::collection::vec(wished, 0..40)
}

/// A change from its beginning.
pub fn lived(wishes: Vec<Wished>) -> Vec<Moment<Change>> {
    let mut at = moment(0);
    live(wishes, |state, wished| {
        at = at.plus_seconds(wished.pause);
        let command = express(state, &wished, at);
        let by = match command {
            C::Expire
            | C::StartScheduled { .. }
            | C::OnBehalf { .. }
            | C::Unschedule { .. }
            | C::GoBack { .. }
            | C::StartBack { .. }
            | C::RecordOutcome { .. }
            | C::StartRollback { .. }
            | C::RecordRollback { .. }
                if !wished.presumes =>
            {
                Principal::SYSTEM
            }
            C::RevealSecret { .. } if !wished.presumes => match state.subject() {
                Some(subject) => Principal { actor: Actor::user(subject.author), roles: vec![] },
                None => wished.by,
            },
            C::Draft { .. }
            | C::DraftForSchedule { .. }
            | C::DraftForProject { .. }
            | C::GiveUp { .. }
            | C::JoinProject { .. }
            | C::OnBehalf { .. }
            | C::Edit { .. }
            | C::RecordPlan { .. }
            | C::Submit { .. }
            | C::Approve { .. }
            | C::ApproveFor { .. }
            | C::Reject { .. }
            | C::Withdraw
            | C::Cancel { .. }
            | C::Expire
            | C::OverrideFreeze { .. }
            | C::OverrideWindow { .. }
            | C::BreakGlass { .. }
            | C::StartExecution { .. }
            | C::StartScheduled { .. }
            | C::Unschedule { .. }
            | C::GoBack { .. }
            | C::StartBack { .. }
            | C::RecordOutcome { .. }
            | C::Settle { .. }
            | C::StartRollback { .. }
            | C::RecordRollback { .. }
            | C::Review { .. }
            | C::RevealSecret { .. } => wished.by,
        };
        Asked { by, at, command }
    })
}

pub fn express(state: &S, wished: &Wished, at: Timestamp) -> C {
    let reason = || "Not today.".to_owned();
    let outcome = wished.outcome;
    match wished.wish.clone().unwrap_or_else(|| next(state, wished, at)) {
        Wish::Withdraw => C::Withdraw,
        Wish::Draft { draft } => C::Draft { draft, rollback_of: wished.rollback.then_some(CHANGE) },
        Wish::Edit { draft } => C::Edit { draft },
        Wish::Plan { found, ready, stale } => {
            C::RecordPlan { plan: Box::new(plan(state.subject(), &found, ready, stale, at)) }
        }
        Wish::Submit => submit(wished),
        Wish::DraftForSchedule { draft } => {
            let editors = vec![PersonId(Uuid::from_u128(2))];
            C::DraftForSchedule { draft, schedule: ScheduleId(Uuid::from_u128(1)), editors }
        }
        Wish::OnBehalf { run, roles } => {
            let author = state.subject().map(|subject| subject.author);
            let author = author.unwrap_or(PersonId(Uuid::from_u128(1)));
            let asker = Principal { actor: Actor::user(author), roles };
            let command = match run {
                Some(run) => C::StartExecution { run, in_the_way: in_the_way(wished, at) },
                None => submit(wished),
            };
            C::OnBehalf { asker, project: None, command: Box::new(command) }
        }
        Wish::Approve { stale } => {
            let digest = state.plan().map(|plan| plan.digest.clone()).filter(|_| !stale);
            C::Approve { digest: digest.unwrap_or_default(), comment: None, frozen: frozen(wished) }
        }
        Wish::ApproveFor { delegator, stands } => {
            let digest = state.plan().map(|plan| plan.digest.clone()).unwrap_or_default();
            let account = account(wished.by.actor, at, stands);
            let (comment, frozen) = (None, frozen(wished));
            C::ApproveFor { delegator, account: Box::new(account), digest, comment, frozen }
        }
        Wish::Reject => C::Reject { reason: reason() },
        Wish::Cancel => C::Cancel { reason: reason() },
        Wish::Expire => C::Expire,
        Wish::OverrideWindow => C::OverrideWindow { covers: true, justification: reason() },
        Wish::BreakGlass { stale, overdue } => {
            let digest = state.plan().map(|plan| plan.digest.clone()).filter(|_| !stale);
            C::BreakGlass {
                digest: digest.unwrap_or_default(),
                justification: reason(),
                frozen: frozen(wished),
                overdue: overdue.then_some(CHANGE).into_iter().collect(),
            }
        }
        Wish::Execute { run } => C::StartExecution { run, in_the_way: in_the_way(wished, at) },
        Wish::StartScheduled { run, roles } => {
            let asked = if let S::Approved(Approval { scheduled: Some(asked), .. }) = state {
                asked.by
            } else {
                PersonId(Uuid::from_u128(1))
            };
            let asker = Principal { actor: Actor::user(asked), roles };
            C::StartScheduled { run, asker, in_the_way: in_the_way(wished, at) }
        }
        Wish::JoinProject { project, taken } => {
            let other = ProjectId(Uuid::from_u128(9));
            C::JoinProject { project, member_of: taken.then_some(other) }
        }
        Wish::Unschedule => C::Unschedule { reason: reason() },
        Wish::Override { freeze } => {
            C::OverrideFreeze { freeze, covers: true, justification: reason() }
        }
        Wish::Review => C::Review { comment: reason() },
        Wish::RecordOutcome { run } => {
            let secrets = (1..4)
                .map(|n| Produced { id: SecretId(Uuid::from_u128(n)), name: "key".to_owned() })
                .collect();
            let run = run.or(running(state)).unwrap_or(FIRST_RUN);
            C::RecordOutcome {
                this: CHANGE,
                run,
                outcome,
                reason: reason(),
                secrets,
                undo_until: None,
            }
        }
        Wish::Settle { finding } => C::Settle { finding, evidence: reason(), read: None },
        Wish::StartRollback { run } => {
            C::StartRollback { rollback: CHANGE, run, later: Vec::new() }
        }
        Wish::RecordRollback { run } => {
            let run = run.or(running(state)).unwrap_or(FIRST_RUN);
            C::RecordRollback { rollback: CHANGE, run, outcome, reason: reason() }
        }
        Wish::Reveal { secret } => C::RevealSecret { secret, late: Vec::new() },
    }
}

/// Of an approver who delegated to this actor, until now or a while longer.
fn account(to: Actor, at: Timestamp, stands: bool) -> PersonState {
    let until = if stands { at.plus_seconds(60) } else { at };
    let events = [
        PersonEvent::Added { roles: vec![Role::Approver] },
        PersonEvent::ApprovalsDelegated {
            delegation: Uuid::nil(),
            to: to.person().unwrap_or(PersonId(Uuid::nil())),
            from: at.plus_seconds(-60),
            until,
            reason: "Away.".to_owned(),
        },
    ];
    fold::<Person>(PersonState::Absent, &events)
}

fn submit(wished: &Wished) -> C {
    C::Submit {
        environment: wished.environment,
        risk: Risk { score: 1, level: wished.level, factors: Vec::new() },
        tags: BTreeSet::new(),
        known: Known::default(),
        policy: PolicyState::default(),
    }
}

fn in_the_way(wished: &Wished, at: Timestamp) -> InTheWay {
    let closed = wished.closed.map(|wait| {
        let opens = (wait > 0).then(|| at.plus_seconds(wait));
        nexplane_core::freeze::Closed { window: "Nightly".to_owned(), opens }
    });
    let waits_for = wished.waits_for.clone();
    InTheWay { frozen: frozen(wished), closed, waits_for, ..InTheWay::default() }
}

fn frozen(wished: &Wished) -> Vec<Frozen> {
    let freeze = FreezeId(Uuid::from_u128(1));
    let frozen = Frozen { freeze, reason: "Closing.".to_owned(), end: moment(1) };
    wished.frozen.then_some(frozen).into_iter().collect()
}

fn next(state: &S, wished: &Wished, at: Timestamp) -> Wish {
    let presumes = wished.presumes;
    let for_owner =
        state.subject().is_some_and(|subject| subject.schedule.is_some()) && !wished.rollback;
    let on_behalf = |run| Wish::OnBehalf { run, roles: vec![Role::Operator] };
    let plan = Wish::Plan { found: json!(0), ready: true, stale: false };
    match state {
        S::Absent => {
            let draft = draft_of("Lock".to_owned(), 0, None);
            let scheduled = wished.level == RiskLevel::Low && !wished.rollback;
            if scheduled { Wish::DraftForSchedule { draft } } else { Wish::Draft { draft } }
        }
        S::Draft(drafting) => {
            match &drafting.plan {
                Some(old)
                    if presumes
                        || (old.is_ready()
                            && at.seconds_since(old.computed_at) <= MAX_PLAN_AGE_S) =>
                {
                    if for_owner { on_behalf(None) } else { Wish::Submit }
                }
                Some(_) | None => plan,
            }
        }
        S::Submitted(_) if wished.level == RiskLevel::Critical && wished.rollback => {
            Wish::BreakGlass { stale: false, overdue: presumes }
        }
        S::Submitted(_) => Wish::Approve { stale: false },
        S::Approved(approval) if at >= approval.until => Wish::Expire,
        S::Approved(Approval { scheduled: Some(_), .. }) => {
            Wish::StartScheduled { run: FIRST_RUN, roles: vec![Role::Operator] }
        }
        S::Approved(_) if for_owner => on_behalf(Some(FIRST_RUN)),
        S::Approved(_) => Wish::Execute { run: FIRST_RUN },
        S::Executing(_) => Wish::RecordOutcome { run: None },
        S::Finished(finish) => match finish.how {
            Outcome::RollingBack { .. } => Wish::RecordRollback { run: None },
            Outcome::Complete
            | Outcome::Failed
            | Outcome::RollbackPartial
            | Outcome::RollbackBlocked => Wish::StartRollback { run: SECOND_RUN },
            Outcome::Unknown => Wish::Settle { finding: Found::Applied },
            Outcome::RolledBack => Wish::Reveal { secret: SecretId(Uuid::from_u128(1)) },
        },
        S::Closed(closing) if !closing.subject.overrides.unreviewed.is_empty() => Wish::Review,
        S::Closed(_) => Wish::Submit,
    }
}

/// The run that a state waits for.
fn running(state: &S) -> Option<RunId> {
    match state {
        S::Executing(execution) => Some(execution.run),
        S::Finished(finish) => match finish.how {
            Outcome::RollingBack { run, .. } => Some(run),
            Outcome::Complete
            | Outcome::Failed
            | Outcome::Unknown
            | Outcome::RolledBack
            | Outcome::RollbackPartial
            | Outcome::RollbackBlocked => None,
        },
        S::Absent | S::Draft(_) | S::Submitted(_) | S::Approved(_) | S::Closed(_) => None,
    }
}

fn plan(subject: Option<&Subject>, found: &Value, ready: bool, stale: bool, at: Timestamp) -> Plan {
    let connection = ConnectionId(Uuid::from_u128(8));
    let asset = AssetId(Uuid::from_u128(9));
    let header = PlanHeader {
        change: CHANGE,
        change_type: "postgres.lock_user".to_owned(),
        connection,
        targets: vec![asset],
        parameters: match subject {
            Some(subject) if !stale => subject.draft.parameters.clone(),
            Some(_) | None => Value::Null,
        },
        auto_rollback: false,
        limit_s: None,
        policy_version: policy::VERSION,
        author: subject.map_or(OWNER, |subject| subject.author),
        editors: subject
            .map(|subject| subject.editors.iter().copied().collect())
            .unwrap_or_default(),
        rollback_of: subject.and_then(|subject| subject.rollback_of),
        rollout: None,
    };
    let step = Step {
        no: 0,
        action: "postgres.lock_user".to_owned(),
        connection,
        target: TargetRef {
            asset,
            kind: "postgres_role".to_owned(),
            external_key: "role/a".to_owned(),
            name: "a".to_owned(),
        },
        parameters: Value::Null,
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: found.to_string(),
        summary: "a can no longer log in".to_owned(),
        rollback: "a can log in again".to_owned(),
        diff: Vec::new(),
        undoes: None,
    };
    let check = Check { name: "role".to_owned(), ok: ready, detail: "It is there.".to_owned() };
    Plan::new(header, vec![step], vec![check], at)
}

/// Any event, whether or not it can follow.
pub fn event() -> impl Strategy<Value = E> {
    let run = RunId(Uuid::from_u128(1));
    let (not_before, until) = (moment(1), moment(100));
    let plan = |found: i32| plan(None, &json!(found), true, false, moment(0));
    let digest = move || plan(0).digest;
    let reason = || "It broke.".to_owned();
    let quorum = policy::quorum(RiskLevel::High, Environment::Prod, false);
    let risk = Risk { score: 1, level: RiskLevel::High, factors: Vec::new() };
    let (environment, tags) = (Environment::Prod, Some(BTreeSet::new()));
    let submitted =
        E::Submitted { digest: digest(), environment, risk, quorum, tags, beforehand: None };
    let broken = E::GlassBroken { digest: digest(), justification: reason() };
    let given = move |as_admin| E::ApprovalGiven {
        digest: digest(),
        comment: None,
        as_admin,
        delegator: None,
    };
    prop_oneof![
        4 => (draft(), any::<bool>()).prop_map(|(draft, rollback)| E::Drafted {
            draft,
            rollback_of: rollback.then_some(CHANGE),
        }),
        1 => Just(E::MadeBySchedule {
            schedule: ScheduleId(Uuid::from_u128(1)),
            editors: vec![PersonId(Uuid::from_u128(2))],
        }),
        1 => id().prop_map(|id| E::JoinedProject { project: ProjectId(id) }),
        1 => draft().prop_map(|draft| E::Edited { draft }),
        4 => (0..2).prop_map(move |found| E::Planned { plan: Box::new(plan(found)) }),
        4 => Just(submitted),
        2 => any::<bool>().prop_map(given),
        4 => Just(E::Approved { digest: digest(), not_before, until }),
        1 => Just(E::Rejected { digest: digest(), reason: reason() }),
        1 => Just(E::Withdrawn {}),
        1 => Just(E::Cancelled { reason: reason() }),
        1 => Just(E::Expired {}),
        1 => id().prop_map(move |id| E::FreezeOverridden {
            freeze: FreezeId(id),
            justification: reason(),
        }),
        1 => Just(E::WindowOverridden { justification: reason() }),
        1 => Just(broken),
        1 => Just(E::Scheduled { opens: until, asked_by: None }),
        1 => Just(E::Unscheduled { reason: reason() }),
        4 => Just(E::ExecutionStarted { run, digest: digest() }),
        1 => Just(E::UndoLimited { run, until: Timestamp::from_micros(0) }),
        1 => Just(E::Completed { run, secrets: Vec::new() }),
        1 => Just(E::Failed { run, reason: reason(), secrets: Vec::new() }),
        1 => Just(E::OutcomeUnknown { run, reason: reason(), secrets: Vec::new() }),
        1 => found().prop_map(move |finding| E::Settled { run, finding, evidence: reason() }),
        1 => Just(E::RollbackStarted { rollback: CHANGE, run }),
        1 => Just(E::RolledBack { rollback: CHANGE, run }),
        1 => Just(E::RollbackPartial { rollback: CHANGE, run, reason: reason() }),
        1 => Just(E::RollbackBlocked { rollback: CHANGE, run, reason: reason() }),
        1 => Just(E::Reviewed { comment: reason() }),
        1 => id().prop_map(|id| E::SecretRevealed { secret: SecretId(id) }),
    ]
}
