//! Freezes that are declared while changes start and run: in the log, nothing is after a freeze that
//! forbids it.
//!
//! `NEXPLANE_RACE_ROUNDS` says how often (24 when absent).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nexplane_core::asset::event::AssetEvent;
use nexplane_core::audit::Auditor;
use nexplane_core::calendar::event::{CalendarEvent, Scope};
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{AssetId, ChangeId, FreezeId};
use nexplane_core::record;
use nexplane_core::run::event::RunEvent;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Client, Server, Shop, id, text};

/// Changes at the same time, each with a tag and freezes of its own: what moves the calendar for one
/// must not get in the way of the others.
const LANES: usize = 4;
/// Targets of a change: steps of its run.
const TARGETS: usize = 3;

fn rounds() -> usize {
    let asked = std::env::var("NEXPLANE_RACE_ROUNDS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(24)
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    refused: usize,
    stopped: usize,
    complete: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_freeze_and_an_execution_and_every_intent_one_comes_first() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "dev").await;
    let operator = server.operator().await;
    let approvers = [server.approver().await, server.person("amos", &["approver"]).await];
    let names: Vec<_> = (0..LANES * TARGETS).map(|no| format!("app{no:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let roles = shop.roles(&server, &names).await;
    let per_lane = rounds().div_ceil(LANES);
    let mut lanes = Vec::new();
    for (no, roles) in roles.chunks(TARGETS).enumerate() {
        let mut lane = Lane {
            tag: format!("lane-{no}"),
            targets: Vec::new(),
            connection: shop.connection.clone(),
            admin: server.admin.clone(),
            operator: operator.clone(),
            approvers: approvers.clone(),
        };
        for role in roles {
            lane.targets.push(id(&shop.asset(&operator, role).await));
        }
        let path = format!("/assets/{}", lane.targets[0]);
        operator.patch(&path, json!({ "tags": [lane.tag] })).await.is(200);
        lanes.push(async move {
            let mut count = Count::default();
            let mut usual = Duration::from_secs(1);
            for round in 0..per_lane {
                // From together with the request to after the end of the run, however busy the machine.
                let wait = usual.mul_f64((round as f64 * 0.37).fract() * 1.2);
                // What was refused took no time, and says nothing of what takes some.
                let took = lane.round(wait, &mut count).await;
                usual = ((usual * 3 + took) / 4).max(Duration::from_millis(200));
            }
            count
        });
    }
    let mut all = Count::default();
    for count in futures_util::future::join_all(lanes).await {
        all.refused += count.refused;
        all.stopped += count.stopped;
        all.complete += count.complete;
    }
    eprintln!("{} rounds: {all:?}", per_lane * LANES);
    assert_eq!(all.refused + all.stopped + all.complete, per_lane * LANES);

    let records = nexplane_store::testing::event_records(server.database().pool()).await.unwrap();
    let events: Vec<Recorded> = (0..)
        .zip(&records)
        .map(|(position, text)| {
            let (header, event) = Event::decode(record::decode(text).unwrap()).unwrap();
            Recorded { position, header, event }
        })
        .collect();
    let seen = Book::read(&events);
    eprintln!("{seen:?} over {} events", events.len());
    assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
    let mut auditor = Auditor::starting_at(0);
    events.iter().for_each(|event| auditor.observe(event));
    let report = auditor.finish();
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(report.incomplete.is_empty(), "{:#?}", report.incomplete);
}

struct Lane {
    tag: String,
    targets: Vec<String>,
    connection: String,
    admin: Client,
    operator: Client,
    approvers: [Client; 2],
}

impl Lane {
    /// One change, and one freeze that is declared a while after its execution is asked for. How long
    /// the change took.
    async fn round(&self, wait: Duration, count: &mut Count) -> Duration {
        let request = json!({
            "title": "Rotate the passwords",
            "reason": "They are old.",
            "change_type": "postgres.rotate_user_password",
            "connection_id": self.connection,
            "targets": self.targets,
            "parameters": {},
        });
        let submitted = self.operator.submitted(request).await;
        let (change, digest) = (id(&submitted), &submitted["plan"]["digest"]);
        for approver in &self.approvers {
            if self.operator.change(&change).await["state"] == "submitted" {
                approver.approve(&change, digest).await.is(200);
            }
        }
        let freeze = async {
            tokio::time::sleep(wait).await;
            let now = jiff::Timestamp::now();
            let hour = jiff::SignedDuration::from_hours(1);
            let (start, end) = (now - hour, now + hour);
            let body = json!({
                "scope": { "kind": "tag", "tag": self.tag },
                "start": format!("{start:.6}"),
                "end": format!("{end:.6}"),
                "reason": "closing",
            });
            id(&self.admin.post("/freeze-windows", body).await.is(201))
        };
        let begun = Instant::now();
        let execute = async {
            let executed = self.operator.act(&change, "execute").await;
            let ended = match executed.status {
                200 => Some(self.operator.settled(&change).await),
                _ => None,
            };
            (executed, ended, begun.elapsed())
        };
        let ((executed, ended, took), freeze) = tokio::join!(execute, freeze);
        match ended {
            Some(ended) => match ended["state"].as_str().unwrap() {
                "complete" => count.complete += 1,
                "failed" => {
                    assert!(text(&ended["closing_reason"]).contains("closing"), "{ended:#}");
                    count.stopped += 1;
                }
                other => panic!("{other}: {ended:#}"),
            },
            // Never a conflict: that the calendar moved is not the caller's to know.
            None => {
                executed.refused(423, "change.frozen");
                count.refused += 1;
                let path = format!("/change-requests/{change}/cancel");
                self.operator.post(&path, json!({ "reason": "frozen" })).await.is(200);
            }
        }
        let path = format!("/freeze-windows/{freeze}/end");
        let reason: Value = json!({ "reason": "over" });
        self.admin.post(&path, reason).await.is(200);
        took
    }
}

/// What the log says, read with nothing but the order of its events.
#[derive(Default)]
struct Book {
    freezes: BTreeMap<FreezeId, String>,
    tags: BTreeMap<Uuid, Vec<String>>,
    targets: BTreeMap<ChangeId, Vec<AssetId>>,
    runs: BTreeMap<Uuid, ChangeId>,
    overridden: BTreeSet<(ChangeId, FreezeId)>,
    declared: usize,
    started: usize,
    intended: usize,
    wrong: Vec<String>,
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book")
            .field("declared", &self.declared)
            .field("started", &self.started)
            .field("intended", &self.intended)
            .finish_non_exhaustive()
    }
}

impl Book {
    fn read(events: &[Recorded]) -> Self {
        let mut book = Self::default();
        for recorded in events {
            book.turn(recorded);
        }
        book
    }

    fn turn(&mut self, recorded: &Recorded) {
        let stream = recorded.header.stream.id;
        match &recorded.event {
            Event::Calendar(CalendarEvent::FreezeDeclared { freeze, scope, .. }) => {
                // They all began an hour before, and last longer than the test.
                let Scope::Tag { tag } = scope else { panic!("not a tag: {scope:?}") };
                self.freezes.insert(*freeze, tag.clone());
                self.declared += 1;
            }
            Event::Calendar(CalendarEvent::FreezeEnded { freeze, .. }) => {
                self.freezes.remove(freeze);
            }
            Event::Asset(AssetEvent::Annotated { tags, .. }) => {
                self.tags.insert(stream, tags.clone());
            }
            Event::Change(ChangeEvent::Drafted { draft, .. }) => {
                self.targets.insert(ChangeId(stream), draft.targets.clone());
            }
            Event::Change(ChangeEvent::FreezeOverridden { freeze, .. }) => {
                self.overridden.insert((ChangeId(stream), *freeze));
            }
            Event::Change(ChangeEvent::ExecutionStarted { .. }) => {
                self.started += 1;
                self.check(ChangeId(stream), recorded);
            }
            Event::Run(RunEvent::Started { change, .. }) => {
                self.runs.insert(stream, *change);
            }
            Event::Run(RunEvent::StepIntended { .. }) => {
                self.intended += 1;
                self.check(self.runs[&stream], recorded);
            }
            _ => {}
        }
    }

    fn check(&mut self, change: ChangeId, recorded: &Recorded) {
        for (freeze, tag) in &self.freezes {
            let covers = self.targets[&change]
                .iter()
                .any(|target| self.tags.get(&target.0).is_some_and(|tags| tags.contains(tag)));
            if covers && !self.overridden.contains(&(change, *freeze)) {
                let Recorded { position, header, .. } = recorded;
                self.wrong.push(format!("{} at {position} inside {freeze}", header.kind));
            }
        }
    }
}
