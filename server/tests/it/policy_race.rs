//! Policies that are published while changes are submitted: in the log, every submission is decided
//! by the version that is in force at its place.
//!
//! `NEXPLANE_RACE_ROUNDS` says how often (12 when absent).

use std::time::{Duration, Instant};

use nexplane_core::audit::Auditor;
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::policy::event::PolicyEvent;
use nexplane_core::record;
use serde_json::json;

use crate::harness::{Server, Shop, id};

/// Changes that are submitted at the same time.
const LANES: usize = 6;

fn rounds() -> u32 {
    let asked = std::env::var("NEXPLANE_RACE_ROUNDS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_policy_and_a_submission_one_comes_first() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let operator = server.operator().await;
    let names: Vec<_> = (0..LANES).map(|no| format!("app{no}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut changes = Vec::new();
    for role in shop.roles(&server, &names).await {
        let request = shop.request(&operator, "postgres.lock_user", &role).await;
        changes.push(id(&operator.post("/change-requests", request).await.is(201)));
    }
    let (mut submitted, mut outdated) = (0, 0);
    let mut usual = Duration::from_millis(50);
    for round in 1..=rounds() {
        for change in &changes {
            operator.act(change, "plan").await.is(200);
        }
        let publish = async {
            // From before all submissions to after most of them, however busy the machine.
            tokio::time::sleep(usual.mul_f64((f64::from(round) * 0.37).fract())).await;
            let rules = json!([{ "then": { "ask": { "approvals": round % 2 + 1 } } }]);
            let body = json!({ "document": { "rules": rules }, "note": "x", "based_on": round });
            server.admin.post("/policies", body).await.is(201);
        };
        let begun = Instant::now();
        let submit = futures_util::future::join_all(changes.iter().map(async |change| {
            let answer = operator.act(change, "submit").await;
            let took = begun.elapsed();
            if answer.status == 200 {
                operator.act(change, "withdraw").await.is(200);
                return Some(took);
            }
            // Never a conflict: that the policy moved is said in its own words.
            answer.refused(409, "change.plan_outdated");
            None
        }));
        let ((), answers) = tokio::join!(publish, submit);
        let passed = answers.iter().flatten();
        submitted += passed.clone().count();
        outdated += answers.len() - passed.clone().count();
        if let Some(longest) = passed.max() {
            usual = (usual * 3 + *longest) / 4;
        }
    }
    eprintln!("{submitted} submitted, {outdated} of an outdated plan");
    assert!(submitted > 0 && outdated > 0, "both have to happen for it to be a race");

    let records = nexplane_store::testing::event_records(server.database().pool()).await.unwrap();
    let events: Vec<Recorded> = (0..)
        .zip(&records)
        .map(|(position, text)| {
            let (header, event) = Event::decode(record::decode(text).unwrap()).unwrap();
            Recorded { position, header, event }
        })
        .collect();
    let (mut version, mut seen) = (1, 0);
    for Recorded { position, event, .. } in &events {
        match event {
            Event::Policy(PolicyEvent::Published { version: next, .. }) => {
                assert_eq!(*next, version + 1, "at {position}");
                version = *next;
            }
            Event::Change(ChangeEvent::Submitted { quorum, .. }) => {
                assert_eq!(quorum.policy_version, version, "at {position}");
                if version > 1 {
                    assert_eq!(quorum.approvals, (version - 1) % 2 + 1, "at {position}");
                }
                seen += 1;
            }
            _ => {}
        }
    }
    assert_eq!((version, seen), (rounds() + 1, submitted));
    let mut auditor = Auditor::starting_at(0);
    events.iter().for_each(|event| auditor.observe(event));
    let report = auditor.finish();
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(report.incomplete.is_empty(), "{:#?}", report.incomplete);
}
