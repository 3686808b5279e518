//! Attacks on a host by orders: put among the real ones by whoever can write the database, with a signature
//! where the row says so, or given by a gateway that is not ours.

use std::sync::Arc;

use nexplane_agent::poll::Enrolment;
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{Authority as Approval, Envelope, Job, JobResult, Order, RefusalCode};
use nexplane_core::plan::Step;
use nexplane_server::gateway::authority::{Authority, GatewayKeys};
use nexplane_server::gateway::release::Releases;
use nexplane_server::gateway::{Gateway, GatewayOptions};
use nexplane_store::testing::TestDatabase;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{Stage, Victim};
use super::{Row, traced};
use crate::gateway_rig::{Agent, PATIENCE, Registry, SILENCE, approved, now, until};

const CONTENT: &str = "host.set_file_content";
const REFUSED: &str = "host.order_refused";
const DISTRUSTED: &str = "host.order_distrusted";

const NOT_OURS: &str = "that it did not take for this control plane's";
const NOT_CAPTURED: &str = "refused an order: the state before cannot be captured";

pub const ROWS: &[Row] = &[
    Row {
        name: "job for another host",
        kind: DISTRUSTED,
        cause: "wrong_host",
        words: "for another host",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |_, _, job| {
                job.host = HostId(Uuid::from_u128(99));
                None
            }))
        },
    },
    Row {
        name: "altered payload",
        kind: DISTRUSTED,
        cause: "bad_signature",
        words: NOT_OURS,
        attack: |stage, row| {
            Box::pin(strike(stage, row, |stage, _, job| {
                let envelope = stage.authority().sign(job);
                Some(Envelope { payload: envelope.payload.replace("stolen", "STOLEN"), ..envelope })
            }))
        },
    },
    Row {
        name: "signature by a key that agents do not know",
        kind: DISTRUSTED,
        cause: "bad_signature",
        words: "the signature is not valid",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |stage, _, job| {
                let own = GatewayKeys::generate(now()).unwrap();
                let forger = Authority::open(&stage.keys_with("dispatcher", &own)).unwrap();
                let key_id = stage.authority().sign(job).key_id;
                Some(Envelope { key_id, ..forger.sign(job) })
            }))
        },
    },
    Row {
        name: "order without a job",
        kind: DISTRUSTED,
        cause: "unreadable",
        words: "not readable",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |stage, _, job| {
                Some(Envelope { payload: "{}".to_owned(), ..stage.authority().sign(job) })
            }))
        },
    },
    Row {
        name: "replayed job",
        kind: DISTRUSTED,
        cause: "replayed",
        words: "given before, or out of sequence",
        attack: |stage, row| Box::pin(replay(stage, row)),
    },
    Row {
        name: "another job with the id of an earlier one",
        kind: DISTRUSTED,
        cause: "replayed",
        words: NOT_OURS,
        attack: |stage, row| {
            Box::pin(async move {
                let victim = stage.victim().await;
                let id: Uuid = sqlx::query_scalar(
                    "SELECT job_id FROM nexplane.agent_jobs
                     WHERE host_id = $1 AND finished_at IS NOT NULL LIMIT 1",
                )
                .bind(victim.agent.host.0)
                .fetch_one(stage.server.database().pool())
                .await
                .unwrap();
                let mut job = stage.job(victim.agent.host, theft(&victim)).await;
                job.id = JobId(id);
                let (seq, envelope) = (job.seq, stage.authority().sign(&job));
                give(stage, row, victim, seq, &envelope, &job).await
            })
        },
    },
    Row {
        name: "wrong sequence",
        kind: DISTRUSTED,
        cause: "replayed",
        words: "given before, or out of sequence",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |_, _, job| {
                job.seq = 1;
                None
            }))
        },
    },
    Row {
        name: "expired job",
        kind: REFUSED,
        cause: "expired",
        words: "refused an order: too late",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |_, _, job| {
                job.not_after = now().plus_seconds(-1);
                None
            }))
        },
    },
    Row {
        name: "job of the future",
        kind: REFUSED,
        cause: "not_yet_valid",
        words: "too early",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |_, _, job| {
                job.not_before = now().plus_seconds(3600);
                None
            }))
        },
    },
    Row {
        name: "digest of another plan",
        kind: REFUSED,
        cause: "plan_mismatch",
        words: "refused an order: not what was approved",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |_, _, job| {
                apply(job).1.plan_digest = "00".repeat(32);
                None
            }))
        },
    },
    Row {
        name: "parameters that nobody approved",
        kind: REFUSED,
        cause: "plan_mismatch",
        words: "not what was approved",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |_, _, job| {
                apply(job).0.parameters = motd("worse\n");
                None
            }))
        },
    },
    Row {
        name: "step that was approved for another host",
        kind: REFUSED,
        cause: "plan_mismatch",
        words: "not what was approved",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |_, _, job| {
                job.order = planned("web-of-somebody-else", CONTENT, &motd("stolen\n"));
                None
            }))
        },
    },
    Row {
        name: "operation that there is not",
        kind: REFUSED,
        cause: "unknown_operation",
        words: "no such operation",
        attack: |stage, row| {
            Box::pin(strike(stage, row, |_, victim, job| {
                let parameters = json!({ "command": "id" });
                job.order = planned(&victim.agent.name, "host.run_shell", &parameters);
                None
            }))
        },
    },
    Row {
        name: "path that climbs out of the root",
        kind: REFUSED,
        cause: "invalid_parameters",
        words: "the parameters are not valid",
        attack: |stage, row| Box::pin(write_to(stage, row, "/etc/../../etc/motd")),
    },
    Row {
        name: "symbolic link",
        kind: REFUSED,
        cause: "no_snapshot",
        words: NOT_CAPTURED,
        attack: |stage, row| Box::pin(write_to(stage, row, "/etc/link")),
    },
    Row {
        name: "symbolic link out of the root",
        kind: REFUSED,
        cause: "no_snapshot",
        words: NOT_CAPTURED,
        attack: |stage, row| Box::pin(write_to(stage, row, "/etc/absolute")),
    },
    Row {
        name: "relative symbolic link out of the root",
        kind: REFUSED,
        cause: "no_snapshot",
        words: NOT_CAPTURED,
        attack: |stage, row| Box::pin(write_to(stage, row, "/etc/relative")),
    },
    Row {
        name: "path through a symbolic link",
        kind: REFUSED,
        cause: "no_snapshot",
        words: NOT_CAPTURED,
        attack: |stage, row| Box::pin(write_to(stage, row, "/etc/elsewhere/secret")),
    },
    Row {
        name: "hard link",
        kind: REFUSED,
        cause: "no_snapshot",
        words: NOT_CAPTURED,
        attack: |stage, row| Box::pin(write_to(stage, row, "/etc/hard")),
    },
    Row {
        name: "pipe",
        kind: REFUSED,
        cause: "no_snapshot",
        words: NOT_CAPTURED,
        attack: |stage, row| Box::pin(write_to(stage, row, "/etc/pipe")),
    },
    Row {
        name: "file that makes somebody root",
        kind: REFUSED,
        cause: "no_snapshot",
        words: NOT_CAPTURED,
        attack: |stage, row| Box::pin(write_to(stage, row, "/etc/sudoers")),
    },
    Row {
        name: "forged control plane that swallows what agents report",
        kind: DISTRUSTED,
        cause: "bad_signature",
        words: NOT_OURS,
        attack: |stage, row| Box::pin(forged_control_plane(stage, row)),
    },
];

