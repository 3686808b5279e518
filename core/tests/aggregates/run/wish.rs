//! Lives of runs: what workers want of them, and what luck they have.

use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, RunId};
use nexplane_core::plan::{Plan, PlanHeader, Step, TargetRef};
use nexplane_core::policy;
use nexplane_core::run::event::{Captured, Finding, LateReport, Reason, RunEvent as E, RunOutcome};
use nexplane_core::run::{Run, RunCommand as C, RunState as S, Running, StepPhase};
use serde_json::{Value, json};

use crate::*;

pub const CHANGE: ChangeId = ChangeId(Uuid::from_u128(50));
const WORKER: Uuid = Uuid::from_u128(80);

/// What becomes of a step, when it comes to that.
#[derive(Clone, Copy, Debug)]
pub enum Luck {
    Good,
    /// The target says no, or does not have what it should.
    Bad,
    /// The answer is lost; this is what is found later.
    Lost(Finding),
    /// The target is not what the plan says.
    Moved,
}

#[derive(Clone, Copy, Debug)]
pub enum Wish {
    Claim,
    Intend,
    Succeed,
    Fail,
    LoseSight,
    Reconcile,
    Verify,
    Unverify,
    Block,
    Finish,
}

#[derive(Clone, Debug)]
pub struct Wished {
    /// What comes next on the way to the end, when it is nothing in particular.
    pub wish: Option<Wish>,
    pub by: Principal,
    pub luck: Luck,
    /// The step, where it is not the one whose turn it is.
    pub step: Option<u32>,
    /// How many epochs ago the worker was in charge.
    pub behind: u32,
}

/// A plan, whether the run goes back, and what is wished of it.
pub type Life = (Vec<EffectClass>, bool, Vec<Wished>);

fn classes() -> impl Strategy<Value = Vec<EffectClass>> {
    use EffectClass::{Fenced, Keyed, Unprotected, Verifiable};
    prop::collection::vec(prop::sample::select(vec![Keyed, Fenced, Verifiable, Unprotected]), 1..4)
}

fn finding() -> impl Strategy<Value = Finding> {
    use Finding::{Applied, Conflict, NotApplied};
    prop::sample::select(vec![Applied, NotApplied, NotApplied, Conflict])
}

pub fn wished() -> impl Strategy<Value = Wished> {
    use Wish::{
        Block, Claim, Fail, Finish, Intend, LoseSight, Reconcile, Succeed, Unverify, Verify,
    };
    let any_wish = prop::sample::select(vec![
        Claim, Intend, Intend, Intend, Succeed, Fail, LoseSight, Reconcile, Verify, Unverify,
        Block, Finish,
    ]);
    let wish = prop_oneof![2 => Just(None), 1 => any_wish.prop_map(Some)];
    let by = prop_oneof![19 => Just(Principal::SYSTEM), 1 => principal()];
    let luck = prop_oneof![
        10 => Just(Luck::Good),
        1 => Just(Luck::Bad),
        9 => finding().prop_map(Luck::Lost),
        1 => Just(Luck::Moved),
    ];
    let step = prop_oneof![4 => Just(None), 1 => (0..4_u32).prop_map(Some)];
    let behind = prop_oneof![9 => Just(0), 1 => 1..3_u32];
    (wish, by, luck, step, behind).prop_map(|(wish, by, luck, step, behind)| Wished {
        wish,
        by,
        luck,
        step,
        behind,
    })
}

pub fn life_of() -> impl Strategy<Value = Life> {
    (classes(), any::<bool>(), prop::collection::vec(wished(), 0..40))
}

pub fn lived((classes, back, wishes): Life) -> Vec<Moment<Run>> {
    live((0..).zip(wishes), |state, (second, wished)| {
        let command = express(state, &wished, &classes, back);
        Asked { by: wished.by, at: moment(second), command }
    })
}

