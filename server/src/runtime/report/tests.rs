//! Whatever a target answers, what came of an effect is told once, and comes to an end.

use nexplane_core::aggregate::Principal;
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{AssetId, ConnectionId, PersonId};
use nexplane_core::plan::{Plan, PlanHeader, Step, TargetRef};
use nexplane_core::run::StepPhase;
use nexplane_core::run::event::Captured;
use nexplane_store::log::LogOptions;
use nexplane_store::testing::TestDatabase;
use serde_json::json;
use uuid::Uuid;

use super::*;

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(50));

fn plan() -> Box<Plan> {
    let (connection, asset) = (ConnectionId(Uuid::from_u128(8)), AssetId(Uuid::from_u128(9)));
    let header = PlanHeader {
        change: CHANGE,
        change_type: "postgres.lock_user".to_owned(),
        connection,
        targets: vec![asset],
        parameters: json!({}),
        policy_version: 1,
        author: PersonId(Uuid::from_u128(1)),
        editors: Vec::new(),
        rollback_of: None,
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    let step = Step {
        no: 0,
        action: "postgres.lock_user".to_owned(),
        connection,
        target: TargetRef {
            asset,
            kind: "postgres_role".to_owned(),
            external_key: "role/leaver".to_owned(),
            name: "leaver".to_owned(),
        },
        parameters: json!({}),
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: "can log in".to_owned(),
        summary: "leaver can no longer log in".to_owned(),
        rollback: "leaver can log in again".to_owned(),
        diff: Vec::new(),
        undoes: None,
    };
    Box::new(Plan::new(header, vec![step], Vec::new(), stream::now()))
}

/// A run whose only step was sent by epoch 1, and is maybe another worker's since.
async fn sent(log: &Log, run: RunId, is_fenced: bool) {
    let (approvals, undoes, part) = (Vec::new(), None, None);
    let start = RunCommand::Start { change: CHANGE, plan: plan(), approvals, undoes, part };
    let before =
        Captured { fields: Vec::new(), fingerprint: "can log in".to_owned(), sealed: None };
    let (key, in_the_way, held) = ("key".to_owned(), InTheWay::default(), None);
    let terms = None;
    let intend = RunCommand::Intend { step: 0, epoch: 1, key, before, in_the_way, held, terms };
    let claim = |after| RunCommand::Claim { worker: Uuid::nil(), after };
    let mut commands = vec![start, claim(0), intend];
    commands.extend(is_fenced.then(|| claim(1)));
    for command in commands {
        let request = Request::once(Principal::SYSTEM, stream::now());
        stream::execute::<Run>(log, run.into(), &request, command).await.unwrap();
    }
}

fn report_of(run: RunId, what: What) -> Report {
    let command = request(CHANGE, run, (0, 1, 1)).command;
    Report { change: CHANGE, run, step: 0, epoch: 1, attempt: 1, command, what }
}

/// What no record can have: text with NUL, and more than there is room for.
fn unstorable() -> Vec<(What, &'static str)> {
    let mut all = Vec::new();
    for text in ["a\0b".to_owned(), "x".repeat(600 * 1024)] {
        let outcome = json!({ "said": text });
        let reason = Reason { kind: "refused".to_owned(), message: text };
        all.extend([
            (
                What::Succeeded { outcome, undo_until: None, secrets: Vec::new() },
                "of unknown outcome",
            ),
            (What::Failed { reason: reason.clone() }, "failed"),
            (What::Unknown { reason }, "of unknown outcome"),
        ]);
    }
    all
}

#[tokio::test]
async fn an_outcome_that_cannot_be_stored_is_told_without_what_the_target_said() {
    let database = TestDatabase::new().await;
    let pool = database.pool().clone();
    let log = Log::open(pool, database.options(), LogOptions::default()).await.unwrap();
    for (no, (what, then)) in (0_u128..).zip(unstorable()) {
        let run = RunId(Uuid::from_u128(100 + no));
        sent(&log, run, false).await;
        let report = report_of(run, what.clone());
        let told = report.tell_log(&log, Vec::new()).await.unwrap();
        let Told::InTime(state) = told else { panic!("{told:?}") };
        let RunState::Running(running) = *state else { panic!("it is not running") };
        let Some((_, phase)) = running.step(0) else { panic!("it has no step") };
        assert_eq!(phase.name(), then);
        if let StepPhase::Failed { reason, .. } = phase {
            assert_eq!(reason.kind, "unstorable");
        }
        // Out of the spool, after a crash: it adds nothing.
        let version = log.version(run.into()).await.unwrap();
        assert!(matches!(report.tell_log(&log, Vec::new()).await.unwrap(), Told::Late(_)));
        assert_eq!(log.version(run.into()).await.unwrap(), version);

        let run = RunId(Uuid::from_u128(200 + no));
        sent(&log, run, true).await;
        let report = report_of(run, what);
        for _ in 0..2 {
            assert!(matches!(report.tell_log(&log, Vec::new()).await.unwrap(), Told::Late(_)));
            assert_eq!(log.version(run.into()).await.unwrap(), 5, "one late report");
        }
    }
    log.close().await;
}