fn motd(content: &str) -> Value {
    json!({ "path": "/etc/motd", "content": content })
}

/// What would be done if it were not for one thing.
fn theft(victim: &Victim) -> Order {
    victim.agent.apply(CONTENT, &motd("stolen\n"))
}

/// An approved order of an operation that cannot be planned honestly.
fn planned(host: &str, operation: &str, parameters: &Value) -> Order {
    let (step, authority) = approved(operation, parameters, host, &"00".repeat(32), None);
    Order::Apply { step: Box::new(step), authority: Box::new(authority), prepared: None }
}

fn apply(job: &mut Job) -> (&mut Step, &mut Approval) {
    match &mut job.order {
        Order::Apply { step, authority, prepared: _ } => (step, authority),
        other => panic!("{other:?}"),
    }
}

/// One thing that is wrong with an order: in the job, or in its envelope.
type Wrong = fn(&Stage, &Victim, &mut Job) -> Option<Envelope>;

async fn strike(stage: &Stage, row: &Row, wrong: Wrong) -> Option<HostId> {
    let victim = stage.victim().await;
    let mut job = stage.job(victim.agent.host, theft(&victim)).await;
    let seq = job.seq;
    let envelope = wrong(stage, &victim, &mut job);
    let envelope = envelope.unwrap_or_else(|| stage.authority().sign(&job));
    give(stage, row, victim, seq, &envelope, &job).await
}