pub fn express(state: &S, wished: &Wished, classes: &[EffectClass], back: bool) -> C {
    let run = match state {
        S::Absent => {
            return C::Start {
                change: CHANGE,
                plan: Box::new(plan(classes)),
                approvals: vec![OWNER],
                undoes: back.then_some(RunId(Uuid::from_u128(9))),
                part: None,
            };
        }
        S::Running(run) => run,
        S::Finished(finished) => &finished.run,
    };
    let turn = run.steps.iter().position(|phase| !matches!(phase, StepPhase::Verified(_)));
    let turn = turn.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
    let step = wished.step.unwrap_or(turn);
    let epoch = run.epoch.saturating_sub(wished.behind);
    let wish = wished.wish.unwrap_or_else(|| next(run, step, wished.luck));
    order(wish, step, epoch, wished.luck)
}

pub fn order(wish: Wish, step: u32, epoch: u32, luck: Luck) -> C {
    let reason = || Reason { kind: "denied".to_owned(), message: "It broke.".to_owned() };
    match wish {
        Wish::Claim => C::Claim { worker: WORKER, after: epoch },
        Wish::Intend => {
            let before = Captured { fields: Vec::new(), fingerprint: "a".to_owned(), sealed: None };
            C::Intend {
                step,
                epoch,
                key: "key".to_owned(),
                before,
                in_the_way: InTheWay::default(),
                held: None,
                terms: None,
            }
        }
        Wish::Succeed => {
            C::Succeed { step, epoch, outcome: Value::Null, produced: Vec::new(), undo_until: None }
        }
        Wish::Fail => C::Fail { step, epoch, reason: reason() },
        Wish::LoseSight => C::LoseSight { step, epoch, reason: reason() },
        Wish::Reconcile => C::Reconcile {
            step,
            epoch,
            finding: match luck {
                Luck::Lost(finding) => finding,
                Luck::Good => Finding::Applied,
                Luck::Bad => Finding::NotApplied,
                Luck::Moved => Finding::Conflict,
            },
            evidence: "read".to_owned(),
            observed: Vec::new(),
            produced: Vec::new(),
        },
        Wish::Verify => {
            C::Verify { step, epoch, observed: Vec::new(), fingerprint: "b".to_owned() }
        }
        Wish::Unverify => C::Unverify { step, epoch, observed: Vec::new(), reason: reason() },
        Wish::Block => C::Block {
            step,
            epoch,
            before: Vec::new(),
            after: Vec::new(),
            now: Vec::new(),
            reason: reason(),
        },
        Wish::Finish => C::Finish { epoch },
    }
}

/// What a runtime would do, in one way or another; with bad luck it forgets what is never repeated.
pub fn next(run: &Running, step: u32, luck: Luck) -> Wish {
    if run.epoch == 0 {
        return Wish::Claim;
    }
    let Some((_, phase)) = run.step(step) else { return Wish::Finish };
    match phase {
        StepPhase::Unknown { .. } => match luck {
            Luck::Good | Luck::Lost(_) => Wish::Reconcile,
            Luck::Bad | Luck::Moved => Wish::Finish,
        },
        StepPhase::Planned | StepPhase::Reconciled { finding: Finding::NotApplied, .. }
            if run.outcome().is_none() || matches!(luck, Luck::Lost(_)) =>
        {
            match luck {
                Luck::Moved => Wish::Block,
                Luck::Good | Luck::Bad | Luck::Lost(_) => Wish::Intend,
            }
        }
        StepPhase::Intended(_) => match luck {
            Luck::Good => Wish::Succeed,
            Luck::Bad => Wish::Fail,
            Luck::Lost(_) | Luck::Moved => Wish::LoseSight,
        },
        StepPhase::Succeeded(_) | StepPhase::Reconciled { finding: Finding::Applied, .. } => {
            match luck {
                Luck::Bad => Wish::Unverify,
                Luck::Good | Luck::Lost(_) | Luck::Moved => Wish::Verify,
            }
        }
        StepPhase::Planned
        | StepPhase::Verified(_)
        | StepPhase::Unverified { .. }
        | StepPhase::Failed { .. }
        | StepPhase::Reconciled { .. }
        | StepPhase::Blocked { .. } => Wish::Finish,
    }
}

