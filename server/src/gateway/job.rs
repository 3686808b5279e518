//! Orders and receipts in the database. Orders are inserted under a lock of their host's row, so
//! that they become visible in the order of their sequence numbers.

use nexplane_core::canonical;
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{Envelope, Job, JobResult, Order, Receipt, SignedReceipt};
use nexplane_core::time::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::authority::Authority;

/// Channel of wake-ups between gateways. A lost one costs time, nothing else.
pub const CHANNEL: &str = "nexplane_jobs";
/// How long an order may be begun after it was made: 10 minutes.
const VALID_S: i64 = 600;
/// The same for the database.
const VALID_INTERVAL_S: f64 = 600.0;
/// Clocks of hosts may be this much behind.
const BACKDATED_S: i64 = 60;
/// Most orders in one answer to a poll.
const BATCH: i64 = 8;

/// What a wake-up is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is an order for the host.
    Order(HostId),
    /// The job has a receipt.
    Result(JobId),
    /// The host may not act any more.
    Deny(HostId),
}

impl Wake {
    /// Reads a notification: what it is about, and which gateway sent it.
    pub fn parse(text: &str) -> Option<(Self, Uuid)> {
        let mut words = text.split(' ');
        let (kind, id, from) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        let wake = match kind {
            "order" => Self::Order(id.parse().ok()?),
            "result" => Self::Result(id.parse().ok()?),
            "deny" => Self::Deny(id.parse().ok()?),
            _ => return None,
        };
        Some((wake, from))
    }

    /// Sends it to every gateway when the transaction commits.
    pub async fn send(self, connection: &mut PgConnection, from: Uuid) -> Result<(), sqlx::Error> {
        let text = match self {
            Self::Order(host) => format!("order {host} {from}"),
            Self::Result(job) => format!("result {job} {from}"),
            Self::Deny(host) => format!("deny {host} {from}"),
        };
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(text)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// A job that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub host: HostId,
    pub order: &'a Order,
    /// Idempotency key.
    pub key: &'a str,
}

/// What came of asking for a job by its key.
#[derive(Debug)]
pub enum Ordered {
    /// It is on its way, from now or from before.
    Open(JobId),
    Finished(Box<Outcome>),
    /// The key stands for another order.
    KeyReused,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub job: JobId,
    pub result: JobResult,
    pub undo_until: Option<Timestamp>,
    pub receipt: SignedReceipt,
}

/// Finds the job of this key, or makes it, signs it and wakes the host's agent.
///
/// A job of this key that has expired before it was ever handed out is withdrawn and made anew.
pub async fn order(
    pool: &PgPool,
    authority: &Authority,
    request: Request<'_>,
    from: Uuid,
    now: Timestamp,
) -> Result<Ordered, sqlx::Error> {
    let Request { host, order, key } = request;
    let order_hash = order_hash(order);
    let mut tx = pool.begin().await?;
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO nexplane.agent_hosts AS h (host_id, last_seq) VALUES ($1, 1)
         ON CONFLICT (host_id) DO UPDATE SET last_seq = h.last_seq + 1
         RETURNING last_seq",
    )
    .bind(host.0)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "UPDATE nexplane.agent_jobs SET withdrawn_at = now()
         WHERE host_id = $1 AND key = $2 AND withdrawn_at IS NULL AND delivered_at IS NULL
           AND finished_at IS NULL AND not_after <= now()",
    )
    .bind(host.0)
    .bind(key)
    .execute(&mut *tx)
    .await?;
    let known: Option<(Uuid, Vec<u8>, Option<String>)> = sqlx::query_as(
        "SELECT job_id, order_hash, receipt FROM nexplane.agent_jobs
         WHERE host_id = $1 AND key = $2 AND withdrawn_at IS NULL",
    )
    .bind(host.0)
    .bind(key)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some((job, hash, receipt)) = known {
        tx.rollback().await?;
        let job = JobId(job);
        return Ok(match receipt {
            _ if hash != order_hash => Ordered::KeyReused,
            None => Ordered::Open(job),
            Some(text) => Ordered::Finished(Box::new(outcome(job, &text)?)),
        });
    }
    let job = Job {
        id: JobId(Uuid::now_v7()),
        host,
        seq: u64::try_from(seq).unwrap_or(0),
        not_before: now.plus_seconds(-BACKDATED_S),
        not_after: now.plus_seconds(VALID_S),
        order: order.clone(),
    };
    sqlx::query(
        "INSERT INTO nexplane.agent_jobs
             (job_id, host_id, seq, key, order_hash, has_effect, envelope, not_after)
         VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))",
    )
    .bind(job.id.0)
    .bind(host.0)
    .bind(seq)
    .bind(key)
    .bind(order_hash)
    .bind(order.has_effect())
    .bind(to_text(&authority.sign(&job)))
    .bind(VALID_INTERVAL_S)
    .execute(&mut *tx)
    .await?;
    Wake::Order(host).send(&mut tx, from).await?;
    tx.commit().await?;
    Ok(Ordered::Open(job.id))
}