async fn write_to(stage: &Stage, row: &Row, path: &str) -> Option<HostId> {
    let victim = stage.victim().await;
    let parameters = json!({ "path": path, "content": "stolen\n" });
    let order = planned(&victim.agent.name, CONTENT, &parameters);
    let job = stage.job(victim.agent.host, order).await;
    let envelope = stage.authority().sign(&job);
    give(stage, row, victim, job.seq, &envelope, &job).await
}

/// Gives the order to the agent, waits for the event, and sees that nothing changed.
async fn give(
    stage: &Stage,
    row: &Row,
    victim: Victim,
    seq: u64,
    envelope: &Envelope,
    job: &Job,
) -> Option<HostId> {
    let (host, before) = (victim.agent.host, victim.files());
    let smuggled = stage.smuggle(host, seq, envelope).await;
    let event = traced(stage, row, Some(host)).await;
    if row.kind == REFUSED {
        assert_eq!(event["data"]["job"], job.id.to_string(), "{}: {event:#}", row.name);
        let detail = event["data"]["detail"].as_str().unwrap();
        assert!(!detail.is_empty(), "{}: {event:#}", row.name);
    }
    stage.take_back(smuggled).await;
    assert_eq!(victim.files(), before, "{}", row.name);
    victim.agent.stop().await;
    Some(host)
}

/// A real order that was carried out comes once more, after somebody has changed the file by hand.
async fn replay(stage: &Stage, row: &Row) -> Option<HostId> {
    let victim = stage.victim().await;
    let host = victim.agent.host;
    let job = stage.job(host, theft(&victim)).await;
    let envelope = stage.authority().sign(&job);
    stage.smuggle(host, job.seq, &envelope).await;
    let config = victim.agent.config.path().join("journal");
    let reported = format!(r#"{{"record":"reported","job":"{}""#, job.id);
    until("it was carried out and reported", || {
        std::fs::read_to_string(&config).unwrap().contains(&reported)
    })
    .await;
    assert_eq!(victim.agent.read("etc/motd"), "stolen\n", "this one was approved");
    std::fs::write(victim.agent.root.path().join("etc/motd"), "by hand\n").unwrap();
    let seq = stage.job(host, Order::CollectFacts).await.seq;
    give(stage, row, victim, seq, &envelope, &job).await
}

/// Somebody has the gateway's certificate and authority, and not the key that signs orders. The agent comes
/// to them, and what it reports ends there.
async fn forged_control_plane(stage: &Stage, row: &Row) -> Option<HostId> {
    let victim = stage.victim().await;
    let (host, name, before) = (victim.agent.host, victim.agent.name.clone(), victim.files());
    let order = theft(&victim);
    let Victim { agent, outside } = victim;
    let (root, config, enrolment) = agent.stop().await;

    let own = GatewayKeys::generate(now()).unwrap();
    let (database, registry) = (TestDatabase::new().await, Arc::new(Registry::default()));
    registry.admit(host, &name);
    sqlx::query("INSERT INTO nexplane.agent_hosts (host_id, last_seq) VALUES ($1, 1000)")
        .bind(host.0)
        .execute(database.pool())
        .await
        .unwrap();
    let forged = Gateway::start(GatewayOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        names: Vec::new(),
        keys: stage.keys_with("dispatcher", &own),
        pool: database.pool().clone(),
        hosts: registry,
        silence: SILENCE,
        releases: Releases::within(None),
    })
    .await
    .unwrap();
    let lured = Enrolment { control_plane: forged.url(), ..enrolment.clone() };
    let agent = Agent::start(root, config, lured).await;
    let outcome = forged.dispatcher().run(host, order, PATIENCE, "steal").await.unwrap();
    let JobResult::Refused { code, .. } = &outcome.result else { panic!("{outcome:?}") };
    assert_eq!(*code, RefusalCode::BadSignature);
    let (root, config, _) = agent.stop().await;
    forged.shutdown().await;

    let agent = Agent::start(root, config, enrolment).await;
    let victim = Victim { agent, outside };
    traced(stage, row, Some(host)).await;
    assert_eq!(victim.files(), before);
    victim.agent.stop().await;
    Some(host)
}