pub fn plan(classes: &[EffectClass]) -> Plan {
    let connection = ConnectionId(Uuid::from_u128(8));
    let asset = AssetId(Uuid::from_u128(9));
    let header = PlanHeader {
        change: CHANGE,
        change_type: "postgres.lock_user".to_owned(),
        connection,
        targets: vec![asset],
        parameters: Value::Null,
        policy_version: policy::VERSION,
        author: OWNER,
        editors: Vec::new(),
        rollback_of: None,
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    let steps = (0..).zip(classes).map(|(no, class)| Step {
        no,
        action: "postgres.lock_user".to_owned(),
        connection,
        target: TargetRef {
            asset,
            kind: "postgres_role".to_owned(),
            external_key: "role/a".to_owned(),
            name: "a".to_owned(),
        },
        parameters: json!({}),
        effect_class: *class,
        reversibility: Reversibility::Reversible,
        before_fingerprint: "a".to_owned(),
        summary: "a can no longer log in".to_owned(),
        rollback: "a can log in again".to_owned(),
        diff: Vec::new(),
        undoes: None,
    });
    Plan::new(header, steps.collect(), Vec::new(), moment(0))
}

/// Any event, whether or not it can follow.
pub fn event() -> impl Strategy<Value = E> {
    let reason = || Reason { kind: "denied".to_owned(), message: "It broke.".to_owned() };
    let step = || prop_oneof![9 => 0..3_u32, 1 => any::<u32>()];
    let started = |undoes: Option<Uuid>| E::Started {
        change: CHANGE,
        plan: Box::new(plan(&[EffectClass::Verifiable, EffectClass::Unprotected])),
        approvals: Vec::new(),
        undoes: undoes.map(RunId),
        part: None,
    };
    let intended = |(step, epoch, attempt)| E::StepIntended {
        step,
        epoch,
        attempt,
        key: "key".to_owned(),
        before: Captured { fields: Vec::new(), fingerprint: "a".to_owned(), sealed: None },
    };
    let reconciled = |(step, finding)| E::StepReconciled {
        step,
        finding,
        evidence: "read".to_owned(),
        observed: Vec::new(),
        produced: Vec::new(),
    };
    prop_oneof![
        6 => prop::option::of(id()).prop_map(started),
        2 => any::<u32>().prop_map(|epoch| E::Claimed { epoch, worker: WORKER }),
        4 => (step(), any::<u32>(), any::<u32>()).prop_map(intended),
        2 => step().prop_map(|step| E::StepSucceeded {
            step,
            epoch: 1,
            outcome: Value::Null,
            produced: Vec::new(), undo_until: None
        }),
        1 => step().prop_map(move |step| E::StepFailed { step, epoch: 1, reason: reason() }),
        2 => step().prop_map(move |step| E::StepUnknown { step, epoch: 1, reason: reason() }),
        2 => (step(), finding()).prop_map(reconciled),
        2 => step().prop_map(|step| E::StepVerified {
            step,
            observed: Vec::new(),
            fingerprint: "b".to_owned(),
        }),
        1 => step().prop_map(move |step| E::StepUnverified {
            step,
            observed: Vec::new(),
            reason: reason(),
        }),
        1 => step().prop_map(move |step| E::StepBlocked {
            step,
            before: Vec::new(),
            after: Vec::new(),
            now: Vec::new(),
            reason: reason(),
        }),
        1 => Just(E::CancelAsked { reason: "no".to_owned() }),
        1 => (step(), any::<u32>()).prop_map(move |(step, epoch)| E::LateReported {
            step,
            epoch,
            report: LateReport::Unknown { reason: reason() },
        }),
        1 => Just(E::Finished { outcome: RunOutcome::Complete, reason: None, secrets: Vec::new() }),
    ]
}