/// The orders for an agent that has journalled everything up to `have`. Those that were never
/// handed out and have expired stay where they are; one that was handed out is repeated even then,
/// because its agent knows what came of it.
pub async fn deliver(pool: &PgPool, host: HostId, have: u64) -> Result<Vec<Envelope>, sqlx::Error> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "UPDATE nexplane.agent_jobs SET delivered_at = coalesce(delivered_at, now())
         WHERE job_id IN (
             SELECT job_id FROM nexplane.agent_jobs
             WHERE host_id = $1 AND seq > $2 AND finished_at IS NULL AND withdrawn_at IS NULL
               AND (delivered_at IS NOT NULL OR not_after > now())
             ORDER BY seq LIMIT $3
             FOR UPDATE)
         RETURNING seq, envelope",
    )
    .bind(host.0)
    .bind(i64::try_from(have).unwrap_or(i64::MAX))
    .bind(BATCH)
    .fetch_all(pool)
    .await?;
    let mut rows = rows;
    rows.sort_by_key(|(seq, _)| *seq);
    rows.into_iter().map(|(_, text)| from_text(&text)).collect()
}

/// The hosts for whose agents there are orders.
pub async fn hosts_with_orders(pool: &PgPool) -> Result<Vec<HostId>, sqlx::Error> {
    let hosts: Vec<Uuid> = sqlx::query_scalar(
        "SELECT DISTINCT host_id FROM nexplane.agent_jobs
         WHERE finished_at IS NULL AND withdrawn_at IS NULL
           AND (delivered_at IS NOT NULL OR not_after > now())",
    )
    .fetch_all(pool)
    .await?;
    Ok(hosts.into_iter().map(HostId).collect())
}

/// Takes an order back; true when it certainly never reached the agent and never will.
pub async fn withdraw(pool: &PgPool, job: JobId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE nexplane.agent_jobs SET withdrawn_at = coalesce(withdrawn_at, now())
         WHERE job_id = $1 AND delivered_at IS NULL AND finished_at IS NULL",
    )
    .bind(job.0)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The outcome of a job, when it has one.
pub async fn finished(pool: &PgPool, job: JobId) -> Result<Option<Outcome>, sqlx::Error> {
    let receipt: Option<Option<String>> =
        sqlx::query_scalar("SELECT receipt FROM nexplane.agent_jobs WHERE job_id = $1")
            .bind(job.0)
            .fetch_optional(pool)
            .await?;
    receipt.flatten().map(|text| outcome(job, &text)).transpose()
}

/// The job that a key stands for.
pub async fn find(pool: &PgPool, host: HostId, key: &str) -> Result<Option<JobId>, sqlx::Error> {
    let job: Option<Uuid> = sqlx::query_scalar(
        "SELECT job_id FROM nexplane.agent_jobs
         WHERE host_id = $1 AND key = $2 AND withdrawn_at IS NULL",
    )
    .bind(host.0)
    .bind(key)
    .fetch_optional(pool)
    .await?;
    Ok(job.map(JobId))
}

/// Notes how far an agent says it is. Says nothing about the outcome.
pub async fn progress(
    pool: &PgPool,
    host: HostId,
    job: JobId,
    is_intent: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE nexplane.agent_jobs
         SET received_at = coalesce(received_at, now()),
             intent_at = CASE WHEN $3 THEN coalesce(intent_at, now()) ELSE intent_at END
         WHERE job_id = $1 AND host_id = $2",
    )
    .bind(job.0)
    .bind(host.0)
    .bind(is_intent)
    .execute(pool)
    .await?;
    Ok(())
}

/// How a receipt fits the ones before it.
#[derive(Debug, PartialEq, Eq)]
pub enum Chained {
    /// The next one; stored, and its job has its outcome.
    Stored,
    /// We have exactly this one.
    Known,
    /// There is another one with its number, or it does not follow: two agents share a key, or one
    /// lost its journal.
    Forked,
}

