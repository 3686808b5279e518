//! Runs that are cancelled while they go through their steps, by way of another replica: in the log nothing
//! is intended after a cancel, who was told 200 was in time, and the target counts what is told.
//!
//! `NEXPLANE_RACE_ROUNDS` says how often (20 when absent).

use std::time::{Duration, Instant};

use nexplane_core::audit::Auditor;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::record;
use serde_json::{Value, json};

use crate::crash_stage::{Count, LOCK, Story, UNLOCK};
use crate::harness::{Server, Shop, eventually, id, items, text};

/// Steps of a run.
const TARGETS: usize = 3;

fn rounds() -> usize {
    std::env::var("NEXPLANE_RACE_ROUNDS").map_or(20, |count| count.parse().expect("a number"))
}

#[derive(Debug, Default)]
struct Figures {
    before_the_start: usize,
    in_time: usize,
    /// Steps that those had done.
    done: usize,
    too_late: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_cancel_and_every_intent_one_comes_first() {
    let server = Server::start().await;
    let replica = server.replica().await;
    let shop = Shop::connect(&server, "dev").await;
    let count = Count::of(&shop).await;
    let operator = server.operator().await;
    let elsewhere = operator.at(&replica.base);
    let approvers = [server.approver().await, server.person("amos", &["approver"]).await];
    let names: Vec<_> = (0..TARGETS).map(|no| format!("app{no}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let roles = shop.roles(&server, &names).await;
    let mut targets = Vec::new();
    for role in &roles {
        targets.push(id(&shop.asset(&operator, role).await));
    }
    let (mut figures, mut usual) = (Figures::default(), Duration::from_secs(1));
    let mut effects = vec![0; TARGETS];
    for round in 0..rounds() {
        let action = if round % 2 == 0 { LOCK } else { UNLOCK };
        // As the last round should have left them.
        for (no, role) in roles.iter().enumerate() {
            let (word, other) = if round % 2 == 0 { ("LOGIN", false) } else { ("NOLOGIN", true) };
            if shop.lets_in(role, role).await == other {
                shop.sql(&format!("ALTER ROLE {role} {word}")).await;
                effects[no] += 1;
            }
        }
        let submitted = operator.submitted(request(&shop, action, &targets)).await;
        let change = id(&submitted);
        crate::crash_stage::approve(&approvers, &submitted).await;

        // From together with the request to after the end of the run, however busy the machine.
        let wait = usual.mul_f64((round as f64 * 0.37).fract() * 1.1);
        let cancel = async {
            tokio::time::sleep(wait).await;
            let path = format!("/change-requests/{change}/cancel");
            elsewhere.post(&path, json!({ "reason": "the wrong roles" })).await
        };
        let begun = Instant::now();
        let execute = async {
            let executed = operator.act(&change, "execute").await;
            if executed.status == 200 {
                operator.settled(&change).await;
                Some(begun.elapsed())
            } else {
                executed.refused(409, "change.not_in_state");
                None
            }
        };
        let (took, cancelled) = tokio::join!(execute, cancel);
        let Some(took) = took else {
            cancelled.is(200);
            figures.before_the_start += 1;
            continue;
        };

        let story = Story::of(&server, &change).await;
        story.is_sound();
        let asked = story.events.iter().position(|(kind, _)| kind == "run.cancel_asked");
        let last = story.events.iter().rposition(|(kind, _)| kind == "run.step_intended");
        let done = story.count("run.step_verified");
        match cancelled.status {
            200 => {
                let asked = asked.expect("who is told that it is cancelled was in time");
                assert!(last.is_none_or(|last| last < asked), "{}", story.told());
                assert_eq!(story.end(), Some("change.failed"), "{}", story.told());
                assert!(done < TARGETS, "{}", story.told());
                let ended = operator.change(&change).await;
                let why = text(&ended["closing_reason"]);
                assert!(why.contains(&format!("after {done} of {TARGETS} steps")), "{why}");
                figures.in_time += 1;
                // A run that was cut short does not say how long a whole one takes.
                usual = usual.max(took) + usual / 8;
                figures.done += done;
            }
            _ => {
                cancelled.is_refused_with(&[409]);
                assert_ne!(cancelled.json["code"], "conflict.version", "{:#}", cancelled.json);
                assert_eq!((asked, done), (None, TARGETS), "{}", story.told());
                assert_eq!(story.end(), Some("change.completed"), "{}", story.told());
                figures.too_late += 1;
                usual = took.max(Duration::from_millis(200));
            }
        }
        for (kind, event) in &story.events {
            if kind == "run.step_succeeded" {
                let no = usize::try_from(event["step"].as_u64().unwrap()).unwrap();
                effects[no] += 1;
            }
        }
        let told = told_in_order(&story, &roles, &effects, &count).await;
        assert!(told, "the target counts something else than the log: {}", story.told());
    }
    eprintln!("{} rounds: {figures:?}", rounds());
    assert!(figures.in_time > 0 && figures.too_late > 0, "both have to happen: {figures:?}");

    eventually("the replica has told everything", async || {
        let models = items(&operator.get("/projections").await.is(200));
        models.iter().all(|model| model["lag"] == 0).then_some(())
    })
    .await;
    let records = nexplane_store::testing::event_records(server.database().pool()).await.unwrap();
    let mut auditor = Auditor::starting_at(0);
    for (position, text) in (0..).zip(&records) {
        let (header, event) = Event::decode(record::decode(text).unwrap()).unwrap();
        auditor.observe(&Recorded { position, header, event });
    }
    let report = auditor.finish();
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(report.incomplete.is_empty(), "{:#?}", report.incomplete);
}

fn request(shop: &Shop, action: &str, targets: &[String]) -> Value {
    json!({
        "title": action,
        "reason": "They are turned around.",
        "change_type": action,
        "connection_id": shop.connection,
        "targets": targets,
        "parameters": {},
    })
}

/// Whether the steps of the plan are the targets in their order, and each was altered as often as is told.
async fn told_in_order(story: &Story, roles: &[String], effects: &[i64], count: &Count) -> bool {
    let plan = story.events.iter().find(|(kind, _)| kind == "run.started").unwrap();
    for (step, role) in plan.1["plan"]["steps"].as_array().unwrap().iter().zip(roles) {
        assert_eq!(step["target"]["name"], **role);
    }
    for (role, told) in roles.iter().zip(effects) {
        if count.alterations(role).await != *told {
            return false;
        }
    }
    true
}