/// Stores a receipt whose signature has been checked. Numbers that are missing are noted and do not
/// stop it: the agent's journal is the one that knows.
pub async fn store_receipt(
    pool: &PgPool,
    host: HostId,
    receipt: &Receipt,
    signed: &SignedReceipt,
    from: Uuid,
) -> Result<Chained, sqlx::Error> {
    let payload_hash = hex::encode(Sha256::digest(&signed.payload));
    let number = i64::try_from(receipt.number).unwrap_or(i64::MAX);
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO nexplane.agent_hosts (host_id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(host.0)
        .execute(&mut *tx)
        .await?;
    let (count, head): (i64, String) = sqlx::query_as(
        "SELECT receipts, receipt_head FROM nexplane.agent_hosts WHERE host_id = $1 FOR UPDATE",
    )
    .bind(host.0)
    .fetch_one(&mut *tx)
    .await?;
    if number <= count {
        let known: Option<String> = sqlx::query_scalar(
            "SELECT payload_hash FROM nexplane.agent_receipts WHERE host_id = $1 AND number = $2",
        )
        .bind(host.0)
        .bind(number)
        .fetch_optional(&mut *tx)
        .await?;
        // A number in a gap that was noted before: nothing contradicts it.
        let same = known.is_none_or(|hash| hash == payload_hash);
        return Ok(if same { Chained::Known } else { Chained::Forked });
    }
    if number == count + 1 && receipt.previous != head {
        return Ok(Chained::Forked);
    }
    if number > count + 1 {
        tracing::warn!(
            host.id = %host, have = count, got = number,
            "Receipts of this host are missing here; its own journal has them"
        );
    }
    let text = to_text(signed);
    sqlx::query(
        "INSERT INTO nexplane.agent_receipts (host_id, number, job_id, payload_hash, receipt)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(host.0)
    .bind(number)
    .bind(receipt.job.0)
    .bind(&payload_hash)
    .bind(&text)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "UPDATE nexplane.agent_hosts SET receipts = $2, receipt_head = $3 WHERE host_id = $1",
    )
    .bind(host.0)
    .bind(number)
    .bind(&payload_hash)
    .execute(&mut *tx)
    .await?;
    // The first receipt of a job is its outcome; a later one is evidence.
    sqlx::query(
        "UPDATE nexplane.agent_jobs SET receipt = $3, finished_at = now()
         WHERE job_id = $1 AND host_id = $2 AND finished_at IS NULL AND withdrawn_at IS NULL",
    )
    .bind(receipt.job.0)
    .bind(host.0)
    .bind(&text)
    .execute(&mut *tx)
    .await?;
    Wake::Result(receipt.job).send(&mut tx, from).await?;
    tx.commit().await?;
    Ok(Chained::Stored)
}

/// Forgets the answers to questions that are older than a week; what changed something stays, and so
/// does the chain of hashes.
pub async fn forget_old_questions(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let forgotten = sqlx::query(
        "WITH old AS (
             DELETE FROM nexplane.agent_jobs
             WHERE NOT has_effect AND created_at < now() - interval '7 days'
             RETURNING job_id, host_id)
         UPDATE nexplane.agent_receipts r SET receipt = NULL
         FROM old WHERE r.host_id = old.host_id AND r.job_id = old.job_id",
    )
    .execute(pool)
    .await?;
    Ok(forgotten.rows_affected())
}

/// The hash of what is to be done. Not of the authority: after a crash the same step is asked for
/// under another lease, and it is the same job. Another password is another job.
fn order_hash(order: &Order) -> Vec<u8> {
    let what = match order {
        Order::Inspect { operation, target: _, parameters } => {
            json!({ "inspect": operation, "parameters": parameters })
        }
        Order::Verify { operation, target: _, parameters, prepared: _, undoes: None } => {
            json!({ "verify": operation, "parameters": parameters })
        }
        Order::Verify { operation, target: _, parameters, prepared: _, undoes: Some(undoes) } => {
            json!({ "verify": operation, "parameters": parameters, "undoes": undoes })
        }
        Order::CollectFacts => json!("collect_facts"),
        Order::Apply { step, authority: _, prepared: None } => json!({ "apply": step }),
        Order::Apply { step, authority: _, prepared: Some(prepared) } => {
            json!({ "apply": step, "prepared": prepared })
        }
        Order::Revert { step, undoes, authority: _ } => json!({ "revert": step, "undoes": undoes }),
    };
    Sha256::digest(canonical::to_string(&what)).to_vec()
}

fn outcome(job: JobId, text: &str) -> Result<Outcome, sqlx::Error> {
    let receipt: SignedReceipt = from_text(text)?;
    let payload: Receipt = from_text(&receipt.payload)?;
    Ok(Outcome { job, result: payload.result, undo_until: payload.undo_until, receipt })
}

fn to_text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("wire types are structs of JSON values")
}

fn from_text<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}
